//! [`Tls::connect`] and [`Tls::look`].

use std::fmt;
use std::io;
use std::sync::Arc;

use runbook_core::BoxStream;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Certificate;
use crate::config::Tls;
use crate::error::TlsError;
use crate::verify::{Sight, Watching};

/// A private stream, and who is at the other end.
pub struct Secured {
    /// What is written to it and read from it is encrypted on the way.
    pub stream: BoxStream,
    /// The server.
    pub peer: Peer,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// A server that has shown who it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// Its certificate.
    pub certificate: Certificate,
    /// The chain that it sent in binary form, its own certificate first.
    pub chain: Vec<Vec<u8>>,
    /// The protocol in use, e.g. `TLSv1_3`.
    pub protocol: String,
}

/// What [`Tls::look`] saw of a server that is not trusted for it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Seen {
    /// The server.
    pub peer: Peer,
    /// What [`Tls::connect`] would have said instead of connecting.
    pub refused: Option<TlsError>,
}

impl Tls {
    /// Makes `stream` private, for talking with `server` (a host name or an address; not used if
    /// [`server_name`](Tls::server_name) was given).
    ///
    /// It waits as long as the server lets it: bound it with a timeout.
    ///
    /// ```
    /// use runbook_core::BoxStream;
    /// use runbook_tls::{Tls, TlsError};
    /// async fn secure(tls: &Tls, plain: BoxStream) -> Result<BoxStream, TlsError> {
    ///     Ok(tls.connect(plain, "shop.example.org").await?.stream)
    /// }
    /// ```
    ///
    /// # Errors
    /// The server's certificate is not acceptable, or the handshake failed.
    pub async fn connect(&self, stream: BoxStream, server: &str) -> Result<Secured, TlsError> {
        let name = self.name_for(server);
        let (stream, sight) = self.shake_hands(stream, name, true).await?;
        let peer = peer(&stream, &sight)?;
        Ok(Secured { stream: Box::new(stream), peer })
    }

    /// Reads the certificate of `server`, be it a bad one. Nothing is sent over the connection,
    /// which ends with it: a stream whose other end is not known can't be had.
    ///
    /// ```
    /// use runbook_core::{Address, Host, Observer, Result};
    /// use runbook_tls::{Tls, TlsError};
    ///
    /// async fn why_not_trusted(cx: &Observer, web: &Host) -> Result<Option<String>> {
    ///     let plain = cx.on(web).connect(&Address::Tcp("127.0.0.1".into(), 443)).await?;
    ///     let tls = Tls::system().map_err(TlsError::into_failure)?;
    ///     let seen = tls.look(plain, "shop.example.org").await.map_err(TlsError::into_failure)?;
    ///     Ok(seen.refused.map(|error| error.to_string()))
    /// }
    /// ```
    ///
    /// # Errors
    /// The handshake failed for another reason than the certificate.
    pub async fn look(&self, stream: BoxStream, server: &str) -> Result<Seen, TlsError> {
        let name = self.name_for(server);
        let (stream, mut sight) = self.shake_hands(stream, name, false).await?;
        let peer = peer(&stream, &sight)?;
        let refused = sight.refused.take().map(|error| explain(name, &sight, &error));
        Ok(Seen { peer, refused })
    }

    async fn shake_hands(
        &self,
        stream: BoxStream,
        name: &str,
        strict: bool,
    ) -> Result<(TlsStream<BoxStream>, Sight), TlsError> {
        let asked = name.trim_matches(['[', ']']);
        let server = ServerName::try_from(asked)
            .map_err(|_| TlsError::ServerName { name: name.to_owned() })?
            .to_owned();
        let watching = Arc::new(Watching::new(Arc::clone(&self.verifier), strict));
        let mut client = self.client.clone();
        client.dangerous().set_certificate_verifier(Arc::clone(&watching) as _);
        // A resumed session would show no certificate to the verifier.
        client.resumption = Resumption::disabled();
        match TlsConnector::from(Arc::new(client)).connect(server, stream).await {
            Ok(stream) => Ok((stream, watching.take())),
            Err(error) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(error) => explain(name, &watching.take(), error),
                None => broken(name, error),
            }),
        }
    }
}

fn peer(stream: &TlsStream<BoxStream>, sight: &Sight) -> Result<Peer, TlsError> {
    let own = sight.chain.first().map_or(&[][..], |own| own.as_ref());
    let protocol = stream.get_ref().1.protocol_version();
    Ok(Peer {
        certificate: Certificate::from_der(own)?,
        chain: sight.chain.iter().map(|one| one.to_vec()).collect(),
        protocol: protocol.and_then(|version| version.as_str()).unwrap_or("unknown").to_owned(),
    })
}

/// What rustls says, with what the certificate says.
fn explain(server: &str, sight: &Sight, error: &Error) -> TlsError {
    let server = server.to_owned();
    let unacceptable =
        |server, why: &dyn fmt::Display| TlsError::Unacceptable { server, why: why.to_string() };
    let bad = match error {
        Error::InvalidCertificate(bad) => bad,
        Error::AlertReceived(alert) => {
            return TlsError::Refused { server, alert: format!("{alert:?}") };
        }
        Error::InvalidMessage(_) => return TlsError::NotTls { server },
        other => return TlsError::Handshake { server, why: other.to_string() },
    };
    let facts = sight.chain.first().and_then(|own| Certificate::from_der(own).ok());
    let Some(facts) = facts else { return unacceptable(server, bad) };
    match bad {
        // One of the chain may be the one that is out of date.
        CertificateError::Expired | CertificateError::ExpiredContext { .. }
            if facts.days_left() < 0 =>
        {
            TlsError::Expired { server, not_after: facts.not_after }
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsError::NotYetValid { server, not_before: facts.not_before }
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsError::WrongName { server, names: facts.names }
        }
        // A bad signature: an issuer of that name is trusted, but with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            TlsError::UnknownIssuer { server, issuer: facts.issuer }
        }
        other => unacceptable(server, other),
    }
}

/// The other side hung up. One that does so on the first message most often speaks no TLS.
fn broken(server: &str, source: io::Error) -> TlsError {
    TlsError::Broken { server: server.to_owned(), source }
}
