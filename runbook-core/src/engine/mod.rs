//! [`Engine`]: runs plans.

mod handle;
mod options;

use std::sync::Arc;

pub use self::handle::{Control, Outcome, RunHandle};
pub use self::options::{ResumeOptions, RunOptions};
use crate::error::Error;
use crate::event::{Answer, Decision, RunId, UnitId};
use crate::journal::JournalStore;
use crate::plan::Plan;

/// Runs plans, and keeps their journals in a [`JournalStore`].
///
/// Cheap to clone. Its methods that start something must be called inside a tokio runtime.
#[derive(Clone, Debug)]
pub struct Engine {
    store: Arc<dyn JournalStore>,
}

impl Engine {
    /// An engine that keeps its journals in `store`.
    pub fn new(store: impl JournalStore + 'static) -> Self {
        Self { store: Arc::new(store) }
    }

    /// Where the journals are.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn JournalStore> {
        &self.store
    }

    /// Runs a plan.
    pub fn run(&self, plan: &Plan, options: RunOptions) -> RunHandle {
        let _ = (plan, options);
        todo!()
    }

    /// Runs the checks of a plan and previews its steps. Changes nothing, journals nothing.
    pub fn plan(&self, plan: &Plan, options: RunOptions) -> RunHandle {
        let _ = (plan, options);
        todo!()
    }

    /// Runs only the checks of a plan. Changes nothing, journals nothing.
    pub fn check(&self, plan: &Plan, options: RunOptions) -> RunHandle {
        let _ = (plan, options);
        todo!()
    }

    /// Takes a run up again: forward to its end, or back to its beginning
    /// ([`ResumeOptions::rollback`]).
    pub fn resume(&self, run: &RunId, plan: &Plan, options: ResumeOptions) -> RunHandle {
        let _ = (run, plan, options);
        todo!()
    }

    /// Notes the answer to a question of a suspended run; [`resume`](Self::resume) then acts on
    /// it.
    ///
    /// # Errors
    /// No such run; it is not suspended; the unit asks nothing; the value is not accepted.
    pub async fn answer(
        &self,
        run: &RunId,
        unit: &UnitId,
        answer: Answer,
        by: &str,
    ) -> Result<(), Error> {
        let _ = (run, unit, answer, by);
        todo!()
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
        let _ = (run, unit, decision, by);
        todo!()
    }
}
