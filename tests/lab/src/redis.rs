//! Throw-away Redis servers.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::command::{log_tail, run};
use crate::process::signal;
use crate::{Ca, Failure, Folder, free_port, is_alive, try_run, wait_until};

const DEADLINE: Duration = Duration::from_secs(20);

/// A Redis server on a free port of the loopback interface and on a unix socket.
///
/// ```no_run
/// let redis = lab::Redis::builder().password("redis-password").start();
/// assert_eq!(redis.cli(&["ping"]), "PONG");
/// ```
#[derive(Debug)]
pub struct Redis {
    dir: PathBuf,
    port: u16,
    tls_port: Option<u16>,
    login: Option<(Option<String>, String)>,
    ca: Option<PathBuf>,
    _folder: Folder,
}

/// What a [`Redis`] is to be like; from [`Redis::builder`].
#[derive(Debug, Default)]
pub struct RedisBuilder<'a> {
    lines: Vec<String>,
    login: Option<(Option<String>, String)>,
    ca: Option<&'a Ca>,
    folder: Option<(Folder, String)>,
}

impl<'a> RedisBuilder<'a> {
    /// A line of `redis.conf`.
    #[must_use]
    pub fn config(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// With a password for everybody (`requirepass`).
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.lines.push(format!("requirepass \"{password}\""));
        self.login = Some((None, password.to_owned()));
        self
    }

    /// With a user of the access control list who may do everything; the default user may nothing.
    #[must_use]
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.lines.push(format!("user {user} on >{password} ~* &* +@all"));
        self.lines.push("user default off".to_owned());
        self.login = Some((Some(user.to_owned()), password.to_owned()));
        self
    }

    /// With a second port that speaks TLS, by a certificate of this authority for `localhost` and
    /// `127.0.0.1`.
    #[must_use]
    pub fn tls(mut self, ca: &'a Ca) -> Self {
        self.ca = Some(ca);
        self
    }

    /// Keeps at most so many bytes; what is said here of a full memory holds: writes are refused.
    #[must_use]
    pub fn max_memory(self, bytes: u64) -> Self {
        self.config(&format!("maxmemory {bytes}")).config("maxmemory-policy noeviction")
    }

    /// In a folder of this name there, instead of in a temporary one of its own.
    #[must_use]
    pub fn inside(mut self, folder: &Folder, name: &str) -> Self {
        self.folder = Some((folder.clone(), name.to_owned()));
        self
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    /// It does not answer in time; the message has the end of its log.
    #[must_use]
    pub fn start(self) -> Redis {
        let (folder, name) = self.folder.unwrap_or_else(|| (Folder::new(), "redis".to_owned()));
        let mut redis = Redis {
            dir: folder.subfolder(&name),
            port: 0,
            tls_port: None,
            login: self.login,
            ca: self.ca.map(Ca::certificate_file),
            _folder: folder,
        };
        let certificate = self.ca.map(|ca| ca.certificate(&["localhost", "127.0.0.1"]));
        for _ in 0..20 {
            redis.port = free_port();
            let dir = redis.dir.display();
            let mut text = self.lines.join("\n");
            write!(
                text,
                "
# The lab's: the title keeps the path of this file, by which its process is found.
bind 127.0.0.1
port {}
unixsocket {dir}/redis.sock
dir {dir}
logfile {dir}/redis.log
pidfile {dir}/redis.pid
daemonize yes
save \"\"
proc-title-template \"{{title}} {{config-file}}\"
",
                redis.port
            )
            .expect("to a string");
            if let Some(certificate) = &certificate {
                let tls_port = free_port();
                redis.tls_port = Some(tls_port);
                write!(
                    text,
                    "tls-port {tls_port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n",
                    certificate.certificate().display(),
                    certificate.key().display(),
                    redis.ca.as_deref().unwrap_or(Path::new("")).display(),
                )
                .expect("to a string");
            }
            fs::write(redis.config_file(), text).expect("redis.conf");
            if redis.launch() {
                return redis;
            }
        }
        panic!("no port of 20 was free any more when Redis wanted to have it")
    }
}

impl Redis {
    /// One without a password.
    ///
    /// # Panics
    /// As [`RedisBuilder::start`].
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// One that you describe.
    #[must_use]
    pub fn builder<'a>() -> RedisBuilder<'a> {
        RedisBuilder::default()
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its port that speaks TLS, if it has one.
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    /// The authority of its certificate, if it has one.
    #[must_use]
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// Its unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("redis.sock")
    }

    /// Its configuration: `redis-server FILE` starts it.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("redis.conf")
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("redis.log")
    }

    /// The URL of one of its databases, with user and password if it has them.
    #[must_use]
    pub fn url(&self, database: u32) -> String {
        let login = self.login.as_ref().map_or_else(String::new, |(user, password)| {
            format!("{}:{password}@", user.as_deref().unwrap_or_default())
        });
        format!("redis://{login}127.0.0.1:{}/{database}", self.port)
    }

    /// A redis-cli that is logged in. Add the command.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some((user, password)) = &self.login {
            command.env("REDISCLI_AUTH", password);
            if let Some(user) = user {
                command.args(["--user", user]);
            }
        }
        command
    }

    /// Runs a command and gives the answer.
    ///
    /// # Panics
    /// The server is not to be reached, or answers with an error.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> String {
        self.try_cli(arguments).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// As [`cli`](Self::cli).
    ///
    /// # Errors
    /// The server is not to be reached, or answers with an error.
    pub fn try_cli(&self, arguments: &[&str]) -> Result<String, Failure> {
        try_run(self.command().arg("-e").args(arguments))
    }

    /// The process id of the server, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.dir.join("redis.pid")).ok()?;
        text.trim().parse().ok().filter(|pid| is_alive(*pid))
    }

    /// Stops it; what it held is gone.
    ///
    /// # Panics
    /// It does not stop in time.
    pub fn stop(&self) {
        if let Some(pid) = self.pid() {
            signal(pid, Signal::TERM);
            wait_until("Redis to stop", DEADLINE, || !is_alive(pid));
        }
    }

    /// Starts it again, empty, on the same port.
    ///
    /// # Panics
    /// It does not answer in time.
    pub fn start_again(&self) {
        assert!(self.launch(), "port {} is taken\n{}", self.port, log_tail(&self.log()));
    }

    /// Fills its memory up: from now on it refuses every write, until [`relieve`](Self::relieve).
    ///
    /// # Panics
    /// It does not answer.
    pub fn fill_memory(&self) {
        self.cli(&["config", "set", "maxmemory-policy", "noeviction"]);
        self.cli(&["config", "set", "maxmemory", "1"]);
    }

    /// Takes the limit of its memory away.
    ///
    /// # Panics
    /// It does not answer.
    pub fn relieve(&self) {
        self.cli(&["config", "set", "maxmemory", "0"]);
    }

    /// False if its port was taken meanwhile.
    fn launch(&self) -> bool {
        let _ = fs::remove_file(self.dir.join("redis.pid"));
        let _ = fs::remove_file(self.log());
        run(Command::new("redis-server").arg(self.config_file()).current_dir("/"));
        let log = || fs::read_to_string(self.log()).unwrap_or_default();
        wait_until("Redis to start or to give up", DEADLINE, || {
            let log = log();
            log.contains("The server is now ready to accept connections at")
                || log.contains("Failed listening")
                || log.contains("Fatal")
                || log.contains("FATAL")
        });
        if log().contains("Address already in use") {
            return false;
        }
        wait_until(&format!("Redis to answer; {}", log_tail(&self.log())), DEADLINE, || {
            self.pid().is_some() && self.try_cli(&["ping"]).is_ok()
        });
        true
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            crate::kill_tree(pid);
        }
    }
}
