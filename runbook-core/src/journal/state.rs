//! [`RunState`]: the state of a run, a pure fold over its events. Events that can't follow are
//! refused, whether an engine is about to write them or a journal is read.

use rustc_hash::FxHashMap as HashMap;
use std::sync::Arc;

use crate::event::{
    Answer, BlockOutcome, Decision, Event, EventKind, Json, ResumeMode, RunFinished, RunStarted,
    SkipReason, Status, UnitId, Waiting,
};
use crate::plan::UnitKind;
use crate::step::UndoKind;

/// The state of a run after some of its events.
///
/// ```
/// use runbook_core::{Phase, RunState};
/// assert_eq!(RunState::default().phase(), Phase::Fresh);
/// ```
#[derive(Clone, Debug, Default)]
pub struct RunState {
    phase: Phase,
    started: Option<RunStarted>,
    finished: Option<RunFinished>,
    waiting: Vec<Waiting>,
    units: HashMap<UnitId, UnitState>,
    /// Units in the order in which they were first started.
    order: Vec<UnitId>,
    /// Blocks that were left, and how.
    blocks: HashMap<UnitId, BlockOutcome>,
    resumes: u32,
    events: u64,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No event yet.
    #[default]
    Fresh,
    /// Going forward; without a living process: interrupted.
    Running,
    /// Going back; without a living process: interrupted.
    RollingBack,
    /// Waiting for a person.
    Suspended,
    /// Ended.
    Ended(Status),
}

/// Where a unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing happened yet.
    #[default]
    Pending,
    /// It was left out.
    Skipped,
    /// Its record is durable and it may have begun; without a living process: interrupted.
    Started,
    /// It did its work.
    Finished,
    /// It failed.
    Failed,
    /// Its undoing began.
    Undoing,
    /// It was undone and that was verified.
    Undone,
    /// Its undoing failed.
    UndoFailed,
}

/// What is known of one unit.
#[derive(Clone, Debug)]
pub struct UnitState {
    /// Where it is.
    pub stage: Stage,
    /// Whether it was ever started.
    pub started: bool,
    /// What its rollback needs.
    pub record: Option<Json>,
    /// What it gave.
    pub output: Option<Json>,
    /// Whether it gave an output (which may be `()`, that has no JSON).
    pub has_output: bool,
    /// The latest answer to its question.
    pub answer: Option<(String, Answer)>,
    /// The operator's latest decision, until it is acted on.
    pub decision: Option<Decision>,
    kind: UnitKind,
    undo: UndoKind,
    started_in: u32,
}

/// An event that can't follow from the ones before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {at}: {why}")]
pub struct IllegalEvent {
    /// Its place, from 1.
    pub at: u64,
    /// What does not fit.
    pub why: String,
}

impl RunState {
    /// The state after all of `events`.
    ///
    /// # Errors
    /// The first event that can't follow.
    pub fn fold<'a>(
        events: impl IntoIterator<Item = &'a Arc<Event>>,
    ) -> Result<Self, IllegalEvent> {
        let mut state = Self::default();
        for event in events {
            state.apply(event)?;
        }
        Ok(state)
    }

    /// Where the run is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Its head.
    #[must_use]
    pub fn started(&self) -> Option<&RunStarted> {
        self.started.as_ref()
    }

    /// Its end, if it ended.
    #[must_use]
    pub fn finished(&self) -> Option<&RunFinished> {
        self.finished.as_ref()
    }

    /// What it waits for, if it is suspended.
    #[must_use]
    pub fn waiting(&self) -> &[Waiting] {
        &self.waiting
    }

    /// What is known of a unit.
    #[must_use]
    pub fn unit(&self, id: &UnitId) -> Option<&UnitState> {
        self.units.get(id)
    }

    /// The units that were started, in that order.
    #[must_use]
    pub fn start_order(&self) -> &[UnitId] {
        &self.order
    }

    /// Units that were started and whose outcome is not known: interrupted, if no process is at
    /// work on the run.
    #[must_use]
    pub fn interrupted(&self) -> Vec<UnitId> {
        let open = |id: &&UnitId| self.units.get(*id).is_some_and(|u| u.stage == Stage::Started);
        self.order.iter().filter(open).cloned().collect()
    }

    /// Units whose effect is there and can be undone, latest start first.
    #[must_use]
    pub fn to_undo(&self) -> Vec<UnitId> {
        self.order
            .iter()
            .rev()
            .filter(|id| self.units.get(*id).is_some_and(UnitState::wants_undo))
            .cloned()
            .collect()
    }

    /// Irreversible units that were started: their effect stays.
    #[must_use]
    pub fn kept(&self) -> Vec<UnitId> {
        let kept = |u: &UnitState| {
            u.undo == UndoKind::Irreversible && u.started && u.stage != Stage::Skipped
        };
        self.order.iter().filter(|id| self.units.get(*id).is_some_and(kept)).cloned().collect()
    }

    /// How a block ended, if it was left.
    #[must_use]
    pub fn block(&self, id: &UnitId) -> Option<&BlockOutcome> {
        self.blocks.get(id)
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Takes the next event. On an error nothing is changed.
    ///
    /// # Errors
    /// It can't follow from the ones before it.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        if !event.event.is_durable() {
            return Ok(());
        }
        self.next(&event.event)
            .map_err(|why| IllegalEvent { at: self.events + 1, why: why.into_owned() })?;
        self.events += 1;
        Ok(())
    }

    fn next(&mut self, event: &EventKind) -> Result<(), std::borrow::Cow<'static, str>> {
        use EventKind as E;
        self.allowed(event)?;
        match event {
            E::RunStarted(start) => {
                self.units.reserve(start.plan.units().count());
                for unit in start.plan.units() {
                    self.units.insert(
                        unit.id.clone(),
                        UnitState {
                            stage: Stage::Pending,
                            started: false,
                            record: None,
                            output: None,
                            has_output: false,
                            answer: None,
                            decision: None,
                            kind: unit.kind,
                            undo: unit.undo,
                            started_in: 0,
                        },
                    );
                }
                self.started = Some((**start).clone());
                self.phase = Phase::Running;
            }
            E::RunResumed { .. } => {
                self.resumes += 1;
                self.waiting.clear();
                self.phase = match self.phase {
                    Phase::RollingBack | Phase::Ended(Status::Stuck) => Phase::RollingBack,
                    _ => Phase::Running,
                };
                self.finished = None;
            }
            E::RollbackStarted { .. } => self.phase = Phase::RollingBack,
            E::Suspended { waiting } => {
                self.waiting.clone_from(waiting);
                self.phase = Phase::Suspended;
            }
            E::RunFinished(finished) => {
                self.check_end(finished)?;
                self.phase = Phase::Ended(finished.status);
                self.finished = Some((**finished).clone());
            }
            E::Skipped { unit, why, output } => {
                let u = self.unit_mut(unit)?;
                let by_hand = matches!(why, SkipReason::Operator | SkipReason::Satisfied);
                // A failed unit may be taken as done too, when a failed run is resumed.
                let open = matches!(u.stage, Stage::Started | Stage::Failed) && by_hand;
                u.expect(u.stage == Stage::Pending || open, unit, "skipped")?;
                u.stage = Stage::Skipped;
                u.output.clone_from(output);
                u.has_output = *why == SkipReason::Satisfied;
                u.decision = None;
            }
            E::Started { unit, record } => {
                let resumes = self.resumes;
                let u = self.unit_mut(unit)?;
                let again = matches!(u.stage, Stage::Started | Stage::Failed)
                    && (u.started_in < resumes || u.decision == Some(Decision::Retry));
                u.expect(u.kind == UnitKind::Step, unit, "started: it is no step")?;
                u.expect(u.stage == Stage::Pending || again, unit, "started")?;
                let recorded = record.is_some() == (u.undo == UndoKind::Recorded);
                u.expect(recorded, unit, "started with a record that does not fit its kind")?;
                u.stage = Stage::Started;
                u.started_in = resumes;
                u.decision = None;
                // A repeated unit keeps its first record: that is the state to go back to.
                if !u.started {
                    u.started = true;
                    u.record.clone_from(record);
                    self.order.push(unit.clone());
                }
            }
            E::Finished { unit, output } => {
                let resumes = self.resumes;
                let u = self.unit_mut(unit)?;
                let reopened = u.stage == Stage::Failed && u.started_in <= resumes && !u.started;
                let fits = match u.kind {
                    UnitKind::Step => u.stage == Stage::Started,
                    _ => u.stage == Stage::Pending || reopened,
                };
                u.expect(fits, unit, "finished")?;
                u.stage = Stage::Finished;
                u.output.clone_from(output);
                u.has_output = true;
            }
            E::Failed { unit, .. } => {
                let resumes = self.resumes;
                let u = self.unit_mut(unit)?;
                let again = u.stage == Stage::Failed && resumes > 0;
                let fits =
                    matches!(u.stage, Stage::Pending | Stage::Started | Stage::Finished) || again;
                u.expect(fits, unit, "failed")?;
                u.stage = Stage::Failed;
            }
            E::Asked { unit, .. } | E::Checked { unit, .. } | E::LeftoversEnded { unit, .. } => {
                self.unit_mut(unit)?;
            }
            E::Retrying { unit, .. } => {
                let u = self.unit_mut(unit)?;
                let fits = u.stage == Stage::Started || u.kind != UnitKind::Step;
                u.expect(fits, unit, "retried")?;
            }
            E::Answered { unit, by, answer } => {
                self.unit_mut(unit)?.answer = Some((by.clone(), answer.clone()));
            }
            E::Decided { unit, decision, .. } => {
                let u = self.unit_mut(unit)?;
                if *decision == Decision::Restored {
                    let fits = matches!(u.stage, Stage::UndoFailed | Stage::Undoing);
                    u.expect(fits, unit, "taken as restored")?;
                    u.stage = Stage::Undone;
                }
                u.decision = Some(*decision);
            }
            E::BlockStarted { block } => {
                self.blocks.remove(block);
            }
            E::BlockFinished { block, outcome } => {
                self.blocks.insert(block.clone(), outcome.clone());
            }
            E::UndoStarted { unit } => {
                let u = self.unit_mut(unit)?;
                let again = matches!(u.stage, Stage::Undoing | Stage::UndoFailed);
                u.expect(u.wants_undo() || again, unit, "undone: there is nothing to undo")?;
                u.stage = Stage::Undoing;
            }
            E::Undone { unit } => {
                let u = self.unit_mut(unit)?;
                u.expect(u.stage == Stage::Undoing, unit, "undone before its undoing started")?;
                u.stage = Stage::Undone;
            }
            E::UndoFailed { unit, .. } => {
                let u = self.unit_mut(unit)?;
                u.expect(u.stage == Stage::Undoing, unit, "failed to undo before that started")?;
                u.stage = Stage::UndoFailed;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the phase lets the event in at all.
    fn allowed(&self, event: &EventKind) -> Result<(), std::borrow::Cow<'static, str>> {
        use EventKind as E;
        let always = matches!(event, E::Notified { .. } | E::LockReleased { .. });
        let fits = match (self.phase, event) {
            (Phase::Fresh, E::RunStarted(_)) => true,
            (Phase::Fresh, _) => return Err("a run begins with `run_started`".into()),
            (_, E::RunStarted(_)) => return Err("the run was started already".into()),
            (Phase::Ended(status), E::RunResumed { mode, .. }) => match status {
                Status::Succeeded => *mode == ResumeMode::Rollback,
                Status::RolledBack => false,
                _ => true,
            },
            (_, E::RunResumed { .. }) => true,
            (Phase::Ended(Status::Stuck | Status::Failed), E::Decided { .. }) => true,
            (Phase::Ended(_), _) => always,
            (Phase::Suspended, E::Answered { .. } | E::Decided { .. }) => true,
            (Phase::Suspended, _) => always,
            (Phase::RollingBack, E::RollbackStarted { .. }) => self.resumes > 0,
            _ => true,
        };
        if fits {
            return Ok(());
        }
        Err(match self.phase {
            Phase::Ended(status) => format!("the run had ended: {status}").into(),
            Phase::Suspended => "the run was suspended and not resumed".into(),
            _ => "it does not fit the phase of the run".into(),
        })
    }

    /// Whether the run may end so.
    fn check_end(&self, end: &RunFinished) -> Result<(), std::borrow::Cow<'static, str>> {
        let find = |test: &dyn Fn(&UnitState) -> bool| {
            self.order.iter().find(|id| self.units.get(*id).is_some_and(test))
        };
        let wrong = match end.status {
            Status::Succeeded => find(&|u| matches!(u.stage, Stage::Started | Stage::Undoing))
                .map(|id| format!("the run can't have succeeded: `{id}` is open")),
            Status::RolledBack => find(&UnitState::wants_undo)
                .map(|id| format!("the run can't be rolled back: `{id}` was not undone")),
            Status::Suspended => Some("a suspended run has not ended".into()),
            Status::Failed | Status::Stuck => None,
        };
        wrong.map_or(Ok(()), |why| Err(why.into()))
    }

    fn unit_mut(&mut self, id: &UnitId) -> Result<&mut UnitState, std::borrow::Cow<'static, str>> {
        self.units.get_mut(id).ok_or_else(|| format!("the plan has no unit `{id}`").into())
    }
}

impl UnitState {
    /// Whether its effect is or may be there and has a record to undo it by.
    #[must_use]
    pub fn wants_undo(&self) -> bool {
        self.started
            && self.undo == UndoKind::Recorded
            && matches!(
                self.stage,
                Stage::Started
                    | Stage::Finished
                    | Stage::Failed
                    | Stage::Skipped
                    | Stage::Undoing
                    | Stage::UndoFailed
            )
    }

    fn expect(
        &self,
        fits: bool,
        id: &UnitId,
        what: &str,
    ) -> Result<(), std::borrow::Cow<'static, str>> {
        if fits {
            return Ok(());
        }
        let stage = format!("{:?}", self.stage).to_lowercase();
        Err(format!("unit `{id}` is {stage} and can't be {what}").into())
    }
}
