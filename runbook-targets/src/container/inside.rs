//! [`Inside`]: a command in a container that may stop answering.

use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{BoxRead, BoxWrite, Exit, Process, Result};
use tokio::time::timeout;

use super::exec::Exec;

/// How much longer than it was given the end of a command may take, before the container is looked
/// at: one that is paused ends nothing and says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Inside {
    process: Box<dyn Process>,
    exec: Exec,
}

impl Inside {
    pub(super) fn new(process: Box<dyn Process>, exec: Exec) -> Self {
        Self { process, exec }
    }
}

#[async_trait]
impl Process for Inside {
    fn stdin(&mut self) -> Option<BoxWrite> {
        self.process.stdin()
    }

    fn stdout(&mut self) -> Option<BoxRead> {
        self.process.stdout()
    }

    fn stderr(&mut self) -> Option<BoxRead> {
        self.process.stderr()
    }

    async fn wait(&mut self) -> Result<Exit> {
        self.process.wait().await
    }

    async fn kill(&mut self, grace: Duration) -> Result<()> {
        match timeout(grace.saturating_add(PATIENCE), self.process.kill(grace)).await {
            Ok(killed) => killed,
            Err(_) => Err(self.exec.silent().await),
        }
    }
}
