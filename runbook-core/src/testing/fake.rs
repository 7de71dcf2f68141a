//! [`FakeTarget`]: scripts replies and records commands.

mod disk;
mod files;
mod process;
mod reply;
mod target;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::DuplexStream;
use tokio::sync::watch;

pub use self::disk::Disk;
use self::files::Files;
use self::reply::Script;
pub use self::reply::{IntoMatcher, Matcher, Reply, prefix};
use crate::command::Command;
use crate::error::{Failure, FailureKind, Problem, Result};
use crate::target::{Address, FileInfo};

/// A target that runs nothing: it answers from a script, keeps files in memory, and records what
/// was asked.
///
/// Clones share everything, so keep one to script and to ask, and give one to a
/// [`Host`](crate::Host).
///
/// ```
/// use runbook_core::testing::{self, FakeTarget, Reply, prefix};
/// use runbook_core::{Command, Context, Host, Result};
///
/// async fn restart(cx: &Context, web: &Host) -> Result<()> {
///     cx.on(web).run(&Command::new("systemctl").args(["restart", "shop"])).await?;
///     cx.on(web).write("/run/restarted", "yes").await
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let web = FakeTarget::new("web-1").dir("/run");
/// web.on("systemctl restart shop").reply(Reply::ok());
///
/// restart(&testing::context(), &Host::new(web.clone())).await.unwrap();
/// assert_eq!(web.changes(), ["systemctl restart shop", "write /run/restarted"]);
/// assert_eq!(web.text("/run/restarted"), "yes");
///
/// // The script can be changed at any time: what was scripted last comes first.
/// web.on(prefix("systemctl")).replies([
///     Reply::exit(1).stderr("Unit shop.service is masked.\n"),
///     Reply::ok(),
/// ]);
/// let failure = restart(&testing::context(), &Host::new(web)).await.unwrap_err();
/// assert_eq!(
///     failure.to_string(),
///     "`systemctl restart shop` on web-1: exit code 1: Unit shop.service is masked."
/// );
/// # });
/// ```
#[derive(Clone)]
pub struct FakeTarget {
    name: Arc<str>,
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    pub(super) identity: Option<String>,
    pub(super) prepared: usize,
    /// The one added last is asked first.
    scripts: Vec<(Matcher, Script)>,
    otherwise: Option<Reply>,
    calls: Vec<Call>,
    commands: usize,
    changes: usize,
    fail_commands: BTreeMap<usize, Problem>,
    fail_changes: BTreeMap<usize, Problem>,
    disconnected: watch::Sender<bool>,
    files: Files,
    listeners: Vec<(Address, Listener)>,
    leftovers: Vec<(String, String)>,
}

#[derive(Clone)]
struct Listener {
    open: Arc<dyn Fn() -> bool + Send + Sync>,
    serve: Arc<dyn Fn(DuplexStream) + Send + Sync>,
}

/// One thing that a [`FakeTarget`] was asked to do. Its `Display` is the line that
/// [`FakeTarget::calls`] and [`FakeTarget::changes`] are compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// A command was started.
    Command(CommandCall),
    /// A command was ended before it ended by itself.
    Kill(String),
    /// A file was changed, or was to be: `write /etc/motd`, `rename /a to /b`.
    File(String),
    /// A socket was opened.
    Connect(String),
    /// Leftovers of this cookie were ended.
    EndLeftovers(String),
}

/// A command that a [`FakeTarget`] was asked to run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandCall {
    /// As a person would type it, without environment, secrets as `***`.
    pub line: String,
    /// The program and its arguments.
    pub args: Vec<OsString>,
    /// The names of the environment variables that it was given.
    pub env: Vec<OsString>,
    /// The working directory that it was given.
    pub dir: Option<PathBuf>,
    /// What it could read on its standard input; `***` for a secret.
    pub stdin: Vec<u8>,
    /// Whether its author promised that it changes nothing.
    pub read_only: bool,
    /// The run and unit that it belongs to.
    pub cookie: String,
}

impl Call {
    /// Whether it may have changed something.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::Command(command) => !command.read_only,
            Self::File(_) => true,
            Self::Kill(_) | Self::Connect(_) | Self::EndLeftovers(_) => false,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => f.write_str(&command.line),
            Self::File(what) => f.write_str(what),
            Self::Kill(what) => write!(f, "kill {what}"),
            Self::Connect(to) => write!(f, "connect to {to}"),
            Self::EndLeftovers(cookie) => write!(f, "end leftovers of {cookie}"),
        }
    }
}

impl FakeTarget {
    /// A target called `name`, without any reply scripted and with empty folders `/` and `/tmp`.
    /// A command that nothing was scripted for fails with an error that says so.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into().into(), world: Arc::default() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to answer to commands: an exact command line as [`Command`]'s `Display` gives it
    /// (without environment), a [`prefix`] of one, or a closure over the command.
    ///
    /// ```
    /// use runbook_core::Command;
    /// use runbook_core::testing::{FakeTarget, Reply, prefix};
    /// let db = FakeTarget::new("db-1");
    /// db.on("pg_isready -p 5432").reply(Reply::stdout("accepting connections\n"));
    /// db.on(prefix("pg_dump")).reply(Reply::exit(1).stderr("no such database\n"));
    /// db.on(|command: &Command| command.program() == "df").reply_with(|call| {
    ///     Reply::stdout(format!("df was given {} arguments\n", call.args.len() - 1))
    /// });
    /// ```
    pub fn on(&self, matcher: impl IntoMatcher) -> When<'_> {
        When { target: self, matcher: matcher.into_matcher() }
    }

    /// What to answer to commands that nothing else was scripted for.
    pub fn otherwise(&self, reply: Reply) {
        self.world().otherwise = Some(reply);
    }

    /// The `n`th command from now (from 1) fails to start with `failure`. A
    /// [`FailureKind::Disconnected`] makes it a lost connection.
    pub fn fail_command(&self, n: usize, failure: Failure) {
        let mut world = self.world();
        let at = world.commands + n;
        world.fail_commands.insert(at, failure.to_problem());
    }

    /// The `n`th change of a file from now (from 1) fails with `failure`, and changes nothing.
    pub fn fail_change(&self, n: usize, failure: Failure) {
        let mut world = self.world();
        let at = world.changes + n;
        world.fail_changes.insert(at, failure.to_problem());
    }

    /// From now on everything fails with [`FailureKind::Disconnected`], and commands that run are
    /// cut off.
    pub fn disconnect(&self) {
        self.world().disconnected.send_replace(true);
    }

    /// The connection is back.
    pub fn reconnect(&self) {
        self.world().disconnected.send_replace(false);
    }

    /// Something listens at `address`: every connection's other end goes to `serve`, which may
    /// spawn a task for it.
    ///
    /// ```
    /// use runbook_core::testing::FakeTarget;
    /// use runbook_core::Address;
    /// use tokio::io::AsyncWriteExt;
    /// let cache = FakeTarget::new("cache-1");
    /// cache.listen(&Address::Tcp("localhost".into(), 6379), |mut stream| {
    ///     tokio::spawn(async move { stream.write_all(b"+PONG\r\n").await });
    /// });
    /// ```
    pub fn listen(&self, address: &Address, serve: impl Fn(DuplexStream) + Send + Sync + 'static) {
        self.listen_when(address, || true, serve);
    }

    /// The same while `open` says yes; else nothing listens there, as far as this was scripted.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    /// use runbook_core::testing::{FakeTarget, observer};
    /// use runbook_core::{Address, Host};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let (web, port) = (FakeTarget::new("web-1"), Address::Tcp("127.0.0.1".into(), 3000));
    /// let runs = Arc::new(AtomicBool::new(false));
    /// let shop = Arc::clone(&runs);
    /// web.listen_when(&port, move || shop.load(SeqCst), drop);
    ///
    /// let (host, cx) = (Host::new(web), observer());
    /// assert!(cx.on(&host).connect(&port).await.is_err());
    /// runs.store(true, SeqCst);
    /// assert!(cx.on(&host).connect(&port).await.is_ok());
    /// # });
    /// ```
    pub fn listen_when(
        &self,
        address: &Address,
        open: impl Fn() -> bool + Send + Sync + 'static,
        serve: impl Fn(DuplexStream) + Send + Sync + 'static,
    ) {
        let listener = Listener { open: Arc::new(open), serve: Arc::new(serve) };
        self.world().listeners.push((address.clone(), listener));
    }

    /// What is on its disk, for the closures that play its programs: what they do there is no
    /// change that somebody asked this target for, and is not recorded as one.
    ///
    /// ```
    /// use runbook_core::testing::{FakeTarget, Reply, prefix};
    /// let web = FakeTarget::new("web-1").file("/srv/shop/.env", "PORT=3000");
    /// let disk = web.disk();
    /// web.on(prefix("cp -a --")).reply_with(move |call| {
    ///     match disk.copy(&call.args[3], &call.args[4]) {
    ///         Ok(()) => Reply::ok(),
    ///         Err(why) => Reply::exit(1).stderr(format!("cp: {why}\n")),
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn disk(&self) -> Disk {
        Disk::new(self)
    }

    /// A process that a killed run is to have left behind; ended, and named, by the next sweep of
    /// the cookie `run:unit`.
    pub fn leave(&self, cookie: impl Into<String>, process: impl Into<String>) {
        self.world().leftovers.push((cookie.into(), process.into()));
    }

    /// The same target with an identity: what a run must find again to be resumed on it.
    ///
    /// ```
    /// use runbook_core::{Target, testing::FakeTarget};
    /// let web = FakeTarget::new("web-1").with_identity("deploy@192.0.2.7:22");
    /// assert_eq!(web.identity().as_deref(), Some("deploy@192.0.2.7:22"));
    /// ```
    #[must_use]
    pub fn with_identity(self, identity: impl Into<String>) -> Self {
        self.world().identity = Some(identity.into());
        self
    }

    /// How often it was told that it is about to be used ([`Target::prepare`](crate::Target::prepare)).
    #[must_use]
    pub fn prepared(&self) -> usize {
        self.world().prepared
    }

    /// The same target with a folder there from the start, and those above it.
    #[must_use]
    pub fn dir(self, path: impl AsRef<Path>) -> Self {
        self.world().files.put_dir(path.as_ref());
        self
    }

    /// The same target with a file there from the start, mode `0o644`, and the folders above it.
    #[must_use]
    pub fn file(self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) -> Self {
        self.file_with_mode(path, content, 0o644)
    }

    /// The same target with a file there from the start, and the folders above it.
    #[must_use]
    pub fn file_with_mode(
        self,
        path: impl AsRef<Path>,
        content: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Self {
        self.world().files.put_file(path.as_ref(), content.into(), mode);
        self
    }

    /// The same target with a symbolic link there from the start, and the folders above it.
    #[must_use]
    pub fn link(self, link: impl AsRef<Path>, to: impl AsRef<Path>) -> Self {
        self.world().files.put_link(link.as_ref(), to.as_ref());
        self
    }

    /// Everything that it was asked to do (reading files aside), in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.world().calls.clone()
    }

    /// The commands that it was asked to run, in order.
    #[must_use]
    pub fn commands(&self) -> Vec<CommandCall> {
        let commands = |call| match call {
            Call::Command(command) => Some(command),
            _ => None,
        };
        self.calls().into_iter().filter_map(commands).collect()
    }

    /// What may have changed something: commands that are not read-only and changes of files, one
    /// line each. Empty after a `plan` or a check.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        self.calls().iter().filter(|call| call.is_change()).map(Call::to_string).collect()
    }

    /// The content of a file as text.
    ///
    /// # Panics
    /// There is no such file, or it is no UTF-8.
    #[must_use]
    #[track_caller]
    pub fn text(&self, path: impl AsRef<Path>) -> String {
        let path = path.as_ref();
        match self.world().files.read(path).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => panic!("{} on {} is no UTF-8", path.display(), self.name),
            Err(why) => panic!("{} on {}: {why}", path.display(), self.name),
        }
    }

    /// Everything in its file system, sorted by path, with the content of files.
    #[must_use]
    pub fn tree(&self) -> Vec<(FileInfo, Vec<u8>)> {
        self.world().files.tree()
    }

    fn lost(&self) -> Failure {
        Failure::new(FailureKind::Disconnected, format!("the connection to {} was lost", self.name))
            .next("see whether the host is up and can be reached, then resume the run")
    }

    fn connected(&self) -> Result<MutexGuard<'_, World>> {
        let world = self.world();
        let disconnected = *world.disconnected.borrow();
        if disconnected { Err(self.lost()) } else { Ok(world) }
    }

    /// Records a change of a file and makes it.
    fn change<T>(
        &self,
        line: String,
        change: impl FnOnce(&mut Files) -> Result<T, String>,
    ) -> Result<T> {
        let mut world = self.connected()?;
        world.changes += 1;
        world.calls.push(Call::File(line.clone()));
        let at = world.changes;
        if let Some(problem) = world.fail_changes.remove(&at) {
            return Err(problem.into());
        }
        change(&mut world.files).map_err(|why| self.refused(&line, &why))
    }

    fn refused(&self, doing: &str, why: &str) -> Failure {
        Failure::msg(why).while_doing(format!("{doing} on {}", self.name))
    }
}

impl fmt::Debug for FakeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeTarget({})", self.name)
    }
}

/// Which commands a reply is for; from [`FakeTarget::on`].
#[must_use = "say what to reply"]
pub struct When<'a> {
    target: &'a FakeTarget,
    matcher: Matcher,
}

impl When<'_> {
    /// Always this.
    pub fn reply(self, reply: Reply) {
        self.script(Script::Always(reply));
    }

    /// One after the other; the last one stays.
    ///
    /// # Panics
    /// There is none.
    #[track_caller]
    pub fn replies(self, replies: impl IntoIterator<Item = Reply>) {
        let replies: std::collections::VecDeque<_> = replies.into_iter().collect();
        assert!(!replies.is_empty(), "at least one reply");
        self.script(Script::Sequence(replies));
    }

    /// Whatever `reply` makes of the call. It may change the target's
    /// [disk](FakeTarget::disk).
    pub fn reply_with(self, reply: impl Fn(&CommandCall) -> Reply + Send + Sync + 'static) {
        self.script(Script::With(Arc::new(reply)));
    }

    fn script(self, script: Script) {
        self.target.world().scripts.push((self.matcher, script));
    }
}

/// The command line without its environment.
fn line(command: &Command) -> String {
    use crate::command::quote;
    let words = std::iter::once(command.program())
        .chain(command.arguments().iter().map(OsString::as_os_str));
    let words: Vec<_> = words
        .map(|word| quote(&crate::secret::scrub(&word.to_string_lossy())).into_owned())
        .collect();
    crate::secret::scrub(&words.join(" ")).into_owned()
}

#[cfg(test)]
mod tests;
