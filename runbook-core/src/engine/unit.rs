//! The life of one unit: inputs, requirements, already so?, approval, record, **started on
//! disk**, run, outcome, verification.

use std::sync::Arc;

use super::guard::guarded;
use super::look::{look, look_until, note_verdict};
use super::schedule::Branch;
use super::{Flow, Halt, Run, question};
use crate::context::{Observer, Scope};
use crate::erased::{ErasedCheck, ErasedManual, ErasedStep, Given, Gives, Looked};
use crate::error::{Failure, FailureKind, Problem, Result};
use crate::event::{
    Answer, CheckRole, Decision, EventKind, Json, Question, QuestionKind, SkipReason, UnitId,
};
use crate::input::with_known;
use crate::journal::Stage;
use crate::plan::{Unit, Work};
use crate::step::UndoKind;

/// Brings a unit to its end.
pub(super) async fn live(run: &Arc<Run>, branch: &Arc<Branch>, index: u32) -> Flow {
    if run.is_settled(index) {
        return Ok(());
    }
    let unit = run.unit(index);
    if !unit.needs.is_empty() {
        match wait_for_inputs(run, branch, &unit.id, &unit.needs).await {
            Err(Halt::Failed(..)) if run.undoing() => return leave_out(run, index),
            flow => flow?,
        }
    }
    if !unit.needs.is_empty() {
        resolve(run, unit)?;
    }
    let (earlier, decision) = earlier(run, unit);
    if matches!(earlier, Stage::Undoing | Stage::UndoFailed) {
        // Its branch was on its way back; that goes on.
        let failure = Failure::new(FailureKind::Refused, "its undoing was interrupted");
        return Err(Halt::Failed(Some(unit.id.clone()), failure.to_problem()));
    }
    let scope = run.scope(&unit.id, earlier == Stage::Started);
    let flow = match &unit.work {
        Work::Step { step, undo, repeatable } => {
            let life = StepLife {
                run,
                branch,
                index,
                unit,
                step: &**step,
                undo: *undo,
                repeatable: *repeatable,
                scope: &scope,
            };
            life.live(earlier, decision).await
        }
        Work::Check { check } => gate(run, index, &**check, &scope).await,
        Work::Observe { check } => observe(run, index, &**check, &scope).await,
        Work::Wait { check, wait } => {
            match look_until(run, &unit.id, &**check, *wait, CheckRole::Wait).await? {
                Ok(output) => finish(run, index, output),
                Err(problem) => fail(run, unit, problem),
            }
        }
        Work::Manual { manual: kind, question } => {
            manual(run, branch, index, &**kind, question).await
        }
    };
    if flow.is_ok() {
        run.settle(index);
    }
    flow
}

/// Says what the unit is about now that its inputs are known.
fn resolve(run: &Run, unit: &Unit) -> Flow {
    let about = with_known(&run.outputs, || match &unit.work {
        Work::Step { step, .. } => Some(step.about()),
        Work::Check { check } | Work::Observe { check } | Work::Wait { check, .. } => {
            Some(check.about())
        }
        Work::Manual { .. } => None,
    });
    let Some(about) = about else { return Ok(()) };
    let scrub = |text: String| crate::secret::scrub(&text).into_owned();
    run.record(EventKind::Resolved {
        unit: unit.id.clone(),
        title: scrub(unit.policies.named.clone().unwrap_or(about.title)),
        preview: about.preview.into_iter().map(scrub).collect(),
        args: about.args.into_iter().map(|(name, value)| (name, scrub(value))).collect(),
    })?;
    Ok(())
}

/// Asks until the answer is one that the step takes.
async fn manual(
    run: &Run,
    branch: &Branch,
    index: u32,
    manual: &dyn ErasedManual,
    question: &Question,
) -> Flow {
    let unit = run.unit(index);
    let mut answer = question::ask(run, branch, unit, question.clone()).await?;
    loop {
        let text = match &answer {
            Answer::No => {
                let failure = Failure::new(FailureKind::Refused, "the operator said no");
                return fail(run, unit, failure.to_problem());
            }
            Answer::Yes => "",
            Answer::Value(text) => text,
        };
        match manual.read(text) {
            Ok(output) => return finish(run, index, Some(output)),
            // An answer given to a suspended run may be one that is not taken.
            Err(accepts) => {
                let text = crate::secret::scrub(text);
                let again = format!("{} ({text:?}: expected {accepts})", question.text);
                let again = Question { text: again, ..question.clone() };
                answer = question::ask_now(run, branch, unit, again).await?;
            }
        }
    }
}

/// What earlier processes left of the unit, and what the operator decided about it.
fn earlier(run: &Run, unit: &Unit) -> (Stage, Option<Decision>) {
    if !run.resumed {
        return (Stage::Pending, None);
    }
    let state = run.recorder.state();
    state.unit(&unit.id).map_or((Stage::Pending, None), |u| (u.stage, u.decision))
}

/// A unit of `finally` whose input never came has nothing to do.
fn leave_out(run: &Run, index: u32) -> Flow {
    let unit = run.unit(index).id.clone();
    run.record(EventKind::Skipped { unit, why: SkipReason::NoInput, output: None })?;
    run.settle(index);
    Ok(())
}

/// Waits until every unit in `needs` has given its output.
pub(super) async fn wait_for_inputs(
    run: &Run,
    branch: &Branch,
    unit: &UnitId,
    needs: &[u32],
) -> Flow {
    for need in needs {
        while run.outputs.any(*need).is_none() {
            // Nothing else runs on the way back, so it will not come any more.
            if run.is_settled(*need) || run.undoing() {
                let from = &run.unit(*need).id;
                let failure = Failure::msg(format!(
                    "`{unit}` needs the output of `{from}`, which was left out"
                ));
                return Err(Halt::Failed(Some(unit.clone()), failure.to_problem()));
            }
            let _waiter = run.waiter();
            let progress = run.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let stopped = branch.stopped();
            if run.outputs.any(*need).is_none() && !run.is_settled(*need) && !stopped {
                tokio::select! {
                    () = progress => {}
                    () = run.shared.cancel.cancelled() => {}
                }
            }
            if let Some(by) = run.shared.cancel.by() {
                let failure = Failure::new(FailureKind::Cancelled, format!("cancelled by {by}"));
                return Err(Halt::Cancelled(None, failure.to_problem()));
            }
            if branch.stopped() && run.outputs.any(*need).is_none() {
                return Err(Halt::Stopped);
            }
        }
    }
    Ok(())
}

/// One step, while it lives.
struct StepLife<'a> {
    run: &'a Arc<Run>,
    branch: &'a Branch,
    index: u32,
    unit: &'a Unit,
    step: &'a dyn ErasedStep,
    undo: UndoKind,
    repeatable: bool,
    scope: &'a Arc<Scope>,
}

impl StepLife<'_> {
    async fn live(&self, earlier: Stage, decision: Option<Decision>) -> Flow {
        let (run, unit) = (self.run, self.unit);
        match (earlier, decision) {
            (Stage::Started | Stage::Failed, Some(Decision::Skip)) => return self.skip(),
            (Stage::Started | Stage::Failed, Some(Decision::Rollback)) => {
                let failure = Failure::new(
                    FailureKind::Refused,
                    "it was interrupted, and the operator chose to roll back",
                );
                // One that had failed failed for its own reason.
                let known = run.recorder.state().unit(&unit.id).and_then(|u| u.problem.clone());
                return fail(run, unit, known.unwrap_or_else(|| failure.to_problem()));
            }
            (Stage::Started, None) => {
                if let Some(flow) = self.interrupted().await {
                    return flow;
                }
            }
            _ => {}
        }
        if let Err(problem) = self.requirements().await? {
            return fail(run, unit, problem);
        }
        let observer = Observer::new(Arc::clone(self.scope));
        // A unit that was started is past this: its record is of the state before its effect.
        let record = match self.first_record() {
            Some(record) => record,
            None => {
                let limit = unit.policies.timeout;
                match guarded(run, self.scope, limit, self.step.satisfied(&observer)).await {
                    Ok(None) => {}
                    Ok(Some(output)) => return self.satisfied(output),
                    Err(failure) => {
                        return self.stopped(failure.while_doing("looking at what is there"));
                    }
                }
                if !self.approved().await? {
                    let failure =
                        Failure::new(FailureKind::Refused, "the operator did not approve");
                    return fail(run, unit, failure.to_problem());
                }
                match self.record(&observer).await {
                    Ok(record) => record,
                    Err(failure) => {
                        return self
                            .stopped(failure.while_doing("recording what is there before it"));
                    }
                }
            }
        };
        super::locks::still_held(run).await?;
        run.recorder.record_durable(EventKind::Started { unit: unit.id.clone(), record }).await?;
        match self.attempts().await? {
            Ok(output) => {
                if let Err(failure) = no_secret(output.json.as_ref(), "output") {
                    return fail(run, unit, failure.to_problem());
                }
                self.keep(output)?;
            }
            Err(failure) => return self.stopped(failure),
        }
        self.verify().await?
    }

    /// The record that an earlier process took, if the unit was started then.
    fn first_record(&self) -> Option<Option<Json>> {
        if !self.run.resumed {
            return None;
        }
        let state = self.run.recorder.state();
        state.unit(&self.unit.id).filter(|u| u.started).map(|u| u.record.clone())
    }

    async fn approved(&self) -> Result<bool, Halt> {
        match &self.unit.policies.confirm {
            Some(text) if !self.run.options.yes => {
                let question = Question { kind: QuestionKind::Approval, text: text.clone() };
                Ok(question::ask(self.run, self.branch, self.unit, question).await? != Answer::No)
            }
            _ => Ok(true),
        }
    }

    /// A failure of the unit; one by cancellation ends the run as cancelled.
    fn stopped(&self, failure: Failure) -> Flow {
        let cancelled = failure.kind() == FailureKind::Cancelled;
        match fail(self.run, self.unit, failure.to_problem()) {
            Err(Halt::Failed(unit, problem)) if cancelled => Err(Halt::Cancelled(unit, problem)),
            flow => flow,
        }
    }

    async fn requirements(&self) -> Result<Result<(), Problem>, Halt> {
        for check in &self.unit.policies.requires {
            let looked =
                look(self.run, self.unit, &**check, self.scope, CheckRole::Requires).await?;
            if let Err(problem) = looked {
                return Ok(Err(problem));
            }
        }
        Ok(Ok(()))
    }

    async fn record(&self, observer: &Observer) -> Result<Option<Json>> {
        if self.undo != UndoKind::Recorded {
            return Ok(None);
        }
        let Some(record) = self.step.record(observer) else { return Ok(None) };
        let record = guarded(self.run, self.scope, self.unit.policies.timeout, record).await?;
        no_secret(Some(&record), "rollback record")?;
        Ok(Some(record))
    }

    /// Runs it, again if it may be.
    async fn attempts(&self) -> Result<Result<Given>, Halt> {
        let (run, unit) = (self.run, self.unit);
        let context = Run::context(self.scope);
        let mut attempt = 1;
        loop {
            let fault = run.options.faults.as_ref().map(|faults| faults.next(&unit.id));
            let work = async {
                use crate::faults::Fault;
                match fault {
                    None | Some(Fault::None) => self.step.run(&context).await,
                    Some(Fault::Before) => Err(Failure::msg("failed on purpose before its effect")),
                    Some(Fault::After) => {
                        let _ = self.step.run(&context).await?;
                        Err(Failure::msg("failed on purpose after its effect"))
                    }
                    Some(Fault::Twice) => {
                        let _ = self.step.run(&context).await?;
                        self.step.run(&context).await
                    }
                }
            };
            let failure = match guarded(run, self.scope, unit.policies.timeout, work).await {
                Ok(output) => return Ok(Ok(output)),
                Err(failure) => failure,
            };
            let Some(retry) = unit.policies.retry else { return Ok(Err(failure)) };
            let cancelled = run.shared.cancel.by().is_some() && !run.undoing();
            if attempt >= retry.attempts || cancelled {
                let attempts = if attempt > 1 {
                    format!("attempt {attempt}")
                } else {
                    return Ok(Err(failure));
                };
                return Ok(Err(failure.while_doing(attempts)));
            }
            let pause = retry.pause_after(attempt);
            run.record(EventKind::Retrying {
                unit: unit.id.clone(),
                attempt,
                problem: failure.to_problem(),
                pause_ms: crate::plan::millis(pause),
            })?;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = run.shared.cancel.cancelled(), if !run.undoing() => {}
            }
            self.scope.stop.reset();
            attempt += 1;
        }
    }

    /// Notes the output, for later units and in the journal.
    fn keep(&self, output: Given) -> Flow {
        let Given { value, json } = output;
        self.run.outputs.set(self.index, value);
        self.run.record(EventKind::Finished { unit: self.unit.id.clone(), output: json })?;
        Ok(())
    }

    async fn verify(&self) -> Result<Flow, Halt> {
        for check in &self.unit.policies.verify {
            let looked = look(self.run, self.unit, &**check, self.scope, CheckRole::Verify).await?;
            if let Err(problem) = looked {
                return Ok(fail(self.run, self.unit, problem));
            }
        }
        Ok(Ok(()))
    }

    /// It is already so: nothing to do, nothing to undo.
    fn satisfied(&self, output: Given) -> Flow {
        let Given { value, json } = output;
        if let Err(failure) = no_secret(json.as_ref(), "output") {
            return fail(self.run, self.unit, failure.to_problem());
        }
        self.run.outputs.set(self.index, value);
        self.run.record(EventKind::Skipped {
            unit: self.unit.id.clone(),
            why: SkipReason::Satisfied,
            output: json,
        })?;
        Ok(())
    }

    /// The operator takes it as done.
    fn skip(&self) -> Flow {
        let run = self.run;
        match self.step.load(None) {
            Ok(value) => run.outputs.set(self.index, value),
            Err(_) => {
                let reader = run.plan().units.iter().find(|u| u.needs.contains(&self.index));
                if let Some(reader) = reader {
                    let failure = Failure::msg(format!(
                        "`{}` can't be skipped: `{}` needs its output",
                        self.unit.id, reader.id
                    ))
                    .next("choose retry or rollback");
                    return fail(run, self.unit, failure.to_problem());
                }
            }
        }
        run.record(EventKind::Skipped {
            unit: self.unit.id.clone(),
            why: SkipReason::Operator,
            output: None,
        })?;
        Ok(())
    }

    /// It was started, and nobody knows how far it got. `None`: run it again.
    async fn interrupted(&self) -> Option<Flow> {
        let (run, unit) = (self.run, self.unit);
        let observer = Observer::new(Arc::clone(self.scope));
        let satisfied =
            guarded(run, self.scope, unit.policies.timeout, self.step.satisfied(&observer));
        match satisfied.await {
            Ok(Some(output)) => {
                return Some(match self.keep(output) {
                    Ok(()) => self.verify().await.unwrap_or_else(Err),
                    halt => halt,
                });
            }
            Ok(None) => {}
            Err(failure) => {
                return Some(self.stopped(failure.while_doing("looking at how far it got")));
            }
        }
        if self.repeatable {
            return None;
        }
        let text = format!(
            "`{}` was interrupted and may have taken effect in part: retry, skip or rollback?",
            unit.id
        );
        let question = Question { kind: QuestionKind::Interrupted, text };
        let answer = match question::ask_now(run, self.branch, unit, question).await {
            Ok(answer) => answer,
            Err(halt) => return Some(Err(halt)),
        };
        let decision = match &answer {
            Answer::Value(word) => question::decision(word).unwrap_or(Decision::Rollback),
            _ => Decision::Rollback,
        };
        let by = run.options.by.name.clone();
        if let Err(error) = run.record(EventKind::Decided { unit: unit.id.clone(), by, decision }) {
            return Some(Err(error.into()));
        }
        match decision {
            Decision::Retry => None,
            Decision::Skip => Some(self.skip()),
            _ => {
                let failure = Failure::new(
                    FailureKind::Refused,
                    "it was interrupted, and the operator chose to roll back",
                );
                Some(fail(run, unit, failure.to_problem()))
            }
        }
    }
}

/// Notes a failure and halts.
fn fail(run: &Run, unit: &Unit, problem: Problem) -> Flow {
    tracing::warn!(unit = %unit.id, %problem, "unit failed");
    run.record(EventKind::Failed { unit: unit.id.clone(), problem: problem.clone() })?;
    Err(Halt::Failed(Some(unit.id.clone()), problem))
}

/// Notes that a unit without a start (a check, a wait, a manual) came to its end.
fn finish(run: &Run, index: u32, output: Option<Given>) -> Flow {
    let unit = run.unit(index);
    let mut json = None;
    if let Some(output) = output {
        if let Err(failure) = no_secret(output.json.as_ref(), "output") {
            return fail(run, unit, failure.to_problem());
        }
        json = output.json;
        run.outputs.set(index, output.value);
    }
    run.record(EventKind::Finished { unit: unit.id.clone(), output: json })?;
    Ok(())
}

async fn gate(run: &Arc<Run>, index: u32, check: &dyn ErasedCheck, scope: &Arc<Scope>) -> Flow {
    let unit = run.unit(index);
    let retry = unit.policies.retry;
    let mut attempt = 1;
    loop {
        match look(run, unit, check, scope, CheckRole::Gate).await? {
            Ok(output) => return finish(run, index, output),
            Err(problem) => {
                let Some(retry) = retry.filter(|retry| attempt < retry.attempts) else {
                    return fail(run, unit, problem);
                };
                tokio::select! {
                    () = tokio::time::sleep(retry.pause_after(attempt)) => {}
                    () = run.shared.cancel.cancelled(), if !run.undoing() => {
                        return fail(run, unit, problem);
                    }
                }
                attempt += 1;
            }
        }
    }
}

async fn observe(run: &Arc<Run>, index: u32, check: &dyn ErasedCheck, scope: &Arc<Scope>) -> Flow {
    let unit = run.unit(index);
    let observer = Observer::new(Arc::clone(scope));
    let looked =
        guarded(run, scope, unit.policies.timeout, check.look(&observer, Gives::Verdict)).await;
    match looked {
        Ok(Looked { record, output }) => {
            note_verdict(run, &unit.id, check, CheckRole::Observation, record)?;
            finish(run, index, output)
        }
        Err(failure) => fail(run, unit, failure.while_doing("looking").to_problem()),
    }
}

/// What goes into the journal may hold no secret: it would be readable for good, and scrubbed it
/// could not be read back.
pub(super) fn no_secret(json: Option<&Json>, what: &str) -> Result<()> {
    if json.is_some_and(|json| crate::secret::contains_secret(json.get())) {
        return Err(Failure::msg(format!(
            "its {what} contains a registered secret, which the journal would keep"
        ))
        .next("leave the secret out of the type, and pass the `Secret` itself around"));
    }
    Ok(())
}
