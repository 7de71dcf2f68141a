//! [`Target`]: where commands run, files live and sockets are opened; [`Host`], the handle users
//! hold.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::command::{Command, Exit};
use crate::error::Result;

/// A place where commands run, files live and sockets are opened: this machine, a host over SSH,
/// a container.
///
/// Users never call it: they hold a [`Host`] and reach it through what they were given, an
/// [`Observer`](crate::Observer) (reads) or a [`Context`](crate::Context) (reads and changes).
/// Paths are absolute, or relative to the target's own default folder.
#[async_trait]
pub trait Target: fmt::Debug + Send + Sync + 'static {
    /// The name shown in plans, events and errors, e.g. `local` or `web-1`.
    fn name(&self) -> &str;

    /// What of this place must be the same for a run to go on there, besides its name: e.g.
    /// `deploy@192.0.2.7:22`. A plan's fingerprint covers it, so that a run is not resumed or
    /// rolled back on a host that only has the name of the first. Without secrets, and the same in
    /// every process and for every operator; `None` where the name is all.
    fn identity(&self) -> Option<String> {
        None
    }

    /// Says that the target is about to be used: it may get ready meanwhile, by connecting and
    /// logging in. Returns at once, and says nothing of what fails: the first operation does.
    ///
    /// An engine calls it for the hosts with whose units a run begins, while it makes the journal of
    /// the run: what is done here changes nothing over there, so that it need not be written down
    /// first. It may be called more than once, and for a target that is then not used after all.
    ///
    /// By default it does nothing. One that wraps another target passes it on.
    fn prepare(&self) {}

    /// Starts a command. Its environment holds `RUNBOOK_UNIT=`[`Spawn::cookie`], by which
    /// [`end_leftovers`](Self::end_leftovers) finds what a killed run left behind, and
    /// `RUNBOOK_COMMAND=`[`Spawn::command`], by which [`Process::kill`] finds its tree.
    ///
    /// # Errors
    /// The program is not there, may not be run, or the connection is lost.
    async fn spawn(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>>;

    /// Ends every process still running whose cookie is `cookie` and that another process than
    /// this one started (see [`Spawn::this_process`]); says which, by their command lines.
    ///
    /// # Errors
    /// They could not be found or ended.
    async fn end_leftovers(&self, cookie: &str, grace: Duration) -> Result<Vec<String>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// It is not there, is no file, or may not be read.
    async fn read(&self, path: &Path) -> Result<BoxRead>;

    /// Writes a whole file under a temporary name beside it, then renames it into place; keeps the
    /// mode and owner of a file that was there. A link at `path` is replaced, not followed. On any error the old file is untouched and the
    /// temporary one removed.
    ///
    /// # Errors
    /// The folder is missing, full or not writable, or the content could not be read.
    async fn write(&self, path: &Path, content: BoxRead, options: &WriteOptions) -> Result<()>;

    /// What is at `path`, links not followed; `None` if nothing is.
    ///
    /// # Errors
    /// A folder on the way may not be searched.
    async fn stat(&self, path: &Path) -> Result<Option<FileInfo>>;

    /// What is in the folder `path`, sorted by name; links not followed.
    ///
    /// # Errors
    /// It is not there, is no folder, or may not be read.
    async fn list(&self, path: &Path) -> Result<Vec<FileInfo>>;

    /// Makes the folder and those above it; fine if it is there.
    ///
    /// # Errors
    /// Something else is in the way, or it is not allowed.
    async fn create_dir(&self, path: &Path) -> Result<()>;

    /// Copies a file, with its mode, atomically.
    ///
    /// # Errors
    /// As for [`read`](Self::read) and [`write`](Self::write).
    async fn copy(&self, from: &Path, to: &Path) -> Result<()>;

    /// Renames within one file system, replacing what is there.
    ///
    /// # Errors
    /// `from` is missing, or the two are on different file systems.
    async fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Makes `link` a symbolic link to `to`, atomically replacing a link or file that was there.
    ///
    /// # Errors
    /// A folder is in the way, or it is not allowed.
    async fn symlink(&self, to: &Path, link: &Path) -> Result<()>;

    /// Sets the permission bits of a file.
    ///
    /// # Errors
    /// It is missing, or it is not allowed.
    async fn set_mode(&self, path: &Path, mode: u32) -> Result<()>;

    /// Removes a file or link, or an empty folder; fine if it is not there.
    ///
    /// # Errors
    /// A folder is not empty, or it is not allowed.
    async fn remove(&self, path: &Path) -> Result<()>;

    /// Removes a folder and all below it, links not followed; fine if it is not there.
    ///
    /// # Errors
    /// It is not allowed.
    async fn remove_tree(&self, path: &Path) -> Result<()>;

    /// Opens a stream to a service as the target sees it.
    ///
    /// # Errors
    /// Nothing listens there, or the target forbids forwarding.
    async fn connect(&self, address: &Address) -> Result<BoxStream>;
}

/// What a target is told about a command beside the command itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Spawn {
    /// `run:unit`; put into the environment as [`RUNBOOK_UNIT`](Self::VARIABLE).
    pub cookie: String,
    /// What no other command of any process carries; put into the environment as
    /// [`RUNBOOK_COMMAND`](Self::COMMAND_VARIABLE), so that the end of one command never takes
    /// along what an earlier command of the same unit left running on purpose.
    pub command: String,
    /// The command's author promised that it changes nothing.
    pub read_only: bool,
}

impl Spawn {
    /// The environment variable that carries the cookie.
    pub const VARIABLE: &str = "RUNBOOK_UNIT";
    /// The environment variable that tells one command from another.
    pub const COMMAND_VARIABLE: &str = "RUNBOOK_COMMAND";

    /// With this cookie, for a command that may change something.
    #[must_use]
    pub fn new(cookie: impl Into<String>) -> Self {
        static COMMANDS: AtomicU64 = AtomicU64::new(0);
        let number = COMMANDS.fetch_add(1, Ordering::Relaxed);
        let command = format!("{}.{number}", Self::this_process());
        Self { cookie: cookie.into(), command, read_only: false }
    }

    /// For a command whose author promised that it changes nothing.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// What [`command`](Self::command) begins with in this process, and in no other:
    /// [`end_leftovers`](Target::end_leftovers) leaves alone what carries it.
    #[must_use]
    pub fn this_process() -> &'static str {
        static NONCE: OnceLock<String> = OnceLock::new();
        NONCE.get_or_init(|| {
            use std::hash::{BuildHasher, Hasher};
            let noise = std::hash::RandomState::new().build_hasher().finish();
            format!("{}.{noise:016x}", std::process::id())
        })
    }
}

/// A command that was started. Dropping it ends its whole process tree at once, unless
/// [`wait`](Self::wait) already saw its end: what it then left running, it left on purpose.
#[async_trait]
pub trait Process: Send {
    /// Its standard input, once; `None` unless the command's [`Stdin`](crate::Stdin) is `Piped`
    /// (the target itself feeds the other kinds).
    fn stdin(&mut self) -> Option<BoxWrite>;

    /// Its standard output, once.
    fn stdout(&mut self) -> Option<BoxRead>;

    /// Its standard error, once.
    fn stderr(&mut self) -> Option<BoxRead>;

    /// Waits until it ends. May be called again.
    ///
    /// # Errors
    /// The connection was lost ([`FailureKind::Disconnected`](crate::FailureKind)).
    async fn wait(&mut self) -> Result<Exit>;

    /// Ends the whole process tree: SIGTERM, and SIGKILL after `grace`. Returns when it is gone.
    ///
    /// # Errors
    /// The connection was lost, or it is not allowed.
    async fn kill(&mut self, grace: Duration) -> Result<()>;
}

/// A byte source.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// A byte sink.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;
/// A socket.
pub type BoxStream = Box<dyn Stream>;

/// A stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// Where a service listens, as the target sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port; the name is resolved on the target.
    Tcp(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How a file is written.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WriteOptions {
    /// The permission bits of a new file; a file that was there keeps its own unless
    /// `force_mode`.
    pub mode: Option<u32>,
    /// Give `mode` also to a file that was there.
    pub force_mode: bool,
    /// How many bytes come, if that is known: only said, so that whoever watches a stream sees
    /// how much of it is still to come.
    pub size: Option<u64>,
}

impl WriteOptions {
    /// A file with exactly these permission bits, e.g. `0o600`.
    #[must_use]
    pub fn mode(mode: u32) -> Self {
        Self { mode: Some(mode), force_mode: true, size: None }
    }

    /// Says how many bytes come, as progress is told in.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// The whole path.
    pub path: PathBuf,
    /// File, folder, link or other.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits, e.g. `0o644`.
    pub mode: u32,
    /// Owner, numeric.
    pub uid: u32,
    /// Group, numeric.
    pub gid: u32,
    /// When its content last changed.
    pub modified: SystemTime,
    /// Where a link points.
    pub link: Option<PathBuf>,
}

/// The kind of thing at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// An ordinary file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Link,
    /// A socket, pipe or device.
    Other,
}

/// A cloneable handle to a [`Target`]: what runbooks hold and pass to steps.
///
/// ```
/// use runbook_core::{Host, testing::FakeTarget};
/// let host = Host::new(FakeTarget::new("web-1"));
/// assert_eq!(host.to_string(), "web-1");
/// ```
#[derive(Clone)]
pub struct Host(Arc<dyn Target>);

impl Host {
    /// A handle to `target`.
    #[must_use]
    pub fn new(target: impl Target) -> Self {
        Self(Arc::new(target))
    }

    /// A handle to a shared target.
    #[must_use]
    pub fn from_arc(target: Arc<dyn Target>) -> Self {
        Self(target)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        spoken_of::note(self);
        self.0.name()
    }

    /// The target below, for code that wraps targets. Steps and checks use
    /// [`Context::on`](crate::Context::on) and [`Observer::on`](crate::Observer::on): what is done
    /// through the target itself is in no event and no journal.
    #[must_use]
    pub fn target(&self) -> &Arc<dyn Target> {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which hosts a unit speaks of when it says what it is about, however deep in its arguments they
/// are: a database, say, that is shown with its host.
pub(crate) mod spoken_of {
    use std::cell::RefCell;
    use std::sync::Arc;

    use super::Host;

    thread_local! {
        static NOTED: RefCell<Option<Vec<Host>>> = const { RefCell::new(None) };
    }

    /// What `describe` gives, and the hosts that it spoke of.
    pub(crate) fn during<T>(describe: impl FnOnce() -> T) -> (T, Vec<Host>) {
        struct Forget;
        impl Drop for Forget {
            fn drop(&mut self) {
                NOTED.set(None);
            }
        }
        NOTED.set(Some(Vec::new()));
        let _forget = Forget;
        let said = describe();
        (said, NOTED.take().unwrap_or_default())
    }

    /// The names and identities of those that have one, sorted.
    pub(crate) fn identities<'a>(
        hosts: impl IntoIterator<Item = &'a Host>,
    ) -> Vec<(String, String)> {
        let known = |host: &Host| Some((host.0.name().to_owned(), host.0.identity()?));
        let mut identities: Vec<_> = hosts.into_iter().filter_map(known).collect();
        identities.sort();
        identities.dedup();
        identities
    }

    pub(super) fn note(host: &Host) {
        NOTED.with_borrow_mut(|noted| {
            if let Some(noted) = noted
                && !noted.iter().any(|known| Arc::ptr_eq(&known.0, &host.0))
            {
                noted.push(host.clone());
            }
        });
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
