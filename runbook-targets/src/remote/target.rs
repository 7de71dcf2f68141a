//! [`Remote`]: a whole target, but for sockets, made of [`Channels`].

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runbook_core::{BoxRead, Command, FileInfo, Process, Result, Spawn, Stdin, WriteOptions};
use tokio::runtime::{Handle, Id};
use tokio::sync::Semaphore;

use super::channel::{Channels, Purpose};
use super::files;
use super::lifeline::Lifeline;
use super::process::{Alone, Pooled, frame};
use super::shell::{Pool, Spare};

/// Everything of [`Target`](runbook_core::Target) except its sockets.
///
/// A command's program is looked up when it runs, so that it is missing is said when its end is
/// waited for, not when it is spawned.
///
/// How a command ended is what `sh` makes of it: an exit code of 128 and the number of a signal
/// that ends processes is taken for that signal. A channel's own word for it is not enough: one that
/// the server closed before looks just as the end of a command that went well.
///
/// When this side is gone, what runs is ended within a few seconds. A process escapes that if it
/// cleared its environment *and* left its parents, a daemon that was started with `env -i` for
/// instance; where there is no `/proc`, leaving its parents is enough. What earlier commands left
/// running on purpose is left alone.
pub(crate) struct Remote<C: Channels>(Arc<Inner<C>>);

pub(super) struct Inner<C: Channels> {
    pub(super) channels: C,
    pub(super) limits: Limits,
    pub(super) pool: Pool,
    pub(super) spare: Spare,
    pub(super) permits: Arc<Semaphore>,
    /// One for each runtime: it lives by tasks, which end with theirs.
    lifelines: Mutex<Vec<(Option<Id>, Arc<Lifeline>)>>,
}

/// How much and how long.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Commands that run at once, each in a shell of its own.
    pub(crate) shells: usize,
    /// Shells that are kept while nothing runs.
    pub(crate) idle: usize,
    /// Each command has a shell, and so a channel, of its own.
    pub(crate) isolated: bool,
    /// How long the login shell and its files may take.
    pub(crate) greeting: Duration,
    /// How often this side gives a sign of life, and after how many times of silence all is ended.
    pub(crate) beat: Duration,
    pub(crate) beats: u32,
    /// How long the first shells make do with a fuse of their own before there is a lifeline; none:
    /// not at all. Less than a beat.
    pub(crate) later: Option<Duration>,
    /// Between SIGTERM and SIGKILL, when this side is gone.
    pub(crate) grace: Duration,
    /// Large content is hashed on both sides.
    pub(crate) verify: bool,
    /// What the shell is called over there, and where it finds processes. Tests try others.
    pub(crate) sh: &'static str,
    pub(crate) proc: &'static str,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shells: 16,
            idle: 4,
            isolated: false,
            greeting: Duration::from_secs(30),
            beat: Duration::from_secs(5),
            beats: 4,
            later: None,
            grace: Duration::from_secs(5),
            verify: true,
            sh: "sh",
            proc: "/proc",
        }
    }
}

impl<C: Channels> Remote<C> {
    pub(crate) fn new(channels: C, limits: Limits) -> Self {
        let permits = Arc::new(Semaphore::new(limits.shells));
        let (pool, spare, lifelines) = (Pool::default(), Spare::default(), Mutex::default());
        Self(Arc::new(Inner { channels, limits, pool, spare, permits, lifelines }))
    }

    /// What it is made of.
    pub(crate) fn channels(&self) -> &C {
        &self.0.channels
    }

    pub(crate) async fn spawn(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>> {
        /// What fits into a frame; more has a way of its own.
        const SMALL: usize = 16 << 10;
        let input = command.standard_input();
        let alone = match input {
            Stdin::Piped => true,
            Stdin::Bytes(bytes) => bytes.len() > SMALL,
            Stdin::Secret(secret) => secret.expose().len() > SMALL,
            Stdin::Empty => false,
        };
        if alone {
            let script = frame::script(command, spawn)?;
            let asked = Some(command.clone());
            let opened = Alone::open(&self.0, &spawn.command, Purpose::Command);
            let alone = Alone::start(&self.0, &script, &spawn.command, opened, asked);
            return Ok(Box::new(alone.await?));
        }
        // In isolated mode too: then the shell takes no other.
        let frame = frame::pooled(command, spawn)?;
        Ok(Box::new(Pooled::start(&self.0, None, &frame, &spawn.command, Some(command)).await?))
    }

    pub(crate) async fn end_leftovers(&self, cookie: &str, grace: Duration) -> Result<Vec<String>> {
        let lifeline = self.0.lifeline();
        lifeline.open(&self.0.channels, &self.0.limits).await?;
        lifeline.end_leftovers(cookie, grace).await
    }

    pub(crate) async fn read(&self, path: &Path) -> Result<BoxRead> {
        files::read(&self.0, path).await
    }

    pub(crate) async fn write(
        &self,
        path: &Path,
        content: BoxRead,
        options: &WriteOptions,
    ) -> Result<()> {
        files::write(&self.0, path, content, options).await
    }

    pub(crate) async fn stat(&self, path: &Path) -> Result<Option<FileInfo>> {
        files::stat(&self.0, path).await
    }

    pub(crate) async fn list(&self, path: &Path) -> Result<Vec<FileInfo>> {
        files::list(&self.0, path).await
    }

    pub(crate) async fn create_dir(&self, path: &Path) -> Result<()> {
        files::create_dir(&self.0, path).await
    }

    pub(crate) async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        files::copy(&self.0, from, to).await
    }

    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        files::rename(&self.0, from, to).await
    }

    pub(crate) async fn symlink(&self, to: &Path, link: &Path) -> Result<()> {
        files::symlink(&self.0, to, link).await
    }

    pub(crate) async fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        files::set_mode(&self.0, path, mode).await
    }

    pub(crate) async fn remove(&self, path: &Path) -> Result<()> {
        files::remove(&self.0, path).await
    }

    pub(crate) async fn remove_tree(&self, path: &Path) -> Result<()> {
        files::remove_tree(&self.0, path).await
    }
}

impl<C: Channels> Inner<C> {
    pub(super) fn name(&self) -> &str {
        self.channels.name()
    }

    /// The lifeline of this runtime that lives now; a new one if it was lost.
    pub(super) fn lifeline(&self) -> Arc<Lifeline> {
        let here = Handle::try_current().ok().map(|runtime| runtime.id());
        let mut lifelines = self.lifelines.lock().unwrap_or_else(PoisonError::into_inner);
        lifelines.retain(|(_, lifeline)| lifeline.lives());
        if let Some((_, there)) = lifelines.iter().find(|(id, _)| *id == here) {
            return Arc::clone(there);
        }
        let new = Arc::new(Lifeline::new(self.name()));
        lifelines.push((here, Arc::clone(&new)));
        new
    }
}

impl<C: Channels> fmt::Debug for Remote<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.channels.fmt(f)
    }
}
