//! [`Smtp`]: a client of one mail server.

use std::fmt;
use std::time::Duration;

use lettre::message::Mailbox;
use runbook::{Address, Host, Secret};
use runbook_tls::{Tls, TlsConfig};
use serde::{Deserialize, Serialize};

use crate::error::MailError;

/// A client of one mail server, as a host sees it.
///
/// ```
/// use runbook_core::{Host, Secret, testing::FakeTarget};
/// use runbook_mail::SmtpConfig;
/// let web = Host::new(FakeTarget::new("web-1"));
/// let smtp = SmtpConfig::new("mail.example.org", "Ops <ops@example.org>")
///     .build(&web)?
///     .login("ops", Secret::new("correct horse"));
/// assert_eq!(smtp.to_string(), "mail.example.org:587");
/// # Ok::<(), runbook_mail::MailError>(())
/// ```
#[derive(Clone)]
pub struct Smtp {
    pub(crate) host: Host,
    pub(crate) address: Address,
    /// The name that its certificate must carry.
    pub(crate) server: String,
    port: u16,
    pub(crate) security: Security,
    pub(crate) tls: Option<Tls>,
    pub(crate) login: Option<(String, Secret)>,
    pub(crate) from: Mailbox,
    pub(crate) hello: String,
    pub(crate) timeout: Duration,
}

/// How a connection is made private.
///
/// ```
/// use runbook_mail::Security;
/// assert_eq!(Security::default().port(), 587);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// With STARTTLS; refused if the server does not offer it.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Not at all; a password is then sent to the host's own loopback only.
    Plain,
}

impl Security {
    /// The usual port.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::Plain => 25,
        }
    }
}

/// A mail server, as a part of a configuration file.
///
/// ```
/// use runbook_mail::{Security, SmtpConfig};
/// let config: SmtpConfig = serde_json::from_str(
///     r#"{"server": "mail.example.org", "from": "ops@example.org", "security": "tls"}"#,
/// )?;
/// assert_eq!(config.security, Security::Tls);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpConfig {
    /// Its name, which its certificate must carry.
    pub server: String,
    /// Its port; by default the usual one of `security`.
    #[serde(default)]
    pub port: Option<u16>,
    /// Where to connect to instead of `server`, e.g. `127.0.0.1`.
    #[serde(default)]
    pub connect: Option<String>,
    /// How the connection is made private.
    #[serde(default)]
    pub security: Security,
    /// Who sends: `ops@example.org`, or `Ops <ops@example.org>`.
    pub from: String,
    /// Whom to trust instead of what this machine trusts.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// How this side introduces itself; `localhost` by default.
    #[serde(default)]
    pub hello: Option<String>,
    /// How long one mail may take, in seconds; 30 by default.
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
}

impl SmtpConfig {
    /// The server of this name, and who sends.
    #[must_use]
    pub fn new(server: impl Into<String>, from: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            port: None,
            connect: None,
            security: Security::default(),
            from: from.into(),
            tls: None,
            hello: None,
            timeout_seconds: None,
        }
    }

    /// The client, whose connections are opened by `host`.
    ///
    /// # Errors
    /// The sender is no mail address, or a file that is named can't be read.
    pub fn build(&self, host: &Host) -> Result<Smtp, MailError> {
        let tls = match &self.tls {
            None => None,
            Some(tls) => Some(
                tls.build()
                    .map_err(|source| MailError::Tls { server: self.server.clone(), source })?,
            ),
        };
        let port = self.port.unwrap_or(self.security.port());
        let connect = self.connect.as_ref().unwrap_or(&self.server);
        Ok(Smtp {
            host: host.clone(),
            address: Address::Tcp(connect.clone(), port),
            server: self.server.clone(),
            port,
            security: self.security,
            tls,
            login: None,
            from: mailbox(&self.from)?,
            hello: self.hello.clone().unwrap_or_else(|| "localhost".into()),
            timeout: Duration::from_secs(self.timeout_seconds.unwrap_or(30)),
        })
    }
}

impl Smtp {
    /// Logs in before it sends.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: Secret) -> Self {
        self.login = Some((user.into(), password));
        self
    }

    /// Whom to trust, instead of what this machine trusts.
    ///
    /// ```
    /// use runbook_mail::{MailError, Smtp, Tls};
    /// fn inside(smtp: Smtp, ca_pem: &[u8]) -> Result<Smtp, runbook_tls::TlsError> {
    ///     Ok(smtp.tls(Tls::trusting(ca_pem)?))
    /// }
    /// ```
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Whether a password may go over the connection as it is.
    pub(crate) fn password_is_safe(&self) -> bool {
        let local = match &self.address {
            Address::Unix(_) => true,
            Address::Tcp(name, _) => {
                name == "localhost"
                    || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        };
        self.security != Security::Plain || local
    }
}

impl fmt::Display for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.server, self.port)
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Smtp({self} from {})", self.host)
    }
}

pub(crate) fn mailbox(text: &str) -> Result<Mailbox, MailError> {
    text.parse().map_err(|error: lettre::address::AddressError| MailError::Address {
        address: text.into(),
        why: error.to_string(),
    })
}
