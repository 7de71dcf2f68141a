//! [`Here`]: channels to `sh` of this machine, over a connection that can be cut or fall silent.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use runbook_core::{
    Address, BoxRead, BoxStream, BoxWrite, Command, Exit, Failure, FailureKind, FileInfo, Host,
    Process, Result, Spawn, Target, WriteOptions,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::sync::{oneshot, watch};

use crate::remote::channel::{Channel, Channels, Purpose};
use crate::remote::{Limits, Remote};

pub(super) const SHELLS: [&str; 3] = ["dash", "bash --posix", "busybox sh"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Up,
    /// Nothing goes through, and nobody is told.
    Silent,
    /// Both ends are closed.
    Cut,
}

/// This machine as if it was far away.
#[derive(Clone, Debug)]
pub(super) struct Here {
    line: Arc<watch::Sender<Line>>,
    open: Arc<AtomicUsize>,
    opened: Arc<AtomicUsize>,
    /// No channel more is given.
    full: Arc<AtomicBool>,
    /// Nor any for much.
    no_bulk: Arc<AtomicBool>,
}

impl Here {
    pub(super) fn new() -> Self {
        let line = Arc::new(watch::Sender::new(Line::Up));
        Self {
            line,
            open: Arc::default(),
            opened: Arc::default(),
            full: Arc::default(),
            no_bulk: Arc::default(),
        }
    }

    /// As when this process is killed, or the connection reset.
    pub(super) fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    pub(super) fn fall_silent(&self) {
        self.line.send_replace(Line::Silent);
    }

    /// As a server that allows no more sessions.
    pub(super) fn refuse_more(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    /// As a server that lets in no second connection.
    pub(super) fn refuse_bulk(&self) {
        self.no_bulk.store(true, Ordering::SeqCst);
    }

    pub(super) fn come_back(&self) {
        self.line.send_replace(Line::Up);
    }

    /// Channels whose line has not ended.
    pub(super) fn open_channels(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Channels that were ever opened.
    pub(super) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    fn down(&self, from: impl AsyncRead + Unpin + Send + 'static) -> BoxRead {
        let (here, there) = duplex(8 << 10);
        tokio::spawn(carry(from, there, self.line.subscribe()));
        Box::new(here)
    }

    fn up(&self, to: impl AsyncWrite + Unpin + Send + 'static) -> BoxWrite {
        let (here, there) = duplex(8 << 10);
        tokio::spawn(carry(there, to, self.line.subscribe()));
        Box::new(here)
    }
}

/// Carries bytes while the line is up.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut line: watch::Receiver<Line>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = tokio::select! {
            biased;
            _ = line.wait_for(|line| *line == Line::Cut) => return,
            read = from.read(&mut buffer) => read,
        };
        let up =
            line.wait_for(|line| *line != Line::Silent).await.is_ok_and(|line| *line == Line::Up);
        let Ok(read @ 1..) = read else { break };
        if !up || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        let _ = to.flush().await;
    }
    let _ = to.shutdown().await;
}

#[async_trait]
impl Channels for Here {
    fn name(&self) -> &str {
        "web-1"
    }

    async fn open(&self, line: &str, purpose: Purpose) -> Result<Channel> {
        let lost = || Failure::new(FailureKind::Disconnected, "the connection to web-1 was lost");
        if *self.line.borrow() != Line::Up {
            return Err(lost());
        }
        let no_bulk = purpose == Purpose::Bulk && self.no_bulk.load(Ordering::SeqCst);
        if no_bulk || self.full.load(Ordering::SeqCst) {
            return Err(Failure::msg("the server allows no more sessions"));
        }
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let stdin = self.up(child.stdin.take().unwrap());
        let stdout = self.down(child.stdout.take().unwrap());
        let stderr = self.down(child.stderr.take().unwrap());
        let (sender, exit) = oneshot::channel();
        let (mut state, open) = (self.line.subscribe(), Arc::clone(&self.open));
        open.fetch_add(1, Ordering::SeqCst);
        self.opened.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            use std::os::unix::process::ExitStatusExt;
            let status = tokio::select! {
                status = child.wait() => Some(status.unwrap()),
                _ = state.wait_for(|line| *line == Line::Cut) => None,
            };
            let exit = match status {
                Some(status) => match status.code() {
                    Some(code) => Ok(Exit::Code(code)),
                    None => Ok(Exit::Signal(status.signal().unwrap())),
                },
                None => Err(lost()),
            };
            let _ = sender.send(exit);
            let _ = child.wait().await;
            open.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(Channel { stdin, stdout, stderr, exit })
    }
}

/// A whole target of it.
#[derive(Debug)]
pub(super) struct Far(pub(super) Remote<Here>);

impl Far {
    pub(super) fn new(here: &Here, sh: &'static str) -> Self {
        Self::with(here, Limits { sh, ..Limits::default() })
    }

    pub(super) fn with(here: &Here, limits: Limits) -> Self {
        Self(Remote::new(here.clone(), limits))
    }
}

/// One host for each shell.
pub(super) fn hosts() -> Vec<Host> {
    SHELLS.into_iter().map(|sh| Host::new(Far::new(&Here::new(), sh))).collect()
}

#[async_trait]
impl Target for Far {
    fn name(&self) -> &str {
        "web-1"
    }
    async fn spawn(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>> {
        self.0.spawn(command, spawn).await
    }
    async fn end_leftovers(&self, cookie: &str, grace: std::time::Duration) -> Result<Vec<String>> {
        self.0.end_leftovers(cookie, grace).await
    }
    async fn read(&self, path: &std::path::Path) -> Result<BoxRead> {
        self.0.read(path).await
    }
    async fn write(
        &self,
        path: &std::path::Path,
        content: BoxRead,
        options: &WriteOptions,
    ) -> Result<()> {
        self.0.write(path, content, options).await
    }
    async fn stat(&self, path: &std::path::Path) -> Result<Option<FileInfo>> {
        self.0.stat(path).await
    }
    async fn list(&self, path: &std::path::Path) -> Result<Vec<FileInfo>> {
        self.0.list(path).await
    }
    async fn create_dir(&self, path: &std::path::Path) -> Result<()> {
        self.0.create_dir(path).await
    }
    async fn copy(&self, from: &std::path::Path, to: &std::path::Path) -> Result<()> {
        self.0.copy(from, to).await
    }
    async fn rename(&self, from: &std::path::Path, to: &std::path::Path) -> Result<()> {
        self.0.rename(from, to).await
    }
    async fn symlink(&self, to: &std::path::Path, link: &std::path::Path) -> Result<()> {
        self.0.symlink(to, link).await
    }
    async fn set_mode(&self, path: &std::path::Path, mode: u32) -> Result<()> {
        self.0.set_mode(path, mode).await
    }
    async fn remove(&self, path: &std::path::Path) -> Result<()> {
        self.0.remove(path).await
    }
    async fn remove_tree(&self, path: &std::path::Path) -> Result<()> {
        self.0.remove_tree(path).await
    }
    async fn connect(&self, _: &Address) -> Result<BoxStream> {
        Err(Failure::msg("no sockets here"))
    }
}
