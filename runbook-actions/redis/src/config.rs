//! [`Config`]: where a server listens, as its host sees it, and who we are to it.

use std::path::PathBuf;
use std::time::Duration;

use deadpool_redis::redis::{ConnectionAddr, IntoConnectionInfo as _};
use runbook_core::{Address, Secret};
use runbook_tls::TlsConfig;
use serde::{Deserialize, Deserializer};

use crate::error::Error;

/// Where a server listens, as its host sees it, and who we are to it.
///
/// Made in code, from a URL, or read from a configuration file:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use runbook_redis::Config;
/// let config: Config = serde_json::from_str(
///     r#"{
///         "host": "/run/redis/redis.sock",
///         "user": "shop",
///         "password": "correct horse",
///         "database": 2,
///         "response_timeout": "10s"
///     }"#,
/// )?;
/// assert_eq!(config.address().to_string(), "unix:/run/redis/redis.sock");
/// assert!(!format!("{config:?}").contains("horse"));
///
/// // A URL has all of it. As a password, it comes from the environment or a file as well:
/// // {"env": ".."}, {"file": ".."}.
/// let config: Config = serde_json::from_str(
///     r#"{"url": "rediss://shop:correct%20horse@cache.example.org:6380/2"}"#,
/// )?;
/// assert_eq!(config.address().to_string(), "cache.example.org:6380");
/// assert!(!format!("{config:?}").contains("horse"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "File")]
pub struct Config {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// The database 0 of the server at `127.0.0.1:6379`, without a password.
    #[must_use]
    pub fn new() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 6379,
            user: None,
            password: None,
            database: 0,
            tls: None,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
        }
    }

    /// What a URL says: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://` for TLS,
    /// `unix:///PATH[?db=DATABASE&user=USER&pass=PASSWORD]` for a socket.
    ///
    /// ```
    /// use runbook_redis::Config;
    /// let config = Config::from_url("redis://:correct%20horse@192.0.2.7/3").unwrap();
    /// assert_eq!(config.address().to_string(), "192.0.2.7:6379");
    /// assert!(Config::from_url("https://cache.example.org").is_err());
    /// ```
    ///
    /// # Errors
    /// It is no such URL. The error does not show it: there may be a password in it.
    pub fn from_url(url: impl Into<Secret>) -> Result<Self, Error> {
        let url = url.into();
        let url = url.expose().trim();
        let (plain, tls) = match url.strip_prefix("rediss://") {
            // The library knows that scheme only where it makes the TLS itself.
            Some(rest) => (format!("redis://{rest}"), true),
            None => (url.to_owned(), false),
        };
        if plain.contains('#') {
            return Err(Error::Url { why: "it has a fragment (`#..`), which has no meaning" });
        }
        let bad = Error::Url { why: "it is not `redis://`, `rediss://` or `unix://`" };
        let Ok(info) = plain.as_str().into_connection_info() else { return Err(bad) };
        let (host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port),
            ConnectionAddr::Unix(path) if path.is_absolute() => (path.display().to_string(), 6379),
            ConnectionAddr::Unix(_) => {
                return Err(Error::Url { why: "the path of its socket is not absolute" });
            }
            _ => return Err(bad),
        };
        let settings = info.redis_settings();
        let database = u32::try_from(settings.db())
            .map_err(|_| Error::Url { why: "its database is not a number from 0 on" })?;
        Ok(Self {
            host,
            port,
            user: settings.username().filter(|user| !user.is_empty()).map(str::to_owned),
            password: settings.password().map(Secret::new),
            database,
            tls: tls.then(TlsConfig::default),
            ..Self::new()
        })
    }

    /// The name or address at which the server listens, resolved on its host; one that begins with
    /// a slash is its unix socket, e.g. `/run/redis/redis.sock`.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// The port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The user of the server's access control list; without one it is `default`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The user's password, or the server's (`requirepass`).
    #[must_use]
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The number of the database; by default 0.
    #[must_use]
    pub fn database(mut self, number: u32) -> Self {
        self.database = number;
        self
    }

    /// Encrypts what is said, and asks the server for a certificate in the name of `host` (or
    /// `server_name` of the options). Without it nothing is encrypted, as is right for what comes
    /// through SSH to a loopback address or a unix socket.
    ///
    /// ```
    /// use runbook_redis::{Config, TlsConfig};
    /// let config = Config::new().host("cache.example.org").tls(TlsConfig::default());
    /// ```
    #[must_use]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How long connecting may take; by default 10 seconds.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long the answer to one command may take; by default 30 seconds. Commands that are known
    /// to take long have ten minutes at least.
    #[must_use]
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> Address {
        if self.host.starts_with('/') {
            Address::Unix(PathBuf::from(&self.host))
        } else {
            Address::Tcp(self.host.clone(), self.port)
        }
    }

    /// The user as errors name it.
    pub(crate) fn who(&self) -> &str {
        self.user.as_deref().unwrap_or("default")
    }
}

/// A [`Config`] as a file says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, deserialize_with = "secret")]
    url: Option<Secret>,
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    password: Option<Secret>,
    database: Option<u32>,
    tls: Option<TlsConfig>,
    #[serde(default, deserialize_with = "duration")]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    response_timeout: Option<Duration>,
}

impl TryFrom<File> for Config {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        let mut config = match file.url {
            Some(_) if file.host.is_some() || file.port.is_some() => {
                return Err("`url` says the host and port: leave `host` and `port` out".into());
            }
            Some(url) => Self::from_url(url).map_err(|error| error.to_string())?,
            None => Self::new(),
        };
        config.host = file.host.unwrap_or(config.host);
        config.port = file.port.unwrap_or(config.port);
        config.user = file.user.or(config.user);
        config.password = file.password.or(config.password);
        config.database = file.database.unwrap_or(config.database);
        config.tls = file.tls.or(config.tls);
        config.connect_timeout = file.connect_timeout.unwrap_or(config.connect_timeout);
        config.response_timeout = file.response_timeout.unwrap_or(config.response_timeout);
        Ok(config)
    }
}

/// A duration as people write it: `90s`, `5m`.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text)
        .map(Some)
        .map_err(|error| serde::de::Error::custom(format!("`{text}` is no duration: {error}")))
}

/// A secret: the text itself, or where it is.
fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Place {
        Env(String),
        File(PathBuf),
    }
    // Not an untagged enum: its errors could show the text.
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Option<Secret>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text, {env = \"VARIABLE\"} or {file = \"PATH\"}")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(Secret::new(text)))
        }
        fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            let place = Place::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
            let read = match place {
                Place::Env(name) => Secret::from_env(&name),
                Place::File(path) => Secret::read_file(path),
            };
            read.map(Some).map_err(serde::de::Error::custom)
        }
    }
    from.deserialize_any(Visitor)
}
