//! Certificates for fake servers, made on the spot.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use runbook_core::{BoxStream, Result};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Signs the certificates of fake servers; nobody trusts it that was not told to.
///
/// ```
/// use runbook_tls::Tls;
/// use runbook_tls::testing::FakeAuthority;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let authority = FakeAuthority::new();
/// let tls = Tls::trusting(authority.pem().as_bytes()).unwrap();
/// let good = authority.issue("shop.example.org", 30);
/// let (ours, theirs) = tokio::io::duplex(4096);
/// let (secured, _) =
///     tokio::join!(tls.connect(Box::new(ours), "shop.example.org"), good.accept(Box::new(theirs)));
/// assert_eq!(secured.unwrap().peer.certificate.days_left(), 30);
///
/// let expired = authority.issue("shop.example.org", -1);
/// let (ours, theirs) = tokio::io::duplex(4096);
/// let (refused, _) = tokio::join!(
///     tls.connect(Box::new(ours), "shop.example.org"),
///     expired.accept(Box::new(theirs)),
/// );
/// assert!(refused.unwrap_err().to_string().contains("expired"));
/// # });
/// ```
pub struct FakeAuthority(CertifiedIssuer<'static, KeyPair>);

impl FakeAuthority {
    /// With a key of its own.
    ///
    /// # Panics
    /// There is no randomness on this machine.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(made(CertifiedIssuer::self_signed(params, made(KeyPair::generate()))))
    }

    /// Its own certificate, for who is to trust it: in PEM form, as for
    /// [`Tls::trusting`](crate::Tls::trusting) and the file
    /// [`TlsConfig::ca_file`](crate::TlsConfig::ca_file).
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for the server `name`, good for so many days from now; fewer than none is one
    /// that has expired.
    ///
    /// # Panics
    /// `name` is no name of a server.
    #[must_use]
    pub fn issue(&self, name: &str, days: i32) -> FakeCertificate {
        const HALF_A_DAY: Duration = Duration::from_secs(12 * 60 * 60);
        let mut params = made(CertificateParams::new([name.to_owned()]));
        let now = SystemTime::now();
        let distance = HALF_A_DAY * 2 * days.unsigned_abs();
        params.not_before = (now - HALF_A_DAY * 800).into();
        // Half a day more, so that the whole days left don't depend on the second.
        let end = if days < 0 { now - distance } else { now + distance };
        params.not_after = (end + HALF_A_DAY).into();
        let key = made(KeyPair::generate());
        let certificate = made(params.signed_by(&key, &self.0));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let versions =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config =
            made(versions).with_no_client_auth().with_single_cert(vec![certificate.into()], key);
        FakeCertificate(TlsAcceptor::from(Arc::new(made(config))))
    }
}

impl Default for FakeAuthority {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeAuthority")
    }
}

/// The certificate of a fake server, with its key; from [`FakeAuthority::issue`].
#[derive(Clone)]
pub struct FakeCertificate(TlsAcceptor);

impl FakeCertificate {
    /// Answers a client that wants to speak TLS, as its server.
    ///
    /// # Errors
    /// The client hung up, as one does that does not trust the certificate.
    pub async fn accept(&self, stream: BoxStream) -> Result<BoxStream> {
        Ok(Box::new(self.0.accept(stream).await?))
    }
}

impl fmt::Debug for FakeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeCertificate")
    }
}

#[track_caller]
fn made<T, E: fmt::Display>(made: Result<T, E>) -> T {
    made.unwrap_or_else(|error| panic!("making a certificate for a test: {error}"))
}
