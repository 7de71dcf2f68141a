//! [`Tls`]: who is trusted, and how this side shows who it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use runbook_core::Secret;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};

use crate::error::TlsError;

/// Who is trusted to vouch for servers, and how this side shows who it is. Cheap to clone.
///
/// ```
/// use runbook_tls::Tls;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let made = rcgen::generate_simple_self_signed(["ca".to_owned()])?;
/// # let (ca_pem, client_pem) = (made.cert.pem(), made.cert.pem());
/// # let client_key = runbook_core::Secret::new(made.signing_key.serialize_pem());
/// let internal = Tls::trusting(ca_pem.as_bytes())?
///     .server_name("db.internal.example.org")
///     .client_certificate(client_pem.as_bytes(), &client_key)?;
/// # let _ = internal;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    roots: Arc<RootCertStore>,
    server_name: Option<String>,
    pub(crate) verifier: Arc<WebPkiServerVerifier>,
    /// Without a verifier of its own yet: each connection brings one that watches.
    pub(crate) client: ClientConfig,
}

impl Tls {
    /// Trusts what this machine trusts; read once a process.
    ///
    /// # Errors
    /// It has no root certificates.
    pub fn system() -> Result<Self, TlsError> {
        static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
        let roots = ROOTS.get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
                return Err(if why.is_empty() { "there are none".into() } else { why.join("; ") });
            }
            Ok(Arc::new(roots))
        });
        match roots {
            Ok(roots) => Self::with(Arc::clone(roots)),
            Err(why) => Err(TlsError::NoRoots { why: why.clone() }),
        }
    }

    /// Trusts the certificates in `pem`, and nothing else.
    ///
    /// # Errors
    /// There are none in it, or one can't be understood.
    pub fn trusting(pem: &[u8]) -> Result<Self, TlsError> {
        let bad =
            |why: String| TlsError::Pem { what: "reading the certificates to trust".into(), why };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("there is no certificate in PEM form in it".into()));
        }
        Self::with(Arc::new(roots))
    }

    /// Trusts the certificates in the PEM file `path` of this machine, and nothing else.
    ///
    /// # Errors
    /// As for [`trusting`](Self::trusting), or the file can't be read.
    pub fn trusting_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        Self::trusting(&read(path.as_ref())?)
    }

    fn with(roots: Arc<RootCertStore>) -> Result<Self, TlsError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|error| TlsError::NoRoots { why: error.to_string() })?;
        let client = versions()?.with_root_certificates(Arc::clone(&roots)).with_no_client_auth();
        Ok(Self { roots, server_name: None, verifier, client })
    }

    /// The name that the certificate must carry, and that the server is told (SNI), instead of the
    /// one that each connection gives.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Shows this certificate (a PEM chain, own one first) to servers that ask for one.
    ///
    /// # Errors
    /// Either can't be understood, or they don't belong together. The error does not show the key.
    pub fn client_certificate(mut self, chain: &[u8], key: &Secret) -> Result<Self, TlsError> {
        let bad =
            |why: String| TlsError::Pem { what: "reading the client certificate".into(), why };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| bad(error.to_string()))?;
        if chain.is_empty() {
            return Err(bad("there is no certificate in PEM form in it".into()));
        }
        // The parser's own words could show a part of the key.
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
            .map_err(|_| bad("its key holds no private key in PEM form".into()))?;
        self.client = versions()?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(chain, key)
            .map_err(|error| bad(format!("its key does not fit: {error}")))?;
        Ok(self)
    }

    /// The explicit name, if one was given.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The name to ask for: the explicit one, else the connection's.
    pub(crate) fn name_for<'a>(&'a self, connection: &'a str) -> &'a str {
        self.name().unwrap_or(connection)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("roots", &self.roots.len())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// The same as a part of a configuration file; all of it may be left out.
///
/// ```
/// use runbook_tls::TlsConfig;
/// let config: TlsConfig = serde_json::from_str(r#"{"ca_file": "/etc/shop/ca.pem"}"#)?;
/// assert!(config.client_key.is_none());
/// assert!(config.build().unwrap_err().to_string().starts_with("reading /etc/shop/ca.pem: "));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// A PEM file of this machine with the only certificates to trust; by default the system's.
    pub ca_file: Option<PathBuf>,
    /// The name that the certificate must carry, if it is not the name in the address.
    pub server_name: Option<String>,
    /// A PEM file of this machine with the client certificate and its chain.
    pub client_certificate: Option<PathBuf>,
    /// A PEM file of this machine with the client certificate's key.
    pub client_key: Option<PathBuf>,
}

impl TlsConfig {
    /// Reads the files that it names.
    ///
    /// # Errors
    /// One can't be read or understood, or of client certificate and key one is missing.
    pub fn build(&self) -> Result<Tls, TlsError> {
        let mut tls = match &self.ca_file {
            Some(path) => Tls::trusting_file(path)?,
            None => Tls::system()?,
        };
        if let Some(name) = &self.server_name {
            tls = tls.server_name(name);
        }
        match (&self.client_certificate, &self.client_key) {
            (None, None) => Ok(tls),
            (Some(chain), Some(key)) => {
                let pem = String::from_utf8(read(key)?).map_err(|_| TlsError::Pem {
                    what: format!("reading the client key {}", key.display()),
                    why: "it is not text".into(),
                })?;
                tls.client_certificate(&read(chain)?, &Secret::new(pem))
            }
            _ => Err(TlsError::Pem {
                what: "reading the TLS options".into(),
                why: "`client_certificate` and `client_key` are given together or not at all"
                    .into(),
            }),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// Named here and not taken from the process, which may have none or another one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn versions() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(
        |error| TlsError::Handshake { server: "any server".into(), why: error.to_string() },
    )
}
