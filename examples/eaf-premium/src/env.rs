//! [`Env`]: one place where the platform runs, as `eaf-premium.toml` describes it.

use std::fmt;
use std::path::PathBuf;

use runbook::targets::{Local, Ssh};
use runbook::{Host, People, Secret};
use runbook_http::HttpConfig;
use runbook_nginx::NginxConfig;
use serde::{Deserialize, Deserializer};

/// One place where the platform runs: a table of `eaf-premium.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Env {
    pub(crate) host: Place,
    pub(crate) app: App,
    pub(crate) database: runbook_postgres::Config,
    /// The same database as a superuser, for whom PostgreSQL keeps a few connections.
    pub(crate) database_admin: runbook_postgres::Config,
    pub(crate) redis: runbook_redis::Config,
    pub(crate) queue: Queue,
    pub(crate) site: HttpConfig,
    pub(crate) account: Account,
    pub(crate) backups: Backups,
    #[serde(default)]
    pub(crate) nginx: NginxConfig,
    #[serde(default)]
    pub(crate) services: Services,
    #[serde(default)]
    pub(crate) thresholds: Thresholds,
    pub(crate) people: People,
    /// Instead of `host`, for tests.
    #[serde(skip)]
    given: Option<Host>,
}

/// The machine: `"local"`, or over SSH.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// This one.
    Local,
    /// Another one.
    Ssh(SshPlace),
}

/// A host over SSH.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SshPlace {
    /// Its name in plans and reports; without an address, what `ssh ALIAS` connects to.
    pub(crate) alias: String,
    /// Its address: then no SSH configuration is read.
    pub(crate) address: Option<String>,
    pub(crate) user: Option<String>,
    /// An SSH configuration instead of the operator's own.
    pub(crate) config_file: Option<PathBuf>,
}

/// The application.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct App {
    /// Its work tree.
    pub(crate) dir: PathBuf,
    /// The branch that is deployed.
    #[serde(default = "App::default_branch")]
    pub(crate) branch: String,
    /// What PM2 calls the site, and where that listens on the loopback interface.
    pub(crate) name: String,
    pub(crate) port: u16,
    /// What PM2 calls the worker of the queue, and where that tells its health.
    pub(crate) worker: String,
    pub(crate) worker_port: u16,
    /// The folders that a build makes, below `dir`.
    pub(crate) built: Vec<PathBuf>,
    /// The package with Prisma and the migrations, below `dir`; that of the site if left out.
    #[serde(default)]
    pub(crate) prisma: PathBuf,
}

impl App {
    fn default_branch() -> String {
        "main".into()
    }
}

/// A user of the site that exists to be logged in by these runbooks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    pub(crate) email: String,
    #[serde(deserialize_with = "secret")]
    pub(crate) password: Secret,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.email)
    }
}

/// Where backups are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backups {
    /// Their folder on the host.
    pub(crate) dir: PathBuf,
    /// How long they are kept.
    #[serde(default = "Backups::default_days")]
    pub(crate) retention_days: u32,
}

impl Backups {
    fn default_days() -> u32 {
        14
    }
}

/// The queue of corrections.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queue {
    pub(crate) name: String,
    /// So much memory Redis may use.
    pub(crate) memory_mib: u64,
}

/// How the servers of the host are started, and what they are called there.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Services {
    /// Followed by the name and `start`.
    pub(crate) command: Vec<String>,
    pub(crate) postgresql: String,
    pub(crate) redis: String,
}

impl Default for Services {
    /// As Debian and Ubuntu have it.
    fn default() -> Self {
        Self {
            command: ["sudo", "-n", "service"].map(Into::into).into(),
            postgresql: "postgresql".into(),
            redis: "redis-server".into(),
        }
    }
}

/// What counts as healthy.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Thresholds {
    /// A process that runs so long without a restart has come up.
    pub(crate) steady_seconds: u64,
    /// So long it may take until it has.
    pub(crate) start_seconds: u64,
    /// The certificate is renewed before it has fewer days than this.
    pub(crate) certificate_days: u32,
    /// A correction waits no longer than this.
    pub(crate) queue_seconds: u64,
    /// A session that does nothing in a transaction, or one statement, lasts no longer than this.
    pub(crate) session_seconds: u64,
    /// So many of the database's connections may be used.
    pub(crate) connections_percent: u32,
    /// So much of the disk is free, in MiB.
    pub(crate) disk_mib: u64,
    /// An operator whose machine died keeps others out no longer than this.
    pub(crate) lease_seconds: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            steady_seconds: 5,
            start_seconds: 60,
            certificate_days: 14,
            queue_seconds: 120,
            session_seconds: 300,
            connections_percent: 80,
            disk_mib: 1024,
            lease_seconds: 30,
        }
    }
}

impl Env {
    /// The same place, but on this host: a fake one in tests.
    #[must_use]
    pub fn on(mut self, host: Host) -> Self {
        self.given = Some(host);
        self
    }

    pub(crate) fn host(&self) -> Host {
        match (&self.given, &self.host) {
            (Some(given), _) => given.clone(),
            (None, Place::Local) => Host::new(Local::new()),
            (None, Place::Ssh(place)) => Host::new(place.target()),
        }
    }
}

impl SshPlace {
    fn target(&self) -> Ssh {
        let mut ssh = match &self.address {
            Some(address) => Ssh::at(address).named(&self.alias),
            None => Ssh::new(&self.alias),
        };
        if let Some(user) = &self.user {
            ssh = ssh.user(user);
        }
        if let Some(file) = &self.config_file {
            ssh = ssh.config_file(file);
        }
        ssh
    }
}

/// `{ env = "NAME" }` or `{ file = "PATH" }`: the configuration holds no password.
fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kept {
        Env(String),
        File(PathBuf),
    }
    let read = match Kept::deserialize(from)? {
        Kept::Env(name) => Secret::from_env(&name),
        Kept::File(path) => Secret::read_file(path),
    };
    read.map_err(serde::de::Error::custom)
}
