//! A scripted command as it "runs".

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::reply::{End, Reply};
use super::{Call, FakeTarget};
use crate::command::{Exit, Stdin};
use crate::error::Result;
use crate::target::{BoxRead, BoxWrite, Process};

pub(super) struct FakeProcess {
    target: FakeTarget,
    line: String,
    stdin: Option<BoxWrite>,
    stdout: Option<BoxRead>,
    stderr: Option<BoxRead>,
    reply: Reply,
    due: Instant,
    /// Its streams end when this is dropped or set.
    ended: watch::Sender<Option<Exit>>,
}

impl FakeProcess {
    pub(super) fn start(
        target: &FakeTarget,
        line: String,
        call: usize,
        mut reply: Reply,
        stdin: &Stdin,
    ) -> Self {
        let (ended, watch) = watch::channel(None);
        let due = Instant::now() + reply.after;
        let by_itself = !matches!(reply.end, End::Never);
        let stream = |bytes: &mut Vec<u8>| {
            let rest = std::mem::take(bytes);
            Box::new(Said {
                rest,
                at: 0,
                open: Some(Box::pin(until_ended(watch.clone(), due, by_itself))),
            })
        };
        let stdout: BoxRead = stream(&mut reply.stdout);
        let stderr: BoxRead = stream(&mut reply.stderr);
        let stdin: Option<BoxWrite> = match stdin {
            Stdin::Piped => Some(Box::new(Fed { target: target.clone(), call })),
            _ => None,
        };
        Self {
            target: target.clone(),
            line,
            stdin,
            stdout: Some(stdout),
            stderr: Some(stderr),
            due,
            reply,
            ended,
        }
    }

    fn finish(&self, exit: Exit) -> Exit {
        self.ended.send_replace(Some(exit));
        exit
    }
}

#[async_trait]
impl Process for FakeProcess {
    fn stdin(&mut self) -> Option<BoxWrite> {
        self.stdin.take()
    }

    fn stdout(&mut self) -> Option<BoxRead> {
        self.stdout.take()
    }

    fn stderr(&mut self) -> Option<BoxRead> {
        self.stderr.take()
    }

    async fn wait(&mut self) -> Result<Exit> {
        if let Some(exit) = *self.ended.borrow() {
            return Ok(exit);
        }
        let mut connection = self.target.world().disconnected.subscribe();
        let lost = connection.wait_for(|disconnected| *disconnected);
        let end = async {
            sleep_until(self.due).await;
            match self.reply.end {
                End::Exit(exit) => Some(exit),
                End::Lost | End::NotStarted(_) => None,
                End::Never => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = lost => Err(self.target.lost()),
            end = end => end.map(|exit| self.finish(exit)).ok_or_else(|| self.target.lost()),
        }
    }

    async fn kill(&mut self, grace: Duration) -> Result<()> {
        drop(self.target.connected()?);
        if self.ended.borrow().is_some() {
            return Ok(());
        }
        let signal = if self.reply.ignores_sigterm {
            tokio::time::sleep(grace).await;
            9
        } else {
            15
        };
        self.target.world().calls.push(Call::Kill(self.line.clone()));
        self.finish(Exit::Signal(signal));
        Ok(())
    }
}

impl Drop for FakeProcess {
    fn drop(&mut self) {
        if self.ended.borrow().is_none() {
            self.target.world().calls.push(Call::Kill(self.line.clone()));
        }
    }
}

/// Until its streams end: with the process, whether anybody waits for that or not.
async fn until_ended(mut watch: watch::Receiver<Option<Exit>>, due: Instant, by_itself: bool) {
    tokio::select! {
        // An error means that the process was dropped, which ends it too.
        _ = watch.wait_for(Option::is_some) => {}
        () = sleep_until(due), if by_itself => {}
    }
}

/// What it says; its end comes when the process has ended.
struct Said {
    rest: Vec<u8>,
    at: usize,
    open: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl AsyncRead for Said {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.at < self.rest.len() {
            let end = self.rest.len().min(self.at + buffer.remaining());
            buffer.put_slice(&self.rest[self.at..end]);
            self.at = end;
            return Poll::Ready(Ok(()));
        }
        if let Some(open) = &mut self.open {
            std::task::ready!(open.as_mut().poll(cx));
            self.open = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// Notes what it is fed in the record of calls.
struct Fed {
    target: FakeTarget,
    call: usize,
}

impl AsyncWrite for Fed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if let Some(Call::Command(call)) = self.target.world().calls.get_mut(self.call) {
            call.stdin.extend_from_slice(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
