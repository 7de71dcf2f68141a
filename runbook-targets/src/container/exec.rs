//! [`Exec`]: channels into a container, one `docker exec` each.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{
    BoxRead, BoxWrite, Exit, Failure, FailureKind, Process, Result, Spawn, Stdin, scrub,
};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep};

use super::docker::{COOKIE, Docker, LONG, Said, finish};
use super::found::Found;
use crate::remote::channel::{Channel, Channels, Purpose};

/// What a shell that was killed ends with.
const KILLED: Exit = Exit::Signal(9);

/// How long docker may take to notice that a container whose processes were killed has ended. On a
/// busy host two seconds were not enough.
const NOTICED: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct Exec {
    docker: Docker,
    /// The container that the name stood for when it was last looked up.
    found: Arc<Mutex<Option<Found>>>,
}

/// Why a channel did not come to be.
enum Refused {
    /// The container may not be there any more, or not run: its name may stand for another one.
    Gone(Failure),
    Other(Failure),
}

impl Exec {
    pub(super) fn new(docker: Docker) -> Self {
        Self { docker, found: Arc::default() }
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The container, looked up once as long as it lasts.
    pub(super) async fn container(&self) -> Result<Found> {
        let mut found = self.found.lock().await;
        match &*found {
            Some(found) => Ok(found.clone()),
            None => Ok(found.insert(self.docker.find().await?).clone()),
        }
    }

    async fn forget(&self, gone: &Found) {
        let mut found = self.found.lock().await;
        if found.as_ref().is_some_and(|found| found.id == gone.id) {
            *found = None;
        }
    }

    async fn start(&self, found: &Found, line: &str) -> Result<Started, Refused> {
        let mut exec = self.docker.command().args(["exec", "-i"]);
        if let Some(user) = &self.docker.user {
            exec = exec.args(["-u", user]);
        }
        // Only the shell itself can say that it was started.
        let line = format!("echo +; {line}");
        let exec = exec.args([&found.id, "sh", "-c", &line]).stdin(Stdin::Piped);
        let started = self.docker.start(&exec, &Spawn::new(COOKIE)).await;
        let mut process = started.map_err(Refused::Other)?;
        let (Some(stdin), Some(mut stdout)) = (process.stdin(), process.stdout()) else {
            return Err(Refused::Other(Failure::msg("`docker exec` has no streams")));
        };
        let mut greeting = [0; 2];
        if stdout.read_exact(&mut greeting).await.is_err() || &greeting != b"+\n" {
            drop(stdin);
            // The error of a shell that could not be started comes as if the shell had said it.
            let mut said = greeting.to_vec();
            said.retain(|byte| *byte != 0);
            let read = stdout.take(LONG).read_to_end(&mut said).await;
            let ended = match read {
                Ok(_) => finish(process).await,
                Err(error) => Err(error.into()),
            };
            return Err(match ended {
                Ok(mut ended) => {
                    ended.stderr.push('\n');
                    ended.stderr.push_str(&String::from_utf8_lossy(&said));
                    self.refused(found, &ended)
                }
                Err(failure) => Refused::Other(failure),
            });
        }
        let stderr = process.stderr().unwrap_or_else(|| Box::new(tokio::io::empty()));
        Ok(Started { process, stdin: Box::new(Closing(Some(stdin))), stdout, stderr })
    }

    fn refused(&self, found: &Found, said: &Said) -> Refused {
        let why = said.why();
        if let Some(failure) = self.docker.refused(&why) {
            return Refused::Other(failure);
        }
        let (name, host) = (&found.name, &self.docker.host);
        let doing = format!("starting a shell in the container `{name}` on {host}");
        let failure = Failure::msg(scrub(&why)).while_doing(doing);
        let lower = why.to_lowercase();
        if lower.contains("executable file not found") || lower.contains("no such file") {
            return Refused::Other(failure.next(
                "its image has no `sh`, so nothing can be done in it: use an image that has one, \
                 or work in a container beside it that shares its volumes and network",
            ));
        }
        if lower.contains("unable to find user") || lower.contains("unable to find group") {
            return Refused::Other(failure.next(format!(
                "the image of `{name}` does not know that user: correct it, or give its number"
            )));
        }
        // There are many words for a container that ends or has ended.
        Refused::Gone(failure)
    }

    /// Why it does not answer.
    pub(super) async fn silent(&self) -> Failure {
        let (name, host) = (self.docker.container(), &self.docker.host);
        let silent = || {
            let what = format!("the container `{name}` on {host} does not answer");
            Failure::new(FailureKind::Disconnected, what).next(format!(
                "see what it does (`{} top {name}`), then resume the run",
                self.docker.called()
            ))
        };
        let Some(found) = self.found.lock().await.clone() else { return silent() };
        self.lost(&found, Exit::Code(0)).await.unwrap_or_else(silent)
    }

    /// Why the end of a channel is not that of what ran in it: the container has stopped since it
    /// was found, or the daemon is gone, which the client has no other word for.
    async fn lost(&self, found: &Found, exit: Exit) -> Option<Failure> {
        let until = Instant::now() + patience(exit);
        loop {
            // What can't be asked for can't be told.
            let now = match self.docker.inspect(&found.id).await {
                Ok(now) => now,
                Err(failure) if failure.kind().outcome_unknown() => return Some(failure),
                Err(failure) => {
                    self.forget(found).await;
                    return Some(disconnected(&failure));
                }
            };
            if !now.is_the_same_life(found) {
                self.forget(found).await;
                return Some(now.stopped(&self.docker));
            }
            if Instant::now() >= until {
                return None;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Docker says of a signal what a shell does: 128 more than its number.
fn exact(exit: Exit) -> Exit {
    match exit {
        // Those that end a process unless it is told otherwise.
        Exit::Code(code @ (129..=144 | 152..=155 | 157..=159)) => Exit::Signal(code - 128),
        exit => exit,
    }
}

/// How long it may take until docker knows why a shell ended so. Some hosts say of the client's exit
/// code what docker said of the signal.
fn patience(exit: Exit) -> Duration {
    if exact(exit) == KILLED { NOTICED } else { Duration::ZERO }
}

/// The container is not even there any more, or docker isn't.
fn disconnected(failure: &Failure) -> Failure {
    let problem = failure.to_problem();
    let lost = Failure::new(FailureKind::Disconnected, problem.message);
    match problem.next {
        Some(next) => lost.next(next),
        None => lost,
    }
}

struct Started {
    process: Box<dyn Process>,
    stdin: BoxWrite,
    stdout: BoxRead,
    stderr: BoxRead,
}

#[async_trait]
impl Channels for Exec {
    fn name(&self) -> &str {
        self.docker.name()
    }

    async fn open(&self, line: &str, _: Purpose) -> Result<Channel> {
        let mut found = self.container().await?;
        let started = match self.start(&found, line).await {
            // Nothing ran yet. Its name may stand for a new container by now.
            Err(Refused::Gone(_)) => {
                self.forget(&found).await;
                found = self.container().await?;
                self.start(&found, line).await
            }
            started => started,
        };
        let Started { mut process, stdin, stdout, stderr } = match started {
            Ok(started) => started,
            Err(Refused::Gone(failure) | Refused::Other(failure)) => return Err(failure),
        };
        let (mut ended, exit) = oneshot::channel();
        let exec = self.clone();
        tokio::spawn(async move {
            let end = tokio::select! {
                end = process.wait() => end,
                // Nobody has the channel any more: the client goes, and with it the shell's input.
                () = ended.closed() => return,
            };
            let end = match end {
                Ok(exit) if !exit.success() => match exec.lost(&found, exit).await {
                    Some(failure) => Err(failure),
                    None => Ok(exact(exit)),
                },
                end => end,
            };
            let _ = ended.send(end);
        });
        Ok(Channel { stdin, stdout, stderr, exit })
    }
}

/// Standard input that ends when it is shut down: that of a process ends only when it is dropped.
struct Closing(Option<BoxWrite>);

impl Closing {
    fn to(&mut self) -> io::Result<&mut BoxWrite> {
        self.0.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncWrite for Closing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.to()?).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Some(to) => Pin::new(to).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(to) = &mut self.0 {
            ready!(Pin::new(to).poll_shutdown(cx))?;
            self.0 = None;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_shell_is_one_however_the_host_says_so() {
        assert_eq!([Exit::Code(137), Exit::Signal(9)].map(patience), [NOTICED; 2]);
        assert_eq!([Exit::Code(1), Exit::Signal(15)].map(patience), [Duration::ZERO; 2]);
    }
}
