//! A small mail server: plain, STARTTLS or TLS, with one user.

use std::sync::{Arc, Mutex};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use runbook_core::{Host, Stream};
use runbook_mail::{Security, Smtp, SmtpConfig, Tls};
use runbook_targets::Local;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The server's name.
pub(crate) const NAME: &str = "mail.example.org";

/// Runs until the test ends.
pub(crate) struct Server {
    pub(crate) port: u16,
    security: Security,
    certificate: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn start(security: Security) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, tls) = (Arc::clone(&log), tls.clone());
                tokio::spawn(async move {
                    let _ = match security {
                        Security::Tls => match tls.accept(stream).await {
                            Ok(stream) => talk(Box::new(stream), None, true, &log).await,
                            Err(_) => return,
                        },
                        Security::StartTls => talk(Box::new(stream), Some(tls), true, &log).await,
                        Security::Plain => talk(Box::new(stream), None, true, &log).await,
                    };
                });
            }
        });
        Self { port, security, certificate: cert.pem(), heard }
    }

    /// A client with the right user.
    pub(crate) fn smtp(&self) -> Smtp {
        self.anonymous().login("ops", "correct horse".into())
    }

    /// A client that trusts it.
    pub(crate) fn anonymous(&self) -> Smtp {
        self.config().build(&Host::new(Local::new())).unwrap().tls(self.trusted())
    }

    pub(crate) fn trusted(&self) -> Tls {
        Tls::trusting(self.certificate.as_bytes()).unwrap()
    }

    pub(crate) fn config(&self) -> SmtpConfig {
        SmtpConfig {
            port: Some(self.port),
            connect: Some("127.0.0.1".into()),
            security: self.security,
            timeout_seconds: Some(10),
            ..SmtpConfig::new(NAME, "Ops <ops@example.org>")
        }
    }

    /// The lines that it was sent.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

type Lines = BufReader<Box<dyn Stream>>;

async fn line(stream: &mut Lines, log: &Mutex<Vec<String>>) -> Option<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let line = line.trim_end_matches("\r\n").to_owned();
    log.lock().unwrap().push(line.clone());
    Some(line)
}

async fn say(stream: &mut Lines, text: &str) -> Option<()> {
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.write_all(b"\r\n").await.ok()?;
    stream.flush().await.ok()
}

/// Until the client goes, or until it wants TLS.
async fn talk(
    stream: Box<dyn Stream>,
    tls: Option<TlsAcceptor>,
    greet: bool,
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    if greet {
        say(&mut stream, "220 mail.example.org ESMTP Test").await?;
    }
    loop {
        let said = line(&mut stream, log).await?;
        let verb = said.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" if tls.is_some() => "250-mail.example.org\r\n250-SIZE 1000000\r\n250 STARTTLS",
            "EHLO" => "250-mail.example.org\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
            "STARTTLS" => {
                let tls = tls?;
                say(&mut stream, "220 go ahead").await?;
                let stream = tls.accept(stream.into_inner()).await.ok()?;
                return Box::pin(talk(Box::new(stream), None, false, log)).await;
            }
            // "\0ops\0correct horse"
            "AUTH" if said.ends_with("AG9wcwBjb3JyZWN0IGhvcnNl") => "235 welcome",
            "AUTH" => "535 5.7.8 who are you",
            "MAIL" => "250 ok",
            "RCPT" if said.contains("nobody@") => "550 5.1.1 no such user",
            "RCPT" if said.contains("later@") => "451 4.3.0 try again later",
            "RCPT" => "250 ok",
            "DATA" => {
                say(&mut stream, "354 go on").await?;
                while line(&mut stream, log).await? != "." {}
                "250 2.0.0 queued as 4711"
            }
            "QUIT" => {
                say(&mut stream, "221 bye").await?;
                return Some(());
            }
            _ => "500 what",
        };
        say(&mut stream, answer).await?;
    }
}
