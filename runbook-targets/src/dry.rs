//! [`Dry`]: any target, looked at but never changed.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{
    Address, BoxRead, BoxStream, BoxWrite, Command, Exit, Failure, FailureKind, FileInfo, Host,
    Process, Result, Spawn, Stdin, Target, WriteOptions,
};
use tokio::io::{copy, empty, sink};

use crate::Operation;

/// A target on which nothing is changed: what only looks is done, what would change something is
/// recorded and answered with success.
///
/// Clones share the record, so keep one to ask and give one to a [`Host`]. Its `Display` is the
/// list of the changes, one a line.
///
/// ```
/// use runbook_core::{Command, Host, testing};
/// use runbook_core::testing::FakeTarget;
/// use runbook_targets::Dry;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let web = FakeTarget::new("web-1").file("/etc/motd", "hello");
/// let dry = Dry::new(Host::new(web.clone()));
/// let (cx, host) = (testing::context(), Host::new(dry.clone()));
/// cx.on(&host).write("/etc/motd", "goodbye").await.unwrap();
/// cx.on(&host).run(&Command::new("systemctl").args(["restart", "shop"])).await.unwrap();
/// assert_eq!(dry.to_string(), "web-1: write /etc/motd\nweb-1: systemctl restart shop\n");
///
/// // Nothing was done, so a later look does not see it.
/// assert_eq!(cx.on(&host).read_text("/etc/motd").await.unwrap(), "hello");
/// assert!(web.changes().is_empty());
/// # });
/// ```
///
/// What it can't do:
/// - A look after a change that was left out sees what was there before, so a step that goes by
///   what it did itself may fail or do something else than it would.
/// - A command that was left out is answered with exit code 0 and no output.
/// - Only the author of a command knows whether it changes nothing: one that was not declared
///   [`read_only`](Command::read_only) is left out.
/// - What is said over a socket may change anything. So none is opened, which is a failure that
///   says so, unless [`allow_sockets`](Self::allow_sockets) is given.
/// - A target that does all its work by commands (a container) has to be inside it, not around it.
#[derive(Clone)]
pub struct Dry {
    inner: Host,
    sockets: bool,
    record: Arc<Mutex<Vec<Operation>>>,
}

impl Dry {
    /// `inner`, not to be changed.
    #[must_use]
    pub fn new(inner: Host) -> Self {
        Self { inner, sockets: false, record: Arc::default() }
    }

    /// Opens sockets: whoever uses them changes nothing by them.
    #[must_use]
    pub fn allow_sockets(mut self) -> Self {
        self.sockets = true;
        self
    }

    /// Everything that it was asked to do, in order, looks included.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What would have changed something and was left out, in order.
    #[must_use]
    pub fn changes(&self) -> Vec<Operation> {
        let mut changes = self.operations();
        // A socket that was opened left nothing out.
        changes.retain(|asked| asked.is_change() && !matches!(asked, Operation::Connect(_)));
        changes
    }

    fn note(&self, operation: Operation) {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }
}

impl fmt::Display for Dry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in self.changes() {
            writeln!(f, "{}: {change}", self.inner)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Dry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dry({:?})", self.inner)
    }
}

#[async_trait]
impl Target for Dry {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn identity(&self) -> Option<String> {
        self.inner.target().identity()
    }

    async fn spawn(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>> {
        self.note(Operation::command(command, spawn));
        if spawn.read_only {
            return self.inner.target().spawn(command, spawn).await;
        }
        let fed = matches!(command.standard_input(), Stdin::Piped);
        Ok(Box::new(LeftOut { stdin: fed, stdout: true, stderr: true }))
    }

    async fn end_leftovers(&self, cookie: &str, _: Duration) -> Result<Vec<String>> {
        self.note(Operation::EndLeftovers(cookie.to_owned()));
        Ok(Vec::new())
    }

    async fn read(&self, path: &Path) -> Result<BoxRead> {
        self.note(Operation::Read(path.to_owned()));
        self.inner.target().read(path).await
    }

    async fn write(&self, path: &Path, mut content: BoxRead, _: &WriteOptions) -> Result<()> {
        self.note(Operation::Write(path.to_owned()));
        // Whoever makes the content would wait for ever for it to be taken.
        copy(&mut content, &mut sink()).await.map(drop).map_err(|error| {
            Failure::from(error).while_doing("the content could not be read").while_doing(format!(
                "writing {} on {}",
                path.display(),
                self.inner
            ))
        })
    }

    async fn stat(&self, path: &Path) -> Result<Option<FileInfo>> {
        self.note(Operation::Stat(path.to_owned()));
        self.inner.target().stat(path).await
    }

    async fn list(&self, path: &Path) -> Result<Vec<FileInfo>> {
        self.note(Operation::List(path.to_owned()));
        self.inner.target().list(path).await
    }

    async fn create_dir(&self, path: &Path) -> Result<()> {
        self.note(Operation::CreateDir(path.to_owned()));
        Ok(())
    }

    async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        self.note(Operation::Copy(from.to_owned(), to.to_owned()));
        Ok(())
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.note(Operation::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    async fn symlink(&self, to: &Path, link: &Path) -> Result<()> {
        self.note(Operation::Symlink(to.to_owned(), link.to_owned()));
        Ok(())
    }

    async fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.note(Operation::SetMode(path.to_owned(), mode));
        Ok(())
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        self.note(Operation::Remove(path.to_owned()));
        Ok(())
    }

    async fn remove_tree(&self, path: &Path) -> Result<()> {
        self.note(Operation::RemoveTree(path.to_owned()));
        Ok(())
    }

    async fn connect(&self, address: &Address) -> Result<BoxStream> {
        self.note(Operation::Connect(address.clone()));
        if self.sockets {
            return self.inner.target().connect(address).await;
        }
        Err(Failure::new(
            FailureKind::Refused,
            "nothing is to be changed, and what is said over a socket may change anything",
        )
        .while_doing(format!("connecting to {address} from {}", self.inner))
        .next("if what uses the socket only reads, allow it with `Dry::allow_sockets`"))
    }
}

/// A command that was left out: it took all that it was given, said nothing and ended well.
struct LeftOut {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

#[async_trait]
impl Process for LeftOut {
    fn stdin(&mut self) -> Option<BoxWrite> {
        std::mem::take(&mut self.stdin).then(|| Box::new(sink()) as BoxWrite)
    }

    fn stdout(&mut self) -> Option<BoxRead> {
        std::mem::take(&mut self.stdout).then(|| Box::new(empty()) as BoxRead)
    }

    fn stderr(&mut self) -> Option<BoxRead> {
        std::mem::take(&mut self.stderr).then(|| Box::new(empty()) as BoxRead)
    }

    async fn wait(&mut self) -> Result<Exit> {
        Ok(Exit::Code(0))
    }

    async fn kill(&mut self, _: Duration) -> Result<()> {
        Ok(())
    }
}
