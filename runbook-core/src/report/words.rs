//! The sentences that the reports of a run share, as plain text.

use super::text::{count, duration, listed, moment, shortened};
use super::timeline::{
    Activity, Look, MomentKind, ProcessEnd, Retried, SpanEnd, Timeline, UnitLine, UnitStatus,
};
use crate::check::Level;
use crate::error::FailureKind;
use crate::event::{
    Answer, CheckRole, Decision, LockHolder, ResumeMode, SkipReason, Status, Timestamp, UnitId,
};
use crate::plan::UnitKind;
use crate::transfer::Direction;
use std::borrow::Cow;
use std::time::Duration;

/// How an entry of a report is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    /// Of a person or a process: decisions, approvals, gaps.
    People,
}

/// One line of the log.
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// The kind of a unit, in a word.
pub(super) fn kind(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Step => "step",
        UnitKind::Check => "check",
        UnitKind::Observe => "observation",
        UnitKind::Wait => "wait",
        UnitKind::Manual => "by hand",
    }
}

/// The status of a unit, in a word or two; `over` says that the run ended.
pub(super) fn status(unit: &UnitLine, over: bool) -> &'static str {
    match unit.status {
        UnitStatus::Pending if over && refused(unit).is_some() => "could not start",
        UnitStatus::Pending if over && !unit.looks.is_empty() => "could start",
        UnitStatus::Pending if over => "not reached",
        UnitStatus::Pending => "to do",
        UnitStatus::Asking => "waits for a person",
        UnitStatus::Running => "at work",
        UnitStatus::Interrupted => "interrupted",
        UnitStatus::Previewed if unit.satisfied == Some(true) => "already so",
        UnitStatus::Previewed => "would run",
        UnitStatus::Skipped => "skipped",
        UnitStatus::Done if found(unit) == Some(Level::Warn) => "warning",
        UnitStatus::Done if found(unit) == Some(Level::Fail) => "noted",
        UnitStatus::Done if is_look(unit) => "passed",
        UnitStatus::Done => "done",
        UnitStatus::Failed => "failed",
        UnitStatus::Undoing => "being undone",
        UnitStatus::Undone if unit.problem.is_some() => "failed, undone",
        UnitStatus::Undone => "undone",
        UnitStatus::NotRestored => "not restored",
    }
}

/// How the status of a unit is meant.
pub(super) fn tone(unit: &UnitLine) -> Tone {
    match unit.status {
        UnitStatus::Done if found(unit).is_some_and(|level| level > Level::Pass) => Tone::Warn,
        UnitStatus::Done => Tone::Good,
        UnitStatus::Failed | UnitStatus::NotRestored => Tone::Bad,
        UnitStatus::Undone if unit.problem.is_some() => Tone::Bad,
        UnitStatus::Interrupted | UnitStatus::Undone | UnitStatus::Undoing => Tone::Warn,
        UnitStatus::Asking => Tone::People,
        UnitStatus::Pending if refused(unit).is_some() => Tone::Bad,
        UnitStatus::Running => Tone::Warn,
        UnitStatus::Pending | UnitStatus::Skipped | UnitStatus::Previewed => Tone::Plain,
    }
}

/// A mark for the status that does not depend on colour.
pub(super) fn mark(unit: &UnitLine) -> &'static str {
    match unit.status {
        UnitStatus::Pending if refused(unit).is_some() => "✗",
        UnitStatus::Pending => "·",
        UnitStatus::Asking => "?",
        UnitStatus::Running => "▶",
        UnitStatus::Interrupted => "‖",
        UnitStatus::Previewed => "○",
        UnitStatus::Skipped => "–",
        UnitStatus::Done if found(unit).is_some_and(|level| level > Level::Pass) => "!",
        UnitStatus::Done => "✓",
        UnitStatus::Failed => "✗",
        UnitStatus::Undoing | UnitStatus::Undone => "↩",
        UnitStatus::NotRestored => "✗",
    }
}

/// Whether the unit only looks.
pub(super) fn is_look(unit: &UnitLine) -> bool {
    matches!(unit.kind, UnitKind::Check | UnitKind::Observe | UnitKind::Wait)
}

/// The level of the last look of a unit that only looks.
fn found(unit: &UnitLine) -> Option<Level> {
    own_look(unit).filter(|_| is_look(unit)).map(|look| look.level)
}

fn own_look(unit: &UnitLine) -> Option<&Look> {
    let own = |role| matches!(role, CheckRole::Gate | CheckRole::Observation | CheckRole::Wait);
    unit.looks.iter().rev().find(|look| own(look.role))
}

/// The requirement that a step did not meet in a run that only looks.
pub(super) fn refused(unit: &UnitLine) -> Option<&Look> {
    let refuses = |look: &&Look| look.level == Level::Fail && look.role == CheckRole::Requires;
    unit.looks.iter().find(refuses).filter(|_| unit.status == UnitStatus::Pending)
}

/// What a check was made for, put before its title; nothing for a unit of its own.
pub(super) fn role(role: CheckRole) -> &'static str {
    match role {
        CheckRole::Gate | CheckRole::Observation | CheckRole::Wait => "",
        CheckRole::Requires => "before it: ",
        CheckRole::Verify => "after it: ",
        CheckRole::Ladder => "to make pass: ",
    }
}

/// Why a unit was left out.
pub(super) fn skipped(why: &SkipReason) -> &'static str {
    match why {
        SkipReason::Satisfied => "it was already so",
        SkipReason::Condition => "its condition did not hold",
        SkipReason::NotNeeded => "it was not needed",
        SkipReason::Operator => "an operator took it as done",
        SkipReason::NoInput => "an output that it needs was not made",
    }
}

/// An operator's decision.
pub(super) fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Retry => "run it again",
        Decision::Skip => "take it as done",
        Decision::Rollback => "roll back",
        Decision::Restored => "take it as put back by hand",
    }
}

/// `kim approved`, `kim said no`, `kim answered “4711”`.
pub(super) fn answered(by: &str, answer: &Answer) -> String {
    match answer {
        Answer::Yes => format!("{by} said yes"),
        Answer::No => format!("{by} said no"),
        Answer::Value(value) => format!("{by} answered “{}”", shortened(value, 200)),
    }
}

/// How a unit failed, as the verb of a sentence.
pub(super) fn failed(unit: UnitKind, how: FailureKind) -> &'static str {
    let looks = matches!(unit, UnitKind::Check | UnitKind::Observe | UnitKind::Wait);
    match how {
        FailureKind::Refused if looks => "did not pass",
        FailureKind::Failed => "failed",
        FailureKind::TimedOut => "ran out of time",
        FailureKind::Cancelled => "was cancelled",
        FailureKind::Disconnected => "lost its connection",
        FailureKind::Refused => "was refused",
        FailureKind::Panicked => "panicked",
    }
}

/// What there is to say of a unit beside its status, in one line; may be empty.
pub(super) fn note(unit: &UnitLine) -> String {
    let mut notes: Vec<String> = Vec::new();
    if let Some(problem) = &unit.problem {
        let how = failed(unit.kind, problem.kind);
        notes.push(format!("{how}: {}", said(unit, &problem.message)));
    }
    if let Some(problem) = &unit.undo_problem {
        notes.push(format!("not restored: {}", shortened(&problem.message, 300)));
    }
    let rest = short_note(unit);
    if !rest.is_empty() {
        notes.push(rest);
    }
    notes.join("; ")
}

/// What a problem of a unit says, without the unit's title, which stands before it already.
pub(super) fn said<'a>(unit: &UnitLine, message: &'a str) -> Cow<'a, str> {
    let rest = message.strip_prefix(unit.title.as_str()).and_then(|rest| rest.strip_prefix(": "));
    shortened(rest.unwrap_or(message), 600)
}

/// As [`note`], without what went wrong.
pub(super) fn short_note(unit: &UnitLine) -> String {
    let mut notes: Vec<String> = Vec::new();
    if unit.problem.is_some() && !unit.was_started && unit.kind == UnitKind::Step {
        notes.push("it had not been started".into());
    }
    notes.extend(refused(unit).map(|look| format!("{}: {}", look.title, look.why)));
    if let Some(why) = unit.skipped.as_ref().filter(|_| unit.status == UnitStatus::Skipped) {
        notes.push(skipped(why).into());
    }
    if let Some(question) = &unit.question {
        notes.push(format!("asks: {}", question.text));
    }
    notes.extend(unit.answers.iter().map(|a| answered(&a.by, &a.answer)));
    let decided = |d: &super::timeline::Decided| format!("{}: {}", d.by, decision(d.decision));
    notes.extend(unit.decisions.iter().map(decided));
    if unit.problem.is_none() {
        if let Some(look) = own_look(unit) {
            notes.push(look.why.clone());
        } else if let Some(look) = unit.warning() {
            notes.push(format!("warning: {}: {}", look.title, look.why));
        }
    }
    if unit.attempts > 1 {
        notes.push(count(unit.attempts as usize, "attempt", "attempts"));
    }
    let undone = unit.spans.iter().rev().find(|s| s.activity == Activity::Undo);
    if let Some((span, until)) = undone.and_then(|span| Some(span).zip(span.until))
        && unit.status == UnitStatus::Undone
    {
        notes.push(format!("undone in {}", duration(until.since(span.from))));
    }
    notes.join("; ")
}

/// All that happened, in order of time.
pub(super) fn log(timeline: &Timeline) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut moments = timeline.moments.iter().peekable();
    while let Some(moment) =
        moments.next_if(|moment| matches!(moment.what, MomentKind::Started { .. }))
    {
        entries.push(told(timeline, moment.at, &moment.what));
    }
    for unit in &timeline.units {
        of_unit(unit, &timeline.name(unit), &mut entries);
    }
    for block in &timeline.blocks {
        for look in &block.looks {
            entries.push(looked(look, &format!("“{}”", block.title), false));
        }
    }
    for process in timeline.processes.iter().filter(|p| p.end == ProcessEnd::Interrupted) {
        let text = format!("last sign of life of {}: the run was interrupted", process.by);
        entries.push(Entry { at: process.until, tone: Tone::Bad, text });
    }
    for moment in moments {
        entries.push(told(timeline, moment.at, &moment.what));
    }
    // Stable: what happened at the same time stays in this order.
    entries.sort_by_key(|entry| entry.at);
    entries
}

fn of_unit(unit: &UnitLine, title: &str, entries: &mut Vec<Entry>) {
    let mut say = |at, tone, text| entries.push(Entry { at, tone, text });
    if let Some((why, at)) = unit.skipped.as_ref().zip(unit.settled)
        && unit.status == UnitStatus::Skipped
    {
        say(at, Tone::Plain, format!("{title} skipped: {}", skipped(why)));
    }
    for Retried { at, attempt, problem, pause_ms } in &unit.retries {
        let pause = duration(Duration::from_millis(*pause_ms));
        let message = shortened(&problem.message, 300);
        let text = format!("{title} attempt {attempt} failed: {message}; again after {pause}");
        say(*at, Tone::Warn, text);
    }
    let works = unit.spans.iter().filter(|span| span.activity == Activity::Work).count();
    let mut work = 0;
    for span in &unit.spans {
        let took = span.until.map(|until| duration(until.since(span.from)));
        let took = took.unwrap_or_default();
        let undo = span.activity == Activity::Undo;
        match span.activity {
            // Questions and answers are moments of the run.
            Activity::Ask => continue,
            Activity::Work if unit.kind == UnitKind::Step && unit.was_started => {
                say(span.from, Tone::Plain, format!("{title} started"));
            }
            Activity::Work => {}
            Activity::Undo => say(span.from, Tone::Plain, format!("undoing {title}")),
        }
        work += usize::from(!undo);
        let Some(at) = span.until else { continue };
        match span.end {
            SpanEnd::Open => {}
            SpanEnd::Done if undo => say(at, Tone::Good, format!("{title} undone in {took}")),
            // The looks of a check tell it better.
            SpanEnd::Done if is_look(unit) && !unit.looks.is_empty() => {}
            SpanEnd::Done => say(at, Tone::Good, format!("{title} done in {took}")),
            SpanEnd::Interrupted => {
                say(at, Tone::Bad, format!("{title} was interrupted; how far it got is not known"));
            }
            SpanEnd::Failed => {
                let problem = if undo { &unit.undo_problem } else { &unit.problem };
                // Only the last failure is kept; earlier ones are in the retries.
                let problem = problem.as_ref().filter(|_| undo || work == works);
                let at = if undo { at } else { unit_failed_at(unit, at, work == works) };
                let how = problem.map_or("failed", |p| failed(unit.kind, p.kind));
                if problem.is_some_and(|problem| told_by_look(unit, &problem.message)) {
                    continue;
                }
                let why = problem
                    .map_or(String::new(), |problem| format!(": {}", said(unit, &problem.message)));
                let verb = if undo { "was not restored" } else { how };
                say(at, Tone::Bad, format!("{title} {verb}{why}"));
            }
        }
    }
    // A person's no leaves no span of work.
    if let (Some(problem), 0, Some(at)) = (&unit.problem, works, unit.settled) {
        let how = failed(unit.kind, problem.kind);
        say(at, Tone::Bad, format!("{title} {how}: {}", said(unit, &problem.message)));
    }
    if works == 0 && unit.status == UnitStatus::Done && !is_look(unit) {
        unit.settled.into_iter().for_each(|at| say(at, Tone::Good, format!("{title} done")));
    }
    for look in &unit.looks {
        entries.push(looked(look, title, is_look(unit)));
    }
}

/// Whether the last look of a check says all that its failure does.
fn told_by_look(unit: &UnitLine, message: &str) -> bool {
    let last = own_look(unit).filter(|_| is_look(unit) && unit.kind != UnitKind::Wait);
    last.is_some_and(|look| look.level == Level::Fail && look.why == said(unit, message))
}

/// A unit whose verification failed did so after its work had ended.
fn unit_failed_at(unit: &UnitLine, span_end: Timestamp, last: bool) -> Timestamp {
    match unit.settled {
        Some(at) if last && unit.status == UnitStatus::Failed => at.max(span_end),
        _ => span_end,
    }
}

/// `of` is the name of the unit or block that it was made for; `itself`: the unit is the check.
fn looked(look: &Look, of: &str, itself: bool) -> Entry {
    let tone = match (look.level, look.role) {
        (Level::Pass, _) => Tone::Good,
        (Level::Warn, _) | (Level::Fail, CheckRole::Observation | CheckRole::Wait) => Tone::Warn,
        (Level::Fail, CheckRole::Ladder) => Tone::Warn,
        (Level::Fail, _) => Tone::Bad,
    };
    let what = match look.role {
        CheckRole::Requires => format!("“{}”, before {of},", look.title),
        CheckRole::Verify => format!("“{}”, after {of},", look.title),
        _ if itself => of.to_owned(),
        _ => format!("“{}”", look.title),
    };
    let times = match (look.times, look.last) {
        (times, Some(last)) if times > 1 => {
            format!(" ({times} times in {})", duration(last.since(look.at)))
        }
        _ => String::new(),
    };
    let text = format!("{what} {}: {}{times}", level(look.level), look.why);
    Entry { at: look.at, tone, text }
}

/// A level, as the verb of a sentence.
pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::Pass => "passed",
        Level::Warn => "warned",
        Level::Fail => "did not pass",
    }
}

fn held_by(holder: &LockHolder) -> String {
    let LockHolder { run, book, by, reason, since, .. } = holder;
    let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    format!("run {run} of `{book}` by {by} since {}{reason}", moment(*since))
}

/// A moment as a sentence.
fn told(timeline: &Timeline, at: Timestamp, what: &MomentKind) -> Entry {
    let title = |unit: &UnitId| timeline.name_of(unit);
    let (tone, text) = match what {
        MomentKind::Started { by } => {
            let reason = timeline.head.as_ref().and_then(|head| head.reason.as_deref());
            let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
            (Tone::People, format!("{by} started the run{reason}"))
        }
        MomentKind::Resumed { by, mode, after, gap_ms, interrupted } => {
            let gap = duration(Duration::from_millis(*gap_ms));
            let how = match mode {
                ResumeMode::Forward => "took the run up again",
                ResumeMode::Rollback => "took the run up to roll it back",
            };
            let after = match after {
                ProcessEnd::Open | ProcessEnd::Interrupted => {
                    format!("after it was interrupted for {gap}")
                }
                ProcessEnd::Suspended => format!("after it had waited {gap}"),
                ProcessEnd::Ended => format!("{gap} after it had ended"),
            };
            let titles: Vec<String> = interrupted.iter().map(title).collect();
            let open = match titles.as_slice() {
                [] => String::new(),
                titles => format!("; not known how far: {}", listed(titles)),
            };
            (Tone::People, format!("{by} {how} {after}{open}"))
        }
        MomentKind::CancelRequested { by } => (Tone::People, format!("{by} asked to cancel")),
        MomentKind::RollbackStarted { cause, units } => {
            let n = count(units.len(), "step", "steps");
            (Tone::Warn, format!("rolling back {n}: {cause}"))
        }
        MomentKind::Suspended { units } => {
            let titles: Vec<String> = units.iter().map(title).collect();
            let whom = listed(&titles);
            (Tone::People, format!("the run stopped in order to wait for a person: {whom}"))
        }
        MomentKind::Finished { status } => {
            let tone = match status {
                Status::Succeeded => Tone::Good,
                _ => Tone::Bad,
            };
            (tone, format!("the run ended: {status}"))
        }
        MomentKind::LockWaiting { resource, holder } => {
            (Tone::Warn, format!("waiting for the lock on {resource}, held by {}", held_by(holder)))
        }
        MomentKind::LockAcquired { resource, waited_ms: 0 } => {
            (Tone::Plain, format!("locked {resource}"))
        }
        MomentKind::LockAcquired { resource, waited_ms } => {
            let waited = duration(Duration::from_millis(*waited_ms));
            (Tone::Plain, format!("locked {resource} after waiting {waited}"))
        }
        MomentKind::LockReleased { resource } => (Tone::Plain, format!("unlocked {resource}")),
        MomentKind::LockLost { resource, why } => {
            (Tone::Bad, format!("lost the lock on {resource}: {why}"))
        }
        MomentKind::Asked { unit, question } => {
            (Tone::People, format!("{} asks: {}", title(unit), question.text))
        }
        MomentKind::Answered { unit, by, answer } => {
            (Tone::People, format!("{} to {}", answered(by, answer), title(unit)))
        }
        MomentKind::Decided { unit, by, decision: decided } => {
            (Tone::People, format!("{by} decided on {}: {}", title(unit), decision(*decided)))
        }
        MomentKind::LeftoversEnded { unit, host, processes } => {
            let n = count(processes.len(), "process", "processes");
            let list = listed(processes);
            let text = format!("ended {n} on {host} left behind by {}: {list}", title(unit));
            (Tone::Warn, text)
        }
        MomentKind::Transferred { unit, host, path, direction, bytes, sha256 } => {
            let (word, way) = match direction {
                Direction::Up => ("sent", "to"),
                Direction::Down => ("fetched", "from"),
            };
            let file = format!("{word} {path} {way} {host} for {}", title(unit));
            (Tone::Plain, format!("{file}: {bytes} bytes, sha256 {sha256}"))
        }
        MomentKind::Isolated { block, problem } => {
            let text = format!(
                "{} failed and was undone; the run went on without it: {}",
                title(block),
                shortened(&problem.message, 300)
            );
            (Tone::Bad, text)
        }
        MomentKind::NotRestored { block, problem, not_restored } => {
            let text = format!(
                "{} failed and could not be put back: {}; it had failed: {}",
                title(block),
                shortened(&not_restored.message, 300),
                shortened(&problem.message, 300)
            );
            (Tone::Bad, text)
        }
        MomentKind::Notified { to, problem: None } => (Tone::Plain, format!("told {to}")),
        MomentKind::Notified { to, problem: Some(problem) } => {
            (Tone::Warn, format!("could not tell {to}: {}", problem.message))
        }
    };
    Entry { at, tone, text }
}
