//! [`Ssh`]: a host over SSH.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{
    Address, BoxRead, BoxStream, Command, FileInfo, Process, Result, Spawn, Target, WriteOptions,
};
use tokio::sync::OnceCell;

use super::auth::Auth;
use super::background;
use super::config::{Lookup, Resolved};
use super::connect::Route;
use super::driver::Keepalive;
use super::identity::Identity;
use super::pool::{Connections, Limits as Connecting};
use super::trust::HostKeys;
use crate::remote::{Limits, Remote};

/// A host over SSH, with nothing on it but `sshd`, `sh` and the usual programs.
///
/// ```
/// use runbook_core::Host;
/// use runbook_targets::{Auth, HostKeys, Ssh, Sudo};
///
/// // As `ssh web-1` would: aliases, jump hosts, keys and the agent of the user's configuration.
/// let web = Host::new(Ssh::new("web-1"));
/// assert_eq!(web.to_string(), "web-1");
///
/// // All of it said here, and no `ssh` asked.
/// let bastion = Ssh::at("bastion.example.org").user("jump");
/// let db = Ssh::at("192.0.2.7")
///     .named("db-1")
///     .user("deploy")
///     .through(&bastion)
///     .host_keys(HostKeys::Pinned("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into()))
///     .auth(Auth::new().key_file("/run/secrets/deploy_key").without_agent());
/// let postgres = Host::new(Sudo::new(Host::new(db), "postgres"));
/// # let _ = postgres;
/// ```
///
/// # Commands
/// A few persistent shells on one connection take one command after another, which is several times
/// faster than a channel for each. Arguments, environment and input are bytes that no shell
/// interprets. [`isolated`](Self::isolated) gives each command a shell of its own.
///
/// How a command ended is what `sh` makes of it, in both modes, and `sh` says the same of a program
/// that exits with 130 as of one that SIGINT ended. Codes from 129 to 144, 152 to 155 and 157 to
/// 159, 128 more than a signal that ends processes, are told as
/// [`Exit::Signal`](runbook_core::Exit::Signal); all others are what the program exited with. A
/// program that is to be told by its code on every target uses one below 126.
///
/// # When it connects
/// When it is first used, or a moment before: a run connects to the hosts with which it begins while
/// it makes its journal. One connection takes the commands; others are made for more of them at
/// once, for large files and for tunnels.
///
/// # A program that is built once and carried
/// It is quicker with an OpenSSL of its own than with that of an older system: 100 MiB are sent in
/// four fifths of the time that they take with OpenSSL 3.0. And it agrees on keys that withstand a
/// quantum computer (mlkem768x25519, which takes OpenSSL 3.5). For that it names `ssh2` itself:
///
/// ```toml
/// [dependencies]
/// runbook = { version = "0.1", features = ["ssh"] }
/// ssh2 = { version = "0.9.6", features = ["vendored-openssl"] } # needs perl and make to build
/// ```
///
/// Updates of OpenSSL then come with new builds of the program, and no more with the system.
///
/// # When the connection is lost
/// What runs fails as [`Disconnected`](runbook_core::FailureKind::Disconnected), and its outcome is
/// unknown. The next unit connects again; nothing is ever repeated within a unit. On the host,
/// what ran is ended within seconds, also when this program was killed or the link went dead; files
/// that were being written are removed. A process that leaves its session (`setsid`), its parents
/// (as a daemon does) or its environment (`env -i`) is still found; it escapes only if it cleared
/// its environment and left its parents (`env -i setsid daemon &` in a shell that ends). What
/// earlier commands left running is left alone.
///
/// # Trust
/// The host's key must be listed in `known_hosts`; see [`HostKeys`] for other policies. Unknown,
/// changed and revoked keys are errors that name the file and line, and say what to do.
#[derive(Clone)]
pub struct Ssh(Arc<Inner>);

struct Inner {
    options: Options,
    remote: OnceCell<Remote<Connections>>,
}

#[derive(Clone)]
struct Options {
    name: String,
    place: Place,
    user: Option<String>,
    port: Option<u16>,
    through: Option<Ssh>,
    known_hosts: Option<PathBuf>,
    host_keys: HostKeys,
    auth: Auth,
    isolated: bool,
    verify: bool,
    connect_timeout: Option<Duration>,
    login_timeout: Option<Duration>,
    shell_timeout: Option<Duration>,
    keepalive: Option<Keepalive>,
    connections: Option<usize>,
}

#[derive(Clone)]
enum Place {
    /// As the user's configuration knows it, or that of this file.
    Configured { name: String, config: Option<PathBuf> },
    /// A name or address.
    Explicit(String),
}

impl Ssh {
    /// The host that `ssh name` would connect to: an alias of the user's configuration, `host`, or
    /// `user@host`. The configuration is read by the system's own `ssh -G`, when the host is first
    /// used.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self::of(name.clone(), Place::Configured { name, config: None })
    }

    /// The host of this name or address; no configuration is read, and no `ssh` needed. The user
    /// is the one of this program, the port 22 and the list `~/.ssh/known_hosts`, unless said
    /// otherwise.
    #[must_use]
    pub fn at(host: impl Into<String>) -> Self {
        let host = host.into();
        Self::of(host.clone(), Place::Explicit(host))
    }

    fn of(name: String, place: Place) -> Self {
        let options = Options {
            name,
            place,
            user: None,
            port: None,
            through: None,
            known_hosts: None,
            host_keys: HostKeys::default(),
            auth: Auth::default(),
            isolated: false,
            verify: false,
            connect_timeout: None,
            login_timeout: None,
            shell_timeout: None,
            keepalive: None,
            connections: None,
        };
        Self(Arc::new(Inner { options, remote: OnceCell::new() }))
    }

    fn with(self, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = self.0.options.clone();
        change(&mut options);
        Self(Arc::new(Inner { options, remote: OnceCell::new() }))
    }

    /// What plans, events and errors call it.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.with(|options| options.name = name.into())
    }

    /// As this user.
    #[must_use]
    pub fn user(self, user: impl Into<String>) -> Self {
        self.with(|options| options.user = Some(user.into()))
    }

    /// At this port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.with(|options| options.port = Some(port))
    }

    /// By this configuration file instead of the user's and the system's; of a host from
    /// [`new`](Self::new).
    #[must_use]
    pub fn config_file(self, file: impl Into<PathBuf>) -> Self {
        self.with(|options| {
            if let Place::Configured { config, .. } = &mut options.place {
                *config = Some(file.into());
            }
        })
    }

    /// From another host, which may itself be reached through others. Instead of what the
    /// configuration says.
    #[must_use]
    pub fn through(self, jump: &Self) -> Self {
        self.with(|options| options.through = Some(jump.clone()))
    }

    /// Instead of the lists of known hosts that the configuration names.
    #[must_use]
    pub fn known_hosts(self, file: impl Into<PathBuf>) -> Self {
        self.with(|options| options.known_hosts = Some(file.into()))
    }

    /// Which host keys are trusted, also those of jump hosts that the configuration names, save
    /// that what is pinned is of this host only.
    #[must_use]
    pub fn host_keys(self, policy: HostKeys) -> Self {
        self.with(|options| options.host_keys = policy)
    }

    /// What proves who we are, also to jump hosts that the configuration names.
    #[must_use]
    pub fn auth(self, auth: Auth) -> Self {
        self.with(|options| options.auth = auth)
    }

    /// Gives each command a channel and a login shell of its own: slower, and nothing is shared
    /// between commands but the connection. The next one is opened while a command runs.
    #[must_use]
    pub fn isolated(self) -> Self {
        self.with(|options| options.isolated = true)
    }

    /// Compares the SHA-256 of large files that were sent with what the host's disk has, where it
    /// has `sha256sum`. Their size always is compared; what the network could change the connection
    /// itself finds; and the journal has the hash of what was sent
    /// ([`Transfer::sha256`](runbook_core::Transfer::sha256)) in any case. It takes about 1.4 times as
    /// long.
    #[must_use]
    pub fn verify_uploads(self) -> Self {
        self.with(|options| options.verify = true)
    }

    /// How long a TCP connection may take: 15 s unless the configuration says otherwise. A
    /// `ConnectTimeout` there bounds the handshake as well, as `ssh` does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use runbook_targets::Ssh;
    ///
    /// // Known to be near and quick: whatever hangs is found out soon.
    /// let web = Ssh::new("web-1")
    ///     .connect_timeout(Duration::from_secs(2))
    ///     .login_timeout(Duration::from_secs(5))
    ///     .shell_timeout(Duration::from_secs(5))
    ///     .keepalive(Duration::from_secs(5), 2);
    /// # let _ = web;
    /// ```
    #[must_use]
    pub fn connect_timeout(self, limit: Duration) -> Self {
        self.with(|options| options.connect_timeout = Some(limit))
    }

    /// How long the handshake and the login may take once there is a connection, with whatever an
    /// agent asks its user for: 30 s unless said otherwise.
    #[must_use]
    pub fn login_timeout(self, limit: Duration) -> Self {
        self.with(|options| options.login_timeout = Some(limit))
    }

    /// How long the login shell over there may take until it is ready for commands, with its
    /// start-up files: 30 s unless said otherwise.
    #[must_use]
    pub fn shell_timeout(self, limit: Duration) -> Self {
        self.with(|options| options.shell_timeout = Some(limit))
    }

    /// How often the server is asked whether it lives when it is silent, and after how many times
    /// without an answer the connection counts as lost: every 15 s and 3 times, unless the
    /// configuration says otherwise. That is at least a second and once, and a year at most.
    #[must_use]
    pub fn keepalive(self, interval: Duration, count: u32) -> Self {
        self.with(|options| options.keepalive = Some(Keepalive::new(interval, count)))
    }

    /// How many connections there may be at once for commands: 4 unless said otherwise. One is
    /// enough for all that is not done in parallel.
    #[must_use]
    pub fn connections(self, most: usize) -> Self {
        self.with(|options| options.connections = Some(most.max(1)))
    }

    /// All of it, resolved when it is first needed. What fails is tried again next time.
    async fn remote(&self) -> Result<&Remote<Connections>> {
        /// A program that ends sooner saves its hosts a second channel.
        const LATER: Duration = Duration::from_secs(2);
        let make = || async {
            let Options { isolated, verify, shell_timeout, .. } = self.0.options;
            let usual = Limits::default();
            let greeting = shell_timeout.unwrap_or(usual.greeting);
            // A shell for each command would be as many fuses.
            let later = (!isolated).then_some(LATER);
            let limits = Limits { isolated, verify, greeting, later, ..usual };
            Ok(Remote::new(self.connect_to().await?, limits))
        };
        self.0.remote.get_or_try_init(make).await
    }

    async fn connect_to(&self) -> Result<Connections> {
        let options = &self.0.options;
        let mut resolved = match &options.place {
            Place::Configured { name, config } => {
                let lookup = Lookup {
                    name: name.clone(),
                    config: config.clone(),
                    user: options.user.clone(),
                    port: options.port,
                };
                lookup.resolve().await?
            }
            Place::Explicit(host) => {
                let us = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
                let user = options.user.clone().or_else(|| us().ok());
                let user = user.unwrap_or_else(|| "root".to_owned());
                Resolved::explicit(host, options.port.unwrap_or(22), &user)
            }
        };
        let mut hop = Some(&mut resolved);
        while let Some(resolved) = hop {
            if let Some(file) = &options.known_hosts {
                resolved.user_known_hosts = vec![file.clone()];
                resolved.global_known_hosts = Vec::new();
            }
            hop = resolved.jump.as_deref_mut();
        }
        let through = match &options.through {
            Some(jump) => Some(Arc::new(Box::pin(jump.connect_to()).await?)),
            None => None,
        };
        Ok(options.connections(&options.name, resolved, through))
    }
}

impl Options {
    fn connections(
        &self,
        name: &str,
        mut resolved: Resolved,
        through: Option<Arc<Connections>>,
    ) -> Connections {
        let jump = resolved.jump.take();
        let through = through.or_else(|| {
            jump.map(|jump| {
                let name = format!("{} (on the way to {name})", jump.name);
                let options = Self {
                    host_keys: self.host_keys.of_jump_host(),
                    auth: self.auth.of_jump_host(),
                    ..self.clone()
                };
                Arc::new(options.connections(&name, *jump, None))
            })
        });
        let (host, port) = (resolved.host.clone(), resolved.port);
        let route = match (through, &resolved.proxy_command) {
            (Some(through), _) => Route::Jump { through, host, port },
            (None, Some(command)) => Route::Proxy { command: command.clone() },
            (None, None) => Route::Direct { host, port },
        };
        let mut limits = Connecting::default();
        if let Some(limit) = resolved.connect_timeout {
            limits.connect = limit;
            limits.handshake = limit;
        }
        if let Some(limit) = self.connect_timeout {
            limits.connect = limit;
        }
        if let Some(limit) = self.login_timeout {
            limits.login = limit;
            limits.handshake = limit;
        }
        if let Some(interval) = resolved.alive_interval {
            limits.keepalive = Keepalive::new(interval, resolved.alive_count);
        }
        if let Some(keepalive) = self.keepalive {
            limits.keepalive = keepalive;
        }
        if let Some(most) = self.connections {
            limits.connections = most;
        }
        let login = Identity::new(resolved, self.host_keys.clone(), self.auth.clone());
        Connections::new(name, route, Arc::new(login), limits)
    }
}

impl fmt::Debug for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ssh({})", self.0.options.name)
    }
}

#[async_trait]
impl Target for Ssh {
    fn name(&self) -> &str {
        &self.0.options.name
    }

    /// What the code and the inventory say. What a configuration or a name server makes of it may
    /// change, and may differ between operators, while the host is the same.
    fn identity(&self) -> Option<String> {
        let Options { place, user, port, through, .. } = &self.0.options;
        let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let at = match (place, port) {
            (Place::Explicit(host), port) => {
                Address::Tcp(host.clone(), port.unwrap_or(22)).to_string()
            }
            (Place::Configured { name, .. }, Some(port)) => format!("{name}:{port}"),
            (Place::Configured { name, .. }, None) => name.clone(),
        };
        let through = through.as_ref().and_then(Target::identity);
        let through = through.map(|jump| format!(" through {jump}")).unwrap_or_default();
        Some(format!("{user}{at}{through}"))
    }

    /// Connects and logs in, for commands. Whoever needs the connection first waits for this one, or
    /// is told why there is none.
    fn prepare(&self) {
        let ssh = self.clone();
        background::spawn(async move {
            // What its configuration has to say against it is asked again by the first operation.
            if let Ok(remote) = ssh.remote().await {
                remote.channels().prepare();
            }
        });
    }

    async fn spawn(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>> {
        self.remote().await?.spawn(command, spawn).await
    }

    async fn end_leftovers(&self, cookie: &str, grace: Duration) -> Result<Vec<String>> {
        self.remote().await?.end_leftovers(cookie, grace).await
    }

    async fn read(&self, path: &Path) -> Result<BoxRead> {
        self.remote().await?.read(path).await
    }

    async fn write(&self, path: &Path, content: BoxRead, options: &WriteOptions) -> Result<()> {
        self.remote().await?.write(path, content, options).await
    }

    async fn stat(&self, path: &Path) -> Result<Option<FileInfo>> {
        self.remote().await?.stat(path).await
    }

    async fn list(&self, path: &Path) -> Result<Vec<FileInfo>> {
        self.remote().await?.list(path).await
    }

    async fn create_dir(&self, path: &Path) -> Result<()> {
        self.remote().await?.create_dir(path).await
    }

    async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        self.remote().await?.copy(from, to).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.remote().await?.rename(from, to).await
    }

    async fn symlink(&self, to: &Path, link: &Path) -> Result<()> {
        self.remote().await?.symlink(to, link).await
    }

    async fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.remote().await?.set_mode(path, mode).await
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        self.remote().await?.remove(path).await
    }

    async fn remove_tree(&self, path: &Path) -> Result<()> {
        self.remote().await?.remove_tree(path).await
    }

    async fn connect(&self, address: &Address) -> Result<BoxStream> {
        self.remote().await?.channels().connect(address).await
    }
}
