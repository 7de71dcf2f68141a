//! [`Summary`]: what a person needs to know first about a run: what happened, to what, what was
//! undone, what is left, what to do next.

use std::sync::Arc;

use serde::Serialize;

use super::text::{count, duration, listed, shortened};
use super::timeline::{BlockLine, MomentKind, RunStatus, SpanEnd, Timeline, UnitLine, UnitStatus};
use super::words;
use crate::error::{FailureKind, Problem};
use crate::event::{BlockOutcome, Event, Mode, QuestionKind, UnitId};
use crate::plan::Outline;

/// What a person needs to know first about a run.
///
/// The numbers sum up to `total`: every unit counts once, where it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Where the run is.
    pub status: RunStatus,
    /// In one line: `Failed and rolled back: Deploy a release`.
    pub headline: String,
    /// The first lines of every report, in this order.
    pub lines: Vec<SummaryLine>,
    /// Units in the plan.
    pub total: usize,
    /// Units that did their work, and whose work stays.
    pub done: usize,
    /// Units that were left out.
    pub skipped: usize,
    /// Units that failed and are not undone, because nothing of them needs to be or nobody did.
    pub failed: usize,
    /// Units that were undone.
    pub undone: usize,
    /// Units whose undoing failed.
    pub not_restored: usize,
    /// Units that were started and whose outcome is not known.
    pub interrupted: usize,
    /// Units that are at work, or wait for a person.
    pub open: usize,
    /// Units that were only previewed.
    pub previewed: usize,
    /// Units that were not reached.
    pub pending: usize,
    /// Units with a warning.
    pub warned: usize,
    /// The unit that the failure came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitId>,
    /// The failure that decided the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Units that were undone, in the order of undoing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undone_units: Vec<UnitId>,
    /// Units whose undoing failed or did not restore.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_restored_units: Vec<UnitId>,
    /// Irreversible units whose effect stays although the run did not succeed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept_units: Vec<UnitId>,
    /// Units that could be undone and were not, although the run did not succeed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_units: Vec<UnitId>,
    /// Hosts that failed while the run went on without them: their blocks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<UnitId>,
    /// What an operator can do now: command-line words, after the program's name if the timeline
    /// has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

/// One line of a [`Summary`], as plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SummaryLine {
    /// What it is about: `Undone`.
    pub label: String,
    /// The sentence.
    pub text: String,
}

/// What a person needs to know first about a run of `outline`.
///
/// ```
/// use std::sync::Arc;
/// use runbook_core::{Event, EventKind, Manual, Runbook, UnitId, report};
///
/// let mut b = Runbook::new("greet");
/// b.manual(Manual::new("Wave"));
/// let plan = b.build()?;
/// let finished = EventKind::Finished { unit: UnitId::new("wave"), output: None };
/// let summary = report::summary(plan.outline(), &[Arc::new(Event::now(finished))]);
/// assert_eq!((summary.done, summary.total), (1, 1));
/// # Ok::<(), runbook_core::Error>(())
/// ```
#[must_use]
pub fn summary(outline: &Outline, events: &[Arc<Event>]) -> Summary {
    Timeline::of(outline, events).summary()
}

/// More titles than this are counted, not listed.
const LISTED: usize = 8;

impl Timeline {
    /// What a person needs to know first.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let number =
            |test: &dyn Fn(&UnitLine) -> bool| self.units.iter().filter(|unit| test(unit)).count();
        let with = |status: UnitStatus| number(&|unit| unit.status == status);
        let ids = |test: &dyn Fn(&UnitLine) -> bool| -> Vec<UnitId> {
            let units = self.chronological().into_iter();
            units.filter(|unit| test(unit)).map(|unit| unit.id.clone()).collect()
        };
        let over = self.is_over() && self.status != RunStatus::Succeeded;
        let kept = |unit: &UnitLine| unit.left_in_place() && is_irreversible(unit);
        // A run that is stuck and was not rolled back leaves only hosts that it was undoing.
        let undone = self.status != RunStatus::Stuck || self.going_back;
        let left = |unit: &UnitLine| {
            unit.left_in_place()
                && !is_irreversible(unit)
                && unit.status != UnitStatus::NotRestored
                && (undone || self.is_in_stuck_block(unit))
        };
        let (unit, problem) = self.deciding_failure();
        let mut summary = Summary {
            status: self.status,
            headline: self.headline(problem.as_ref()),
            lines: Vec::new(),
            total: self.units.len(),
            done: with(UnitStatus::Done),
            skipped: with(UnitStatus::Skipped),
            failed: with(UnitStatus::Failed),
            undone: with(UnitStatus::Undone),
            not_restored: with(UnitStatus::NotRestored),
            interrupted: with(UnitStatus::Interrupted),
            open: number(&|unit| {
                use UnitStatus::{Asking, Running, Undoing};
                matches!(unit.status, Asking | Running | Undoing)
            }),
            previewed: with(UnitStatus::Previewed),
            pending: with(UnitStatus::Pending),
            warned: number(&|unit| unit.warning().is_some()),
            unit,
            problem,
            undone_units: self.undone_in_order(),
            not_restored_units: ids(&|unit| unit.status == UnitStatus::NotRestored),
            kept_units: if over { ids(&kept) } else { Vec::new() },
            left_units: if over { ids(&left) } else { Vec::new() },
            without: self.finished.as_ref().map_or_else(Vec::new, |end| end.without.clone()),
            next: self.next_commands(),
        };
        summary.lines = self.first_lines(&summary);
        summary
    }

    /// The title of the runbook.
    pub(super) fn book_title(&self) -> &str {
        self.outline.as_ref().map_or("a run", |outline| outline.title.as_str())
    }

    fn mode(&self) -> Mode {
        self.head.as_ref().map_or(Mode::Run, |head| head.mode)
    }

    fn headline(&self, problem: Option<&Problem>) -> String {
        let cancelled = problem.is_some_and(|problem| problem.kind == FailureKind::Cancelled);
        let what = match (self.status, self.mode()) {
            (RunStatus::NotStarted, _) => "Not started",
            (RunStatus::Running, _) => "Not finished",
            (RunStatus::RollingBack, _) => "Rolling back, not finished",
            (RunStatus::Interrupted, _) => "Interrupted",
            (RunStatus::Suspended, _) if self.waiting.is_empty() => "Answered, to be resumed",
            (RunStatus::Suspended, _) => "Waiting for a person",
            (RunStatus::Succeeded, Mode::Check) => "All checks passed",
            (RunStatus::Succeeded, Mode::Plan) => "Planned, nothing was changed",
            (RunStatus::Succeeded, Mode::Run) if !self.is_everywhere() => {
                "Succeeded, but not on every host"
            }
            (RunStatus::Succeeded, Mode::Run) => "Succeeded",
            (RunStatus::RolledBack, _) if cancelled => "Cancelled and rolled back",
            (RunStatus::RolledBack, _) if problem.is_none() => "Rolled back",
            (RunStatus::RolledBack, _) => "Failed and rolled back",
            (RunStatus::Failed, Mode::Check | Mode::Plan) => "Checks failed",
            (RunStatus::Failed, _) if cancelled => "Cancelled",
            (RunStatus::Failed, _) => "Failed",
            (RunStatus::Stuck, _) => "Stuck, a person is needed",
        };
        format!("{what}: {}", self.book_title())
    }

    /// Whether it belongs to a host or remedy that failed and could not be undone.
    fn is_in_stuck_block(&self, unit: &UnitLine) -> bool {
        let stuck =
            |block: &&BlockLine| matches!(block.outcome, Some(BlockOutcome::NotRestored { .. }));
        self.blocks.iter().filter(stuck).any(|block| {
            let inside = unit.id.as_str().strip_prefix(block.id.as_str());
            inside.is_some_and(|rest| rest.starts_with('/'))
        })
    }

    /// Whether no host was lost on the way.
    pub(super) fn is_everywhere(&self) -> bool {
        self.finished.as_ref().is_none_or(|end| end.without.is_empty())
    }

    /// The failure that decided the run and its unit.
    fn deciding_failure(&self) -> (Option<UnitId>, Option<Problem>) {
        let end = self.finished.as_ref();
        let end = end.map_or((None, None), |end| (end.unit.clone(), end.problem.clone()));
        // A run that is stuck ends with what could not be put back; what went wrong first is why
        // it was put back at all.
        if end.1.is_some() && self.status != RunStatus::Stuck {
            return end;
        }
        if matches!(self.status, RunStatus::Succeeded | RunStatus::NotStarted) {
            return (None, None);
        }
        // Not ended, or it said no more: the latest failure that is not one of a lone branch.
        let isolated = |unit: &UnitLine| {
            self.moments.iter().any(|moment| match &moment.what {
                MomentKind::Isolated { block, .. } | MomentKind::NotRestored { block, .. } => unit
                    .id
                    .as_str()
                    .strip_prefix(block.as_str())
                    .is_some_and(|r| r.starts_with('/')),
                _ => false,
            })
        };
        let failed = self.units.iter().filter(|unit| unit.problem.is_some() && !isolated(unit));
        match failed.max_by_key(|unit| unit.spans.last().map(|span| span.from)) {
            Some(unit) => (Some(unit.id.clone()), unit.problem.clone()),
            None => end,
        }
    }

    fn undone_in_order(&self) -> Vec<UnitId> {
        if let Some(end) = self.finished.as_ref().filter(|end| !end.undone.is_empty()) {
            return end.undone.clone();
        }
        let mut undone: Vec<&UnitLine> =
            self.units.iter().filter(|unit| unit.status == UnitStatus::Undone).collect();
        undone.sort_by_key(|unit| unit.settled);
        undone.into_iter().map(|unit| unit.id.clone()).collect()
    }

    /// What an operator can do now.
    fn next_commands(&self) -> Vec<String> {
        let name = self.program.as_deref().map_or_else(String::new, |name| format!("{name} "));
        let words: Vec<String> = match (&self.finished, &self.head) {
            (Some(end), _) => end.next.clone(),
            (None, Some(head)) if self.mode() == Mode::Run => {
                let run = &head.run;
                let mut words = Vec::new();
                for wait in &self.waiting {
                    let unit = &wait.unit;
                    match &wait.question.kind {
                        QuestionKind::Approval | QuestionKind::Confirmation => {
                            words.push(format!("approve {run} {unit}"));
                        }
                        QuestionKind::Value { .. } => {
                            words.push(format!("approve {run} {unit} --answer VALUE"));
                        }
                        QuestionKind::Interrupted => words.extend([
                            format!("resume {run} --retry"),
                            format!("resume {run} --skip"),
                        ]),
                    }
                }
                if words.iter().all(|word| !word.starts_with("resume")) {
                    words.push(format!("resume {run}"));
                }
                words.push(format!("rollback {run}"));
                words
            }
            _ => Vec::new(),
        };
        words.into_iter().map(|words| format!("{name}{words}")).collect()
    }

    fn first_lines(&self, summary: &Summary) -> Vec<SummaryLine> {
        let mut lines = Vec::new();
        let mut say = |label: &str, text: String| {
            lines.push(SummaryLine { label: label.into(), text });
        };
        if let Some(text) = self.what_happened(summary) {
            say("What happened", text);
        }
        for SummaryLine { label, text } in self.severity_line().into_iter().chain(self.call_lines())
        {
            say(&label, text);
        }
        let hosts = self.hosts();
        if !hosts.is_empty() && self.mode() == Mode::Run {
            say("Hosts", super::fleet::in_words(&hosts));
        }
        // A run that only looks goes on after what does not pass.
        let looks = self.mode() != Mode::Run && self.is_over();
        for unit in
            self.units.iter().filter(|unit| looks && summary.unit.as_ref() != Some(&unit.id))
        {
            if let Some(problem) = &unit.problem {
                let how = words::failed(unit.kind, problem.kind);
                let text = words::said(unit, &problem.message);
                say("And", format!("{} {how}: {text}", self.name(unit)));
            } else if let Some(look) = words::refused(unit) {
                let name = self.name(unit);
                say("And", format!("{name} could not start: {}: {}", look.title, look.why));
            }
        }
        for wait in &self.waiting {
            let name = self.name_of(&wait.unit);
            say("Waits for", format!("{name} asks: {}", wait.question.text));
        }
        // What needs a person most stands first.
        for id in &summary.not_restored_units {
            let problem = self.unit(id).and_then(|unit| unit.undo_problem.as_ref());
            let why = problem.map_or("its undoing failed", |problem| problem.message.as_str());
            let advice = problem.and_then(|problem| problem.next.as_deref());
            let advice = advice.map_or(String::new(), |advice| format!("; {advice}"));
            say("Not restored", format!("{}: {why}{advice}", self.name_of(id)));
        }
        let unsure: Vec<UnitId> = self
            .units
            .iter()
            .filter(|unit| unit.status == UnitStatus::Interrupted)
            .map(|unit| unit.id.clone())
            .collect();
        if !unsure.is_empty() {
            let text = format!("{}: may be half done", self.titles(&unsure));
            say("Interrupted", text);
        }
        if !summary.undone_units.is_empty() {
            let n = count(summary.undone_units.len(), "step", "steps");
            let verified = if summary.undone_units.len() == 1 {
                "verified to be as before"
            } else {
                "each verified to be as before"
            };
            let by_hand = self.units.iter().filter(|unit| by_hand(unit)).count();
            let said = match by_hand {
                0 => verified.into(),
                all if all == summary.undone_units.len() => "by hand".into(),
                some => format!("{some} of them by hand"),
            };
            say("Undone", format!("{n}, {said}: {}", self.titles(&summary.undone_units)));
        }
        if !summary.left_units.is_empty() {
            let n = count(summary.left_units.len(), "step", "steps");
            let why = match self.status {
                RunStatus::Stuck => "not undone, for what came after could not be",
                _ => "not undone",
            };
            say("Left as it is", format!("{n}, {why}: {}", self.titles(&summary.left_units)));
        }
        if !summary.kept_units.is_empty() {
            let n = count(summary.kept_units.len(), "step", "steps");
            let text = format!("{n} that can't be undone: {}", self.titles(&summary.kept_units));
            say("Stays", text);
        }
        let nothing_done = self.is_over()
            && matches!(self.status, RunStatus::Failed | RunStatus::RolledBack)
            && self.mode() == Mode::Run
            && summary.undone_units.is_empty()
            && summary.left_units.is_empty()
            && summary.kept_units.is_empty()
            && unsure.is_empty();
        if nothing_done {
            say("Undone", "nothing: no step had changed anything".into());
        }
        for block in &self.blocks {
            if let Some(
                BlockOutcome::Isolated { problem } | BlockOutcome::NotRestored { problem, .. },
            ) = &block.outcome
            {
                let name = self.name_of(&block.id);
                say("Went on without", format!("{name}: {}", problem.message));
            }
        }
        let warned: Vec<String> = self
            .units
            .iter()
            .filter_map(|unit| unit.warning().map(|look| format!("“{}”: {}", look.title, look.why)))
            .collect();
        for warning in warned.iter().take(LISTED) {
            say("Worth a look", warning.clone());
        }
        if let Some(advice) = summary.problem.as_ref().and_then(|problem| problem.next.as_ref()) {
            say("Advice", advice.clone());
        }
        lines
    }

    fn what_happened(&self, summary: &Summary) -> Option<String> {
        let took = duration(self.duration());
        let put_back =
            summary.unit.as_ref().is_some_and(|id| summary.not_restored_units.contains(id));
        if let Some(problem) = &summary.problem
            && self.status != RunStatus::Succeeded
            // What could not be put back has a line of its own.
            && !(put_back && self.unit(summary.unit.as_ref()?)?.problem.is_none())
        {
            let text = match summary.unit.as_ref().and_then(|id| self.unit(id)) {
                None => shortened(&problem.message, 600).into_owned(),
                Some(unit) => {
                    let how = words::failed(unit.kind, problem.kind);
                    format!("{} {how}: {}", self.name(unit), words::said(unit, &problem.message))
                }
            };
            return Some(text);
        }
        match self.status {
            RunStatus::Succeeded => {
                let done = match self.mode() {
                    Mode::Run => format!("{} of {} done", summary.done, summary.total),
                    Mode::Check => format!("{} passed", count(summary.done, "check", "checks")),
                    Mode::Plan => format!(
                        "{} passed, {} would run",
                        count(summary.done, "check", "checks"),
                        count(summary.previewed, "step", "steps")
                    ),
                };
                let skipped = match summary.skipped {
                    0 => String::new(),
                    n => format!(", {n} skipped"),
                };
                let idle = self.idle();
                let idle = if idle.is_zero() {
                    String::new()
                } else {
                    format!(", of which nobody worked on it for {}", duration(idle))
                };
                Some(format!("{done}{skipped}, in {took}{idle}"))
            }
            RunStatus::Interrupted => {
                let last = super::text::moment(self.last?);
                let way = if self.going_back { " on the way back" } else { "" };
                Some(format!(
                    "the process that ran it is gone{way}; {} of {} done, the last sign of life \
                     came at {last}",
                    summary.done, summary.total
                ))
            }
            RunStatus::Running | RunStatus::RollingBack => {
                let last = super::text::moment(self.last?);
                let at_work = |unit: &&UnitLine| {
                    matches!(unit.status, UnitStatus::Running | UnitStatus::Undoing)
                };
                let at_work: Vec<String> =
                    self.units.iter().filter(at_work).map(|unit| self.name(unit)).collect();
                let work = match at_work.as_slice() {
                    [] => String::new(),
                    [one] => format!(", {one} is at work"),
                    names => format!(", {} are at work", listed(names)),
                };
                Some(format!(
                    "{} of {} done{work}; the last sign of life came at {last} (if the process \
                     that ran it is gone, the run was interrupted)",
                    summary.done, summary.total
                ))
            }
            RunStatus::Suspended => {
                let since = super::text::moment(self.moments.last().map(|m| m.at)?);
                let done = format!("{} of {} done", summary.done, summary.total);
                Some(format!("{done}; the run stopped in order and waits since {since}"))
            }
            RunStatus::RolledBack | RunStatus::Failed | RunStatus::Stuck => {
                self.moments.iter().rev().find_map(|moment| match &moment.what {
                    MomentKind::RollbackStarted { cause, .. } => Some(cause.clone()),
                    _ => None,
                })
            }
            .or_else(|| {
                let stuck = self.status == RunStatus::Stuck;
                stuck.then(|| format!("{} of {} done, in {took}", summary.done, summary.total))
            }),
            RunStatus::NotStarted => None,
        }
    }

    fn titles(&self, ids: &[UnitId]) -> String {
        let mut titles: Vec<String> = ids.iter().take(LISTED).map(|id| self.name_of(id)).collect();
        if ids.len() > LISTED {
            titles.push(format!("{} more", ids.len() - LISTED));
        }
        listed(&titles)
    }
}

fn is_irreversible(unit: &UnitLine) -> bool {
    unit.undo == crate::step::UndoKind::Irreversible
}

/// Whether a person put it back.
fn by_hand(unit: &UnitLine) -> bool {
    unit.status == UnitStatus::Undone
        && !unit.spans.iter().any(|span| {
            span.activity == super::timeline::Activity::Undo && span.end == SpanEnd::Done
        })
}
