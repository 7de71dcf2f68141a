//! [`RunState`]: the state of a run, a pure fold over its events. Events that can't follow are
//! refused, whether an engine is about to write them or a journal is read.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap as HashMap;

use super::unit_state::{Refused, Stage, UnitState};
use crate::event::{
    BlockOutcome, Event, EventKind, ResumeMode, RunFinished, RunStarted, Status, Timestamp, UnitId,
    Waiting,
};
use crate::plan::{Outline, OutlineNode};

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
    /// When what it is about began: as its starter said, or its start.
    began: Option<Timestamp>,
    finished: Option<RunFinished>,
    waiting: Vec<Waiting>,
    units: HashMap<UnitId, UnitState>,
    /// Blocks, and how they were left.
    blocks: Blocks,
    /// Units in the order in which they were first started.
    order: Vec<UnitId>,
    /// Whether what was started is being undone; kept while the run is suspended.
    going_back: bool,
    resumes: u32,
    events: u64,
}

/// Blocks by their ids, with how they were left.
type Blocks = HashMap<UnitId, Option<BlockOutcome>>;

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

    /// How long what it is about has lasted at `now`: since its start, or since when its starter
    /// said that it began. A resume changes nothing of that.
    #[must_use]
    pub fn elapsed(&self, now: Timestamp) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now.since(began))
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

    /// Units whose undoing failed or did not restore, latest start first.
    #[must_use]
    pub fn not_restored(&self) -> Vec<UnitId> {
        let stuck =
            |id: &&UnitId| self.units.get(*id).is_some_and(|u| u.stage == Stage::UndoFailed);
        self.order.iter().rev().filter(stuck).cloned().collect()
    }

    /// Irreversible units that were started: their effect stays.
    #[must_use]
    pub fn kept(&self) -> Vec<UnitId> {
        let kept = |id: &&UnitId| self.units.get(*id).is_some_and(UnitState::is_kept);
        self.order.iter().filter(kept).cloned().collect()
    }

    /// How a block was left, if it was.
    #[must_use]
    pub fn block(&self, id: &UnitId) -> Option<&BlockOutcome> {
        self.blocks.get(id)?.as_ref()
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
        if let EventKind::RunStarted(start) = &event.event {
            self.began = Some(start.began.unwrap_or(event.at));
        }
        self.events += 1;
        Ok(())
    }

    fn next(&mut self, event: &EventKind) -> Result<(), Refused> {
        use EventKind as E;
        self.allowed(event)?;
        let resumes = self.resumes;
        match event {
            E::RunStarted(start) => {
                let (units, blocks) = named(&start.plan)?;
                self.units = units;
                self.blocks = blocks;
                self.started = Some((**start).clone());
                self.phase = Phase::Running;
            }
            E::RunResumed { .. } => {
                self.resumes += 1;
                self.waiting.clear();
                // Going back is never given up half way. A run that got stuck without it goes on
                // forward: one host of a fleet, or one remedy, is what is still to be undone.
                self.going_back &=
                    !matches!(self.phase, Phase::Ended(status) if status != Status::Stuck);
                self.phase = if self.going_back { Phase::RollingBack } else { Phase::Running };
                self.finished = None;
            }
            E::RollbackStarted { units, .. } => {
                self.nothing_runs("going back can't begin")?;
                for id in units {
                    if !self.known(id)?.can_be_undone() {
                        return Err(format!("unit `{id}` has nothing to undo").into());
                    }
                }
                self.going_back = true;
                self.phase = Phase::RollingBack;
            }
            E::Suspended { waiting } => {
                self.nothing_runs("the run can't be suspended")?;
                for waiting in waiting {
                    self.known(&waiting.unit)?;
                }
                self.waiting.clone_from(waiting);
                self.phase = Phase::Suspended;
            }
            E::RunFinished(finished) => {
                self.check_end(finished.status)?;
                self.phase = Phase::Ended(finished.status);
                self.finished = Some((**finished).clone());
            }
            E::Skipped { unit, why, output } => {
                self.unit_mut(unit)?.skip(unit, why, output.as_ref(), resumes)?;
            }
            E::Started { unit, record } => {
                self.forward(unit, "started")?;
                let u = self.unit_mut(unit)?;
                let (before, had_effect) = (u.started, u.has_effect());
                u.start(unit, record.as_ref(), resumes)?;
                if !had_effect {
                    if before {
                        // It was undone meanwhile: this start is what counts.
                        self.order.retain(|id| id != unit);
                    }
                    self.order.push(unit.clone());
                }
            }
            E::Finished { unit, output } => {
                if !self.known(unit)?.is_step() {
                    self.forward(unit, "finished")?;
                }
                self.unit_mut(unit)?.finish(unit, output.as_ref(), resumes)?;
            }
            E::Failed { unit, problem } => self.unit_mut(unit)?.fail(unit, problem, resumes)?,
            E::Retrying { unit, .. } => self.known(unit)?.retry(unit, resumes)?,
            E::Asked { unit, .. } | E::Resolved { unit, .. } | E::LeftoversEnded { unit, .. } => {
                self.known(unit)?;
            }
            // A ladder has a check of its own.
            E::Checked { unit, .. } if !self.blocks.contains_key(unit) => {
                self.known(unit)?;
            }
            E::Transfer(file) if !self.blocks.contains_key(&file.unit) => {
                self.known(&file.unit)?;
            }
            E::Answered { unit, by, answer } => {
                let asks = |waiting: &Waiting| waiting.unit == *unit;
                if self.phase == Phase::Suspended && !self.waiting.iter().any(asks) {
                    return Err(format!("unit `{unit}` asks nothing").into());
                }
                self.unit_mut(unit)?.answer = Some((by.clone(), answer.clone()));
            }
            E::Decided { unit, decision, .. } => {
                self.unit_mut(unit)?.decide(unit, *decision, resumes)?;
            }
            E::UndoStarted { unit } => self.unit_mut(unit)?.undo(unit, resumes)?,
            E::Undone { unit } => self.unit_mut(unit)?.undone(unit, resumes)?,
            E::UndoFailed { unit, .. } => self.unit_mut(unit)?.undo_failed(unit, resumes)?,
            E::BlockStarted { block } => *self.block_mut(block)? = None,
            E::BlockFinished { block, outcome } => {
                *self.block_mut(block)? = Some(outcome.clone());
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the phase lets the event in at all.
    fn allowed(&self, event: &EventKind) -> Result<(), Refused> {
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
    fn check_end(&self, status: Status) -> Result<(), Refused> {
        self.nothing_runs("the run can't have ended")?;
        let find = |test: fn(&UnitState) -> bool| {
            self.order.iter().find(|id| self.units.get(*id).is_some_and(test))
        };
        let wrong = match status {
            Status::Suspended => Some("a suspended run has not ended".into()),
            Status::Succeeded if self.going_back => {
                Some("the run can't have succeeded: it was going back".into())
            }
            Status::Succeeded => {
                let open = |u: &UnitState| match u.stage {
                    Stage::Started | Stage::Undoing | Stage::UndoFailed => true,
                    Stage::Failed => u.wants_undo(),
                    _ => false,
                };
                find(open).map(|id| format!("the run can't have succeeded: `{id}` is open"))
            }
            Status::RolledBack if !self.going_back => {
                Some("the run can't be rolled back: it was not going back".into())
            }
            Status::RolledBack => find(UnitState::wants_undo)
                .map(|id| format!("the run can't be rolled back: `{id}` was not undone")),
            Status::Failed if self.going_back => find(UnitState::wants_undo)
                .map(|id| format!("the run is stuck, not failed: `{id}` was not undone")),
            Status::Failed | Status::Stuck => None,
        };
        wrong.map_or(Ok(()), |why| Err(why.into()))
    }

    fn nothing_runs(&self, what: &str) -> Result<(), Refused> {
        let runs =
            |id: &&UnitId| self.units.get(*id).is_some_and(|unit| unit.is_running(self.resumes));
        match self.order.iter().find(runs) {
            Some(id) => Err(format!("{what}: `{id}` is at work").into()),
            None => Ok(()),
        }
    }

    /// Whether the run goes the way in which this unit is run.
    fn forward(&self, id: &UnitId, what: &str) -> Result<(), Refused> {
        if self.phase == Phase::RollingBack && !self.known(id)?.in_finally() {
            return Err(format!("unit `{id}` can't be {what}: the run is going back").into());
        }
        Ok(())
    }

    fn known(&self, id: &UnitId) -> Result<&UnitState, Refused> {
        self.units.get(id).ok_or_else(|| unknown(id))
    }

    fn block_mut(&mut self, id: &UnitId) -> Result<&mut Option<BlockOutcome>, Refused> {
        self.blocks.get_mut(id).ok_or_else(|| format!("the plan has no block `{id}`").into())
    }

    fn unit_mut(&mut self, id: &UnitId) -> Result<&mut UnitState, Refused> {
        self.units.get_mut(id).ok_or_else(|| unknown(id))
    }
}

fn unknown(id: &UnitId) -> Refused {
    format!("the plan has no unit `{id}`").into()
}

/// The units and blocks of a plan, by their ids.
fn named(plan: &Outline) -> Result<(HashMap<UnitId, UnitState>, Blocks), Refused> {
    let (mut units, mut blocks) = (HashMap::default(), HashMap::default());
    units.reserve(plan.nodes.len());
    let mut open: Vec<_> = plan.nodes.iter().map(|node| (node, false)).collect();
    open.extend(plan.finally.iter().map(|node| (node, true)));
    while let Some((node, in_finally)) = open.pop() {
        let (id, first) = match node {
            OutlineNode::Unit(unit) => {
                let state = UnitState::new(unit, in_finally);
                (&unit.id, units.insert(unit.id.clone(), state).is_none())
            }
            OutlineNode::Block(block) => {
                open.extend(block.children.iter().map(|node| (node, in_finally)));
                (&block.id, blocks.insert(block.id.clone(), None).is_none())
            }
            OutlineNode::Lock { .. } => continue,
        };
        if !first {
            return Err(format!("the plan has two of `{id}`").into());
        }
    }
    Ok((units, blocks))
}
