//! A server in a temporary folder, on a free loopback port and a unix socket, with passwords.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use runbook_core::Host;
use runbook_postgres::{Config, Postgres};
use runbook_targets::Local;

const BIN: &str = "/usr/lib/postgresql/15/bin";
const PASSWORD: &str = "open sesame: \\ 42";

pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    port: u16,
    running: Mutex<bool>,
}

/// What a cluster is like, beside the usual.
#[derive(Default)]
pub(crate) struct Spec {
    pub(crate) settings: &'static str,
    /// Its certificate and key; needs `ssl = on` in the settings.
    pub(crate) tls: Option<(String, String)>,
    /// A standby of this one.
    pub(crate) standby_of: Option<Arc<Cluster>>,
}

impl Cluster {
    /// One that tests share; each makes its own databases in it.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(cluster) = shared.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Self::start(Spec::default()));
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    pub(crate) fn start(spec: Spec) -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        let this = Self { port: free_port(), folder, running: Mutex::new(false) };
        open_to_all(this.folder.path());
        std::fs::create_dir(this.path("dumps")).unwrap();
        let pwfile = this.path("password");
        std::fs::write(&pwfile, PASSWORD).unwrap();
        give(this.folder.path());
        give(&pwfile);
        if let Some(primary) = &spec.standby_of {
            let from = format!(
                "host=127.0.0.1 port={} user=postgres password='{}'",
                primary.port,
                PASSWORD.replace('\\', "\\\\")
            );
            this.tool(
                "pg_basebackup",
                &["-R", "-X", "stream", "-c", "fast", "-d", &from, "-D", &this.data()],
            );
        } else {
            let pwfile = format!("--pwfile={}", pwfile.display());
            this.tool(
                "initdb",
                &[
                    "-N",
                    "-A",
                    "scram-sha-256",
                    "-U",
                    "postgres",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    &pwfile,
                    "-D",
                    &this.data(),
                ],
            );
        }
        let conf = format!(
            "\nfsync = off\nlisten_addresses = '127.0.0.1'\nport = {}\n\
             unix_socket_directories = '{}'\nmax_connections = 40\nshared_buffers = 16MB\n\
             log_destination = stderr\nlogging_collector = off\nwal_level = replica\n{}\n",
            this.port,
            this.folder.path().display(),
            spec.settings
        );
        let path = this.path("data/postgresql.conf");
        let text = std::fs::read_to_string(&path).unwrap() + &conf;
        std::fs::write(&path, text).unwrap();
        if let Some((certificate, key)) = &spec.tls {
            use std::os::unix::fs::PermissionsExt;
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let path = this.path("data").join(name);
                std::fs::write(&path, text).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
                give(&path);
            }
        }
        this.up();
        this
    }

    pub(crate) fn up(&self) {
        let log = self.path("log").display().to_string();
        self.tool("pg_ctl", &["start", "-w", "-s", "-D", &self.data(), "-l", &log]);
        *self.running.lock().unwrap() = true;
    }

    pub(crate) fn stop(&self, mode: &str) {
        self.tool("pg_ctl", &["stop", "-w", "-s", "-m", mode, "-D", &self.data()]);
        *self.running.lock().unwrap() = false;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> String {
        self.path("data").display().to_string()
    }

    /// As the superuser, over the unix socket.
    pub(crate) fn config(&self, database: &str) -> Config {
        Config::new(database)
            .host(self.folder.path().display().to_string())
            .port(self.port)
            .password(PASSWORD)
            .programs(BIN)
    }

    pub(crate) fn database(&self, name: &str) -> Postgres {
        Postgres::new(&Host::new(Local::new()), self.config(name))
    }

    /// A fresh database called `name`, filled by `sql`.
    pub(crate) fn create(&self, name: &str, sql: &str) -> Postgres {
        self.psql("postgres", &format!("CREATE DATABASE \"{name}\""));
        if !sql.is_empty() {
            self.psql(name, sql);
        }
        self.database(name)
    }

    /// Runs SQL with psql; gives what it prints, unaligned.
    #[track_caller]
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        let output = Command::new(format!("{BIN}/psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                sql,
            ])
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {error}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    #[track_caller]
    fn tool(&self, program: &str, args: &[&str]) {
        let program = format!("{BIN}/{program}");
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", &program]);
            command
        } else {
            Command::new(&program)
        };
        // Not piped: the server would keep a pipe open.
        let said = tempfile::tempfile().unwrap();
        let status = command
            .args(args)
            .current_dir("/")
            .stdout(said.try_clone().unwrap())
            .stderr(said.try_clone().unwrap())
            .status()
            .unwrap();
        if !status.success() {
            use std::io::{Read as _, Seek as _};
            let (mut said, mut text) = (said, String::new());
            said.rewind().unwrap();
            said.read_to_string(&mut text).unwrap();
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            panic!("{program} {args:?}: {text}\n{log}");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if *self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            self.stop("immediate");
        }
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|info| info.uid() == 0)
}

/// To the user that runs the server.
fn give(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
