//! A small HTTP server whose answers the test writes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use runbook_core::{Host, Stream};
use runbook_http::{Http, Tls};
use runbook_targets::Local;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a client sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// E.g. `GET /health`.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(one, _)| one == name);
        found.map_or("", |(_, value)| value.as_str())
    }
}

/// What it gets back: all of the message but the length.
pub(crate) fn reply(status: u16, headers: &[&str], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status} Some Reason\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    format!("{text}\r\n{body}")
}

/// Runs until the test ends; remembers what it was asked.
pub(crate) struct Server {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Self {
        Self::serve(None, answer).await
    }

    /// Over TLS, with this certificate.
    pub(crate) async fn start_tls(
        issued: &Issued,
        answer: impl Fn(&Asked) -> String + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        Self::serve(Some(TlsAcceptor::from(Arc::new(config))), answer).await
    }

    async fn serve(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Asked) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (heard, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, answer) = (Arc::clone(&heard), Arc::clone(&answer));
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => talk(Box::new(stream), &heard, &*answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(Box::new(stream), &heard, &*answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, asked }
    }

    /// A client of it, over this machine.
    pub(crate) fn http(&self) -> Http {
        Http::new(&here(), &format!("http://127.0.0.1:{}", self.port)).unwrap()
    }

    /// A client that asks for `name` and trusts `ca`.
    pub(crate) fn https(&self, name: &str, ca: &Authority) -> Http {
        Http::new(&here(), &format!("https://{name}:{}", self.port))
            .unwrap()
            .via(runbook_core::Address::Tcp("127.0.0.1".into(), self.port))
            .tls(Tls::trusting(ca.0.pem().as_bytes()).unwrap())
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

pub(crate) fn here() -> Host {
    Host::new(Local::new())
}

async fn talk(
    mut stream: Box<dyn Stream>,
    heard: &Mutex<Vec<Asked>>,
    answer: &(dyn Fn(&Asked) -> String + Send + Sync),
) {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let asked = loop {
        match stream.read(&mut buffer).await {
            Ok(count @ 1..) => text.extend_from_slice(&buffer[..count]),
            _ => return,
        }
        if let Some(asked) = parse(&text) {
            break asked;
        }
    };
    heard.lock().unwrap().push(asked.clone());
    let answer = answer(&asked);
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.flush().await;
    if answer.is_empty() {
        // The server that never answers: until the client goes.
        let _ = stream.read(&mut buffer).await;
    }
    let _ = stream.shutdown().await;
}

/// A whole request, once it is there.
fn parse(text: &[u8]) -> Option<Asked> {
    let text = String::from_utf8_lossy(text);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let asked = Asked { line, headers, body: body.to_owned() };
    let length = asked.header("content-length").parse().unwrap_or(0);
    (body.len() >= length).then_some(asked)
}

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, as PEM.
pub(crate) struct Issued {
    chain: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// For `name`, until so many days from now.
    pub(crate) fn issue(&self, name: &str, days: i64) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let now = std::time::SystemTime::now();
        let half_a_day = Duration::from_secs(12 * 60 * 60);
        let distance = half_a_day * 2 * u32::try_from(days.unsigned_abs()).unwrap();
        let end = if days < 0 { now - distance } else { now + distance };
        params.not_before = (now - half_a_day * 400).into();
        params.not_after = (end + half_a_day).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { chain: certificate.pem(), key: key.serialize_pem() }
    }
}
