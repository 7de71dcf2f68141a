//! The same for each host of a fleet, batch after batch; a host that fails is undone by itself, as
//! long as failures are tolerated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::schedule::{Branch, join, left_before, step_to};
use super::unwind::{self, Stuck};
use super::{Flow, Halt, Run};
use crate::error::{Failure, Problem};
use crate::event::{BlockOutcome, EventKind, RunFinished, Status};
use crate::journal::Stage;
use crate::plan::{Block, BlockWork, Node, millis};
use crate::policy::Rolling;

/// Goes through the hosts: canaries first, then batches with a pause between.
pub(super) async fn each(
    run: &Arc<Run>,
    branch: &Arc<Branch>,
    block: &Block,
    rolling: Rolling,
) -> Flow {
    let hosts = hosts(block);
    let left = |host: &u32| match run.resumed {
        true => left_before(run, &run.plan().blocks[*host as usize]),
        false => Left::No,
    };
    let failed = hosts.iter().filter(|host| left(host) == Left::Lost).count();
    let failed = Arc::new(AtomicUsize::new(failed));
    for batch in rolling.batches(hosts.len()) {
        let here = Branch::below(branch);
        let tolerated = if batch.start < rolling.canary { 0 } else { rolling.max_failed };
        let more = batch.end < hosts.len();
        let mut tasks = JoinSet::new();
        for index in hosts[batch].iter().filter(|host| left(host) == Left::No) {
            let (run, here, index) = (Arc::clone(run), Arc::clone(&here), *index);
            let failed = Arc::clone(&failed);
            tasks.spawn(tracing::Instrument::instrument(
                async move { host(&run, &here, index, &failed, tolerated).await },
                tracing::Span::current(),
            ));
        }
        let worked = !tasks.is_empty();
        join(run, &here, tasks).await?;
        // What a killed process had paused after was soaking while nobody resumed it.
        if worked && more && !rolling.pause.is_zero() {
            use crate::context::Sink;
            let (block, pause_ms) = (block.id.clone(), millis(rolling.pause));
            run.recorder.pass(EventKind::Pausing { block, pause_ms });
            tokio::select! {
                () = tokio::time::sleep(rolling.pause) => {}
                () = run.shared.cancel.cancelled() => {}
                () = branch.stopping(run) => {}
            }
        }
    }
    Ok(())
}

/// How an earlier process left a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It did not.
    No,
    /// Well.
    Well,
    /// It failed and was undone.
    Lost,
}

/// One host. As long as failures are tolerated it is undone by itself and the others go on, also
/// if it can't be undone: then the run ends stuck.
async fn host(
    run: &Arc<Run>,
    branch: &Arc<Branch>,
    index: u32,
    failed: &AtomicUsize,
    tolerated: usize,
) -> Flow {
    let block = &run.plan().blocks[index as usize];
    if let Some(problem) = isolating(run, block) {
        failed.fetch_add(1, Ordering::SeqCst);
        return tolerate(isolate(run, block, problem).await);
    }
    let flow = step_to(run, branch, Node::Block(index)).await;
    let problem = match &flow {
        Err(Halt::Failed(_, problem) | Halt::Stuck(_, problem)) => problem.clone(),
        _ => return flow,
    };
    if failed.fetch_add(1, Ordering::SeqCst) >= tolerated || !run.options.undo {
        return flow;
    }
    tolerate(isolate(run, block, problem).await)
}

/// What could not be undone is noted with its host, and told at the end of the run.
fn tolerate(flow: Flow) -> Flow {
    match flow {
        Err(Halt::Stuck(..)) => Ok(()),
        flow => flow,
    }
}

/// The blocks of the hosts of a fleet: it has no other children.
fn hosts(each: &Block) -> Vec<u32> {
    let blocks = each.children.iter().filter_map(|child| match child {
        Node::Block(index) => Some(*index),
        Node::Unit(_) | Node::Lock(_) => None,
    });
    blocks.collect()
}

/// Undoes what a failed block had started, so that the run can go on without it.
pub(super) async fn isolate(run: &Arc<Run>, block: &Block, problem: Problem) -> Flow {
    let mut stuck = Vec::new();
    unwind::undo_units(run, Some(&block.units), &mut Vec::new(), &mut stuck).await?;
    for unit in block.units.clone() {
        run.settle(unit);
    }
    let (outcome, flow) = match stuck.into_iter().next() {
        None => (BlockOutcome::Isolated { problem }, Ok(())),
        Some(Stuck { unit, problem: not_restored }) => (
            BlockOutcome::NotRestored {
                problem,
                unit: unit.clone(),
                not_restored: not_restored.clone(),
            },
            Err(Halt::Stuck(unit, not_restored)),
        ),
    };
    run.record(EventKind::BlockFinished { block: block.id.clone(), outcome })?;
    flow
}

/// Whether an earlier process was undoing the block alone, or could not; why it did.
///
/// A failed block is noted as such before anything in it is undone, and a run that goes forward
/// undoes nothing but such blocks.
pub(super) fn isolating(run: &Run, block: &Block) -> Option<Problem> {
    if !run.resumed {
        return None;
    }
    let state = run.recorder.state();
    match state.block(&block.id)? {
        BlockOutcome::NotRestored { problem, .. } => Some(problem.clone()),
        BlockOutcome::Failed => {
            let units = || block.units.clone().filter_map(|index| state.unit(&run.unit(index).id));
            let undone =
                |stage| matches!(stage, Stage::Undoing | Stage::Undone | Stage::UndoFailed);
            if !units().any(|unit| undone(unit.stage)) {
                return None;
            }
            let problem = units().filter_map(|unit| unit.problem.clone()).next_back();
            Some(problem.unwrap_or_else(|| Failure::msg("it failed").to_problem()))
        }
        _ => None,
    }
}

impl Run {
    /// Notes the hosts that the run went on without. One that could not be undone leaves the run
    /// stuck, however well it went for the others.
    pub(super) fn note_lost_hosts(&self, finished: &mut RunFinished) {
        let state = self.recorder.state();
        let blocks = &self.plan().blocks;
        let fleets = blocks.iter().filter(|block| matches!(block.kind, BlockWork::Each(_)));
        for host in fleets.flat_map(hosts) {
            let id = &blocks[host as usize].id;
            match state.block(id) {
                Some(BlockOutcome::Isolated { .. }) => finished.without.push(id.clone()),
                Some(BlockOutcome::NotRestored { unit, not_restored, .. }) => {
                    finished.without.push(id.clone());
                    let open = state.unit(unit).is_some_and(|u| u.stage == Stage::UndoFailed);
                    if open && finished.status != Status::Stuck {
                        finished.status = Status::Stuck;
                        finished.unit = Some(unit.clone());
                        finished.problem = Some(not_restored.clone());
                    }
                }
                _ => {}
            }
        }
    }
}
