//! Walks the tree of a plan: what comes after what, what runs beside what, what is left out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use tokio::task::JoinSet;

use super::fleet::{Left, isolate, isolating};
use super::look::look_until;
use super::{Flow, Halt, Run, fleet, locks, unit};
use crate::error::{Failure, FailureKind};
use crate::event::{BlockOutcome, CheckRole, EventKind, SkipReason, UnitId};
use crate::journal::Stage;
use crate::plan::{Block, BlockWork, Node};
use crate::policy::Wait;

/// A line of units that runs by itself; a stop of one holds for all below it.
pub(super) struct Branch {
    parent: Option<Arc<Branch>>,
    stop: AtomicBool,
}

impl Branch {
    pub(super) fn root() -> Arc<Self> {
        Arc::new(Self { parent: None, stop: AtomicBool::new(false) })
    }

    pub(super) fn below(parent: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { parent: Some(Arc::clone(parent)), stop: AtomicBool::new(false) })
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether this branch, or one around it, is to go no further.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || self.parent.as_ref().is_some_and(|parent| parent.stopped())
    }

    /// Waits until this branch, or one around it, is to go no further.
    pub(super) async fn stopping(&self, run: &Run) {
        let _waiter = run.waiter();
        loop {
            let progress = run.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.stopped() {
                return;
            }
            progress.await;
        }
    }
}

type Walking = Pin<Box<dyn Future<Output = Flow> + Send>>;

/// Goes through `nodes`, one after the other, until one halts.
pub(super) fn walk(run: Arc<Run>, branch: Arc<Branch>, nodes: Arc<[Node]>) -> Walking {
    Box::pin(async move {
        for node in nodes.iter() {
            step_to(&run, &branch, *node).await?;
        }
        Ok(())
    })
}

/// Goes through all of `nodes`, whatever becomes of each; the first halt counts.
pub(super) async fn walk_all(run: &Arc<Run>, branch: &Arc<Branch>, nodes: &[Node]) -> Flow {
    let mut first = Ok(());
    for node in nodes {
        match step_to(run, branch, *node).await {
            Err(Halt::Broken(error)) => return Err(Halt::Broken(error)),
            Err(Halt::Suspended) => return Err(Halt::Suspended),
            Err(halt) if first.is_ok() => first = Err(halt),
            _ => {}
        }
    }
    first
}

pub(super) async fn step_to(run: &Arc<Run>, branch: &Arc<Branch>, node: Node) -> Flow {
    if let Some(by) = run.shared.cancel.by()
        && !run.undoing()
    {
        run.note_cancel()?;
        let failure = Failure::new(FailureKind::Cancelled, format!("cancelled by {by}"));
        return Err(Halt::Cancelled(None, failure.to_problem()));
    }
    if branch.stopped() {
        return Err(Halt::Stopped);
    }
    match node {
        Node::Unit(index) => unit::live(run, branch, index).await,
        Node::Lock(index) => locks::take(run, &run.plan().locks[index as usize]).await,
        Node::Block(index) => block(run, branch, index).await,
    }
}

/// Goes through a block, and notes how it was left.
fn block<'a>(
    run: &'a Arc<Run>,
    branch: &'a Arc<Branch>,
    index: u32,
) -> Pin<Box<dyn Future<Output = Flow> + Send + 'a>> {
    Box::pin(async move {
        let block = &run.plan().blocks[index as usize];
        if run.resumed && left_before(run, block) != Left::No {
            return Ok(());
        }
        run.record(EventKind::BlockStarted { block: block.id.clone() })?;
        let flow = match &block.kind {
            BlockWork::Group => {
                walk(Arc::clone(run), Arc::clone(branch), Arc::clone(&block.children)).await
            }
            BlockWork::Parallel => beside(run, branch, &block.children).await,
            BlockWork::Checklist => checklist(run, branch, &block.children).await,
            BlockWork::Each(rolling) => fleet::each(run, branch, block, *rolling).await,
            BlockWork::When { condition, needs } => {
                unit::wait_for_inputs(run, branch, &block.id, needs).await?;
                let scope = run.scope(&block.id, false);
                match condition.get(&Run::context(&scope)) {
                    Ok(true) => {
                        walk(Arc::clone(run), Arc::clone(branch), Arc::clone(&block.children)).await
                    }
                    Ok(false) => {
                        leave_out(run, block, &SkipReason::Condition)?;
                        let outcome = BlockOutcome::Skipped;
                        run.record(EventKind::BlockFinished { block: block.id.clone(), outcome })?;
                        return Ok(());
                    }
                    Err(failure) => Err(Halt::Failed(None, failure.to_problem())),
                }
            }
            BlockWork::Ladder { check, wait, .. } => {
                ladder(run, branch, block, &**check, *wait).await
            }
        };
        let outcome = match &flow {
            Ok(()) => BlockOutcome::Succeeded,
            Err(Halt::Failed(..) | Halt::Cancelled(..) | Halt::Stuck(..)) => BlockOutcome::Failed,
            Err(Halt::Suspended | Halt::Stopped | Halt::Broken(_)) => return flow,
        };
        run.record(EventKind::BlockFinished { block: block.id.clone(), outcome })?;
        flow
    })
}

/// How an earlier process came through the block; its units are settled then.
pub(super) fn left_before(run: &Run, block: &Block) -> Left {
    use BlockOutcome as B;
    let state = run.recorder.state();
    let inside = |inner: &&Block| {
        block.units.start <= inner.units.start && inner.units.end <= block.units.end
    };
    let stuck = |inner: &Block| matches!(state.block(&inner.id), Some(B::NotRestored { .. }));
    match state.block(&block.id) {
        // A host in it is still to be undone.
        Some(B::Succeeded) if run.plan().blocks.iter().filter(inside).any(stuck) => Left::No,
        Some(B::Succeeded | B::Skipped) => Left::Well,
        Some(B::Isolated { .. }) => Left::Lost,
        Some(B::Failed | B::NotRestored { .. }) | None => Left::No,
    }
}

/// Notes that no unit of the block is run.
fn leave_out(run: &Run, block: &Block, why: &SkipReason) -> Flow {
    for index in block.units.clone() {
        if !run.is_settled(index) {
            let unit = run.unit(index).id.clone();
            run.record(EventKind::Skipped { unit, why: why.clone(), output: None })?;
            run.settle(index);
        }
    }
    Ok(())
}

/// Runs all of `nodes` at the same time, each as a task of its own. When one fails the others
/// finish the unit that they are at, and go no further.
async fn beside(run: &Arc<Run>, branch: &Arc<Branch>, nodes: &[Node]) -> Flow {
    let here = Branch::below(branch);
    let mut tasks = JoinSet::new();
    for node in nodes {
        let (run, here, node) = (Arc::clone(run), Arc::clone(&here), *node);
        tasks.spawn(tracing::Instrument::instrument(
            async move { step_to(&run, &here, node).await },
            tracing::Span::current(),
        ));
    }
    join(run, &here, tasks).await
}

/// Asks for all of `nodes` at the same time. They only wait for people: as parts of one task none
/// overtakes another, and they are asked in their order.
async fn checklist(run: &Arc<Run>, branch: &Arc<Branch>, nodes: &[Node]) -> Flow {
    let here = Branch::below(branch);
    let item = |node: &Node| Some(Box::pin(step_to(run, &here, *node)));
    let mut open: Vec<_> = nodes.iter().map(item).collect();
    let mut worst: Flow = Ok(());
    std::future::poll_fn(|cx| {
        for item in &mut open {
            if let Some(Poll::Ready(flow)) = item.as_mut().map(|item| item.as_mut().poll(cx)) {
                *item = None;
                weigh(run, &here, flow, &mut worst);
            }
        }
        if open.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    worst
}

/// Waits for all; the gravest halt counts.
pub(super) async fn join(run: &Run, branch: &Branch, mut tasks: JoinSet<Flow>) -> Flow {
    let mut worst: Flow = Ok(());
    while let Some(joined) = tasks.join_next().await {
        let flow = joined.unwrap_or_else(|_| {
            Err(Halt::Failed(None, Failure::msg("a branch of the run panicked").to_problem()))
        });
        weigh(run, branch, flow, &mut worst);
    }
    worst
}

/// Takes the end of one of several: a halt keeps the others from going further, and the gravest
/// counts.
fn weigh(run: &Run, branch: &Branch, flow: Flow, worst: &mut Flow) {
    let Err(halt) = flow else { return };
    if !matches!(halt, Halt::Suspended) {
        branch.stop();
        run.tell_waiters();
    }
    let graver = worst.as_ref().err().is_none_or(|kept| gravity(&halt) > gravity(kept));
    if graver {
        *worst = Err(halt);
    }
}

fn gravity(halt: &Halt) -> u8 {
    match halt {
        Halt::Stopped => 0,
        Halt::Suspended => 1,
        Halt::Cancelled(..) => 2,
        Halt::Failed(..) => 3,
        Halt::Stuck(..) => 4,
        Halt::Broken(_) => 5,
    }
}

/// Remedies in order, until the check passes.
async fn ladder(
    run: &Arc<Run>,
    branch: &Arc<Branch>,
    block: &Block,
    check: &dyn crate::erased::ErasedCheck,
    wait: Wait,
) -> Flow {
    let once = Wait::at_most(std::time::Duration::ZERO);
    let mut tried = Vec::new();
    // A remedy that was cut off is finished before anybody looks: what it did half may pass.
    let cut_off = block.children.iter().rposition(|node| was_entered(run, *node));
    let mut verdict = match cut_off {
        Some(_) => Err(Failure::msg("not looked at yet").to_problem()),
        None => look_until(run, &block.id, check, once, CheckRole::Ladder).await?,
    };
    for (place, node) in block.children.iter().enumerate() {
        if verdict.is_ok() {
            break;
        }
        let Node::Block(index) = *node else {
            step_to(run, branch, *node).await?;
            continue;
        };
        let remedy = &run.plan().blocks[index as usize];
        let flow = match isolating(run, remedy) {
            Some(problem) => Err(Halt::Failed(None, problem)),
            None => step_to(run, branch, *node).await,
        };
        match flow {
            Err(Halt::Failed(_, problem)) if run.options.undo => {
                tried.push(format!("{}: {problem}", name(&remedy.id)));
                isolate(run, remedy, problem).await?;
            }
            Ok(()) => tried.push(format!("{}: done, did not help", name(&remedy.id))),
            halt => return halt,
        }
        if cut_off.is_none_or(|cut_off| place >= cut_off) {
            verdict = look_until(run, &block.id, check, wait, CheckRole::Ladder).await?;
        }
    }
    match verdict {
        Ok(_) => leave_out(run, block, &SkipReason::NotNeeded),
        Err(problem) => {
            let mut failure = Failure::new(
                FailureKind::Failed,
                format!("no remedy helped: {problem} (tried: {})", tried.join("; ")),
            );
            if let BlockWork::Ladder { escalate: Some(escalate), .. } = &block.kind {
                failure = failure.next(format!("escalate: {escalate}"));
            }
            Err(Halt::Failed(None, failure.to_problem()))
        }
    }
}

/// Whether an earlier process came into the block `node`.
fn was_entered(run: &Run, node: Node) -> bool {
    let Node::Block(index) = node else { return false };
    let block = &run.plan().blocks[index as usize];
    run.resumed
        && block.units.clone().any(|index| {
            let state = run.recorder.state();
            let stage = state.unit(&run.unit(index).id).map(|unit| unit.stage);
            stage.is_some_and(|stage| stage != Stage::Pending)
        })
}

/// The name of a remedy: the last word of its id, which is made from its title.
fn name(block: &UnitId) -> &str {
    let id = block.as_str();
    id.rsplit('/').next().unwrap_or(id)
}
