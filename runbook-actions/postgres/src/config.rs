//! [`Config`]: where a server listens, as its host sees it, and who we are to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runbook_core::{Address, Secret};
use runbook_tls::TlsConfig;
use serde::{Deserialize, Deserializer};

/// Where a server listens, as its host sees it, and who we are to it.
///
/// Made in code, or read from a configuration file:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use runbook_postgres::Config;
/// let config: Config = serde_json::from_str(
///     r#"{
///         "database": "shop",
///         "host": "/run/postgresql",
///         "port": 5435,
///         "user": "shop",
///         "password": "correct horse",
///         "statement_timeout": "30s"
///     }"#,
/// )?;
/// assert_eq!(config.address().to_string(), "unix:/run/postgresql/.s.PGSQL.5435");
/// assert!(!format!("{config:?}").contains("horse"));
///
/// // A password comes from the environment or a file as well: {"env": ".."}, {"file": ".."}.
/// let error = serde_json::from_str::<Config>(
///     r#"{"database": "shop", "password": {"env": "SHOP_DB_PASSWORD_NOBODY_SET"}}"#,
/// );
/// assert!(error.unwrap_err().to_string().contains("it is not set"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default = "Config::default_host")]
    pub(crate) host: String,
    #[serde(default = "Config::default_port")]
    pub(crate) port: u16,
    pub(crate) database: String,
    #[serde(default = "Config::default_user")]
    pub(crate) user: String,
    #[serde(default, deserialize_with = "secret")]
    pub(crate) password: Option<Secret>,
    #[serde(default)]
    pub(crate) tls: Option<TlsConfig>,
    #[serde(default = "Config::default_maintenance")]
    pub(crate) maintenance_database: String,
    #[serde(default)]
    pub(crate) programs: Option<PathBuf>,
    #[serde(default = "Config::default_application")]
    pub(crate) application_name: String,
    #[serde(default = "Config::default_connect", deserialize_with = "duration")]
    pub(crate) connect_timeout: Duration,
    #[serde(default = "Config::default_statement", deserialize_with = "duration")]
    pub(crate) statement_timeout: Duration,
    #[serde(default = "Config::default_lock", deserialize_with = "duration")]
    pub(crate) lock_timeout: Duration,
}

impl Config {
    /// The database `database` of the server at `127.0.0.1:5432`, as the user `postgres` without
    /// a password.
    #[must_use]
    pub fn new(database: impl Into<String>) -> Self {
        Self {
            host: Self::default_host(),
            port: Self::default_port(),
            database: database.into(),
            user: Self::default_user(),
            password: None,
            tls: None,
            maintenance_database: Self::default_maintenance(),
            programs: None,
            application_name: Self::default_application(),
            connect_timeout: Self::default_connect(),
            statement_timeout: Self::default_statement(),
            lock_timeout: Self::default_lock(),
        }
    }

    /// The name or address at which the server listens, resolved on its host; one that begins with
    /// a slash is the folder of its unix socket, e.g. `/run/postgresql`.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// The port; also part of the name of a unix socket.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The role.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// The role's password. It travels by the protocol, and to the server's own programs in a
    /// file without a name, which is gone when they end.
    #[must_use]
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Encrypts what is said, and asks the server for a certificate in the name of `host` (or
    /// `server_name` of the options). Without it nothing is encrypted, as is right for what comes
    /// through SSH to a loopback address or a unix socket.
    ///
    /// The server's own programs run on its host, where the files of these options are not: they
    /// encrypt as well (`sslmode=require`), and verify if that host has a root certificate for it.
    ///
    /// ```
    /// use runbook_postgres::{Config, TlsConfig};
    /// let config = Config::new("shop").host("db.example.org").tls(TlsConfig::default());
    /// ```
    #[must_use]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The database from which others are created and dropped; by default `postgres`.
    #[must_use]
    pub fn maintenance_database(mut self, database: impl Into<String>) -> Self {
        self.maintenance_database = database.into();
        self
    }

    /// The folder of `pg_dump`, `pg_restore` and `psql` on the host; by default its `PATH`.
    #[must_use]
    pub fn programs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.programs = Some(folder.into());
        self
    }

    /// The name under which we show in `pg_stat_activity`; by default `runbook`.
    #[must_use]
    pub fn application_name(mut self, name: impl Into<String>) -> Self {
        self.application_name = name.into();
        self
    }

    /// How long connecting may take; by default 10 seconds.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long one statement may take on the server; by default a minute. Long work (`VACUUM`,
    /// migrations, dumps) is not limited by it. Zero is no limit, as the server has it.
    #[must_use]
    pub fn statement_timeout(mut self, limit: Duration) -> Self {
        self.statement_timeout = limit;
        self
    }

    /// How long a statement may wait for a lock; by default 10 seconds. While it waits, all that
    /// come after it wait as well. Zero is no limit, as the server has it.
    #[must_use]
    pub fn lock_timeout(mut self, limit: Duration) -> Self {
        self.lock_timeout = limit;
        self
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> Address {
        if self.host.starts_with('/') {
            Address::Unix(Path::new(&self.host).join(format!(".s.PGSQL.{}", self.port)))
        } else {
            Address::Tcp(self.host.clone(), self.port)
        }
    }

    fn default_host() -> String {
        "127.0.0.1".into()
    }
    fn default_port() -> u16 {
        5432
    }
    fn default_user() -> String {
        "postgres".into()
    }
    fn default_maintenance() -> String {
        "postgres".into()
    }
    fn default_application() -> String {
        "runbook".into()
    }
    fn default_connect() -> Duration {
        Duration::from_secs(10)
    }
    fn default_statement() -> Duration {
        Duration::from_secs(60)
    }
    fn default_lock() -> Duration {
        Duration::from_secs(10)
    }
}

/// A limit as the server and its programs take it: what is less than a millisecond is one, for
/// zero is no limit, and what they can't count is the most that they can.
pub(crate) fn millis(limit: Duration) -> u128 {
    limit.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128)
}

/// A duration as people write it: `90s`, `5m`.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text)
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
            f.write_str("a password, {env = \"VARIABLE\"} or {file = \"PATH\"}")
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
