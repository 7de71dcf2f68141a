//! [`Event`]: everything that an engine says. Journals keep the durable ones; reporters and views
//! consume them all.

mod question;
mod run;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

pub use self::question::{Answer, Decision, Question, QuestionKind, Waiting};
pub use self::run::{Actor, Mode, ResumeMode, RunFinished, RunStarted, Status};
use crate::check::Level;
use crate::error::Problem;
pub use crate::id::{RunId, UnitId};
pub use crate::timestamp::Timestamp;
use crate::transfer::Transfer;

/// One thing that happened in a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: EventKind,
}

impl Event {
    /// `event`, now.
    #[must_use]
    pub fn now(event: EventKind) -> Self {
        Self { at: Timestamp::now(), event }
    }
}

/// Serialised output or rollback record of a unit.
pub type Json = Box<RawValue>;

/// Reads a field that is there. As a plain `Option`, a `null` would become `None`; but a record or
/// an output may well be `null`, and that is not the same as none.
fn json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

/// What happened. Names and fields are the journal's format (version 1).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    // The run.
    /// A run began. The first event of every run.
    RunStarted(Box<RunStarted>),
    /// A process took up a run again.
    RunResumed {
        /// Who asked for it.
        by: Actor,
        /// Whether to go forward or to roll back.
        mode: ResumeMode,
    },
    /// Somebody asked for the run to end; running units are cancelled, then all is rolled back.
    CancelRequested {
        /// Who or what asked, e.g. `SIGINT` or a name.
        by: String,
    },
    /// Started units are about to be undone.
    RollbackStarted {
        /// Why.
        cause: String,
        /// The units to undo, first one first.
        units: Vec<UnitId>,
    },
    /// The run waits for a person and its process may end; the last event until it is resumed.
    Suspended {
        /// What it waits for.
        waiting: Vec<Waiting>,
    },
    /// The run ended.
    RunFinished(Box<RunFinished>),

    // Locks.
    /// A resource is locked by another run; this run waits for it.
    LockWaiting {
        /// The resource.
        resource: String,
        /// Who holds it, since when, and why.
        holder: LockHolder,
    },
    /// The run holds the lock.
    LockAcquired {
        /// The resource.
        resource: String,
    },
    /// The run gave the lock back.
    LockReleased {
        /// The resource.
        resource: String,
    },
    /// The lease ran out or was broken; the run is cancelled.
    LockLost {
        /// The resource.
        resource: String,
        /// What is known of why.
        why: String,
    },

    // One unit's life.
    /// The unit was not run.
    Skipped {
        /// The unit.
        unit: UnitId,
        /// Why not.
        why: SkipReason,
        /// Its output, if it has one all the same.
        #[serde(default, deserialize_with = "json", skip_serializing_if = "Option::is_none")]
        output: Option<Json>,
    },
    /// What the unit uses of earlier outputs is known now: its title, preview and arguments with
    /// their values.
    Resolved {
        /// The unit.
        unit: UnitId,
        /// Its title.
        title: String,
        /// What would run, line by line.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        preview: Vec<String>,
        /// Its arguments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        args: Vec<(String, String)>,
    },
    /// The unit asks a person for approval, confirmation or an answer.
    Asked {
        /// The unit.
        unit: UnitId,
        /// What is asked.
        question: Question,
    },
    /// A person answered.
    Answered {
        /// The unit.
        unit: UnitId,
        /// Who.
        by: String,
        /// What.
        answer: Answer,
    },
    /// The unit is about to run. Durable before it does.
    Started {
        /// The unit.
        unit: UnitId,
        /// What its rollback needs; none for a step that has nothing to undo.
        #[serde(default, deserialize_with = "json", skip_serializing_if = "Option::is_none")]
        record: Option<Json>,
    },
    /// An attempt failed and another one follows.
    Retrying {
        /// The unit.
        unit: UnitId,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why it failed.
        problem: Problem,
        /// The pause before the next, in milliseconds.
        pause_ms: u64,
    },
    /// A check was made: a unit of its own, a requirement, a verification, or one look of a wait.
    Checked {
        /// The unit that it belongs to; the block, for a ladder.
        unit: UnitId,
        /// What for.
        role: CheckRole,
        /// The check's title.
        title: String,
        /// What it found.
        verdict: VerdictRecord,
    },
    /// The unit did its work.
    Finished {
        /// The unit.
        unit: UnitId,
        /// What it gave.
        #[serde(default, deserialize_with = "json", skip_serializing_if = "Option::is_none")]
        output: Option<Json>,
    },
    /// The unit failed; if it had been started it is undone.
    Failed {
        /// The unit.
        unit: UnitId,
        /// Why.
        problem: Problem,
    },
    /// The operator decided about an interrupted, failed or stuck unit.
    Decided {
        /// The unit.
        unit: UnitId,
        /// Who.
        by: String,
        /// What is to be done with it.
        decision: Decision,
    },
    /// Processes that an earlier, killed process of this run had left were ended.
    LeftoversEnded {
        /// The unit that they belonged to.
        unit: UnitId,
        /// Where.
        host: String,
        /// Their command lines.
        processes: Vec<String>,
    },

    // Undo.
    /// The unit is being undone.
    UndoStarted {
        /// The unit.
        unit: UnitId,
    },
    /// The unit was undone, and recording again showed what was there before.
    Undone {
        /// The unit.
        unit: UnitId,
    },
    /// Undoing failed, or did not restore what was there.
    UndoFailed {
        /// The unit.
        unit: UnitId,
        /// Why.
        problem: Problem,
    },

    // Blocks.
    /// A block was entered.
    BlockStarted {
        /// The block.
        block: UnitId,
    },
    /// A block was left.
    BlockFinished {
        /// The block.
        block: UnitId,
        /// How.
        outcome: BlockOutcome,
    },

    // Telling people.
    /// A notification was sent, or could not be.
    Notified {
        /// Where to.
        to: String,
        /// What went wrong, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },

    // Passing: streamed, never journaled.
    /// A batch of hosts is done; the next one begins after a pause.
    Pausing {
        /// The block.
        block: UnitId,
        /// The pause, in milliseconds.
        pause_ms: u64,
    },
    /// A step as it would run (`plan`).
    Previewed {
        /// The unit.
        unit: UnitId,
        /// Whether it is already so, as far as can be known now.
        satisfied: Option<bool>,
    },
    /// A line of output of a command, scrubbed.
    Output {
        /// The unit.
        unit: UnitId,
        /// Which stream.
        stream: StreamKind,
        /// The line, without its end.
        line: String,
    },
    /// How far a unit has come.
    Progress {
        /// The unit.
        unit: UnitId,
        /// Done so far.
        done: u64,
        /// Of so many, if known.
        total: Option<u64>,
    },
    /// How far a file between here and a host has come. A journal keeps the end of a large one.
    Transfer(Box<Transfer>),
}

impl EventKind {
    /// Whether a journal keeps it.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        match self {
            Self::Pausing { .. }
            | Self::Previewed { .. }
            | Self::Output { .. }
            | Self::Progress { .. } => false,
            Self::Transfer(transfer) => transfer.sha256.is_some(),
            _ => true,
        }
    }

    /// The unit that it is about, if it is about one.
    #[must_use]
    pub fn unit(&self) -> Option<&UnitId> {
        match self {
            Self::Skipped { unit, .. }
            | Self::Resolved { unit, .. }
            | Self::Asked { unit, .. }
            | Self::Answered { unit, .. }
            | Self::Started { unit, .. }
            | Self::Retrying { unit, .. }
            | Self::Checked { unit, .. }
            | Self::Finished { unit, .. }
            | Self::Failed { unit, .. }
            | Self::Decided { unit, .. }
            | Self::LeftoversEnded { unit, .. }
            | Self::UndoStarted { unit }
            | Self::Undone { unit }
            | Self::UndoFailed { unit, .. }
            | Self::Previewed { unit, .. }
            | Self::Output { unit, .. }
            | Self::Progress { unit, .. } => Some(unit),
            Self::Transfer(transfer) => Some(&transfer.unit),
            _ => None,
        }
    }
}

/// Who holds a lock, since when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// The run that holds it.
    pub run: RunId,
    /// The runbook of that run.
    pub book: String,
    /// Who started that run.
    pub by: Actor,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When the lease ends unless it is renewed.
    pub expires: Timestamp,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} of `{}` by {} since {}", self.run, self.book, self.by, self.since)?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// Why a unit was not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// What it would bring about is already so.
    Satisfied,
    /// The condition around it did not hold.
    Condition,
    /// An earlier remedy of the ladder was enough.
    NotNeeded,
    /// The operator said so.
    Operator,
    /// An output that it needs never came (`finally`), or is not known before the run (`check`).
    NoInput,
}

/// What a check was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckRole {
    /// A unit of its own: the run goes on only if it passes.
    Gate,
    /// A unit of its own whose verdict is only noted.
    Observation,
    /// One look while waiting until it passes.
    Wait,
    /// Before a unit starts.
    Requires,
    /// After a unit finished.
    Verify,
    /// What a ladder tries to make pass.
    Ladder,
}

/// A verdict as events carry it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerdictRecord {
    /// Pass, warn or fail.
    pub level: Level,
    /// Why, in one line.
    pub why: String,
    /// The evidence.
    #[serde(default, deserialize_with = "json", skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Json>,
}

/// Which output stream of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// What the unit itself said.
    Note,
}

/// How a block ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockOutcome {
    /// All its units did.
    Succeeded,
    /// Its condition did not hold, or it was not needed.
    Skipped,
    /// A unit in it failed.
    Failed,
    /// A unit in it failed, what it had started was undone, and the run goes on without it.
    Isolated {
        /// The failure.
        problem: Problem,
    },
    /// A unit in it failed, and not all of what it had started could be undone. The run goes on
    /// without it if it is a host of a fleet, and ends stuck.
    NotRestored {
        /// The failure.
        problem: Problem,
        /// The first unit that could not be undone.
        unit: UnitId,
        /// Why not.
        not_restored: Problem,
    },
}
