//! [`RunOptions`] and [`ResumeOptions`].

use std::time::Duration;

use crate::event::{Actor, Decision, ResumeMode, RunId, Timestamp};
use crate::faults::Faults;

/// How a run is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOptions {
    /// Who runs it.
    pub by: Actor,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// When what it is about began; by default the run's own start. Whom to call, and whether
    /// somebody answered in time, counts from then.
    pub began: Option<Timestamp>,
    /// The environment's name.
    pub env: Option<String>,
    /// The version of the program.
    pub version: Option<String>,
    /// Approves every [`confirm`](crate::Step::confirm) beforehand.
    pub yes: bool,
    /// Suspends the run at a question, instead of waiting for an answer through the handle.
    pub unattended: bool,
    /// Undoes what was started when the run fails or is cancelled; on by default.
    pub undo: bool,
    /// How long a cancelled unit gets to end in order before it is dropped.
    pub grace: Duration,
    /// The run's id; by default a fresh one.
    pub run: Option<RunId>,
    /// What is to go wrong, on purpose.
    pub faults: Option<Faults>,
}

impl RunOptions {
    /// The defaults: this process's user, questions wait for an answer, undo on failure.
    #[must_use]
    pub fn new() -> Self {
        Self {
            by: Actor::this_process(),
            reason: None,
            began: None,
            env: None,
            version: None,
            yes: false,
            unattended: false,
            undo: true,
            grace: Duration::from_secs(10),
            run: None,
            faults: None,
        }
    }

    /// Why it is run.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// When what it is about began: an incident is older than its run.
    #[must_use]
    pub fn began(mut self, at: Timestamp) -> Self {
        self.began = Some(at);
        self
    }

    /// Approves every confirmation beforehand.
    #[must_use]
    pub fn yes(mut self) -> Self {
        self.yes = true;
        self
    }

    /// Suspends the run at a question.
    #[must_use]
    pub fn unattended(mut self) -> Self {
        self.unattended = true;
        self
    }

    /// Makes units fail, or run twice, on purpose.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Leaves what was started as it is when the run fails.
    #[must_use]
    pub fn keep_on_failure(mut self) -> Self {
        self.undo = false;
        self
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// How a run is taken up again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResumeOptions {
    /// As for a new run; reason, env, version and run are not used.
    pub run: RunOptions,
    /// Forward or back.
    pub mode: ResumeMode,
    /// What to do with units that were interrupted and can't decide it themselves.
    pub interrupted: Option<Decision>,
}

impl ResumeOptions {
    /// On to its end.
    #[must_use]
    pub fn forward(run: RunOptions) -> Self {
        Self { run, mode: ResumeMode::Forward, interrupted: None }
    }

    /// Back to its beginning.
    #[must_use]
    pub fn rollback(run: RunOptions) -> Self {
        Self { run, mode: ResumeMode::Rollback, interrupted: None }
    }

    /// What to do with interrupted units that can't decide it themselves.
    #[must_use]
    pub fn interrupted(mut self, decision: Decision) -> Self {
        self.interrupted = Some(decision);
        self
    }
}
