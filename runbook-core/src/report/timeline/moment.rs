//! [`Moment`]: what happened to a run as a whole and between it and people; [`Process`] and
//! [`BlockLine`]: what else of a run is no unit.

use serde::Serialize;

use super::unit::Look;
use crate::error::Problem;
use crate::event::{
    Actor, Answer, BlockOutcome, Decision, LockHolder, Question, ResumeMode, Status, Timestamp,
    UnitId,
};
use crate::plan::BlockKind;
use crate::transfer::Direction;

/// Something that happened to the run as a whole, or between it and people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: MomentKind,
}

/// What happened in a [`Moment`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum MomentKind {
    /// The run began.
    Started {
        /// Who started it.
        by: Actor,
    },
    /// A process took the run up again.
    Resumed {
        /// Who asked for it.
        by: Actor,
        /// Forward or back.
        mode: ResumeMode,
        /// How the process before it ended.
        after: ProcessEnd,
        /// How long nobody had worked on the run, in milliseconds.
        gap_ms: u64,
        /// Units whose outcome is not known.
        interrupted: Vec<UnitId>,
    },
    /// Somebody asked for the run to end.
    CancelRequested {
        /// Who or what.
        by: String,
    },
    /// Rolling back began.
    RollbackStarted {
        /// Why.
        cause: String,
        /// The units to undo, first one first.
        units: Vec<UnitId>,
    },
    /// The run began to wait for a person.
    Suspended {
        /// The units that wait.
        units: Vec<UnitId>,
    },
    /// The run ended.
    Finished {
        /// How.
        status: Status,
    },
    /// A resource was locked by another run.
    LockWaiting {
        /// The resource.
        resource: String,
        /// Who held it.
        holder: LockHolder,
    },
    /// The run got a lock.
    LockAcquired {
        /// The resource.
        resource: String,
        /// How long it had waited, in milliseconds.
        waited_ms: u64,
    },
    /// The run gave a lock back.
    LockReleased {
        /// The resource.
        resource: String,
    },
    /// A lock was lost.
    LockLost {
        /// The resource.
        resource: String,
        /// What is known of why.
        why: String,
    },
    /// A unit asked a person.
    Asked {
        /// The unit.
        unit: UnitId,
        /// What.
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
    /// An operator decided about a unit.
    Decided {
        /// The unit.
        unit: UnitId,
        /// Who.
        by: String,
        /// What.
        decision: Decision,
    },
    /// Processes that an earlier process of the run had left were ended.
    LeftoversEnded {
        /// The unit that they belonged to.
        unit: UnitId,
        /// Where.
        host: String,
        /// Their command lines.
        processes: Vec<String>,
    },
    /// A large file arrived.
    Transferred {
        /// The unit whose file it is.
        unit: UnitId,
        /// The host.
        host: String,
        /// Its path there.
        path: String,
        /// Which way it went.
        direction: Direction,
        /// Its size in bytes.
        bytes: u64,
        /// What arrived, in hexadecimal.
        sha256: String,
    },
    /// A branch or remedy failed, was undone, and the run went on without it.
    Isolated {
        /// The block.
        block: UnitId,
        /// The failure.
        problem: Problem,
    },
    /// A host or remedy failed and could not be undone.
    NotRestored {
        /// The block.
        block: UnitId,
        /// The failure.
        problem: Problem,
        /// Why it could not be undone.
        not_restored: Problem,
    },
    /// A notification was sent, or could not be.
    Notified {
        /// Where to.
        to: String,
        /// What went wrong, if anything.
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
}

/// What is known of one block.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BlockLine {
    /// Its stable id.
    pub id: UnitId,
    /// Its title.
    pub title: String,
    /// What sort of block.
    pub kind: BlockKind,
    /// When it was entered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How it was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<BlockOutcome>,
    /// What the check of a ladder found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<Look>,
}

/// A process that worked on the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Process {
    /// Who ran it, where.
    pub by: Actor,
    /// Forward or back; none for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ResumeMode>,
    /// Its first event.
    pub from: Timestamp,
    /// Its last event.
    pub until: Timestamp,
    /// How it ended.
    pub end: ProcessEnd,
}

/// How a process ended that worked on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessEnd {
    /// Not yet, or it died and nobody took the run up again.
    Open,
    /// It died: the next one took the run up.
    Interrupted,
    /// It left the run waiting for a person.
    Suspended,
    /// It ended the run.
    Ended,
}
