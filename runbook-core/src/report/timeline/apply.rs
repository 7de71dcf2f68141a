//! [`Timeline::apply`]: one event more.

use std::sync::Arc;

use super::{
    Activity, Answered, Decided, Look, Moment, MomentKind, Process, ProcessEnd, Retried, RunStatus,
    Span, SpanEnd, Timeline, UnitLine, UnitStatus,
};
use crate::event::{
    BlockOutcome, CheckRole, Decision, Event, EventKind, RunStarted, Status, Timestamp, UnitId,
    VerdictRecord,
};
use crate::plan::UnitKind;

impl Timeline {
    /// Takes the next event. Passing events (output, progress, previews) count too.
    pub fn apply(&mut self, event: &Event) {
        use EventKind as E;
        let at = event.at;
        self.seen(event);
        match &event.event {
            E::RunStarted(_)
            | E::RunResumed { .. }
            | E::CancelRequested { .. }
            | E::RollbackStarted { .. }
            | E::Suspended { .. }
            | E::RunFinished(_) => self.apply_run(event),
            E::LockWaiting { .. }
            | E::LockAcquired { .. }
            | E::LockReleased { .. }
            | E::LockLost { .. } => self.apply_lock(event),
            E::BlockStarted { block } => {
                if let Some(line) = self.block_places.get(block).map(|i| &mut self.blocks[*i]) {
                    line.started.get_or_insert(at);
                    line.ended = None;
                    line.outcome = None;
                }
            }
            E::BlockFinished { block, outcome } => {
                if let Some(line) = self.block_places.get(block).map(|i| &mut self.blocks[*i]) {
                    line.ended = Some(at);
                    line.outcome = Some(outcome.clone());
                }
                let block = block.clone();
                match outcome.clone() {
                    BlockOutcome::Isolated { problem } => {
                        self.note(at, MomentKind::Isolated { block, problem });
                    }
                    BlockOutcome::NotRestored { problem, not_restored, .. } => {
                        self.note(at, MomentKind::NotRestored { block, problem, not_restored });
                    }
                    BlockOutcome::Succeeded | BlockOutcome::Skipped | BlockOutcome::Failed => {}
                }
            }
            E::Notified { to, problem } => {
                let (to, problem) = (to.clone(), problem.clone());
                self.note(at, MomentKind::Notified { to, problem });
            }
            _ => self.apply_unit(event),
        }
    }

    /// Notes the sign of life.
    fn seen(&mut self, event: &Event) {
        self.last = self.last.max(Some(event.at));
        // Answers to a suspended run and what is said after the end are no work on it.
        if let Some(process) = self.processes.last_mut()
            && process.end == ProcessEnd::Open
            && !matches!(event.event, EventKind::RunResumed { .. })
        {
            process.until = process.until.max(event.at);
        }
    }

    fn note(&mut self, at: Timestamp, what: MomentKind) {
        self.moments.push(Moment { at, what });
    }

    fn apply_run(&mut self, event: &Event) {
        use EventKind as E;
        let at = event.at;
        match &event.event {
            E::RunStarted(start) => self.start(at, start),
            E::RunResumed { by, mode } => {
                let (after, gap) = match self.processes.last_mut() {
                    Some(process) => {
                        if process.end == ProcessEnd::Open {
                            process.end = ProcessEnd::Interrupted;
                        }
                        (process.end, at.since(process.until))
                    }
                    None => (ProcessEnd::Interrupted, std::time::Duration::ZERO),
                };
                let interrupted = self.interrupt();
                // The questions are asked again, or were answered meanwhile.
                for unit in &mut self.units {
                    unit.close(Activity::Ask, at, SpanEnd::Done);
                    if unit.status == UnitStatus::Asking {
                        unit.status = UnitStatus::Pending;
                    }
                }
                self.waiting.clear();
                self.lock_waits.clear();
                self.status =
                    if self.going_back { RunStatus::RollingBack } else { RunStatus::Running };
                self.finished = None;
                self.ended = None;
                self.processes.push(Process {
                    by: by.clone(),
                    mode: Some(*mode),
                    from: at,
                    until: at,
                    end: ProcessEnd::Open,
                });
                let gap_ms = crate::plan::millis(gap);
                let (by, mode) = (by.clone(), *mode);
                self.note(at, MomentKind::Resumed { by, mode, after, gap_ms, interrupted });
            }
            E::CancelRequested { by } => {
                self.note(at, MomentKind::CancelRequested { by: by.clone() });
            }
            E::RollbackStarted { cause, units } => {
                self.status = RunStatus::RollingBack;
                self.going_back = true;
                let (cause, units) = (cause.clone(), units.clone());
                self.note(at, MomentKind::RollbackStarted { cause, units });
            }
            E::Suspended { waiting } => {
                self.status = RunStatus::Suspended;
                self.waiting.clone_from(waiting);
                self.end_process(ProcessEnd::Suspended);
                for wait in waiting {
                    if let Some(unit) = self.unit_mut(&wait.unit) {
                        // An interrupted unit keeps its state: that is what is asked about.
                        if unit.status == UnitStatus::Pending {
                            unit.status = UnitStatus::Asking;
                            unit.open(Activity::Ask, at);
                        }
                        unit.question = Some(wait.question.clone());
                    }
                }
                let units = waiting.iter().map(|wait| wait.unit.clone()).collect();
                self.note(at, MomentKind::Suspended { units });
            }
            E::RunFinished(finished) => {
                self.status = finished.status.into();
                self.ended = Some(at);
                self.end_process(ProcessEnd::Ended);
                // Nothing is at work any more: what is open now will stay so.
                self.interrupt();
                self.finished = Some((**finished).clone());
                self.note(at, MomentKind::Finished { status: finished.status });
            }
            _ => {}
        }
    }

    fn start(&mut self, at: Timestamp, start: &RunStarted) {
        let known = self.outline.as_ref();
        if known.is_none_or(|known| known.fingerprint != start.plan.fingerprint) {
            self.plan(Arc::clone(&start.plan));
        }
        self.status = RunStatus::Running;
        self.started = Some(at);
        self.processes.push(Process {
            by: start.by.clone(),
            mode: None,
            from: at,
            until: at,
            end: ProcessEnd::Open,
        });
        self.note(at, MomentKind::Started { by: start.by.clone() });
        self.head = Some(start.clone());
    }

    fn end_process(&mut self, end: ProcessEnd) {
        if let Some(process) = self.processes.last_mut() {
            process.end = end;
        }
    }

    /// Marks everything at work as interrupted, at the last sign of life of its process.
    pub(super) fn interrupt(&mut self) -> Vec<UnitId> {
        let until = self.processes.last().map(|process| process.until);
        let mut interrupted = Vec::new();
        for unit in &mut self.units {
            let work = unit.status == UnitStatus::Running;
            let undo = unit.status == UnitStatus::Undoing;
            if !work && !undo {
                continue;
            }
            let activity = if work { Activity::Work } else { Activity::Undo };
            if let Some(until) = until {
                unit.close(activity, until, SpanEnd::Interrupted);
            }
            // Checks only look: there is nothing to be unsure of.
            let unsure = unit.kind == UnitKind::Step;
            unit.status = if unsure { UnitStatus::Interrupted } else { UnitStatus::Pending };
            if unsure {
                interrupted.push(unit.id.clone());
            }
        }
        interrupted
    }

    fn apply_lock(&mut self, event: &Event) {
        use EventKind as E;
        let at = event.at;
        match &event.event {
            // Told again and again while it lasts: the first time counts.
            E::LockWaiting { resource, .. } if self.lock_waits.contains_key(resource) => {}
            E::LockWaiting { resource, holder } => {
                self.lock_waits.insert(resource.clone(), at);
                let (resource, holder) = (resource.clone(), holder.clone());
                self.note(at, MomentKind::LockWaiting { resource, holder });
            }
            E::LockAcquired { resource } => {
                let waited = self.lock_waits.remove(resource).map(|since| at.since(since));
                let waited_ms = waited.map_or(0, crate::plan::millis);
                let resource = resource.clone();
                self.note(at, MomentKind::LockAcquired { resource, waited_ms });
            }
            E::LockReleased { resource } => {
                self.note(at, MomentKind::LockReleased { resource: resource.clone() });
            }
            E::LockLost { resource, why } => {
                let (resource, why) = (resource.clone(), why.clone());
                self.note(at, MomentKind::LockLost { resource, why });
            }
            _ => {}
        }
    }

    fn unit_mut(&mut self, id: &UnitId) -> Option<&mut UnitLine> {
        self.places.get(id).map(|place| &mut self.units[*place])
    }

    fn apply_unit(&mut self, event: &Event) {
        if let Some(moment) = told(&event.event) {
            self.note(event.at, moment);
        }
        let Some(id) = event.event.unit() else { return };
        if matches!(event.event, EventKind::Answered { .. } | EventKind::Decided { .. }) {
            self.waiting.retain(|wait| wait.unit != *id);
        }
        match self.places.get(id) {
            Some(place) => self.units[*place].apply(event.at, &event.event),
            // The check of a ladder belongs to the block.
            None => {
                if let (Some(place), EventKind::Checked { role, title, verdict, .. }) =
                    (self.block_places.get(id), &event.event)
                {
                    look(&mut self.blocks[*place].looks, event.at, *role, title, verdict);
                }
            }
        }
    }
}

/// What of a unit's life is between it and people.
fn told(event: &EventKind) -> Option<MomentKind> {
    use EventKind as E;
    Some(match event {
        E::Asked { unit, question } => {
            MomentKind::Asked { unit: unit.clone(), question: question.clone() }
        }
        E::Answered { unit, by, answer } => {
            MomentKind::Answered { unit: unit.clone(), by: by.clone(), answer: answer.clone() }
        }
        E::Decided { unit, by, decision } => {
            MomentKind::Decided { unit: unit.clone(), by: by.clone(), decision: *decision }
        }
        E::LeftoversEnded { unit, host, processes } => MomentKind::LeftoversEnded {
            unit: unit.clone(),
            host: host.clone(),
            processes: processes.clone(),
        },
        E::Transfer(file) => MomentKind::Transferred {
            unit: file.unit.clone(),
            host: file.host.clone(),
            path: file.path.clone(),
            direction: file.direction,
            bytes: file.done,
            sha256: file.sha256.clone()?,
        },
        _ => return None,
    })
}

impl UnitLine {
    fn apply(&mut self, at: Timestamp, event: &EventKind) {
        let before = self.status;
        self.take(at, event);
        if self.status != before {
            self.settled = Some(at);
        }
    }

    fn take(&mut self, at: Timestamp, event: &EventKind) {
        use EventKind as E;
        match event {
            E::Skipped { why, output, .. } => {
                self.status = UnitStatus::Skipped;
                self.skipped = Some(why.clone());
                self.output.clone_from(output);
                self.close(Activity::Work, at, SpanEnd::Done);
            }
            E::Resolved { title, .. } => self.title.clone_from(title),
            E::Asked { question, .. } => {
                self.open(Activity::Ask, at);
                self.question = Some(question.clone());
                if self.status == UnitStatus::Pending {
                    self.status = UnitStatus::Asking;
                }
            }
            E::Answered { by, answer, .. } => {
                self.close(Activity::Ask, at, SpanEnd::Done);
                if self.status == UnitStatus::Asking {
                    self.status = UnitStatus::Pending;
                }
                let (by, answer, question) = (by.clone(), answer.clone(), self.question.take());
                self.answers.push(Answered { at, by, question, answer });
            }
            E::Started { .. } => {
                self.close(Activity::Ask, at, SpanEnd::Done);
                self.open(Activity::Work, at);
                self.status = UnitStatus::Running;
                self.was_started = true;
                self.attempts += 1;
                self.problem = None;
                self.question = None;
            }
            E::Retrying { attempt, problem, pause_ms, .. } => {
                let problem = problem.clone();
                self.retries.push(Retried { at, attempt: *attempt, problem, pause_ms: *pause_ms });
                self.attempts = self.attempts.max(1) + 1;
            }
            E::Checked { role, title, verdict, .. } => {
                look(&mut self.looks, at, *role, title, verdict);
                let own =
                    matches!(role, CheckRole::Gate | CheckRole::Observation | CheckRole::Wait);
                if own && matches!(self.status, UnitStatus::Pending | UnitStatus::Failed) {
                    self.open(Activity::Work, at);
                    self.status = UnitStatus::Running;
                }
            }
            E::Finished { output, .. } => {
                self.begin_late(at);
                self.close(Activity::Work, at, SpanEnd::Done);
                self.status = UnitStatus::Done;
                self.problem = None;
                self.output.clone_from(output);
                self.attempts = self.attempts.max(1);
            }
            E::Failed { problem, .. } => {
                self.begin_late(at);
                self.close(Activity::Work, at, SpanEnd::Failed);
                self.status = UnitStatus::Failed;
                self.problem = Some(problem.clone());
            }
            E::Decided { by, decision, .. } => {
                self.decisions.push(Decided { at, by: by.clone(), decision: *decision });
                self.question = None;
                self.close(Activity::Ask, at, SpanEnd::Done);
                if *decision == Decision::Restored {
                    self.status = UnitStatus::Undone;
                }
            }
            E::UndoStarted { .. } => {
                self.open(Activity::Undo, at);
                self.status = UnitStatus::Undoing;
                self.undo_problem = None;
            }
            E::Undone { .. } => {
                self.close(Activity::Undo, at, SpanEnd::Done);
                self.status = UnitStatus::Undone;
            }
            E::UndoFailed { problem, .. } => {
                self.close(Activity::Undo, at, SpanEnd::Failed);
                self.status = UnitStatus::NotRestored;
                self.undo_problem = Some(problem.clone());
            }
            E::Previewed { satisfied, .. } => {
                self.status = UnitStatus::Previewed;
                self.satisfied = *satisfied;
            }
            E::Output { line, .. } => self.last_line = Some(line.clone()),
            E::Progress { done, total, .. } => self.progress = Some((*done, *total)),
            _ => {}
        }
    }

    /// Gives a unit that ends without having said that it began a moment of its own; a verify
    /// that fails after the work keeps the work's span.
    fn begin_late(&mut self, at: Timestamp) {
        self.close(Activity::Ask, at, SpanEnd::Done);
        self.question = None;
        if self.kind != UnitKind::Manual && self.spans.is_empty() {
            self.open(Activity::Work, at);
        }
    }

    fn open(&mut self, activity: Activity, from: Timestamp) {
        let open = |span: &Span| span.activity == activity && span.end == SpanEnd::Open;
        if !self.spans.iter().any(open) {
            self.spans.push(Span { activity, from, until: None, end: SpanEnd::Open });
        }
    }

    fn close(&mut self, activity: Activity, until: Timestamp, end: SpanEnd) {
        let mut spans = self.spans.iter_mut().rev();
        if let Some(span) =
            spans.find(|span| span.activity == activity && span.end == SpanEnd::Open)
        {
            span.until = Some(until.max(span.from));
            span.end = end;
        } else if end == SpanEnd::Failed
            && let Some(span) = self.spans.iter_mut().rev().find(|s| s.activity == activity)
        {
            // It had finished, and its verification failed.
            span.end = end;
        }
    }
}

/// Adds a look; one that found the same as the last only counts.
fn look(
    looks: &mut Vec<Look>,
    at: Timestamp,
    role: CheckRole,
    title: &str,
    verdict: &VerdictRecord,
) {
    if let Some(last) = looks.last_mut()
        && last.role == role
        && last.title == title
        && last.level == verdict.level
        && last.why == verdict.why
    {
        last.times += 1;
        last.last = Some(at);
        last.evidence.clone_from(&verdict.evidence);
        return;
    }
    looks.push(Look {
        at,
        last: None,
        times: 1,
        role,
        title: title.to_owned(),
        level: verdict.level,
        why: verdict.why.clone(),
        evidence: verdict.evidence.clone(),
    });
}

impl From<Status> for RunStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Succeeded => Self::Succeeded,
            Status::RolledBack => Self::RolledBack,
            Status::Failed => Self::Failed,
            Status::Stuck => Self::Stuck,
            Status::Suspended => Self::Suspended,
        }
    }
}
