//! How a unit is run: retries, time limits, requirements, verification, approval. Taken before
//! the unit is added, as adaptors of a step or check.

use std::sync::Arc;
use std::time::Duration;

use crate::check::Check;
use crate::erased::{CheckObject, ErasedCheck};
use crate::step::Step;

/// A step or check with its policies; made by the adaptors, taken by the builder.
pub struct With<T> {
    pub(crate) unit: T,
    pub(crate) policies: Policies,
}

/// The policies of one unit.
#[derive(Clone, Default)]
pub(crate) struct Policies {
    pub(crate) named: Option<String>,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) repeatable: bool,
    pub(crate) confirm: Option<String>,
    pub(crate) requires: Vec<Arc<dyn ErasedCheck>>,
    pub(crate) verify: Vec<Arc<dyn ErasedCheck>>,
}

/// How often to try, and how long to pause between: doubling from `pause` up to `max_pause`.
///
/// ```
/// use std::time::Duration;
/// use runbook_core::Retry;
/// let retry = Retry::times(5).pause(Duration::from_secs(1));
/// assert_eq!(retry.pause_after(3), Duration::from_secs(4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The pause after the first failure.
    pub pause: Duration,
    /// No pause is longer.
    pub max_pause: Duration,
}

impl Retry {
    /// So many attempts in all, with pauses of 0.5 s, 1 s, 2 s .. up to 30 s between them.
    #[must_use]
    pub fn times(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            pause: Duration::from_millis(500),
            max_pause: Duration::from_secs(30),
        }
    }

    /// The pause after the first failure; it doubles after each.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// No pause is longer than this.
    #[must_use]
    pub fn max_pause(mut self, pause: Duration) -> Self {
        self.max_pause = pause;
        self
    }

    /// The pause after so many failed attempts.
    #[must_use]
    pub fn pause_after(&self, failed: u32) -> Duration {
        let factor = 1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
        self.pause.saturating_mul(factor).min(self.max_pause)
    }
}

impl From<u32> for Retry {
    fn from(attempts: u32) -> Self {
        Self::times(attempts)
    }
}

/// How a [`wait_until`](crate::Runbook::wait_until) waits: looks every `every`, gives up after
/// `at_most`.
///
/// ```
/// use std::time::Duration;
/// use runbook_core::Wait;
/// let wait = Wait::at_most(Duration::from_secs(30)).every(Duration::from_millis(200));
/// assert_eq!(wait.every, Duration::from_millis(200));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// The pause between two looks.
    pub every: Duration,
    /// When to give up.
    pub at_most: Duration,
}

impl Wait {
    /// Looks once a second, and gives up after `at_most`.
    #[must_use]
    pub fn at_most(at_most: Duration) -> Self {
        Self { every: Duration::from_secs(1), at_most }
    }

    /// The pause between two looks.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }
}

/// How [`each`](crate::Runbook::each) goes through its hosts: canaries first, then batches.
///
/// A host fails when one of its units does, also for want of a connection. It is then undone by
/// itself, and the others go on, as long as no more than `max_failed` have failed; a canary may
/// never. One failure more ends the run: no further host is begun, and all of it is rolled back.
///
/// A run that is to keep what it did ([`RunOptions::keep_on_failure`](crate::RunOptions)) undoes no
/// host, and ends with the first that fails.
///
/// A run that went on without a host ends succeeded and says so: in its summary, its reports, and
/// by its exit code, 6. One that could not undo a host ends stuck.
///
/// To ask a person or look at something between the canary and the rest, use two `each`:
///
/// ```
/// use std::time::Duration;
/// use runbook_core::{Entry, Inventory, Manual, Rolling, Runbook};
///
/// let inventory = Inventory::new(["web-1", "web-2", "web-3"].map(|name| Entry::new(name, ())))?;
/// let hosts = inventory.all();
/// let (canary, rest) = hosts.split_at(1);
///
/// let mut b = Runbook::new("restart");
/// b.each(canary, Rolling::default(), |host, b| { /* .. */ });
/// b.manual(Manual::new("Look at the dashboards"));
/// let pause = Duration::from_secs(10);
/// b.each(rest, Rolling { at_once: 2, max_failed: 1, pause, ..Rolling::default() }, |host, b| {
///     // ..
/// });
/// # Ok::<(), runbook_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rolling {
    /// So many hosts at the same time, at least 1. A [`Share`](crate::Share) makes a number of a
    /// percentage.
    pub at_once: usize,
    /// So many hosts may fail, each undone by itself, before the whole run fails.
    pub max_failed: usize,
    /// So many hosts go first; the rest only if all of them succeed.
    pub canary: usize,
    /// The pause between one batch and the next.
    pub pause: Duration,
}

impl Rolling {
    /// The batches of `hosts` hosts, in order: no batch has canaries and others.
    ///
    /// ```
    /// use runbook_core::Rolling;
    /// let rolling = Rolling { at_once: 2, canary: 1, ..Rolling::default() };
    /// assert_eq!(rolling.batches(4).collect::<Vec<_>>(), [0..1, 1..3, 3..4]);
    /// ```
    pub fn batches(self, hosts: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let end = if from < self.canary { self.canary.min(hosts) } else { hosts };
            let batch = from..end.min(from + self.at_once.max(1));
            from = batch.end;
            (!batch.is_empty()).then_some(batch)
        })
    }
}

impl Default for Rolling {
    /// One host after the other; the first failure ends it.
    fn default() -> Self {
        Self { at_once: 1, max_failed: 0, canary: 0, pause: Duration::ZERO }
    }
}

impl<T> With<T> {
    pub(crate) fn new(unit: T) -> Self {
        Self { unit, policies: Policies::default() }
    }

    /// Tries again after a failure, also a step that may have taken effect in part: declares it
    /// safe to repeat.
    #[must_use]
    pub fn retry(mut self, retry: impl Into<Retry>) -> Self {
        self.policies.retry = Some(retry.into());
        self
    }

    /// How long one attempt may take; past that it is ended and its outcome unknown.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policies.timeout = Some(timeout);
        self
    }

    /// Declares the step safe to run again when it is not known how far it got.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.policies.repeatable = true;
        self
    }

    /// Made after the unit; if it fails, so has the unit.
    #[must_use]
    pub fn verify(mut self, check: impl Check) -> Self {
        self.policies.verify.push(Arc::new(CheckObject(check)));
        self
    }

    /// Made just before the unit; if it fails the unit is not started.
    #[must_use]
    pub fn requires(mut self, check: impl Check) -> Self {
        self.policies.requires.push(Arc::new(CheckObject(check)));
        self
    }

    /// Asks a person before the unit starts.
    #[must_use]
    pub fn confirm(mut self, question: impl Into<String>) -> Self {
        self.policies.confirm = Some(question.into());
        self
    }

    /// Gives it a name of its own in this runbook; its id is made from it.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.policies.named = Some(name.into());
        self
    }
}

/// The adaptors, as provided methods of `Step` and `Check`.
macro_rules! adaptors {
    () => {
        /// Tries again after a failure, also where it may have taken effect in part: declares it
        /// safe to repeat. A number means [`Retry::times`](crate::Retry::times).
        fn retry(self, retry: impl Into<crate::policy::Retry>) -> With<Self>
        where
            Self: Sized,
        {
            With::new(self).retry(retry)
        }

        /// How long one attempt may take; past that it is ended and its outcome unknown.
        fn timeout(self, timeout: std::time::Duration) -> With<Self>
        where
            Self: Sized,
        {
            With::new(self).timeout(timeout)
        }

        /// Gives it a name of its own in this runbook; its id is made from it.
        fn named(self, name: impl Into<String>) -> With<Self>
        where
            Self: Sized,
        {
            With::new(self).named(name)
        }

        /// Made just before the unit; if it fails the unit is not started.
        fn requires(self, check: impl crate::check::Check) -> With<Self>
        where
            Self: Sized,
        {
            With::new(self).requires(check)
        }
    };
}
pub(crate) use adaptors;

/// What [`Runbook::step`](crate::Runbook::step) takes: a step, or a step with policies.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a step",
    label = "expected a `Step`: call a `#[step]` fn, or implement the trait"
)]
pub trait IntoStep {
    /// The step.
    type Step: Step;
    /// The step with its policies.
    fn into_step(self) -> With<Self::Step>;
}

impl<S: Step> IntoStep for S {
    type Step = S;
    fn into_step(self) -> With<S> {
        With::new(self)
    }
}

impl<S: Step> IntoStep for With<S> {
    type Step = S;
    fn into_step(self) -> Self {
        self
    }
}

/// What [`Runbook::check`](crate::Runbook::check) takes: a check, or a check with policies.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a check",
    label = "expected a `Check`: call a `#[check]` fn, or implement the trait"
)]
pub trait IntoCheck {
    /// The check.
    type Check: Check;
    /// The check with its policies.
    fn into_check(self) -> With<Self::Check>;
}

impl<C: Check> IntoCheck for C {
    type Check = C;
    fn into_check(self) -> With<C> {
        With::new(self)
    }
}

impl<C: Check> IntoCheck for With<C> {
    type Check = C;
    fn into_check(self) -> Self {
        self
    }
}
