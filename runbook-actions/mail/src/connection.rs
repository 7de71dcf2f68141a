//! One connection to the mail server: from the first byte to the login.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use runbook::{BoxStream, Observer};
use runbook_tls::{Peer, Tls};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::client::{Security, Smtp};
use crate::error::MailError;

/// On whose behalf a connection is opened.
#[derive(Clone, Copy)]
pub(crate) enum Caller<'a> {
    /// A check's: given up when it is to stop.
    Looking(&'a Observer),
    /// A step's: a mail that is being sent is not given up, its end would not be known.
    Acting(&'a Observer),
    /// Nobody's unit: a notification.
    Notifying,
}

/// A connection that is ready for mail.
pub(crate) struct Ready {
    pub(crate) smtp: AsyncSmtpConnection,
    pub(crate) banner: String,
    /// The server, if the connection is private.
    pub(crate) peer: Option<Peer>,
}

impl Smtp {
    /// Does `work` with a connection, within the time allowed.
    pub(crate) async fn with<T>(
        &self,
        caller: Caller<'_>,
        work: impl AsyncFnOnce(&mut Ready) -> Result<T, MailError>,
    ) -> Result<T, MailError> {
        let talk = async {
            let mut ready = self.open(caller).await?;
            let done = work(&mut ready).await;
            match &done {
                // Said in order: a server may count connections that just end.
                Ok(_) => drop(ready.smtp.quit().await),
                Err(_) => ready.smtp.abort().await,
            }
            done
        };
        let late = || MailError::TimedOut { server: self.to_string(), after: self.timeout };
        let bounded = async { tokio::time::timeout(self.timeout, talk).await.map_err(|_| late())? };
        match caller {
            Caller::Looking(cx) => tokio::select! {
                biased;
                why = cx.stopped() => Err(MailError::Stopped {
                    server: self.to_string(),
                    problem: why.to_problem(),
                }),
                done = bounded => done,
            },
            Caller::Acting(_) | Caller::Notifying => bounded.await,
        }
    }

    async fn open(&self, caller: Caller<'_>) -> Result<Ready, MailError> {
        if self.login.is_some() && !self.password_is_safe() {
            return Err(MailError::PlainPassword { server: self.to_string() });
        }
        let opened = match caller {
            Caller::Looking(cx) | Caller::Acting(cx) => {
                cx.on(&self.host).connect(&self.address).await
            }
            Caller::Notifying => self.host.target().connect(&self.address).await,
        };
        let mut stream = opened.map_err(|failure| MailError::Connect {
            server: self.to_string(),
            problem: failure.to_problem(),
        })?;
        let mut peer = None;
        if self.security == Security::Tls {
            (stream, peer) = self.secure(stream).await?;
        }
        let banner = self.reply(&mut stream, 220).await?;
        if self.security == Security::StartTls {
            self.say(&mut stream, &format!("EHLO {}\r\n", self.hello)).await?;
            let offers = self.reply(&mut stream, 250).await?;
            if !offers.lines().any(|line| line.eq_ignore_ascii_case("STARTTLS")) {
                return Err(MailError::NoStartTls { server: self.to_string() });
            }
            self.say(&mut stream, "STARTTLS\r\n").await?;
            self.reply(&mut stream, 220).await?;
            (stream, peer) = self.secure(stream).await?;
        }
        // The client below wants to be greeted, which has happened.
        let stream = Greeted { greeting: &b"220 ready\r\n"[..], stream };
        let hello = ClientId::Domain(self.hello.clone());
        let smtp = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await;
        let mut smtp = smtp.map_err(|error| self.explain(&error))?;
        if let Some((user, password)) = &self.login {
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            let ways = [Mechanism::Plain, Mechanism::Login];
            if let Err(error) = smtp.auth(&ways, &credentials).await {
                smtp.abort().await;
                // A server that is busy says so with 4xx, which is no word on the password.
                return Err(match self.explain(&error) {
                    MailError::Refused { server, said, transient: false } => {
                        MailError::Login { server, said }
                    }
                    other => other,
                });
            }
        }
        Ok(Ready { smtp, banner, peer })
    }

    async fn secure(&self, stream: BoxStream) -> Result<(BoxStream, Option<Peer>), MailError> {
        let bad = |source| MailError::Tls { server: self.to_string(), source };
        let secured = match &self.tls {
            Some(tls) => tls.connect(stream, &self.server).await,
            None => Tls::system().map_err(bad)?.connect(stream, &self.server).await,
        };
        secured.map(|secured| (secured.stream, Some(secured.peer))).map_err(bad)
    }

    async fn say(&self, stream: &mut BoxStream, line: &str) -> Result<(), MailError> {
        stream.write_all(line.as_bytes()).await.map_err(|error| self.broken(&error))?;
        stream.flush().await.map_err(|error| self.broken(&error))
    }

    /// The lines of a reply, which must have this code.
    async fn reply(&self, stream: &mut BoxStream, code: u16) -> Result<String, MailError> {
        let mut text = String::new();
        loop {
            let line = self.line(stream).await?;
            let strange = || MailError::NotSmtp { server: self.to_string(), said: line.clone() };
            let (number, rest) = line.split_at_checked(3).ok_or_else(strange)?;
            let number: u16 = number.parse().map_err(|_| strange())?;
            if number != code {
                let transient = (400..500).contains(&number);
                return Err(MailError::Refused { server: self.to_string(), said: line, transient });
            }
            text.push_str(rest.get(1..).unwrap_or_default());
            if !rest.starts_with('-') {
                return Ok(text);
            }
            text.push('\n');
        }
    }

    /// Byte by byte: what follows a line may already be TLS.
    async fn line(&self, stream: &mut BoxStream) -> Result<String, MailError> {
        let mut line = Vec::new();
        loop {
            match stream.read_u8().await {
                Ok(b'\n') => break,
                Ok(byte) if line.len() < 1000 => line.push(byte),
                Ok(_) => {
                    let said = String::from_utf8_lossy(&line[..80]).into_owned();
                    return Err(MailError::NotSmtp { server: self.to_string(), said });
                }
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn broken(&self, error: &io::Error) -> MailError {
        MailError::Broken { server: self.to_string(), why: error.to_string() }
    }

    /// What the client below says, in words of ours.
    pub(crate) fn explain(&self, error: &lettre::transport::smtp::Error) -> MailError {
        let server = self.to_string();
        let mut said = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !said.contains(&text) {
                said = format!("{said}: {text}");
            }
            source = cause.source();
        }
        if error.is_transient() || error.is_permanent() {
            return MailError::Refused { server, said, transient: error.is_transient() };
        }
        if error.is_client() {
            return MailError::Refused { server, said, transient: false };
        }
        MailError::Broken { server, why: said }
    }
}

/// A stream that begins with a greeting.
struct Greeted {
    greeting: &'static [u8],
    stream: BoxStream,
}

impl AsyncTokioStream for Greeted {
    fn peer_addr(&self) -> io::Result<std::net::SocketAddr> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a stream through a host has no address here",
        ))
    }
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let (now, later) = self.greeting.split_at(buffer.remaining().min(self.greeting.len()));
        buffer.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl fmt::Debug for Greeted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Greeted")
    }
}
