//! [`LocalProcess`]: one command on this machine.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{
    BoxRead, BoxWrite, Command, EnvValue, Exit, Failure, Process, Result, Spawn, Stdin,
};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::task::AbortHandle;

use super::tree;
use crate::refused::{self, Seen};

/// What fits into any empty pipe: it is written before the program starts, without a task.
const SMALL: usize = 4096;

pub(super) struct LocalProcess {
    child: Child,
    pid: u32,
    /// The value of [`Spawn::COMMAND_VARIABLE`] in its environment.
    command: String,
    feed: Option<AbortHandle>,
    exit: Option<Exit>,
}

impl LocalProcess {
    pub(super) fn start(command: &Command, spawn: &Spawn, host: &str) -> Result<Self> {
        let refused = |error| refused::start(host, command, &error, seen(command));
        let mut start = std::process::Command::new(command.program());
        start.args(command.arguments());
        for (name, value) in command.environment() {
            match value {
                EnvValue::Plain(value) => start.env(name, value),
                EnvValue::Secret(secret) => start.env(name, secret.expose()),
            };
        }
        start.env(Spawn::VARIABLE, &spawn.cookie);
        start.env(Spawn::COMMAND_VARIABLE, &spawn.command);
        if let Some(dir) = command.directory() {
            start.current_dir(dir);
        }
        let (stdin, rest) = stdin(command.standard_input()).map_err(refused)?;
        start.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        start.process_group(0);
        let child = tokio::process::Command::from(start).spawn().map_err(refused)?;
        let pid = child.id().ok_or_else(|| Failure::msg("it has no process id"))?;
        let mut process =
            Self { child, pid, command: spawn.command.clone(), feed: None, exit: None };
        if let Some(to) = rest {
            process.feed = Some(feed(to, command.standard_input().clone())?);
        }
        Ok(process)
    }
}

#[async_trait]
impl Process for LocalProcess {
    fn stdin(&mut self) -> Option<BoxWrite> {
        Some(Box::new(self.child.stdin.take()?))
    }

    fn stdout(&mut self) -> Option<BoxRead> {
        Some(Box::new(self.child.stdout.take()?))
    }

    fn stderr(&mut self) -> Option<BoxRead> {
        Some(Box::new(self.child.stderr.take()?))
    }

    async fn wait(&mut self) -> Result<Exit> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let exit = exit(self.child.wait().await?);
        self.exit = Some(exit);
        Ok(exit)
    }

    async fn kill(&mut self, grace: Duration) -> Result<()> {
        let root = self.exit.is_none().then_some(self.pid);
        tree::end(root, &self.command, grace).await?;
        self.wait().await?;
        Ok(())
    }
}

impl Drop for LocalProcess {
    fn drop(&mut self) {
        if let Some(feed) = &self.feed {
            feed.abort();
        }
        // What it left behind after it had ended was left on purpose. Else: tokio reaps it.
        if self.exit.is_none() {
            tree::kill_now(self.pid, &self.command);
        }
    }
}

fn seen(command: &Command) -> Seen {
    let dir = |dir| std::fs::metadata(dir).map(|there| there.is_dir());
    let program = Path::new(command.program()).exists();
    Seen { dir: command.directory().map(dir), program }
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

/// The standard input of the program, and the end to feed it by if it does not hold all already.
fn stdin(input: &Stdin) -> io::Result<(Stdio, Option<io::PipeWriter>)> {
    let Some(bytes) = bytes(input) else {
        return Ok(match input {
            Stdin::Piped => (Stdio::piped(), None),
            _ => (Stdio::null(), None),
        });
    };
    let (from, mut to) = io::pipe()?;
    if bytes.len() <= SMALL {
        to.write_all(bytes)?;
        return Ok((from.into(), None));
    }
    Ok((from.into(), Some(to)))
}

fn bytes(input: &Stdin) -> Option<&[u8]> {
    match input {
        Stdin::Bytes(bytes) => Some(bytes),
        Stdin::Secret(secret) => Some(secret.expose().as_bytes()),
        Stdin::Empty | Stdin::Piped => None,
    }
}

/// Feeds it in the background, since the program may say something before it reads.
fn feed(to: io::PipeWriter, input: Stdin) -> io::Result<AbortHandle> {
    let mut to = pipe::Sender::from_owned_fd(OwnedFd::from(to))?;
    let task = tokio::spawn(async move {
        // A program need not read all that it is given.
        let _ = to.write_all(bytes(&input).unwrap_or_default()).await;
    });
    Ok(task.abort_handle())
}
