//! The fault matrix: a runbook on fakes, with everything that can go wrong gone wrong.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use runbook_core::report::{Timeline, timeline_markdown};
use runbook_core::testing::{CrashStore, Faults};
use runbook_core::{
    Answer, Decision, Engine, Event, EventKind, JournalStore, MemoryStore, OutlineNode, Plan,
    QuestionKind, ResumeOptions, RunFinished, RunHandle, RunId, RunOptions, Status, UnitId,
};
use tokio::runtime::{Builder, Runtime};

use super::case::Case;
use super::fakes::{Sight, Watched};

/// What each run of a matrix is called.
const RUN: &str = "on-fakes";

/// A runbook, and how fresh fakes for it are made.
pub(super) struct Matrix<'a, E> {
    pub(super) case: &'a Case<E>,
    pub(super) build: &'a dyn Fn() -> Result<(Plan, Watched), String>,
}

/// How a run ended, and all that is to be said of it.
struct Ended {
    status: Status,
    /// It went on without hosts that failed.
    without: bool,
    /// All was done, and what is done at the end come what may failed.
    in_finally: bool,
    timeline: Timeline,
}

impl Ended {
    fn report(&self) -> String {
        timeline_markdown(&self.timeline)
    }
}

impl<E> Matrix<'_, E> {
    pub(super) fn run(&self) -> Result<(), String> {
        let (plan, watched) = (self.build)()?;
        let known: Vec<&str> = plan.outline().units().map(|unit| unit.id.as_str()).collect();
        let mut named = self.case.answers.keys().map(String::as_str).chain(watched.people());
        if let Some(unit) = named.find(|unit| !known.contains(unit)) {
            return Err(format!("no unit is called `{unit}`; there is: {}", known.join(", ")));
        }
        let ended = self.drive(&plan, &watched, MemoryStore::new(), RunOptions::new())?;
        self.ends_as_it_should(&ended)
    }

    pub(super) fn fail_every_unit(&self) -> Result<(), String> {
        let after = self.after_a_run()?;
        for n in 1..=self.steps()? {
            for (how, faults) in [
                ("before its effect", Faults::fail_before(n)),
                ("after its effect", Faults::fail_after(n)),
            ] {
                let (plan, watched) = (self.build)()?;
                let before = watched.now();
                let options = RunOptions::new().faults(faults);
                let ended = self.drive(&plan, &watched, MemoryStore::new(), options)?;
                self.ends_well(&ended, &before, &after, &watched)
                    .map_err(|why| format!("step {n} fails {how}: {why}"))?;
            }
        }
        Ok(())
    }

    pub(super) fn repeat_every_unit(&self) -> Result<(), String> {
        let after = self.after_a_run()?;
        let (plan, watched) = (self.build)()?;
        let options = RunOptions::new().faults(Faults::repeat_every_unit());
        let ended = self.drive(&plan, &watched, MemoryStore::new(), options)?;
        self.ends_as_it_should(&ended)?;
        let differences = after.differences(&watched.now(), |path| self.case.repeats(path));
        if differences.is_empty() {
            return Ok(());
        }
        Err(format!("with every step run twice, {}\n{}", differences.join("; "), ended.report()))
    }

    pub(super) fn crash_at_every_line(&self) -> Result<(), String> {
        let after = self.after_a_run()?;
        for boundary in self.boundaries()? {
            let (plan, watched) = (self.build)()?;
            let before = watched.now();
            let store = MemoryStore::new();
            let crashing = CrashStore::new(store.clone(), boundary, || {});
            if self.drive(&plan, &watched, crashing, RunOptions::new()).is_ok() {
                continue;
            }
            let run = RunId::new(RUN);
            let said = |why: String| format!("killed at boundary {boundary} of its journal: {why}");
            let ended = self.take_up(&plan, &watched, &store, &run).map_err(said)?;
            if let Some(ended) = ended {
                self.ends_well(&ended, &before, &after, &watched).map_err(said)?;
            }
        }
        Ok(())
    }

    /// The boundaries of the journal at which a crash leaves something else behind than at the one
    /// before: other lines, or other fakes.
    fn boundaries(&self) -> Result<Vec<u64>, String> {
        let (plan, watched) = (self.build)()?;
        let seen = Arc::new(Mutex::new((None, Vec::new())));
        let (fakes, noted) = (watched.clone(), Arc::clone(&seen));
        let store = CrashStore::watching(MemoryStore::new(), move |boundary, lines| {
            let left = Some((lines, fakes.now()));
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.0 != left {
                noted.0 = left;
                noted.1.push(boundary);
            }
        });
        self.drive(&plan, &watched, store, RunOptions::new())?;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut seen.1))
    }

    /// How many steps start in a run.
    fn steps(&self) -> Result<usize, String> {
        let (plan, watched) = (self.build)()?;
        let store = MemoryStore::new();
        self.drive(&plan, &watched, store.clone(), RunOptions::new())?;
        let run = RunId::new(RUN);
        let events = runtime()?.block_on(store.read(&run)).map_err(|error| error.to_string())?;
        Ok(events.iter().filter(|e| matches!(e.event, EventKind::Started { .. })).count())
    }

    fn after_a_run(&self) -> Result<Sight, String> {
        let (plan, watched) = (self.build)()?;
        let ended = self.drive(&plan, &watched, MemoryStore::new(), RunOptions::new())?;
        self.ends_as_it_should(&ended)?;
        Ok(watched.now())
    }

    /// Resumes a run, or is content that nothing of it was written.
    fn take_up(
        &self,
        plan: &Plan,
        watched: &Watched,
        store: &MemoryStore,
        run: &RunId,
    ) -> Result<Option<Ended>, String> {
        let runtime = runtime()?;
        let events = runtime.block_on(store.read(run)).unwrap_or_default();
        if events.is_empty() {
            return Ok(None);
        }
        if let Some(EventKind::RunFinished(_)) = events.last().map(|event| &event.event) {
            return Ok(None);
        }
        let engine = Engine::new(store.clone());
        let options = ResumeOptions::forward(RunOptions::new()).interrupted(Decision::Rollback);
        self.follow(&runtime, (plan, watched), &events, || engine.resume(run, plan, options))
            .map(Some)
    }

    fn drive(
        &self,
        plan: &Plan,
        watched: &Watched,
        store: impl JournalStore + 'static,
        mut options: RunOptions,
    ) -> Result<Ended, String> {
        // All have the same name, so that what they name after themselves can be compared.
        options.run = Some(RunId::new(RUN));
        let engine = Engine::new(store);
        self.follow(&runtime()?, (plan, watched), &[], || engine.run(plan, options))
    }

    /// Follows a run to its end and answers what it asks.
    fn follow(
        &self,
        runtime: &Runtime,
        (plan, watched): (&Plan, &Watched),
        before: &[Arc<Event>],
        start: impl FnOnce() -> RunHandle,
    ) -> Result<Ended, String> {
        runtime.block_on(async {
            let mut handle = start();
            let control = handle.control();
            let mut timeline = Timeline::new();
            before.iter().for_each(|event| timeline.apply(event));
            while let Some(event) = handle.next().await {
                timeline.apply(&event);
                if let EventKind::Asked { unit, question } = &event.event {
                    watched.asked(unit.as_str());
                    let answer = match (&question.kind, self.case.answers.get(unit.as_str())) {
                        (_, Some(value)) => Answer::Value(value.clone()),
                        (QuestionKind::Value { accepts }, None) => {
                            control.cancel("the harness");
                            return Err(format!(
                                "`{unit}` asks {:?} and wants {accepts}: \
                                 give the case an `.answer({:?}, ..)`",
                                question.text,
                                unit.as_str()
                            ));
                        }
                        _ => Answer::Yes,
                    };
                    control
                        .answer(unit, answer, "the harness")
                        .map_err(|error| error.to_string())?;
                }
            }
            let outcome = handle.outcome().await.map_err(|error| error.to_string())?;
            let finished = outcome.finished.as_ref();
            Ok(Ended {
                status: outcome.status,
                without: finished.is_some_and(|finished| !finished.without.is_empty()),
                in_finally: finished.is_some_and(|finished| fails_in_finally(plan, finished)),
                timeline,
            })
        })
    }

    fn ends_as_it_should(&self, ended: &Ended) -> Result<(), String> {
        if ended.status == self.case.ends {
            return Ok(());
        }
        Err(format!("it ended {:?}, not {:?}\n{}", ended.status, self.case.ends, ended.report()))
    }

    /// Whether a run in which something went wrong ended well: everything done, or everything put
    /// back.
    fn ends_well(
        &self,
        ended: &Ended,
        before: &Sight,
        after: &Sight,
        watched: &Watched,
    ) -> Result<(), String> {
        let now = watched.now();
        let (wanted, name) = match ended.status {
            Status::Stuck | Status::Suspended => {
                return Err(format!("it ended {:?}\n{}", ended.status, ended.report()));
            }
            // Some hosts are done, the others put back.
            Status::Succeeded if ended.without => {
                let ignored = |path: &Path| self.case.leaves(path);
                let undone = before.hosts_that_differ(&now, ignored);
                let done = after.hosts_that_differ(&now, ignored);
                let neither: Vec<String> =
                    undone.into_iter().filter(|host| done.contains(host)).collect();
                return match neither.as_slice() {
                    [] => Ok(()),
                    hosts => Err(format!(
                        "it went on without hosts, and left these neither done nor as they were: \
                         {}\n{}",
                        hosts.join(", "),
                        ended.report()
                    )),
                };
            }
            // What failed at its end may be half done; all else is as it is to be.
            Status::Failed if ended.in_finally => return Ok(()),
            Status::Succeeded => (after, "as after a run"),
            Status::RolledBack | Status::Failed => (before, "as it was"),
        };
        let lines = wanted.differences(&now, |path| self.case.leaves(path));
        if lines.is_empty() {
            return Ok(());
        }
        Err(format!(
            "it ended {:?}, but not all is {name}: {}\n{}",
            ended.status,
            lines.join("; "),
            ended.report()
        ))
    }
}

/// Whether the unit that decided how it ended is one that is done at the end come what may.
fn fails_in_finally(plan: &Plan, finished: &RunFinished) -> bool {
    fn hold(nodes: &[OutlineNode], id: &UnitId) -> bool {
        nodes.iter().any(|node| match node {
            OutlineNode::Unit(unit) => unit.id == *id,
            OutlineNode::Block(block) => hold(&block.children, id),
            OutlineNode::Lock { .. } => false,
        })
    }
    finished.unit.as_ref().is_some_and(|unit| hold(&plan.outline().finally, unit))
}

/// One thread, so that runs are the same each time, and time that passes at once.
fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .map_err(|error| format!("starting a runtime: {error}"))
}
