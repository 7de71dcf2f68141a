//! [`HostView`] and [`HostAccess`]: a host as a check sees it, and as a step sees it.

use std::ops::Deref;
use std::path::Path;

use tokio::io::AsyncReadExt;

use crate::command::{Command, Output, ReadOnly};
use crate::context::{Context, Observer};
use crate::error::{During, Failure, Result};
use crate::exec::{self, Invocation, Running};
use crate::target::{Address, BoxRead, BoxStream, FileInfo, Host, Target, WriteOptions};
use crate::transfer::{Direction, Meter, Metered};

/// The reading side of a host; from [`Observer::on`].
pub struct HostView<'a> {
    cx: &'a Observer,
    host: &'a Host,
}

/// The reading and changing side of a host; from [`Context::on`].
pub struct HostAccess<'a> {
    view: HostView<'a>,
}

impl<'a> HostView<'a> {
    pub(crate) fn new(cx: &'a Observer, host: &'a Host) -> Self {
        Self { cx, host }
    }

    fn target(&self) -> &'a dyn Target {
        &**self.host.target()
    }

    /// Runs a command that changes nothing; fails unless it exits with code 0.
    ///
    /// # Errors
    /// It could not be started, failed (the error names the command, the host, how it ended and
    /// the end of what it said), ran out of time, or was cancelled.
    pub async fn output(&self, command: &ReadOnly) -> Result<Output> {
        Invocation::reading(self.cx, self.host, command).checked().await
    }

    /// Runs a command that changes nothing; however it ends is fine.
    ///
    /// # Errors
    /// It could not be started, ran out of time, or was cancelled.
    pub async fn status(&self, command: &ReadOnly) -> Result<Output> {
        Invocation::reading(self.cx, self.host, command).unchecked().await
    }

    /// The whole content of a file.
    ///
    /// # Errors
    /// It is not there, is no file, or may not be read.
    pub async fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let mut content = Vec::new();
        let mut file = self.open(path).await?;
        self.unless_stopped(|| self.doing("reading", path), async {
            file.read_to_end(&mut content).await.during(self.doing("reading", path))
        })
        .await?;
        Ok(content)
    }

    /// The whole content of a text file.
    ///
    /// # Errors
    /// As for [`read`](Self::read), or it is not UTF-8.
    pub async fn read_text(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        String::from_utf8(self.read(path).await?)
            .map_err(|_| Failure::msg("it is not UTF-8 text"))
            .during(self.doing("reading", path))
    }

    /// Opens a file for reading in pieces.
    ///
    /// # Errors
    /// It is not there, is no file, or may not be read.
    pub async fn open(&self, path: impl AsRef<Path>) -> Result<BoxRead> {
        let path = path.as_ref();
        self.unless_stopped(|| self.doing("reading", path), async {
            exec::sweep(self.cx, self.host).await?;
            let file = self.target().read(path).await?;
            Ok(Box::new(Metered::down(file, self.cx, self.host, path)) as BoxRead)
        })
        .await
    }

    /// What is at `path`, links not followed; `None` if nothing is.
    ///
    /// # Errors
    /// A folder on the way may not be searched.
    pub async fn stat(&self, path: impl AsRef<Path>) -> Result<Option<FileInfo>> {
        let path = path.as_ref();
        self.unless_stopped(|| self.doing("looking at", path), self.target().stat(path)).await
    }

    /// Whether anything is at `path`, be it a dangling link.
    ///
    /// # Errors
    /// A folder on the way may not be searched.
    pub async fn exists(&self, path: impl AsRef<Path>) -> Result<bool> {
        Ok(self.stat(path).await?.is_some())
    }

    /// What is in a folder, sorted by name.
    ///
    /// # Errors
    /// It is not there, is no folder, or may not be read.
    pub async fn list(&self, path: impl AsRef<Path>) -> Result<Vec<FileInfo>> {
        let path = path.as_ref();
        self.unless_stopped(|| self.doing("listing", path), self.target().list(path)).await
    }

    /// Opens a stream to a service as the host sees it. What is said over it is up to the caller:
    /// in a check it must change nothing.
    ///
    /// # Errors
    /// Nothing listens there, or the host forbids forwarding.
    pub async fn connect(&self, address: &Address) -> Result<BoxStream> {
        let doing = || format!("connecting to {address} from {}", self.host);
        self.unless_stopped(doing, self.target().connect(address)).await
    }

    /// A look is given up as soon as the unit is to stop. A change never is: it would end at a
    /// time that nobody knows.
    async fn unless_stopped<T>(
        &self,
        doing: impl FnOnce() -> String,
        look: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            why = self.cx.stopped() => Err(why.while_doing(doing())),
            seen = look => seen,
        }
    }

    fn doing(&self, verb: &str, path: &Path) -> String {
        format!("{verb} {} on {}", path.display(), self.host)
    }
}

impl<'a> HostAccess<'a> {
    pub(crate) fn new(cx: &'a Context, host: &'a Host) -> Self {
        Self { view: HostView::new(cx.observer(), host) }
    }

    async fn changing(&self) -> Result<&'a dyn Target> {
        exec::sweep(self.view.cx, self.view.host).await?;
        Ok(self.view.target())
    }

    /// Runs a command; fails unless it exits with code 0. Its output is streamed as events, kept
    /// beside the journal, and given back up to [`Output::LIMIT`].
    ///
    /// # Errors
    /// It could not be started, failed (the error names the command, the host, how it ended and
    /// the end of what it said), ran out of time, or was cancelled.
    pub async fn run(&self, command: &Command) -> Result<Output> {
        Invocation::changing(self.view.cx, self.view.host, command).checked().await
    }

    /// Runs a command; however it ends is fine.
    ///
    /// # Errors
    /// It could not be started, ran out of time, or was cancelled.
    pub async fn run_unchecked(&self, command: &Command) -> Result<Output> {
        Invocation::changing(self.view.cx, self.view.host, command).unchecked().await
    }

    /// Starts a command and hands over its streams, for those who speak with it. Dropping the
    /// [`Running`] ends its process tree.
    ///
    /// # Errors
    /// It could not be started.
    pub async fn spawn(&self, command: &Command) -> Result<Running> {
        Invocation::changing(self.view.cx, self.view.host, command).spawn().await
    }

    /// Writes a whole file atomically, keeping the mode and owner of a file that was there.
    ///
    /// # Errors
    /// The folder is missing, full or not writable; the old file is then untouched.
    pub async fn write(&self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) -> Result<()> {
        self.write_with(path, content, &WriteOptions::default()).await
    }

    /// Writes a whole file atomically, with options.
    ///
    /// # Errors
    /// The folder is missing, full or not writable; the old file is then untouched.
    pub async fn write_with(
        &self,
        path: impl AsRef<Path>,
        content: impl Into<Vec<u8>>,
        options: &WriteOptions,
    ) -> Result<()> {
        let content = content.into();
        let options = WriteOptions { size: Some(content.len() as u64), ..options.clone() };
        self.write_from(path, Box::new(std::io::Cursor::new(content)), &options).await
    }

    /// Writes a whole file atomically from a stream. With [`WriteOptions::size`], whoever watches
    /// sees how much of it is still to come.
    ///
    /// # Errors
    /// As for [`write`](Self::write), or the stream failed.
    pub async fn write_from(
        &self,
        path: impl AsRef<Path>,
        content: BoxRead,
        options: &WriteOptions,
    ) -> Result<()> {
        let (path, view) = (path.as_ref(), &self.view);
        let target = self.changing().await?;
        let meter = Meter::new(view.cx, view.host, path, Direction::Up, options.size);
        target.write(path, Box::new(Metered::up(content, &meter)), options).await?;
        meter.finish();
        Ok(())
    }

    /// Makes a folder and those above it; fine if it is there.
    ///
    /// # Errors
    /// Something else is in the way, or it is not allowed.
    pub async fn create_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        self.changing().await?.create_dir(path.as_ref()).await
    }

    /// Copies a file, with its mode, atomically.
    ///
    /// # Errors
    /// `from` can't be read or `to` can't be written.
    pub async fn copy(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.changing().await?.copy(from.as_ref(), to.as_ref()).await
    }

    /// Renames within one file system, replacing what is there.
    ///
    /// # Errors
    /// `from` is missing, or the two are on different file systems.
    pub async fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.changing().await?.rename(from.as_ref(), to.as_ref()).await
    }

    /// Makes `link` a symbolic link to `to`, atomically.
    ///
    /// # Errors
    /// A folder is in the way, or it is not allowed.
    pub async fn symlink(&self, to: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        self.changing().await?.symlink(to.as_ref(), link.as_ref()).await
    }

    /// Sets the permission bits of a file.
    ///
    /// # Errors
    /// It is missing, or it is not allowed.
    pub async fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.changing().await?.set_mode(path.as_ref(), mode).await
    }

    /// Removes a file or link, or an empty folder; fine if it is not there.
    ///
    /// # Errors
    /// A folder is not empty, or it is not allowed.
    pub async fn remove(&self, path: impl AsRef<Path>) -> Result<()> {
        self.changing().await?.remove(path.as_ref()).await
    }

    /// Removes a folder and all below it, links not followed; fine if it is not there.
    ///
    /// # Errors
    /// It is not allowed.
    pub async fn remove_tree(&self, path: impl AsRef<Path>) -> Result<()> {
        self.changing().await?.remove_tree(path.as_ref()).await
    }
}

impl<'a> Deref for HostAccess<'a> {
    type Target = HostView<'a>;
    fn deref(&self) -> &HostView<'a> {
        &self.view
    }
}
