//! [`json`]: a run for programs.

use std::sync::Arc;

use serde::Serialize;

use super::fleet::HostLine;
use super::incident::Response;
use super::summary::Summary;
use super::timeline::{BlockLine, Moment, Process, RunStatus, Timeline, UnitLine};
use crate::event::{Actor, Mode, RunId, Timestamp};
use crate::people::{Call, Severity};
use crate::plan::ParamGiven;

/// The version of the schema that [`json`] writes. Fields may be added under the same version;
/// it grows when one is renamed, removed, or means something else.
pub const SCHEMA_VERSION: u32 = 1;

/// A run for programs: what [`json`] writes.
///
/// Times are RFC 3339 in UTC, durations are whole milliseconds, and a field that has nothing to
/// say is left out.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RunReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Which run of which runbook, by whom and why.
    pub run: RunFacts,
    /// Where the run is.
    pub status: RunStatus,
    /// What a person needs to know first, with the number of units in each state.
    pub summary: Summary,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended; none if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// From its start to its end, or to its latest event; gaps included.
    pub duration_ms: u64,
    /// How grave what it is about is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Whether somebody answered in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// Whom to call as long as it is not solved, and from when on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// The processes that worked on it, in order.
    pub processes: Vec<Process>,
    /// Every unit, in the plan's order.
    pub units: Vec<UnitLine>,
    /// Every block, in the plan's order.
    pub blocks: Vec<BlockLine>,
    /// What became of each host of a fleet, in the plan's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostLine>,
    /// What happened to the run as a whole and between it and people, in order of time.
    pub events: Vec<Moment>,
}

/// Which run of which runbook, by whom and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunFacts {
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RunId>,
    /// The runbook's name.
    pub book: String,
    /// The runbook's title.
    pub title: String,
    /// What kind of run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Who started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When what it is about began, if its starter said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// The environment's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The version of the program that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The parameters as given; secrets as `***`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<ParamGiven>,
    /// The fingerprint of the plan.
    pub fingerprint: String,
}

/// A run as one JSON document, indented: a [`RunReport`].
///
/// ```
/// use runbook_core::report::{SCHEMA_VERSION, Timeline, json};
/// let report: serde_json::Value = serde_json::from_str(&json(&Timeline::new())).unwrap();
/// assert_eq!(report["schema_version"], SCHEMA_VERSION);
/// ```
#[must_use]
pub fn json(timeline: &Timeline) -> String {
    // Strings, numbers and JSON taken from a journal: there is nothing in it that can fail.
    let mut text = serde_json::to_string_pretty(&run_report(timeline)).unwrap_or_default();
    text.push('\n');
    text
}

/// A run for programs, as a value.
#[must_use]
pub fn run_report(timeline: &Timeline) -> RunReport {
    RunReport {
        schema_version: SCHEMA_VERSION,
        run: facts(timeline),
        status: timeline.status,
        summary: timeline.summary(),
        started: timeline.started,
        ended: timeline.ended,
        duration_ms: crate::plan::millis(timeline.duration()),
        severity: timeline.severity().cloned(),
        response: timeline.response(),
        calls: timeline.calls(),
        processes: timeline.processes.clone(),
        units: timeline.units.clone(),
        blocks: timeline.blocks.clone(),
        hosts: timeline.hosts(),
        events: timeline.moments.clone(),
    }
}

fn facts(timeline: &Timeline) -> RunFacts {
    let mut facts = RunFacts::default();
    if let Some(outline) = timeline.outline.as_ref().map(Arc::as_ref) {
        facts.book.clone_from(&outline.book);
        facts.title.clone_from(&outline.title);
        facts.params.clone_from(&outline.params);
        facts.fingerprint.clone_from(&outline.fingerprint);
    }
    if let Some(head) = &timeline.head {
        facts.id = Some(head.run.clone());
        facts.mode = Some(head.mode);
        facts.by = Some(head.by.clone());
        facts.reason.clone_from(&head.reason);
        facts.began = head.began;
        facts.env.clone_from(&head.env);
        facts.version.clone_from(&head.version);
    }
    facts
}
