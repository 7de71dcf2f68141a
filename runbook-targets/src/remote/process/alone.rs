//! [`Alone`]: a command on a channel of its own.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{
    BoxRead, BoxWrite, Command, Exit, Failure, Problem, Process, Result, Spawn, Stdin,
};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::super::channel::{Channel, Channels, Purpose};
use super::super::lifeline::{Kind, Lifeline, Whom};
use super::super::shell::{BOOT, framed, word};
use super::super::stream::{Ended, Scanner, Side};
use super::super::target::Inner;
use super::{LAST_WORD, WORD, both, exit, gone, missing};

/// What the script may use.
const PROLOGUE: &str =
    "_r() { set -- \"${1:-$?}\";trap - 0;printf '%s!%s\\n' \"$_n\" \"$1\";exit 126; }
printf '%s+%s%s\\n' \"$_n\" $$ \"${BASH_VERSION:+ bash}\";printf '%s+\\n' \"$_n\" >&2
exec 3>&2 2>/dev/null
trap : HUP INT QUIT TERM USR1 USR2 ALRM
(
";

/// How it ended. A channel that was closed before its command ended looks just as one whose command
/// ended well: only this word tells them apart. Whoever still holds the stream is heard on.
const EPILOGUE: &str = "
) 2>&3 3>&-
_s=$?;printf '%s=%s 1\\n' \"$_n\" $_s >&3;exit $_s";

/// A command on a channel of its own: its standard input is the channel's.
pub(in super::super) struct Alone<C: Channels> {
    inner: Arc<Inner<C>>,
    lifeline: Arc<Lifeline>,
    whom: Whom,
    stdin: Option<Input>,
    feed: Option<AbortHandle>,
    out: Arc<Side>,
    err: Arc<Side>,
    out_reader: Option<BoxRead>,
    err_reader: Option<BoxRead>,
    exit: Option<oneshot::Receiver<Result<Exit>>>,
    /// What was received there.
    seen: Option<Result<Exit, Problem>>,
    asked: Option<Command>,
    ended: Option<Result<Exit, Problem>>,
}

impl<C: Channels> Alone<C> {
    /// Opens a channel for the script of this command: a shell that waits for it.
    pub(in super::super) async fn open(
        inner: &Inner<C>,
        command: &str,
        purpose: Purpose,
    ) -> Result<Channel> {
        // From its first moment it is known by its environment.
        let line = format!(
            "RUNBOOK_COMMAND={} exec {} -c {BOOT} runbook",
            runbook_core::quote(command),
            inner.limits.sh
        );
        inner.channels.open(&line, purpose).await
    }

    /// Starts a script of `sh` on what [`open`](Self::open) opens. `asked`: the command that it
    /// becomes; else its standard input is left to the caller.
    pub(in super::super) async fn start(
        inner: &Arc<Inner<C>>,
        script: &[u8],
        command: &str,
        opened: impl Future<Output = Result<Channel>>,
        asked: Option<Command>,
    ) -> Result<Self> {
        let lifeline = inner.lifeline();
        let whom = Whom::new(command, String::new());
        // Nothing runs in the shell before it is watched over: it is told only then.
        let watched = async {
            lifeline.open(&inner.channels, &inner.limits).await?;
            let running =
                Running { lifeline: Arc::clone(&lifeline), command: Some(whom.command.clone()) };
            lifeline.will_run(command).await?;
            Ok(running)
        };
        let (running, channel) = tokio::try_join!(watched, opened)?;
        let Channel { stdin, stdout, stderr, exit } = channel;
        let word = word();
        let side = |source| Side::new(source, Scanner::new(word.as_bytes()));
        let (out, err) = (side(stdout), side(stderr));
        let mut process = Self {
            inner: Arc::clone(inner),
            lifeline,
            whom,
            stdin: None,
            feed: None,
            out_reader: Some(out.reader()),
            err_reader: Some(err.reader()),
            out,
            err,
            exit: Some(exit),
            seen: None,
            asked,
            ended: None,
        };
        running.started();
        let mut said = format!("unset _n _p;_n='{word}' _p={}\n{PROLOGUE}", Spawn::this_process())
            .into_bytes();
        said.extend_from_slice(script);
        said.extend_from_slice(EPILOGUE.as_bytes());
        let mut stdin = Input(Some(stdin));
        let said = framed(&said);
        let sent = async {
            stdin.write_all(&said).await?;
            stdin.flush().await
        };
        if let Err(error) = sent.await {
            return Err(process.lost(&error.to_string()).await);
        }
        match process.asked.as_ref().map(|asked| asked.standard_input().clone()) {
            Some(Stdin::Empty) => drop(stdin),
            Some(input @ (Stdin::Bytes(_) | Stdin::Secret(_))) => {
                let feed = tokio::spawn(async move {
                    let bytes = match &input {
                        Stdin::Bytes(bytes) => bytes.as_slice(),
                        Stdin::Secret(secret) => secret.expose().as_bytes(),
                        Stdin::Empty | Stdin::Piped => &[],
                    };
                    // A program need not read all that it is given.
                    let _ = stdin.write_all(bytes).await;
                });
                process.feed = Some(feed.abort_handle());
            }
            Some(Stdin::Piped) | None => process.stdin = Some(stdin),
        }
        Ok(process)
    }

    async fn lost(&mut self, why: &str) -> Failure {
        let Some(exit) = self.exit.take() else { return gone(self.inner.name(), why) };
        match timeout(LAST_WORD, exit).await {
            Ok(Ok(Err(failure))) => failure,
            _ => gone(self.inner.name(), why),
        }
    }

    async fn settle(&mut self) -> Result<Exit> {
        let (out, err) = (Arc::clone(&self.out), Arc::clone(&self.err));
        // Some connections bring the one stream only when the other was read.
        let said = poll_fn(|cx| {
            let _ = out.poll_ended(cx);
            err.poll_ended(cx)
        });
        let exit = match said.await {
            Ended::Said(said) => self.told(&said)?,
            Ended::Cut | Ended::Failed(..) => self.untold().await?,
        };
        if matches!(exit, Exit::Code(126 | 127))
            && let Some(asked) = &self.asked
        {
            let end = poll_fn(|cx| both(&out, &err, cx));
            let _ = timeout(WORD, end).await;
            let (remarks, tail) = (out.remarks(), err.tail());
            let silent = remarks.iter().any(|remark| Kind::of(remark) == Some(Kind::Bash));
            let refused = missing::why(&self.inner, asked, exit, &remarks, silent, &tail).await;
            return refused.map_or(Ok(exit), Err);
        }
        Ok(exit)
    }

    fn told(&self, said: &str) -> Result<Exit> {
        let code =
            said.trim_start_matches('=').split(' ').next().and_then(|code| code.parse().ok());
        let unknown = || gone(self.inner.name(), &format!("its shell said `{said}`"));
        code.map(exit).ok_or_else(unknown)
    }

    /// Its shell is gone and said nothing: it was killed, or nobody knows.
    async fn untold(&mut self) -> Result<Exit> {
        // The end comes after all that was said. A server that closes a channel on its own may
        // keep it back until the command ends.
        poll_fn(|cx| self.poll_exit(cx, true)).await;
        let _ = timeout(LAST_WORD, poll_fn(|cx| self.poll_exit(cx, false))).await;
        match &self.seen {
            Some(Ok(Exit::Code(0))) | None => {
                let why = "its channel was closed before it ended";
                Err(gone(self.inner.name(), why)
                    .next("look for `ChannelTimeout` in the server's configuration"))
            }
            Some(exit) => Ok(exit.clone()?),
        }
    }

    /// Ready if the channel's own end is known; also if it is not, but all was said, if `said` is
    /// enough.
    fn poll_exit(&mut self, cx: &mut Context<'_>, said: bool) -> Poll<()> {
        // It is asked once only, even if nobody waits to the end of this.
        if let Some(receiver) = &mut self.exit
            && let Poll::Ready(ended) = Pin::new(receiver).poll(cx)
        {
            self.exit = None;
            self.seen = ended.ok().map(|exit| exit.map_err(|failure| failure.to_problem()));
        }
        // Some connections bring the end only when all was read.
        let all = self.out.poll_ended(cx).is_ready();
        if self.exit.is_none() || (said && all) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn end(&mut self, ended: Result<Exit, Problem>) {
        let (lifeline, whom) = (Arc::clone(&self.lifeline), self.whom.clone());
        let over = move || lifeline.tell(format!("e {}", runbook_core::quote(&whom.command)));
        let lost = ended.is_err();
        self.ended = Some(ended);
        if !lost {
            return over();
        }
        // It may be its channel alone that was lost.
        let (lifeline, whom) = (Arc::clone(&self.lifeline), self.whom.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if lifeline.kill(&whom, false, Duration::ZERO).await.is_ok() {
                    over();
                }
            });
        }
    }
}

impl<C: Channels> Alone<C> {
    /// Whether nobody can know what became of it: it may not even have begun.
    pub(in super::super) fn is_lost(&self) -> bool {
        matches!(self.ended, Some(Err(_)))
    }
}

/// What the lifeline was told to be running.
struct Running {
    lifeline: Arc<Lifeline>,
    command: Option<String>,
}

impl Running {
    /// Somebody else says when it ends.
    fn started(mut self) {
        self.command = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(command) = self.command.take() {
            self.lifeline.tell(format!("e {}", runbook_core::quote(&command)));
        }
    }
}

#[async_trait]
impl<C: Channels> Process for Alone<C> {
    fn stdin(&mut self) -> Option<BoxWrite> {
        Some(Box::new(self.stdin.take()?))
    }

    fn stdout(&mut self) -> Option<BoxRead> {
        self.out_reader.take()
    }

    fn stderr(&mut self) -> Option<BoxRead> {
        self.err_reader.take()
    }

    async fn wait(&mut self) -> Result<Exit> {
        if self.ended.is_none() {
            let ended = self.settle().await.map_err(|failure| failure.to_problem());
            self.end(ended);
        }
        match &self.ended {
            Some(ended) => Ok(ended.clone()?),
            None => Err(gone(self.inner.name(), "it ended")),
        }
    }

    async fn kill(&mut self, grace: Duration) -> Result<()> {
        match &self.ended {
            Some(Ok(_)) => return Ok(()),
            // It may be its channel alone that was lost.
            Some(Err(_)) => return self.lifeline.kill(&self.whom, false, grace).await,
            None => {}
        }
        self.lifeline.kill(&self.whom, false, grace).await?;
        if timeout(WORD, self.wait()).await.is_err() {
            // It had not started yet, or somebody else holds its streams.
            self.lifeline.kill(&self.whom, false, Duration::ZERO).await?;
            self.end(Ok(Exit::Signal(9)));
        }
        Ok(())
    }
}

impl<C: Channels> Drop for Alone<C> {
    fn drop(&mut self) {
        if let Some(feed) = &self.feed {
            feed.abort();
        }
        if self.ended.is_some() {
            return;
        }
        let noop = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(Ended::Said(_)) = self.err.poll_ended(noop) {
            return self.end(Ok(Exit::Code(0)));
        }
        let exit = self.exit.take();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (lifeline, whom) = (Arc::clone(&self.lifeline), self.whom.clone());
        // The channel is kept until its command is gone.
        let channel = (self.stdin.take(), Arc::clone(&self.out), Arc::clone(&self.err));
        runtime.spawn(async move {
            let _ = lifeline.kill(&whom, false, Duration::ZERO).await;
            if let Some(exit) = exit
                && timeout(WORD, exit).await.is_err()
            {
                let _ = lifeline.kill(&whom, false, Duration::ZERO).await;
            }
            lifeline.tell(format!("e {}", runbook_core::quote(&whom.command)));
            drop(channel);
        });
    }
}

/// The standard input of a channel; dropping it is its end, as it is for a pipe.
struct Input(Option<BoxWrite>);

impl Input {
    fn inner(&mut self) -> io::Result<&mut BoxWrite> {
        self.0.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.inner()?).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.inner()?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.is_none() {
            return Poll::Ready(Ok(()));
        }
        let done = ready!(Pin::new(self.inner()?).poll_shutdown(cx));
        self.0 = None;
        Poll::Ready(done)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { stdin.shutdown().await });
        }
    }
}
