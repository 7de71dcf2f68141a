//! [`Pooled`] and [`Alone`]: a command in a shell that others use after it, and one on a channel
//! of its own.

mod alone;
pub(super) mod frame;
mod missing;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use runbook_core::{
    BoxRead, BoxWrite, Command, Exit, Failure, FailureKind, Problem, Process, Result,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

pub(super) use self::alone::Alone;
pub(super) use self::frame::Frame;
use super::channel::Channels;
use super::lifeline::Kind;
use super::shell::{About, Shell};
use super::stream::{Ended, Side};
use super::target::Inner;

/// How long a shell gets to say that a command which is gone has ended.
const WORD: Duration = Duration::from_secs(1);

/// How long a place gets to say why a shell is gone: docker takes seconds to notice that a container
/// has ended.
const LAST_WORD: Duration = Duration::from_secs(6);

/// A command in a shell of the pool.
pub(super) struct Pooled<C: Channels> {
    inner: Arc<Inner<C>>,
    out: Option<Arc<Side>>,
    err: Option<Arc<Side>>,
    out_reader: Option<BoxRead>,
    err_reader: Option<BoxRead>,
    rest: Option<Rest>,
    /// What was asked for, if it may be refused.
    asked: Option<Command>,
    /// It is a simple command of its shell.
    simple: bool,
    /// It may leave processes behind.
    leaves: bool,
    ended: Option<Result<Exit, Problem>>,
    /// It was killed: nobody knows whether its shell is as it was.
    killed: bool,
    /// Its shell is for it alone.
    single: bool,
    /// What a dropped one gets to end in order.
    pub(super) patience: Duration,
    /// It was dropped, and what is left of it ends it. If that is dropped too, as when the runtime
    /// ends, the lifeline does.
    left: bool,
}

/// The rest of the shell, as long as it runs the command.
struct Rest {
    stdin: BoxWrite,
    about: About,
    _permit: OwnedSemaphorePermit,
}

impl<C: Channels> Pooled<C> {
    /// Starts what the frame says. `function`: a name, and what defines it, for shells that don't
    /// know it yet.
    pub(super) async fn start(
        inner: &Arc<Inner<C>>,
        function: Option<(&'static str, &str)>,
        frame: &Frame,
        command: &str,
        asked: Option<&Command>,
    ) -> Result<Self> {
        let permit = Arc::clone(&inner.permits).acquire_owned().await?;
        // What `asked` for nothing is a script of ours, whose shells are not isolated.
        let single = inner.limits.isolated && asked.is_some();
        let lifeline = inner.lifeline();
        let ready = match single {
            true => inner.spare.take(&lifeline).await,
            false => inner.pool.take(&lifeline),
        };
        let shell = match ready {
            Some(shell) => shell,
            None => Shell::open(inner, lifeline).await?,
        };
        let Shell { stdin, stdout, stderr, mut about } = shell;
        if about.fuse {
            inner.open_later(&about.lifeline);
        }
        command.clone_into(&mut about.whom.command);
        let mut said = std::mem::take(&mut about.prologue);
        if let Some((name, text)) = function
            && about.knows.insert(name)
        {
            said.extend_from_slice(format!("_{name}() {{\n{text}}}\n").as_bytes());
        }
        let simple = about.whom.kind == Kind::Ash && frame.is_simple();
        said.extend_from_slice(&frame.said(simple, about.is_fresh()));
        let stderr = (stderr.0, stderr.1.noting(simple));
        let (out, err) = (Side::new(stdout.0, stdout.1), Side::new(stderr.0, stderr.1));
        let mut process = Self {
            inner: Arc::clone(inner),
            out_reader: Some(out.reader()),
            err_reader: Some(err.reader()),
            out: Some(out),
            err: Some(err),
            rest: Some(Rest { stdin, about, _permit: permit }),
            asked: asked.cloned(),
            simple,
            leaves: frame.leaves,
            ended: None,
            killed: false,
            single,
            patience: Duration::ZERO,
            left: false,
        };
        if let Some(rest) = &mut process.rest {
            let said = async {
                rest.stdin.write_all(&said).await?;
                rest.stdin.flush().await
            };
            if let Err(error) = said.await {
                return Err(process.lost(&error.to_string()).await);
            }
        }
        if single {
            inner.spare.open(inner);
        }
        Ok(process)
    }

    /// What became of it, once both streams say so.
    async fn settle(&mut self, out: Ended, err: Ended) -> Result<Exit> {
        let (Ended::Said(said), Ended::Said(_)) = (&out, &err) else {
            let why = match (out, err) {
                (Ended::Failed(_, why), _) | (_, Ended::Failed(_, why)) => why.message,
                _ => "its shell is gone".to_owned(),
            };
            return Err(self.lost(&why).await);
        };
        let mut words = said.trim_start_matches('=').split(' ');
        let code = words.next().and_then(|code| code.parse().ok());
        let Some(code) = code else {
            return Err(self.lost(&format!("its shell said `{said}`")).await);
        };
        let remarks = self.out.as_ref().map(|side| side.remarks()).unwrap_or_default();
        let tail = self.err.as_ref().map(|side| side.tail()).unwrap_or_default();
        let mut silent = self.simple;
        if let Some(rest) = &mut self.rest {
            // Only its first command is told the greeting.
            rest.about.whom.greeted(&remarks);
            silent |= rest.about.whom.kind == Kind::Bash;
            if self.leaves {
                rest.about.looked = Some(Instant::now());
            }
        }
        let exit = exit(code);
        // Its fuse ends a command first, and then the shell that says so.
        if matches!(exit, Exit::Signal(9 | 15))
            && !self.killed
            && let Some(why) = self.unwatched()
        {
            return Err(why);
        }
        self.release(words.next().unwrap_or_default());
        if matches!(exit, Exit::Code(126 | 127))
            && let Some(asked) = self.asked.take()
            && let Some(why) =
                missing::why(&self.inner, &asked, exit, &remarks, silent, &tail).await
        {
            return Err(why);
        }
        Ok(exit)
    }

    /// Why nobody could watch over it for long, if that is so: then its fuse ends it.
    fn unwatched(&self) -> Option<Failure> {
        self.inner.why_unwatched(&self.rest.as_ref()?.about.lifeline)
    }

    /// Gives the shell to the next command, if it is as it was.
    fn release(&mut self, lingers: &str) {
        let (Some(out), Some(err)) = (&self.out, &self.err) else { return };
        if lingers == "1" {
            // What the command left behind is heard on, as long as somebody listens.
            return;
        }
        let sources = out.take_source().zip(err.take_source());
        let Some(Rest { stdin, about, .. }) = self.rest.take() else { return };
        if let Some((stdout, stderr)) = sources
            && lingers == "0"
            && !self.killed
            && !self.single
        {
            self.inner.pool.give(Shell { stdin, stdout, stderr, about }, &self.inner.limits);
        }
    }

    /// The connection is gone, or the shell: what the command did is not known.
    async fn lost(&mut self, why: &str) -> Failure {
        if let Some(Rest { about, .. }) = &self.rest
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // It may be its channel alone that was lost.
            let (inner, lifeline) = (Arc::clone(&self.inner), Arc::clone(&about.lifeline));
            let whom = about.whom.clone();
            runtime.spawn(async move { inner.kill(&lifeline, &whom, true, Duration::ZERO).await });
        }
        if let Some(why) = self.unwatched() {
            return why;
        }
        let exit = self.rest.as_mut().and_then(|rest| rest.about.exit.take());
        let Some(exit) = exit else { return gone(self.inner.name(), why) };
        match timeout(LAST_WORD, exit).await {
            Ok(Ok(Err(failure))) => failure,
            Ok(Ok(Ok(exit))) => gone(self.inner.name(), &format!("{why} ({exit})")),
            _ => gone(self.inner.name(), why),
        }
    }
}

fn gone(place: &str, why: &str) -> Failure {
    Failure::new(
        FailureKind::Disconnected,
        format!("the connection to {place} was lost, or the command ended its own shell: {why}"),
    )
}

fn both(out: &Side, err: &Side, cx: &mut Context<'_>) -> Poll<(Ended, Ended)> {
    match (out.poll_ended(cx), err.poll_ended(cx)) {
        (Poll::Ready(out), Poll::Ready(err)) => Poll::Ready((out, err)),
        // The shell can't say any more on the other one.
        (Poll::Ready(cut @ (Ended::Cut | Ended::Failed(..))), _)
        | (_, Poll::Ready(cut @ (Ended::Cut | Ended::Failed(..)))) => {
            Poll::Ready((cut.clone(), cut))
        }
        _ => Poll::Pending,
    }
}

/// What `sh` says of a signal is 128 more than its number. Those that end no process aside, it is
/// taken for one: few programs exit so.
fn exit(code: i32) -> Exit {
    match code - 128 {
        signal @ (1..=16 | 24..=27 | 29..=31) => Exit::Signal(signal),
        _ => Exit::Code(code),
    }
}

#[async_trait]
impl<C: Channels> Process for Pooled<C> {
    fn stdin(&mut self) -> Option<BoxWrite> {
        None
    }

    fn stdout(&mut self) -> Option<BoxRead> {
        self.out_reader.take()
    }

    fn stderr(&mut self) -> Option<BoxRead> {
        self.err_reader.take()
    }

    async fn wait(&mut self) -> Result<Exit> {
        if let Some(ended) = &self.ended {
            return Ok(ended.clone()?);
        }
        let (out, err) = match (&self.out, &self.err) {
            (Some(out), Some(err)) => poll_fn(|cx| both(out, err, cx)).await,
            _ => (Ended::Cut, Ended::Cut),
        };
        let ended = self.settle(out, err).await.map_err(|failure| failure.to_problem());
        self.ended = Some(ended.clone());
        Ok(ended?)
    }

    async fn kill(&mut self, grace: Duration) -> Result<()> {
        let Some(rest) = &self.rest else { return Ok(()) };
        if self.ended.is_some() {
            return Ok(());
        }
        self.killed = true;
        let mut whom = rest.about.whom.clone();
        let lifeline = Arc::clone(&rest.about.lifeline);
        if let Some(out) = &self.out {
            whom.greeted(&out.remarks());
        }
        self.inner.kill(&lifeline, &whom, false, grace).await?;
        if timeout(WORD, self.wait()).await.is_err() {
            // It had not started yet, or somebody else holds its streams. The shell goes too.
            self.inner.kill(&lifeline, &whom, true, Duration::ZERO).await?;
            self.ended = Some(Ok(Exit::Signal(9)));
        }
        Ok(())
    }
}

impl<C: Channels> Drop for Pooled<C> {
    fn drop(&mut self) {
        if self.ended.is_some() || self.rest.is_none() || self.left {
            return;
        }
        let (Some(out), Some(err)) = (self.out.take(), self.err.take()) else { return };
        let mut left = Self {
            inner: Arc::clone(&self.inner),
            out_reader: None,
            err_reader: None,
            out: Some(out),
            err: Some(err),
            rest: self.rest.take(),
            asked: None,
            simple: self.simple,
            leaves: self.leaves,
            ended: None,
            killed: false,
            single: self.single,
            patience: self.patience,
            left: true,
        };
        drop((self.out_reader.take(), self.err_reader.take()));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // Without a runtime the channels are gone too, and the lifeline ends it.
            left.ended = Some(Ok(Exit::Signal(9)));
            return;
        };
        // It may have ended without anybody asking.
        let noop = &mut Context::from_waker(Waker::noop());
        if pin!(left.wait()).poll(noop).is_ready() {
            return;
        }
        runtime.spawn(async move {
            let _ = left.kill(left.patience).await;
            left.ended.get_or_insert(Ok(Exit::Signal(9)));
        });
    }
}
