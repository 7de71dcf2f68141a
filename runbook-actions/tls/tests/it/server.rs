//! A certificate authority of the test's own, and a TLS server that echoes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, what: &Issue) -> Issued {
        let mut params = CertificateParams::new(what.names.clone()).unwrap();
        let now = std::time::SystemTime::now();
        let at = |days: i64| {
            let distance = Duration::from_secs(days.unsigned_abs() * 24 * 60 * 60);
            if days < 0 { now - distance } else { now + distance }
        };
        params.not_before = at(what.days.0).into();
        // Half a day more, so that the whole days left don't depend on the second.
        params.not_after = (at(what.days.1) + Duration::from_secs(12 * 60 * 60)).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

/// What to sign.
pub(crate) struct Issue {
    names: Vec<String>,
    days: (i64, i64),
}

impl Issue {
    /// Valid for 90 days.
    pub(crate) fn new<const N: usize>(names: [&str; N]) -> Self {
        Self { names: names.map(str::to_owned).to_vec(), days: (0, 90) }
    }

    /// Valid from so many days from now to so many days from now.
    pub(crate) fn days(mut self, from: i64, to: i64) -> Self {
        self.days = (from, to);
        self
    }
}

/// A certificate with its key, as PEM.
pub(crate) struct Issued {
    chain: String,
    key: String,
}

impl Issued {
    pub(crate) fn pem(self) -> (String, String) {
        (self.chain, self.key)
    }
}

/// Echoes what it is sent, until the test ends.
pub(crate) struct Server {
    pub(crate) port: u16,
    received: Arc<Mutex<String>>,
    closed: watch::Receiver<usize>,
}

impl Server {
    pub(crate) async fn start(issued: Issued) -> Self {
        let config = ServerConfig::builder_with_provider(ring())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        Self::serve(config, issued).await
    }

    /// Asks for a certificate that `clients` has signed.
    pub(crate) async fn start_with_clients(issued: Issued, clients: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(clients.0.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), ring());
        let config = ServerConfig::builder_with_provider(ring())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap());
        Self::serve(config, issued).await
    }

    async fn serve(
        config: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
        issued: Issued,
    ) -> Self {
        let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let config = config.with_single_cert(chain.map(Result::unwrap).collect(), key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(String::new()));
        let (done, closed) = watch::channel(0);
        let heard = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        let text = String::from_utf8_lossy(&buffer[..count]);
                        heard.lock().unwrap().push_str(&text);
                        if stream.write_all(&buffer[..count]).await.is_err() {
                            break;
                        }
                    }
                }
                done.send_modify(|count| *count += 1);
            }
        });
        Self { port, received, closed }
    }

    /// What it was sent by its first client, once that is gone.
    pub(crate) async fn received(&self) -> String {
        let mut closed = self.closed.clone();
        let gone = closed.wait_for(|count| *count > 0);
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap().unwrap();
        self.received.lock().unwrap().clone()
    }
}

/// A server that says `greeting` in plain text to its first client and hangs up on the first
/// message.
pub(crate) async fn plain(greeting: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(greeting).await.unwrap();
        let mut hello = [0; 1024];
        let _ = stream.read(&mut hello).await;
    });
    port
}

fn ring() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
