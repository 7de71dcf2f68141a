//! The way back: undoes what was started, latest first, and looks whether that restored it.

use std::ops::Range;
use std::sync::Arc;

use super::guard::guarded_undo;
use super::{Flow, Halt, Run};
use crate::context::{Observer, Scope};
use crate::erased::ErasedStep;
use crate::error::{Error, Failure, Problem, Result};
use crate::event::{EventKind, Json, RunFinished, Status, UnitId};
use crate::journal::Stage;
use crate::plan::{Block, BlockWork, Node, PlanInner, Unit, Work};

impl Run {
    /// After a halt: rolls back if that is wanted, and notes how it went in `finished`.
    pub(super) async fn undo_after(
        self: &Arc<Self>,
        halt: Halt,
        finished: &mut RunFinished,
    ) -> std::result::Result<(), Error> {
        self.note_cancel()?;
        let (unit, problem) = match halt {
            Halt::Failed(unit, problem) | Halt::Cancelled(unit, problem) => (unit, problem),
            Halt::Stuck(unit, problem) => {
                finished.status = Status::Stuck;
                finished.unit = Some(unit);
                finished.problem = Some(problem);
                return Ok(());
            }
            Halt::Broken(error) => return Err(error),
            Halt::Stopped | Halt::Suspended => {
                (None, Failure::msg("a branch of the run was stopped").to_problem())
            }
        };
        let units = self.recorder.state().to_undo();
        finished.status = Status::Failed;
        finished.unit = unit;
        finished.problem = Some(problem.clone());
        if !self.options.undo {
            return Ok(());
        }
        self.set_undoing(true);
        let resumed_back = self.recorder.state().phase() == crate::journal::Phase::RollingBack;
        if units.is_empty() && !resumed_back {
            return Ok(());
        }
        super::locks::may_undo(self).await?;
        let cause = problem.message;
        self.recorder.record_durable(EventKind::RollbackStarted { cause, units }).await?;
        let mut stuck = Vec::new();
        undo_units(self, None, &mut finished.undone, &mut stuck).await?;
        match stuck.into_iter().next() {
            None => finished.status = Status::RolledBack,
            Some(Stuck { unit, problem }) => {
                finished.status = Status::Stuck;
                finished.unit = Some(unit);
                finished.problem = Some(problem);
            }
        }
        Ok(())
    }
}

/// A unit that could not be undone.
pub(super) struct Stuck {
    pub(super) unit: UnitId,
    pub(super) problem: Problem,
}

/// Undoes all started units, or those in `only`, latest start first. What was there before one
/// that can't be undone is left alone, for it may rest on it; but the hosts of a fleet rest on
/// nothing of each other.
pub(super) async fn undo_units(
    run: &Arc<Run>,
    only: Option<&Range<u32>>,
    undone: &mut Vec<UnitId>,
    stuck: &mut Vec<Stuck>,
) -> std::result::Result<(), Error> {
    let order = run.recorder.state().to_undo();
    // Ids are looked up once, not searched for each.
    let index: std::collections::HashMap<&str, u32> = run
        .plan()
        .units
        .iter()
        .enumerate()
        .map(|(index, unit)| (unit.id.as_str(), index as u32))
        .collect();
    let mut left = Vec::new();
    for id in order {
        let Some(&index) = index.get(id.as_str()) else { continue };
        if only.is_some_and(|only| !only.contains(&index)) {
            continue;
        }
        if !left.iter().all(|left| are_apart(run.plan(), *left, index)) {
            continue;
        }
        match undo_unit(run, index).await {
            Ok(()) => undone.push(id),
            Err(Halt::Stuck(unit, problem)) => {
                left.push(index);
                stuck.push(Stuck { unit, problem });
            }
            Err(Halt::Broken(error)) => return Err(error),
            Err(_) => return Err(Error::state(format!("undoing `{id}` was stopped"))),
        }
    }
    Ok(())
}

/// Whether two units belong to two hosts of one fleet, and neither needs the other.
fn are_apart(plan: &PlanInner, one: u32, other: u32) -> bool {
    let branch_of = |each: &Block, unit: u32| {
        each.children.iter().position(|child| match child {
            Node::Block(branch) => plan.blocks[*branch as usize].units.contains(&unit),
            _ => false,
        })
    };
    let apart =
        plan.blocks.iter().filter(|block| matches!(block.kind, BlockWork::Each(_))).any(|each| {
            match (branch_of(each, one), branch_of(each, other)) {
                (Some(one), Some(other)) => one != other,
                _ => false,
            }
        });
    let needs = |unit: u32, need: u32| plan.units[unit as usize].needs.contains(&need);
    apart && !needs(one, other) && !needs(other, one)
}

async fn undo_unit(run: &Arc<Run>, index: u32) -> Flow {
    let unit = run.unit(index);
    let Work::Step { step, .. } = &unit.work else { return Ok(()) };
    let record = run.recorder.state().unit(&unit.id).and_then(|u| u.record.clone());
    let Some(record) = record else { return Ok(()) };
    // What a killed process was in the middle of may still be running.
    let cut_off = run.resumed
        && matches!(
            run.recorder.state().unit(&unit.id).map(|u| u.stage),
            Some(Stage::Started | Stage::Undoing)
        );
    run.record(EventKind::UndoStarted { unit: unit.id.clone() })?;
    let scope = run.scope(&unit.id, cut_off);
    match put_back(run, unit, &scope, &**step, index, &record).await {
        Ok(()) => {
            run.record(EventKind::Undone { unit: unit.id.clone() })?;
            Ok(())
        }
        Err(failure) => {
            let problem = failure.to_problem();
            run.record(EventKind::UndoFailed { unit: unit.id.clone(), problem: problem.clone() })?;
            Err(Halt::Stuck(unit.id.clone(), problem))
        }
    }
}

/// Undoes one step, then records again and compares.
async fn put_back(
    run: &Arc<Run>,
    unit: &Unit,
    scope: &Arc<Scope>,
    step: &dyn ErasedStep,
    index: u32,
    record: &Json,
) -> Result<()> {
    let context = Run::context(scope);
    let done = run.outputs.any(index);
    let limit = unit.policies.timeout;
    let attempts = unit.policies.retry.map_or(1, |retry| retry.attempts);
    for attempt in 1.. {
        match guarded_undo(run, scope, limit, step.undo(record, done, &context)).await {
            Ok(()) => break,
            Err(failure) if attempt >= attempts => return Err(failure.while_doing("undoing it")),
            Err(_) => {
                let pause = unit.policies.retry.map(|retry| retry.pause_after(attempt));
                tokio::time::sleep(pause.unwrap_or_default()).await;
                scope.stop.reset();
            }
        }
    }
    let observer = Observer::new(Arc::clone(scope));
    let Some(now) = step.record(&observer) else { return Ok(()) };
    let now = guarded_undo(run, scope, limit, now)
        .await
        .map_err(|failure| failure.while_doing("looking whether it was restored"))?;
    if step.restored(record, &now)? {
        return Ok(());
    }
    let cut = |json: &Json| {
        let text = json.get();
        match text.char_indices().nth(300) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        }
    };
    Err(Failure::msg(format!(
        "it was undone, but what was there before is not: before {}, now {}",
        cut(record),
        cut(&now)
    ))
    .next("put it back by hand, then resume with --skip; or resume with --retry"))
}
