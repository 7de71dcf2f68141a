//! Taking a run up again: what is refused, what is loaded, what is decided, and what to tell the
//! operator to do next.

use std::sync::Arc;

use super::fleet::{Left, isolating};
use super::{Halt, Outcome, Run};
use crate::erased::Gives;
use crate::error::{Cause, Error, Failure, FailureKind};
use crate::event::{Decision, EventKind, Mode, ResumeMode, RunFinished, RunId, Status, UnitId};
use crate::journal::{Phase, RunState, Stage};
use crate::plan::{Plan, Work};

/// Refuses a run that is over, or a plan that is not the run's.
pub(super) fn refuse_unfit(
    run: &RunId,
    state: &RunState,
    plan: &Plan,
    mode: ResumeMode,
) -> Result<(), Error> {
    let Some(started) = state.started() else {
        return Err(Error::state(format!("run {run} never started; nothing was changed")));
    };
    if started.mode != Mode::Run {
        return Err(Error::state(format!("run {run} was a look, not a run")));
    }
    match (state.phase(), mode) {
        (Phase::Ended(Status::Succeeded), ResumeMode::Forward) => {
            return Err(Error::state(format!(
                "run {run} has succeeded; there is nothing to resume (`rollback {run}` undoes it)"
            )));
        }
        (Phase::Ended(Status::RolledBack), _) => {
            return Err(Error::state(format!(
                "run {run} was rolled back; start a new one with `run {}`",
                started.plan.book
            )));
        }
        _ => {}
    }
    match started.plan.first_difference(plan.outline()) {
        None => Ok(()),
        Some((unit, how)) => Err(Error::from(Cause::PlanDiffers {
            run: run.to_string(),
            book: started.plan.book.clone(),
            unit,
            how,
        })),
    }
}

impl Run {
    /// Puts the outputs of finished units where later ones find them.
    pub(super) fn load_outputs(&self) -> Result<(), Error> {
        for block in &self.plan().blocks {
            if super::schedule::left_before(self, block) != Left::No {
                block.units.clone().for_each(|unit| self.settle(unit));
            }
        }
        let state = self.recorder.state();
        for (index, unit) in self.plan().units.iter().enumerate() {
            let index = index as u32;
            let Some(known) = state.unit(&unit.id) else { continue };
            let settled = matches!(known.stage, Stage::Finished | Stage::Skipped | Stage::Undone);
            if known.has_output {
                let json = known.output.as_ref();
                let loaded = match &unit.work {
                    Work::Step { step, .. } => step.load(json),
                    Work::Check { check } | Work::Wait { check, .. } => {
                        check.load(json, Gives::Evidence)
                    }
                    Work::Observe { check } => check.load(json, Gives::Verdict),
                    Work::Manual { manual, .. } => manual.load(json),
                };
                match loaded {
                    Ok(value) => self.outputs.set(index, value),
                    Err(failure) => {
                        return Err(Error::state(format!("unit `{}`: {failure}", unit.id)));
                    }
                }
            }
            if settled {
                self.settle(index);
            }
        }
        Ok(())
    }

    /// Writes the operator's word on interrupted, failed and stuck units down.
    pub(super) fn decide_open_units(
        &self,
        before: Phase,
        word: Option<Decision>,
    ) -> Result<(), Error> {
        // What is undone by itself is past deciding, but for what can't be.
        let alone: Vec<_> = self
            .plan()
            .blocks
            .iter()
            .filter(|block| isolating(self, block).is_some())
            .map(|block| block.units.clone())
            .collect();
        let ids: Vec<UnitId> = self.plan().units.iter().map(|unit| unit.id.clone()).collect();
        for (index, unit) in (0..).zip(ids) {
            if self.is_settled(index) {
                continue;
            }
            let (stage, decided) = {
                let state = self.recorder.state();
                state.unit(&unit).map_or((Stage::Pending, None), |u| (u.stage, u.decision))
            };
            let decision = match (stage, word) {
                _ if decided.is_some() => None,
                (Stage::UndoFailed | Stage::Undoing, Some(Decision::Skip)) => {
                    Some(Decision::Restored)
                }
                _ if alone.iter().any(|units| units.contains(&index)) => None,
                (Stage::Started, Some(word)) => Some(word),
                (Stage::Failed, Some(word)) => Some(word),
                // A run that failed and kept what it did is resumed to try again.
                (Stage::Failed, None) if before == Phase::Ended(Status::Failed) => {
                    Some(Decision::Retry)
                }
                // The process died between the failure and the rollback: go on with that.
                (Stage::Failed, None) => Some(Decision::Rollback),
                _ => None,
            };
            if let Some(decision) = decision {
                let by = self.options.by.name.clone();
                self.record(EventKind::Decided { unit, by, decision })?;
            }
        }
        Ok(())
    }

    /// Ends a resumed run that could not even begin to go back.
    pub(super) async fn end_without_undo(self: &Arc<Self>, halt: Halt) -> Result<Outcome, Error> {
        self.locks.release(self).await;
        Err(match halt {
            Halt::Broken(error) => error,
            Halt::Failed(_, problem) | Halt::Cancelled(_, problem) | Halt::Stuck(_, problem) => {
                let next =
                    problem.next.as_ref().map(|next| format!("; {next}")).unwrap_or_default();
                Error::state(format!("nothing was undone: {}{next}", problem.message))
            }
            Halt::Stopped | Halt::Suspended => Error::state("nothing was undone"),
        })
    }
}

/// Why a resumed run goes back.
pub(super) fn why_back(mode: ResumeMode, before: Phase, state: &RunState) -> Halt {
    let words = match (mode, before) {
        (ResumeMode::Rollback, _) => "the operator asked to roll back".to_owned(),
        _ => "going on with the rollback that was interrupted".to_owned(),
    };
    let unit = state.finished().and_then(|finished| finished.unit.clone());
    Halt::Failed(unit, Failure::new(FailureKind::Cancelled, words).to_problem())
}

/// A phase in words for a person.
pub(super) fn phase_words(phase: Phase) -> String {
    match phase {
        Phase::Fresh => "empty".into(),
        Phase::Running => "running, or was interrupted".into(),
        Phase::RollingBack => "rolling back, or was interrupted at it".into(),
        Phase::Suspended => "suspended".into(),
        Phase::Ended(status) => status.to_string(),
    }
}

/// What an operator can do after such an end, as words of the command line.
pub(super) fn what_next(run: &RunId, finished: &RunFinished, undo: bool) -> Vec<String> {
    match finished.status {
        Status::Stuck => vec![
            format!("resume {run} --retry"),
            format!("resume {run} --skip"),
            format!("report {run}"),
        ],
        Status::Failed if !undo => vec![format!("resume {run}"), format!("rollback {run}")],
        Status::RolledBack | Status::Failed => vec![format!("report {run}")],
        Status::Succeeded if !finished.without.is_empty() => vec![format!("report {run}")],
        Status::Succeeded | Status::Suspended => Vec::new(),
    }
}
