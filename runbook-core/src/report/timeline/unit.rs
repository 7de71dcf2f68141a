//! [`UnitLine`]: what is known of one unit of a run.

use std::time::Duration;

use serde::Serialize;

use crate::check::Level;
use crate::error::Problem;
use crate::event::{Answer, CheckRole, Decision, Json, Question, SkipReason, Timestamp, UnitId};
use crate::plan::UnitKind;
use crate::step::UndoKind;

/// What is known of one unit.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UnitLine {
    /// Its stable id.
    pub id: UnitId,
    /// Its title.
    pub title: String,
    /// The titles of the blocks around it, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<String>,
    /// What sort of unit.
    pub kind: UnitKind,
    /// How it is undone.
    pub undo: UndoKind,
    /// Whether it is done at the end come what may.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub finally: bool,
    /// Where it is.
    pub status: UnitStatus,
    /// Why it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkipReason>,
    /// Whether it was ever started, so that it may have changed something.
    pub was_started: bool,
    /// Attempts so far, over all processes.
    pub attempts: u32,
    /// When it worked, waited for a person, and was undone; in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    /// When it last changed its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<Timestamp>,
    /// What its checks found; looks that found the same one after the other are one entry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<Look>,
    /// Attempts that failed and were followed by another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<Retried>,
    /// Why it failed, if it did; stays when it is undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Why it could not be undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_problem: Option<Problem>,
    /// What it asks, if it waits for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// What people answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answered>,
    /// What operators decided about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decided>,
    /// What it gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// For a preview: whether it is already so, as far as was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub satisfied: Option<bool>,
    /// Live only: the last line of output.
    #[serde(skip)]
    pub last_line: Option<String>,
    /// Live only: how far it has come, and of how much.
    #[serde(skip)]
    pub progress: Option<(u64, Option<u64>)>,
}

/// Where a unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnitStatus {
    /// Nothing happened yet; in a run that ended: not reached.
    #[default]
    Pending,
    /// It waits for a person.
    Asking,
    /// It is at work; in a run without a living process: interrupted.
    Running,
    /// The process at work on it died, and it was not taken up again: it may be half done.
    Interrupted,
    /// It was previewed by `plan`.
    Previewed,
    /// It was left out.
    Skipped,
    /// It did its work.
    Done,
    /// It failed.
    Failed,
    /// It is being undone.
    Undoing,
    /// It was undone, and that was verified or a person said so.
    Undone,
    /// Its undoing failed, or did not restore what was there.
    NotRestored,
}

/// A time in which a unit was busy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// With what.
    pub activity: Activity,
    /// From when.
    pub from: Timestamp,
    /// Until when; for an interrupted span the last sign of life. None: not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How it ended.
    pub end: SpanEnd,
}

/// What a unit is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Its work.
    Work,
    /// Waiting for a person.
    Ask,
    /// Being undone.
    Undo,
}

/// How a [`Span`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanEnd {
    /// Not yet.
    Open,
    /// Well.
    Done,
    /// With a failure.
    Failed,
    /// Its process died.
    Interrupted,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Look {
    /// When; the first time, if more than once.
    pub at: Timestamp,
    /// The last time, if more than once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// How often in a row.
    pub times: u32,
    /// What the check was made for.
    pub role: CheckRole,
    /// The check's title.
    pub title: String,
    /// Pass, warn or fail.
    pub level: Level,
    /// Why, in one line.
    pub why: String,
    /// The evidence; of the last look, if more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Json>,
}

/// An attempt that failed and was followed by another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Retried {
    /// When it failed.
    pub at: Timestamp,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Why it failed.
    pub problem: Problem,
    /// The pause before the next, in milliseconds.
    pub pause_ms: u64,
}

/// A person's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Answered {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// To what, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// What.
    pub answer: Answer,
}

/// An operator's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Decided {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What.
    pub decision: Decision,
}

impl UnitLine {
    pub(super) fn new(id: &UnitId, title: &str, kind: UnitKind, undo: UndoKind) -> Self {
        Self {
            id: id.clone(),
            title: title.to_owned(),
            within: Vec::new(),
            kind,
            undo,
            finally: false,
            status: UnitStatus::Pending,
            skipped: None,
            was_started: false,
            attempts: 0,
            spans: Vec::new(),
            settled: None,
            looks: Vec::new(),
            retries: Vec::new(),
            problem: None,
            undo_problem: None,
            question: None,
            answers: Vec::new(),
            decisions: Vec::new(),
            output: None,
            satisfied: None,
            last_line: None,
            progress: None,
        }
    }

    /// When it first was busy, was looked at, or was left out.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        let span = self.spans.first().map(|span| span.from);
        let look = self.looks.first().map(|look| look.at);
        span.into_iter().chain(look).min().or(self.settled)
    }

    /// How long it worked in all, undoing and waiting for a person left out; none if it never
    /// did, or is still at it.
    #[must_use]
    pub fn worked(&self) -> Option<Duration> {
        let mut sum = None;
        for span in self.spans.iter().filter(|span| span.activity == Activity::Work) {
            sum = Some(sum.unwrap_or(Duration::ZERO) + span.until?.since(span.from));
        }
        sum
    }

    /// The latest warning of a check of its own, a requirement or a verification.
    #[must_use]
    pub fn warning(&self) -> Option<&Look> {
        self.looks.iter().rev().find(|look| look.level == Level::Warn)
    }

    /// Whether its effect is, or may be, there: started, changes something, and not undone.
    #[must_use]
    pub fn left_in_place(&self) -> bool {
        self.was_started
            && matches!(self.undo, UndoKind::Recorded | UndoKind::Irreversible)
            && !self.finally
            && self.status != UnitStatus::Undone
    }
}
