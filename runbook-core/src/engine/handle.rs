//! [`RunHandle`]: what whoever started a run holds: its events, a way to answer and to cancel,
//! and its outcome.

use std::sync::Arc;

use crate::error::Error;
use crate::event::{Answer, Event, RunFinished, RunId, Status, UnitId};
use crate::journal::RunState;

/// A run under way. Dropping it does not end the run.
pub struct RunHandle {
    control: Control,
}

/// A cloneable way to answer questions of a run and to cancel it.
#[derive(Clone)]
pub struct Control {
    run: RunId,
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

impl RunHandle {
    /// The run's id.
    #[must_use]
    pub fn run_id(&self) -> &RunId {
        &self.control.run
    }

    /// The next event; `None` after the last one. If events are not taken, passing ones (output,
    /// progress) are dropped beyond a bound; the others never are.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        todo!()
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
        todo!()
    }
}

impl Control {
    /// Asks the run to end: cancels what runs, then rolls back.
    pub fn cancel(&self, by: impl Into<String>) {
        let _ = by.into();
        todo!()
    }

    /// Answers the question of a unit.
    ///
    /// # Errors
    /// The unit asks nothing now, or the value is not accepted (the error says what is).
    pub fn answer(
        &self,
        unit: &UnitId,
        answer: Answer,
        by: impl Into<String>,
    ) -> Result<(), Error> {
        let _ = (unit, answer, by.into());
        todo!()
    }

    /// Yes to the question of a unit.
    ///
    /// # Errors
    /// The unit asks nothing now.
    pub fn approve(&self, unit: &UnitId, by: impl Into<String>) -> Result<(), Error> {
        self.answer(unit, Answer::Yes, by)
    }
}
