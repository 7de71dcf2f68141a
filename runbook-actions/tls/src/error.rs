//! [`TlsError`]: what can be wrong with a certificate, a handshake or the options.

use std::io;
use std::path::PathBuf;

use runbook_core::{Failure, FailureKind, Timestamp};

/// Why there is no private connection, or no certificate.
///
/// ```
/// use runbook_tls::{Certificate, TlsError};
/// let error = Certificate::from_pem(b"not a certificate").unwrap_err();
/// assert!(matches!(error, TlsError::Pem { .. }));
/// assert!(error.next().is_some());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server's certificate is out of date.
    #[error("the certificate of {server} expired at {not_after}")]
    Expired {
        /// The name that was asked for.
        server: String,
        /// Since when.
        not_after: Timestamp,
    },
    /// The server's certificate is not valid yet, or the clock here is wrong.
    #[error("the certificate of {server} is valid only from {not_before} on")]
    NotYetValid {
        /// The name that was asked for.
        server: String,
        /// From when on.
        not_before: Timestamp,
    },
    /// The server's certificate is for other names.
    #[error("the certificate of {server} is for {}", names_or_none(.names))]
    WrongName {
        /// The name that was asked for.
        server: String,
        /// The names that the certificate carries.
        names: Vec<String>,
    },
    /// Nobody who is trusted vouches for the server's certificate.
    #[error("the certificate of {server} is issued by `{issuer}`, which is not trusted here")]
    UnknownIssuer {
        /// The name that was asked for.
        server: String,
        /// Who signed it.
        issuer: String,
    },
    /// Something else is wrong with the server's certificate.
    #[error("the certificate of {server} is not acceptable: {why}")]
    Unacceptable {
        /// The name that was asked for.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server did not accept this side: most often it wants a client certificate.
    #[error("{server} refused the connection with the TLS alert `{alert}`")]
    Refused {
        /// The name that was asked for.
        server: String,
        /// What it said.
        alert: String,
    },
    /// What answered does not speak TLS.
    #[error("what answered for {server} does not speak TLS")]
    NotTls {
        /// The name that was asked for.
        server: String,
    },
    /// The handshake failed in another way.
    #[error("the TLS handshake with {server} failed: {why}")]
    Handshake {
        /// The name that was asked for.
        server: String,
        /// What was wrong.
        why: String,
    },
    /// The connection broke.
    #[error("the connection to {server} broke during the TLS handshake: {source}")]
    Broken {
        /// The name that was asked for.
        server: String,
        /// How.
        source: io::Error,
    },
    /// What was given is no server name.
    #[error("`{name}` is neither a host name nor an address")]
    ServerName {
        /// What was given.
        name: String,
    },
    /// This machine has no root certificates.
    #[error("no trusted root certificates were found on this machine: {why}")]
    NoRoots {
        /// What the system said.
        why: String,
    },
    /// A file of the options can't be read.
    #[error("reading {}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What should be PEM holds no such thing.
    #[error("{what}: {why}")]
    Pem {
        /// What was being read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

impl TlsError {
    /// What to do about it, in one line.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        Some(match self {
            Self::Expired { .. } => {
                "renew it (`certbot renew`), and reload the server so that it takes the new one"
                    .into()
            }
            Self::NotYetValid { .. } => {
                "compare the clocks of both machines (`date -u`), then the certificate's dates"
                    .into()
            }
            Self::WrongName { server, names } if names.is_empty() => format!(
                "issue a certificate that lists {server} as a subject alternative name; a common \
                 name alone does not count"
            ),
            Self::WrongName { server, .. } => format!(
                "ask for one of its names, or issue a certificate that lists {server} as well"
            ),
            Self::UnknownIssuer { .. } => {
                "let the server send its whole chain (`fullchain.pem`); for an issuer of your own, \
                 give its certificate as `ca_file`"
                    .into()
            }
            Self::Refused { .. } => {
                "if it wants a client certificate, give `client_certificate` and `client_key`; \
                 else see the server's log"
                    .into()
            }
            Self::NotTls { .. } => {
                "check the port, and whether the server speaks plain text there".into()
            }
            Self::NoRoots { .. } => {
                "install the system's root certificates (Debian: `ca-certificates`), or give a \
                 `ca_file`"
                    .into()
            }
            Self::File { path, .. } => {
                format!("check that {} exists and that you may read it", path.display())
            }
            Self::Pem { .. } => {
                "give a PEM file: its blocks begin with `-----BEGIN`; `openssl x509 -inform der` \
                 converts the binary form"
                    .into()
            }
            Self::ServerName { .. } => {
                "give the bare name or address, without scheme, port or path".into()
            }
            // What speaks no TLS often hangs up on the first message.
            Self::Broken { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
                "check the port, and whether the server speaks TLS there; its log may say more"
                    .into()
            }
            Self::Unacceptable { .. } | Self::Handshake { .. } | Self::Broken { .. } => {
                return None;
            }
        })
    }

    /// The same as a failure of a step or check, with [`next`](Self::next) as its advice.
    ///
    /// ```
    /// use runbook_tls::TlsError;
    /// let error = TlsError::NotTls { server: "db.example.org".into() };
    /// let problem = error.into_failure().to_problem();
    /// assert!(problem.next.unwrap().contains("check the port"));
    /// ```
    #[must_use]
    pub fn into_failure(self) -> Failure {
        let next = self.next();
        let failure = match &self {
            Self::Broken { .. } => Failure::new(FailureKind::Disconnected, &self),
            _ => Failure::from(self),
        };
        match next {
            Some(next) => failure.next(next),
            None => failure,
        }
    }
}

fn names_or_none(names: &[String]) -> String {
    if names.is_empty() { "no name at all".into() } else { names.join(", ") }
}
