//! [`MailError`]: why a mail server can't be reached, or does not take a mail.

use std::time::Duration;

use runbook::{Failure, FailureKind, Problem};
use runbook_tls::TlsError;

/// Why a mail server can't be reached, or does not take a mail.
///
/// ```
/// use runbook_mail::MailError;
/// let error = MailError::Login { server: "mail.example.org".into(), said: "535 no".into() };
/// assert_eq!(error.to_string(), "mail.example.org refuses user or password: 535 no");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// What was given is no mail address, or no server address.
    #[error("`{address}` is no address: {why}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The connection could not be opened.
    #[error("connecting to the mail server {server}: {problem}")]
    Connect {
        /// The server.
        server: String,
        /// What the host said.
        problem: Problem,
    },
    /// The unit was told to stop.
    #[error("talking to the mail server {server}: {problem}")]
    Stopped {
        /// The server.
        server: String,
        /// Why.
        problem: Problem,
    },
    /// TLS failed.
    #[error("talking to the mail server {server}: {source}")]
    Tls {
        /// The server.
        server: String,
        /// Why.
        source: TlsError,
    },
    /// The server offers no STARTTLS.
    #[error("the mail server {server} offers no STARTTLS")]
    NoStartTls {
        /// The server.
        server: String,
    },
    /// A password would travel in plain text.
    #[error("the password for {server} would travel in plain text")]
    PlainPassword {
        /// The server.
        server: String,
    },
    /// What answered is no mail server.
    #[error("what answered for {server} is no mail server: {said}")]
    NotSmtp {
        /// The server.
        server: String,
        /// What it said.
        said: String,
    },
    /// User or password are wrong.
    #[error("{server} refuses user or password: {said}")]
    Login {
        /// The server.
        server: String,
        /// What it said.
        said: String,
    },
    /// The server does not take the mail.
    #[error("{server} does not take the mail: {said}")]
    Refused {
        /// The server.
        server: String,
        /// What it said.
        said: String,
        /// It may take it later.
        transient: bool,
    },
    /// The connection broke off.
    #[error("talking to the mail server {server}: {why}")]
    Broken {
        /// The server.
        server: String,
        /// How.
        why: String,
    },
    /// It took too long.
    #[error("the mail server {server} did not answer within {after:?}")]
    TimedOut {
        /// The server.
        server: String,
        /// The time allowed.
        after: Duration,
    },
    /// The mail can't be written.
    #[error("the mail can't be written: {why}")]
    Message {
        /// Why not.
        why: String,
    },
}

impl MailError {
    /// What to do about it, in one line.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        Some(match self {
            Self::Address { .. } => {
                "give it as `ops@example.org`, or `Ops <ops@example.org>`".into()
            }
            Self::Connect { server, .. } => {
                format!(
                    "check that {server} takes mail on that port, and that no firewall is in between"
                )
            }
            Self::Tls { source, .. } => return source.next(),
            Self::NoStartTls { .. } => {
                "use port 465 with `security = \"tls\"` if the server has it; else ask its operator"
                    .into()
            }
            Self::PlainPassword { .. } => "use `security = \"tls\"` or `\"start_tls\"`".into(),
            Self::NotSmtp { .. } => {
                "check the port: 465 speaks TLS at once (`security = \"tls\"`), 587 and 25 do not"
                    .into()
            }
            Self::Login { .. } => {
                "check user and password, and whether the account is locked".into()
            }
            Self::Refused { transient: true, .. } => "try again in some minutes".into(),
            Self::Refused { .. } => {
                "check sender and recipients: the server may send for its own domains only".into()
            }
            Self::TimedOut { .. } | Self::Broken { .. } => {
                "see the mail server's log; a mail that was being sent may or may not be delivered"
                    .into()
            }
            Self::Stopped { .. } | Self::Message { .. } => return None,
        })
    }

    /// The same as a failure of a step or check, with [`next`](Self::next) as its advice.
    ///
    /// ```
    /// use runbook_core::FailureKind;
    /// use runbook_mail::MailError;
    /// let why = "connection reset".into();
    /// let error = MailError::Broken { server: "mail.example.org".into(), why };
    /// assert_eq!(error.into_failure().kind(), FailureKind::Disconnected);
    /// ```
    #[must_use]
    pub fn into_failure(self) -> Failure {
        let kind = match &self {
            Self::TimedOut { .. } => FailureKind::TimedOut,
            Self::Broken { .. } => FailureKind::Disconnected,
            Self::Connect { problem, .. } | Self::Stopped { problem, .. } => problem.kind,
            _ => FailureKind::Failed,
        };
        let failure = Failure::new(kind, &self);
        match self.next() {
            Some(next) => failure.next(next),
            None => failure,
        }
    }
}
