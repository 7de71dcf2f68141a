//! The typed runbook DSL and its engine.
//!
//! Most people depend on the facade crate `runbook`, which re-exports all of this. Action crates
//! depend on this crate alone, with `extern crate runbook_core as runbook;` at their root so that
//! the macros' paths resolve.

#[doc(hidden)]
#[path = "macros.rs"]
pub mod __macros;
mod catalog;
mod check;
mod command;
mod context;
mod engine;
mod erased;
mod error;
mod event;
mod exec;
mod faults;
mod fingerprint;
mod host;
mod id;
mod input;
mod inventory;
mod journal;
mod lock;
mod manual;
mod notify;
mod param;
mod people;
mod plan;
mod policy;
#[cfg(feature = "report")]
pub mod report;
mod runbook;
mod secret;
mod share;
mod step;
mod target;
#[cfg(feature = "testing")]
pub mod testing;
mod timestamp;
mod transfer;

/// Needed to implement [`Target`], [`Process`], [`Notifier`] and the journal traits.
pub use async_trait::async_trait;

pub use crate::catalog::{Args, Book, BookSpec, Built, Catalog};
pub use crate::check::{Check, Level, Observation, Verdict};
pub use crate::command::{Command, EnvValue, Exit, Output, ReadOnly, Stdin, ToArg, quote};
pub use crate::context::{Context, Observer};
pub use crate::engine::{Control, Engine, Outcome, ResumeOptions, RunHandle, RunOptions};
pub use crate::error::{During, Error, Failure, FailureKind, Problem, Result};
pub use crate::event::{
    Actor, Answer, BlockOutcome, CheckRole, Decision, Event, EventKind, Json, LockHolder, Mode,
    Question, QuestionKind, ResumeMode, RunFinished, RunId, RunStarted, SkipReason, Status,
    StreamKind, Timestamp, UnitId, VerdictRecord, Waiting,
};
pub use crate::exec::Running;
pub use crate::host::{HostAccess, HostView};
pub use crate::input::{Input, IntoInput, Out, Visit};
pub use crate::inventory::{Entry, Fleet, Inventory, Member, Selection};
pub use crate::journal::{
    FileStore, IllegalEvent, Journal, JournalError, JournalStore, MemoryStore, Phase, RunState,
    Stage, UnitState, Verification,
};
pub use crate::lock::{FileLocks, Lock, LockStore, MemoryLocks};
pub use crate::manual::Manual;
pub use crate::notify::{News, NewsKind, Notifier};
pub use crate::param::{Param, ParamError, ParamKind, ParamSpec};
pub use crate::people::{
    Call, Contact, Escalation, EscalationLevel, People, Reach, ReachKind, Severity,
};
pub use crate::plan::{
    BlockKind, BlockOutline, KNOWN_LATER, Outline, OutlineNode, ParamGiven, Plan, UnitKind,
    UnitOutline,
};
pub use crate::policy::{IntoCheck, IntoStep, Retry, Rolling, Wait, With};
pub use crate::runbook::{Ladder, Runbook};
pub use crate::secret::{Secret, contains_secret, scrub, scrub_panics};
pub use crate::share::Share;
pub use crate::step::{
    About, Data, Harmless, Irreversible, NotReversible, Reversible, Rollback, Step, Undo, UndoKind,
};
pub use crate::target::{
    Address, BoxRead, BoxStream, BoxWrite, FileInfo, FileKind, Host, Process, Spawn, Stream,
    Target, WriteOptions,
};
pub use crate::transfer::{Direction, Transfer, TransferState};
