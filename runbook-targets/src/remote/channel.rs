//! [`Channels`]: the one thing that an SSH connection and a container runtime have in common: they
//! run a line of `sh` and carry its three streams.

use async_trait::async_trait;
use runbook_core::{BoxRead, BoxWrite, Exit, Result};
use tokio::sync::oneshot;

/// Opens channels to one place.
#[async_trait]
pub(crate) trait Channels: std::fmt::Debug + Send + Sync + 'static {
    /// The name of the place in errors, e.g. `web-1`.
    fn name(&self) -> &str;

    /// Runs `line` by the place's own `sh` (or login shell: POSIX syntax only, one line). Waits
    /// until the place said that it was started.
    ///
    /// # Errors
    /// The place can't be reached, or refused. [`FailureKind::Disconnected`](runbook_core::FailureKind)
    /// if the connection was lost after the line was sent: it may run or not.
    async fn open(&self, line: &str, purpose: Purpose) -> Result<Channel>;
}

/// What a channel is for; decides which connection of a pool carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Small and often: a shell that takes one command after another.
    Shell,
    /// One command on its own.
    Command,
    /// Many bytes: not on the connection that carries the commands.
    Bulk,
}

/// One running line of `sh`. Dropping it closes it; what it started may live on.
pub(crate) struct Channel {
    /// Standard input; shutting it down is its end of file.
    pub(crate) stdin: BoxWrite,
    /// Standard output.
    pub(crate) stdout: BoxRead,
    /// Standard error.
    pub(crate) stderr: BoxRead,
    /// How it ended. An error if the connection was lost before that was known. A server that
    /// closes a channel on its own (OpenSSH's `ChannelTimeout`) can't be told from exit code 0: a
    /// line whose success matters says so itself.
    pub(crate) exit: oneshot::Receiver<Result<Exit>>,
}
