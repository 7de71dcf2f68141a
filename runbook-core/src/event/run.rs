//! The two ends of a run: what it began with, and how it ended.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{RunId, Timestamp, UnitId};
use crate::error::{FailureKind, Problem};
use crate::people::Contact;
use crate::plan::Outline;

/// The head of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run.
    pub run: RunId,
    /// What kind of run.
    pub mode: Mode,
    /// Who started it.
    pub by: Actor,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When what it is about began, if that was known: an incident is older than its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// The environment's name, if the binary has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Version of the program that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The plan, as far as it can be written down.
    pub plan: Arc<Outline>,
}

/// What an engine was asked to do with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Checks run, steps only preview.
    Plan,
    /// Everything runs.
    Run,
    /// Only checks run.
    Check,
}

/// Which way a resumed run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeMode {
    /// On to its end.
    Forward,
    /// Back to its beginning.
    Rollback,
}

/// Who runs a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The person or robot.
    pub name: String,
    /// The machine.
    pub machine: String,
    /// The process.
    pub pid: u32,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} (pid {})", self.name, self.machine, self.pid)
    }
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFinished {
    /// How it ended.
    pub status: Status,
    /// The failure that decided it, and the unit it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The unit that the failure came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitId>,
    /// Units that were undone, in the order of undoing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<UnitId>,
    /// Units whose undoing failed or did not restore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_restored: Vec<UnitId>,
    /// Irreversible units whose effect stays although the run was rolled back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<UnitId>,
    /// Hosts of a fleet that failed while the run went on without them, as `Rolling::max_failed`
    /// allows: their blocks. A run that succeeded so did not succeed everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<UnitId>,
    /// Whom to call now: those whose turn had come when a run ended that was not solved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub call: Vec<Contact>,
    /// What an operator can do now; command-line words after the program's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

impl RunFinished {
    /// Whether what the run is about is not solved: it did not end well, and nobody ended it on
    /// purpose.
    #[must_use]
    pub fn is_unsolved(&self) -> bool {
        let cancelled =
            self.problem.as_ref().is_some_and(|problem| problem.kind == FailureKind::Cancelled);
        match self.status {
            Status::Succeeded | Status::Suspended => false,
            Status::RolledBack | Status::Failed => !cancelled,
            Status::Stuck => true,
        }
    }

    /// The exit code of a command line: that of its [`Status`], but 6 for a run that succeeded
    /// without some of its hosts.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.status {
            Status::Succeeded if !self.without.is_empty() => 6,
            status => status.exit_code(),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All that was to be done is done, on every host but those that were allowed to fail
    /// ([`RunFinished::without`]).
    Succeeded,
    /// It failed or was cancelled; what it had started is undone and verified.
    RolledBack,
    /// It failed with nothing to undo, or rolling back was declined.
    Failed,
    /// A rollback failed or did not restore: a person is needed.
    Stuck,
    /// It waits for a person.
    Suspended,
}

impl Status {
    /// The exit code of a command line: 0 succeeded, 1 failed or rolled back, 3 stuck, 5 suspended.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::RolledBack | Self::Failed => 1,
            Self::Stuck => 3,
            Self::Suspended => 5,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled back",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
            Self::Suspended => "suspended",
        })
    }
}

impl Actor {
    /// The user, machine and id of this process.
    #[must_use]
    pub fn this_process() -> Self {
        let var = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .ok()
            .map(|name| name.trim().to_owned())
            .or_else(|| var("HOSTNAME"))
            .unwrap_or_else(|| "localhost".into());
        Self {
            name: var("SUDO_USER")
                .or_else(|| var("USER"))
                .or_else(|| var("LOGNAME"))
                .unwrap_or_else(|| "unknown".into()),
            machine,
            pid: std::process::id(),
        }
    }
}
