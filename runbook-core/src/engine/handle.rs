//! [`RunHandle`]: what whoever started a run holds: its events, a way to answer and to cancel,
//! and its outcome.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::cancel::Cancel;
use super::{RunOptions, Start};
use crate::error::Error;
use crate::event::{
    Answer, Event, Question, QuestionKind, RunFinished, RunId, Status, UnitId, Waiting,
};
use crate::journal::RunState;
use crate::plan::{Plan, Work};

/// A run under way. Dropping it does not end the run.
pub struct RunHandle {
    control: Control,
    events: UnboundedReceiver<Arc<Event>>,
    backlog: Arc<AtomicUsize>,
    task: JoinHandle<Result<Outcome, Error>>,
}

/// A cloneable way to answer questions of a run and to cancel it.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

/// How a run ended, and its state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub status: Status,
    /// The details; `None` if it is suspended.
    pub finished: Option<RunFinished>,
    /// Whether a check failed (`plan`: one before the first step).
    pub checks_failed: bool,
    /// The state of every unit.
    pub state: RunState,
}

/// What a run and its handle share.
pub(crate) struct Shared {
    pub(super) run: RunId,
    pub(super) plan: Plan,
    pub(super) cancel: Cancel,
    questions: Mutex<HashMap<UnitId, Pending>>,
    suspended: Mutex<Vec<Waiting>>,
}

/// A question that waits for its answer.
struct Pending {
    question: Question,
    reply: oneshot::Sender<(Answer, String)>,
}

impl Shared {
    /// Puts a question up for an answer through the handle.
    pub(super) fn ask(
        &self,
        unit: &UnitId,
        question: Question,
    ) -> oneshot::Receiver<(Answer, String)> {
        let (reply, answer) = oneshot::channel();
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.insert(unit.clone(), Pending { question, reply });
        answer
    }

    pub(super) fn withdraw(&self, unit: &UnitId) {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).remove(unit);
    }

    pub(super) fn suspend(&self, unit: &UnitId, question: Question) {
        let waiting = Waiting { unit: unit.clone(), question };
        self.suspended.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
    }

    pub(super) fn take_suspended(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.suspended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether `answer` is one that `question` of `unit` takes.
    fn fits(&self, unit: &UnitId, question: &Question, answer: &Answer) -> Result<(), String> {
        match (&question.kind, answer) {
            (_, Answer::No) => Ok(()),
            (QuestionKind::Interrupted, Answer::Value(word)) => {
                super::question::decision(word).map(|_| ())
            }
            (QuestionKind::Interrupted, _) => Err("retry, skip or rollback".into()),
            (QuestionKind::Value { .. }, Answer::Value(text)) => {
                let units = &self.plan.0.units;
                match units.iter().find(|known| known.id == *unit).map(|known| &known.work) {
                    Some(Work::Manual { manual, .. }) => manual.read(text).map(|_| ()),
                    _ => Ok(()),
                }
            }
            (QuestionKind::Value { accepts }, Answer::Yes) => Err(accepts.clone()),
            (_, Answer::Value(_)) => Err("yes or no".into()),
            (_, Answer::Yes) => Ok(()),
        }
    }
}

impl RunHandle {
    pub(super) fn start<F>(
        plan: &Plan,
        mut options: RunOptions,
        body: impl FnOnce(Start) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        options.reason = options.reason.map(|text| crate::secret::scrub(&text).into_owned());
        let run = options.run.take().unwrap_or_else(RunId::fresh);
        let shared = Arc::new(Shared {
            run: run.clone(),
            plan: plan.clone(),
            cancel: Cancel::default(),
            questions: Mutex::default(),
            suspended: Mutex::default(),
        });
        let (stream, events) = unbounded_channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let start =
            Start { shared: Arc::clone(&shared), options, stream, backlog: Arc::clone(&backlog) };
        let span = tracing::info_span!("run", run = %run, book = plan.book());
        let task = tokio::spawn(tracing::Instrument::instrument(body(start), span));
        Self { control: Control { shared }, events, backlog, task }
    }

    /// The run's id.
    #[must_use]
    pub fn run_id(&self) -> &RunId {
        &self.control.shared.run
    }

    /// The next event; `None` after the last one. If events are not taken, passing ones (output,
    /// progress) are dropped beyond a bound; the others never are.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        let event = self.events.recv().await?;
        self.backlog.fetch_sub(1, Ordering::Relaxed);
        Some(event)
    }

    /// A cloneable way to answer and to cancel.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The run could not be started or resumed, or its journal failed.
    pub async fn outcome(self) -> Result<Outcome, Error> {
        let Self { control, events, task, .. } = self;
        drop(events);
        match task.await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::state(format!(
                "run {} was dropped with its runtime; `resume {}` takes it up",
                control.shared.run, control.shared.run
            ))),
        }
    }
}

impl Control {
    /// The run's id.
    #[must_use]
    pub fn run_id(&self) -> &RunId {
        &self.shared.run
    }

    /// Asks the run to end: cancels what runs, then rolls back. `by` is shown in the journal: a
    /// name, or `SIGINT`.
    pub fn cancel(&self, by: impl Into<String>) {
        self.shared.cancel.cancel(by.into());
    }

    /// Answers the question of a unit. For an interrupted unit the value is `retry`, `skip` or
    /// `rollback`.
    ///
    /// # Errors
    /// The unit asks nothing now, or the value is not accepted (the error says what is); the
    /// question then stays.
    pub fn answer(
        &self,
        unit: &UnitId,
        answer: Answer,
        by: impl Into<String>,
    ) -> Result<(), Error> {
        let mut questions = self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pending) = questions.get(unit) else {
            return Err(Error::state(format!("unit `{unit}` asks nothing now")));
        };
        if let Err(accepts) = self.shared.fits(unit, &pending.question, &answer) {
            let given = match &answer {
                Answer::Value(text) => format!("{text:?}"),
                Answer::Yes => "yes".into(),
                Answer::No => "no".into(),
            };
            return Err(Error::usage(format!("`{unit}`: {given}: expected {accepts}")));
        }
        if let Some(pending) = questions.remove(unit) {
            let _ = pending.reply.send((answer, by.into()));
        }
        Ok(())
    }

    /// Yes to the question of a unit.
    ///
    /// # Errors
    /// The unit asks nothing now, or wants a value.
    pub fn approve(&self, unit: &UnitId, by: impl Into<String>) -> Result<(), Error> {
        self.answer(unit, Answer::Yes, by)
    }
}
