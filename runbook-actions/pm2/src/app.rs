//! [`App`]: a process as PM2 sees it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A process as PM2 sees it. One name may stand for several: the instances of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct App {
    /// Its name.
    pub name: String,
    /// PM2's number for it.
    pub id: u32,
    /// Its process; `None` if it does not run.
    pub pid: Option<u32>,
    /// What it does.
    pub state: State,
    /// How often PM2 has restarted it, by command or because it ended.
    pub restarts: u32,
    /// When it was started last, milliseconds since 1970.
    pub started_ms: u64,
    /// Resident memory in bytes.
    pub memory: u64,
    /// Processor use in percent of one core.
    pub cpu: u32,
    /// Its working directory.
    pub dir: PathBuf,
    /// The file that its standard output goes to.
    pub out_log: PathBuf,
    /// The file that its standard error goes to.
    pub error_log: PathBuf,
}

/// What a process does, in PM2's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum State {
    /// It runs.
    Online,
    /// It is being started.
    Launching,
    /// It is being stopped.
    Stopping,
    /// It was stopped.
    Stopped,
    /// It ended too often, and PM2 gave up on it.
    Errored,
    /// PM2 waits before it starts it again: it is in a crash loop.
    #[serde(rename = "waiting restart")]
    WaitingRestart,
    /// It was launched once, and is not started again.
    OneLaunchStatus,
    /// A word that is not known here.
    #[serde(other)]
    Other,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Online => "online",
            Self::Launching => "launching",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Errored => "errored",
            Self::WaitingRestart => "waiting to be restarted",
            Self::OneLaunchStatus => "launched once",
            Self::Other => "in a state that is not known here",
        })
    }
}
