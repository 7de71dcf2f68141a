//! [`Line`]: the connection of one operation, as long as it holds.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{BoxRead, BoxWrite, Exit, Failure, FailureKind, Host, Process, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::Connection;
use crate::Operation;

#[derive(Clone)]
pub(crate) struct Line {
    host: Arc<str>,
    /// What was asked, unless whoever asked says it anyway.
    doing: Option<Arc<str>>,
    connection: watch::Receiver<Connection>,
    /// How often the connection was lost before.
    losses: u64,
    cut: Option<Arc<Cut>>,
    has_streams: bool,
}

struct Cut {
    /// How many bytes may still pass.
    left: Mutex<u64>,
    over: watch::Sender<bool>,
}

impl Line {
    pub(super) fn new(
        host: &Host,
        operation: &Operation,
        connection: watch::Receiver<Connection>,
        cut: Option<u64>,
    ) -> Self {
        let losses = connection.borrow().losses;
        let doing = match operation {
            Operation::Command { .. } => None,
            other => Some(format!("{other} on {host}").into()),
        };
        let has_streams = matches!(
            operation,
            Operation::Command { .. }
                | Operation::Read(_)
                | Operation::Write(_)
                | Operation::Connect(_)
        );
        let cut = cut.map(|left| Cut { left: Mutex::new(left), over: watch::Sender::new(false) });
        Self {
            host: host.name().into(),
            doing,
            connection,
            losses,
            cut: cut.map(Arc::new),
            has_streams,
        }
    }

    /// Until the connection is lost for all.
    pub(super) async fn lost(&self) {
        let (mut connection, losses) = (self.connection.clone(), self.losses);
        if connection.wait_for(|connection| connection.losses != losses).await.is_err() {
            // The target is gone, and with it whoever could break it.
            std::future::pending::<()>().await;
        }
    }

    /// Until it is lost for all or for this operation.
    async fn over(&self) {
        let cut = async {
            if let Some(cut) = &self.cut
                && cut.over.subscribe().wait_for(|over| *over).await.is_ok()
            {
                return;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = self.lost() => {}
            () = cut => {}
        }
    }

    /// Whether it was cut for an operation that is done, or was to be.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| !self.has_streams || *cut.over.borrow())
    }

    pub(super) fn failure(&self) -> Failure {
        let lost = format!("the connection to {} was lost", self.host);
        let failure = Failure::new(FailureKind::Disconnected, lost)
            .next("see whether the host is up and can be reached, then resume the run");
        match &self.doing {
            Some(doing) => failure.while_doing(doing),
            None => failure,
        }
    }

    /// Lets so many bytes pass, or fewer.
    fn pass(&self, bytes: usize) -> usize {
        let Some(cut) = &self.cut else { return bytes };
        let mut left = cut.left.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes);
        *left -= pass as u64;
        if *left == 0 {
            cut.over.send_replace(true);
        }
        pass
    }

    fn wait(&self) -> Over {
        let line = self.clone();
        Box::pin(async move { line.over().await })
    }
}

type Over = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// What a reader sees when the connection is lost.
#[derive(Clone, Copy)]
pub(super) enum AtLoss {
    /// The end; the error comes from elsewhere.
    End,
    Error,
}

/// A stream that breaks with its line.
pub(super) struct Broken<S> {
    stream: S,
    line: Line,
    at_loss: AtLoss,
    is_over: bool,
    // One each: reader and writer may be different tasks.
    over_for_reader: Over,
    over_for_writer: Over,
}

impl<S> Broken<S> {
    pub(super) fn new(stream: S, line: Line, at_loss: AtLoss) -> Self {
        // Nothing may pass at all.
        line.pass(0);
        let (over_for_reader, over_for_writer) = (line.wait(), line.wait());
        Self { stream, line, at_loss, is_over: false, over_for_reader, over_for_writer }
    }

    fn reset() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionReset, "the connection was lost")
    }

    fn writable(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_over || self.over_for_writer.as_mut().poll(cx).is_ready() {
            self.is_over = true;
            return Err(Self::reset());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Broken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_over || this.over_for_reader.as_mut().poll(cx).is_ready() {
            this.is_over = true;
            return Poll::Ready(match this.at_loss {
                AtLoss::End => Ok(()),
                AtLoss::Error => Err(Self::reset()),
            });
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        if read > 0 {
            buffer.set_filled(before + this.line.pass(read));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Broken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writable(cx)?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.line.pass(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A command whose line may break.
pub(super) struct FaultyProcess {
    /// Dropped when the line broke, which ends the command.
    inner: Option<Box<dyn Process>>,
    line: Line,
    ended: Option<Exit>,
}

impl FaultyProcess {
    pub(super) fn new(inner: Box<dyn Process>, line: Line) -> Self {
        Self { inner: Some(inner), line, ended: None }
    }
}

#[async_trait]
impl Process for FaultyProcess {
    fn stdin(&mut self) -> Option<BoxWrite> {
        let stdin = self.inner.as_mut()?.stdin()?;
        Some(Box::new(Broken::new(stdin, self.line.clone(), AtLoss::Error)))
    }

    fn stdout(&mut self) -> Option<BoxRead> {
        let stdout = self.inner.as_mut()?.stdout()?;
        Some(Box::new(Broken::new(stdout, self.line.clone(), AtLoss::End)))
    }

    fn stderr(&mut self) -> Option<BoxRead> {
        let stderr = self.inner.as_mut()?.stderr()?;
        Some(Box::new(Broken::new(stderr, self.line.clone(), AtLoss::End)))
    }

    async fn wait(&mut self) -> Result<Exit> {
        if let Some(exit) = self.ended {
            return Ok(exit);
        }
        let Some(inner) = &mut self.inner else { return Err(self.line.failure()) };
        let exit = tokio::select! {
            biased;
            () = self.line.over() => {
                self.inner = None;
                return Err(self.line.failure());
            }
            exit = inner.wait() => exit?,
        };
        self.ended = Some(exit);
        Ok(exit)
    }

    async fn kill(&mut self, grace: Duration) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        let Some(inner) = &mut self.inner else { return Err(self.line.failure()) };
        tokio::select! {
            biased;
            () = self.line.over() => {
                self.inner = None;
                Err(self.line.failure())
            }
            killed = inner.kill(grace) => killed,
        }
    }
}
