//! [`Engine`]: runs plans. Journals before it acts, undoes what it did, says everything as events.

mod ahead;
mod cancel;
mod fleet;
mod guard;
mod handle;
mod locks;
mod look;
mod observe;
mod options;
mod question;
mod recorder;
mod resume;
mod schedule;
mod unit;
mod unwind;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use self::handle::Shared;
pub use self::handle::{Control, Outcome, RunHandle};
pub use self::options::{ResumeOptions, RunOptions};
use self::recorder::Recorder;
use crate::context::{Context, Observer, Scope, Sink, Stop};
use crate::error::{Error, Failure, Problem};
use crate::event::{
    Answer, BlockOutcome, Decision, EventKind, Mode, ResumeMode, RunFinished, RunId, RunStarted,
    Status, Timestamp, UnitId, Waiting,
};
use crate::exec::Sweep;
use crate::input::Outputs;
use crate::journal::{JournalStore, Phase, RunState};
use crate::people::Escalation;
use crate::plan::{Plan, PlanInner, Unit};

/// Runs plans, and keeps their journals in a [`JournalStore`].
///
/// Cheap to clone. Its methods that start something must be called inside a tokio runtime.
///
/// ```
/// use runbook_core::{About, Check, Engine, MemoryStore, Observer, Result, RunOptions, Runbook};
/// use runbook_core::{Status, Verdict};
///
/// struct Sober;
/// impl Check for Sober {
///     type Evidence = ();
///     fn about(&self) -> About {
///         About::new("sober", "The operator is sober")
///     }
///     async fn check(&self, _: &Observer) -> Result<Verdict<()>> {
///         Ok(Verdict::pass((), "says so"))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::result::Result<(), runbook_core::Error> {
/// let mut b = Runbook::new("hello");
/// b.check(Sober);
/// let plan = b.build()?;
///
/// let engine = Engine::new(MemoryStore::new());
/// let mut run = engine.run(&plan, RunOptions::new());
/// while let Some(event) = run.next().await {
///     println!("{} {:?}", event.at, event.event);
/// }
/// assert_eq!(run.outcome().await?.status, Status::Succeeded);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    store: Arc<dyn JournalStore>,
}

impl Engine {
    /// An engine that keeps its journals in `store`.
    pub fn new(store: impl JournalStore + 'static) -> Self {
        Self { store: Arc::new(store) }
    }

    /// An engine over a shared store.
    #[must_use]
    pub fn from_store(store: Arc<dyn JournalStore>) -> Self {
        Self { store }
    }

    /// Where the journals are.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn JournalStore> {
        &self.store
    }

    /// Runs a plan: what fails is undone, what needs a person waits or suspends.
    pub fn run(&self, plan: &Plan, options: RunOptions) -> RunHandle {
        let store = Arc::clone(&self.store);
        RunHandle::start(plan, options, |start| async move {
            ahead::of_plan(&start.shared.plan.0, Mode::Run);
            let journal = store.create(&start.shared.run).await?;
            let run = start.into_run(store, RunState::default(), Some(journal), false);
            run.recorder.record_durable(run.head(Mode::Run)).await?;
            run.live().await
        })
    }

    /// Runs the checks of a plan and previews its steps. Changes nothing, journals nothing.
    pub fn plan(&self, plan: &Plan, options: RunOptions) -> RunHandle {
        self.look(plan, options, Mode::Plan)
    }

    /// Runs only the checks of a plan. Changes nothing, journals nothing.
    pub fn check(&self, plan: &Plan, options: RunOptions) -> RunHandle {
        self.look(plan, options, Mode::Check)
    }

    fn look(&self, plan: &Plan, options: RunOptions, mode: Mode) -> RunHandle {
        let store = Arc::clone(&self.store);
        RunHandle::start(plan, options, move |start| async move {
            // Whoever only plans goes nowhere but where a look does.
            if mode == Mode::Check {
                ahead::of_plan(&start.shared.plan.0, mode);
            }
            let run = start.into_run(store, RunState::default(), None, false);
            run.recorder.record(run.head(mode))?;
            run.look(mode).await
        })
    }

    /// Takes a run up again: forward to its end ([`ResumeOptions::forward`]), or back to its
    /// beginning ([`ResumeOptions::rollback`]). Units that are done are not run again.
    ///
    /// The outcome is an error, and nothing is changed, if there is no such run, another process
    /// is at work on it, it had ended, its journal was changed, or the plan is not the one that it
    /// was started with.
    pub fn resume(&self, run: &RunId, plan: &Plan, options: ResumeOptions) -> RunHandle {
        let store = Arc::clone(&self.store);
        let ResumeOptions { run: mut run_options, mode, interrupted } = options;
        run_options.run = Some(run.clone());
        RunHandle::start(plan, run_options, move |start| async move {
            let id = start.shared.run.clone();
            let (journal, events) = store.open(&id).await?;
            let state = RunState::fold(&events).map_err(crate::journal::JournalError::from)?;
            drop(events);
            resume::refuse_unfit(&id, &state, &start.shared.plan, mode)?;
            let run = start.into_run(store, state, Some(journal), true);
            let by = run.options.by.clone();
            run.take_up(by, mode, interrupted).await
        })
    }

    /// Notes the answer to a question of a suspended run; [`resume`](Self::resume) then acts on
    /// it.
    ///
    /// # Errors
    /// No such run; it is not suspended; the unit asks nothing.
    pub async fn answer(
        &self,
        run: &RunId,
        unit: &UnitId,
        answer: Answer,
        by: &str,
    ) -> Result<(), Error> {
        if let Answer::Value(text) = &answer
            && crate::secret::contains_secret(text)
        {
            return Err(Error::usage("the answer contains a secret, which the journal would keep"));
        }
        let event = EventKind::Answered { unit: unit.clone(), by: by.to_owned(), answer };
        self.amend(run, event, |state| {
            if state.phase() != Phase::Suspended {
                return Err(Error::state(format!(
                    "run {run} waits for nobody; it is {}",
                    resume::phase_words(state.phase())
                )));
            }
            if state.waiting().iter().any(|waiting| waiting.unit == *unit) {
                return Ok(());
            }
            let waiting: Vec<_> = state.waiting().iter().map(|w| w.unit.as_str()).collect();
            Err(Error::usage(format!(
                "unit `{unit}` of run {run} asks nothing; these do: {}",
                waiting.join(", ")
            )))
        })
        .await
    }

    /// Notes what is to be done with an interrupted, failed or stuck unit;
    /// [`resume`](Self::resume) then acts on it.
    ///
    /// # Errors
    /// No such run or unit, or the decision does not fit its state.
    pub async fn decide(
        &self,
        run: &RunId,
        unit: &UnitId,
        decision: Decision,
        by: &str,
    ) -> Result<(), Error> {
        let event = EventKind::Decided { unit: unit.clone(), by: by.to_owned(), decision };
        self.amend(run, event, |_| Ok(())).await
    }

    /// Adds one event to a run that no process is at work on.
    async fn amend(
        &self,
        run: &RunId,
        event: EventKind,
        fits: impl FnOnce(&RunState) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (journal, events) = self.store.open(run).await?;
        let mut state = RunState::fold(&events).map_err(crate::journal::JournalError::from)?;
        fits(&state)?;
        let event = Arc::new(crate::event::Event::now(event));
        state.apply(&event).map_err(crate::journal::JournalError::from)?;
        let line = journal.append(&event)?;
        Ok(journal.commit(line).await?)
    }
}

/// Why a run, or a branch of it, goes no further.
pub(crate) enum Halt {
    /// A unit failed.
    Failed(Option<UnitId>, Problem),
    /// The run was cancelled; the unit that was running then, if any, says how it ended.
    Cancelled(Option<UnitId>, Problem),
    /// A branch beside it goes no further, so neither does this one.
    Stopped,
    /// It waits for a person.
    Suspended,
    /// Undoing failed; a person is needed.
    Stuck(UnitId, Problem),
    /// The journal failed, or the run can't go on for a reason outside it: stop at once.
    Broken(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

pub(crate) type Flow = Result<(), Halt>;

/// One run under way.
pub(crate) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) options: RunOptions,
    pub(super) store: Arc<dyn JournalStore>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) outputs: Arc<Outputs>,
    /// Units that are finished or were left out.
    pub(super) settled: Box<[AtomicBool]>,
    /// Said whenever a unit is settled or a branch stops, if anybody waits.
    pub(super) progress: Notify,
    waiters: AtomicUsize,
    /// Whether there are earlier events to respect.
    pub(super) resumed: bool,
    undoing: AtomicBool,
    cancel_noted: AtomicBool,
    locks: locks::Held,
}

/// Somebody who waits for progress.
pub(super) struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a run is made from.
pub(crate) struct Start {
    pub(super) shared: Arc<Shared>,
    pub(super) options: RunOptions,
    pub(super) stream: tokio::sync::mpsc::UnboundedSender<Arc<crate::event::Event>>,
    pub(super) backlog: Arc<AtomicUsize>,
}

impl Start {
    fn into_run(
        self,
        store: Arc<dyn JournalStore>,
        state: RunState,
        journal: Option<Arc<dyn crate::journal::Journal>>,
        resumed: bool,
    ) -> Arc<Run> {
        let units = self.shared.plan.0.units.len();
        Arc::new(Run {
            recorder: Arc::new(Recorder::new(state, journal, self.stream, self.backlog)),
            shared: self.shared,
            options: self.options,
            store,
            outputs: Arc::new(Outputs::new(units)),
            settled: (0..units).map(|_| AtomicBool::new(false)).collect(),
            progress: Notify::new(),
            waiters: AtomicUsize::new(0),
            resumed,
            undoing: AtomicBool::new(false),
            cancel_noted: AtomicBool::new(false),
            locks: locks::Held::default(),
        })
    }
}

impl Run {
    pub(super) fn plan(&self) -> &PlanInner {
        &self.shared.plan.0
    }

    pub(super) fn unit(&self, index: u32) -> &Unit {
        &self.plan().units[index as usize]
    }

    pub(super) fn is_settled(&self, index: u32) -> bool {
        self.settled[index as usize].load(Ordering::Acquire)
    }

    pub(super) fn settle(&self, index: u32) {
        self.settled[index as usize].store(true, Ordering::Release);
        self.tell_waiters();
    }

    pub(super) fn tell_waiters(&self) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.progress.notify_waiters();
        }
    }

    /// Writes down, once, that somebody asked the run to end.
    pub(super) fn note_cancel(&self) -> Result<(), Error> {
        match self.shared.cancel.by() {
            Some(by) if !self.cancel_noted.swap(true, Ordering::SeqCst) => self
                .record(EventKind::CancelRequested { by: crate::secret::scrub(by).into_owned() }),
            _ => Ok(()),
        }
    }

    /// Counts the caller among those who wait for progress, until it is dropped.
    pub(super) fn waiter(&self) -> Waiter<'_> {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        Waiter(&self.waiters)
    }

    /// Whether it is on its way back, which a cancel does not stop.
    pub(super) fn undoing(&self) -> bool {
        self.undoing.load(Ordering::Relaxed)
    }

    pub(super) fn set_undoing(&self, undoing: bool) {
        self.undoing.store(undoing, Ordering::Relaxed);
    }

    pub(super) fn record(&self, event: EventKind) -> Result<(), Error> {
        self.recorder.record(event).map(|_| ())
    }

    fn head(&self, mode: Mode) -> EventKind {
        EventKind::RunStarted(Box::new(RunStarted {
            run: self.shared.run.clone(),
            mode,
            by: self.options.by.clone(),
            reason: self.options.reason.clone(),
            began: self.options.began,
            env: self.options.env.clone(),
            version: self.options.version.clone(),
            plan: Arc::clone(self.shared.plan.outline()),
        }))
    }

    /// The surroundings of a unit; `sweep`: a killed process may have left something running.
    pub(super) fn scope(&self, unit: &UnitId, sweep: bool) -> Arc<Scope> {
        Arc::new(Scope {
            run: self.shared.run.clone(),
            unit: unit.clone(),
            outputs: Arc::clone(&self.outputs),
            sink: Arc::clone(&self.recorder) as Arc<dyn Sink>,
            stop: Stop::default(),
            sweep: Sweep::new(sweep),
            grace: self.options.grace,
        })
    }

    pub(super) fn context(scope: &Arc<Scope>) -> Context {
        Context::new(Observer::new(Arc::clone(scope)))
    }

    /// Runs forward, and back if need be, and ends.
    async fn live(self: Arc<Self>) -> Result<Outcome, Error> {
        let root = schedule::Branch::root();
        let flow = schedule::walk(Arc::clone(&self), root, Arc::clone(&self.plan().nodes)).await;
        self.end(flow).await
    }

    /// From how the units went to the end of the run.
    async fn end(self: &Arc<Self>, flow: Flow) -> Result<Outcome, Error> {
        let mut finished = RunFinished {
            status: Status::Succeeded,
            problem: None,
            unit: None,
            undone: Vec::new(),
            not_restored: Vec::new(),
            kept: Vec::new(),
            without: Vec::new(),
            call: Vec::new(),
            next: Vec::new(),
        };
        let halt = match flow {
            Ok(()) => None,
            Err(Halt::Broken(error)) => {
                self.locks.abandon();
                return Err(error);
            }
            Err(Halt::Suspended) => return self.suspend().await,
            Err(halt) => Some(halt),
        };
        if let Some(halt) = halt {
            match self.undo_after(halt, &mut finished).await {
                Ok(()) => {}
                Err(error) => {
                    self.locks.abandon();
                    return Err(error);
                }
            }
        }
        self.finish(finished).await
    }

    /// Does what is to be done at the end, come what may, and ends the run.
    async fn finish(self: &Arc<Self>, mut finished: RunFinished) -> Result<Outcome, Error> {
        self.set_undoing(true);
        let root = schedule::Branch::root();
        let nodes = Arc::clone(&self.plan().finally);
        match schedule::walk_all(self, &root, &nodes).await {
            Ok(()) => {}
            Err(Halt::Broken(error)) => {
                self.locks.abandon();
                return Err(error);
            }
            Err(Halt::Suspended) => return self.suspend().await,
            Err(Halt::Failed(unit, problem) | Halt::Cancelled(unit, problem))
                if finished.status == Status::Succeeded =>
            {
                finished.status = Status::Failed;
                finished.unit = unit;
                finished.problem = Some(problem);
            }
            Err(_) => {}
        }
        if matches!(finished.status, Status::Succeeded | Status::Stuck) {
            self.note_lost_hosts(&mut finished);
        }
        {
            let state = self.recorder.state();
            if finished.status != Status::Succeeded {
                finished.kept = state.kept();
            }
            if finished.status == Status::Stuck {
                finished.not_restored = state.not_restored();
            }
        }
        if finished.is_unsolved() {
            let due = self.escalation().map(|(all, elapsed)| all.due(elapsed).to_vec());
            finished.call = due.into_iter().flatten().flat_map(|level| level.call).collect();
        }
        finished.next = resume::what_next(&self.shared.run, &finished, self.options.undo);
        self.locks.release(self).await;
        self.recorder.record_durable(EventKind::RunFinished(Box::new(finished.clone()))).await?;
        self.tell(&crate::notify::NewsKind::Finished(Box::new(finished.clone()))).await;
        Ok(Outcome {
            run: self.shared.run.clone(),
            status: finished.status,
            finished: Some(finished),
            checks_failed: false,
            state: std::mem::take(&mut *self.recorder.state()),
        })
    }

    /// Lets the process end while the run waits for a person.
    async fn suspend(&self) -> Result<Outcome, Error> {
        let waiting: Vec<Waiting> = self.shared.take_suspended();
        self.locks.release(self).await;
        self.recorder.record_durable(EventKind::Suspended { waiting: waiting.clone() }).await?;
        self.tell(&crate::notify::NewsKind::Suspended(waiting)).await;
        Ok(Outcome {
            run: self.shared.run.clone(),
            status: Status::Suspended,
            finished: None,
            checks_failed: false,
            state: std::mem::take(&mut *self.recorder.state()),
        })
    }

    /// Whom to call, and how long it has lasted.
    fn escalation(&self) -> Option<(&Escalation, Duration)> {
        let state = self.recorder.state();
        let failed = |block: &UnitId| state.block(block) == Some(&BlockOutcome::Failed);
        let escalation = self.plan().outline.escalation_after(failed)?;
        Some((escalation, state.elapsed(Timestamp::now())))
    }

    /// Tells all notifiers; what fails is noted and changes nothing.
    async fn tell(&self, what: &crate::notify::NewsKind) {
        let outline = &self.plan().outline;
        for notifier in &self.plan().notifiers {
            let news = crate::notify::News {
                run: self.shared.run.clone(),
                title: outline.title.clone(),
                by: self.options.by.clone(),
                severity: outline.severity.clone(),
                advice: self
                    .escalation()
                    .map_or_else(String::new, |(all, elapsed)| all.advice(elapsed)),
                what: what.clone(),
            };
            let limit = std::time::Duration::from_secs(10);
            let problem = match tokio::time::timeout(limit, notifier.notify(&news)).await {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure.to_problem()),
                Err(_) => Some(Failure::msg("no answer within 10 s").to_problem()),
            };
            let to = crate::secret::scrub(&notifier.to()).into_owned();
            let _ = self.record(EventKind::Notified { to, problem });
        }
    }

    /// Takes a run up again.
    async fn take_up(
        self: Arc<Self>,
        by: crate::event::Actor,
        mode: ResumeMode,
        interrupted: Option<Decision>,
    ) -> Result<Outcome, Error> {
        let before = self.recorder.state().phase();
        self.load_outputs()?;
        // Going back is never given up half way.
        let back =
            || mode == ResumeMode::Rollback || self.recorder.state().phase() == Phase::RollingBack;
        let resumed = EventKind::RunResumed { by, mode };
        self.recorder.record_durable_while(resumed, || self.prepare_to_go_on(back())).await?;
        self.decide_open_units(before, interrupted)?;
        if back() {
            if let Err(halt) = locks::take_all(&self).await {
                return self.end_without_undo(halt).await;
            }
            let problem = resume::why_back(mode, before, &self.recorder.state());
            return self.end(Err(problem)).await;
        }
        self.live().await
    }
}
