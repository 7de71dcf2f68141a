//! [`Check`]: a read-only observation that ends in a [`Verdict`].

use std::fmt;
use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::context::Observer;
use crate::error::Result;
use crate::input::Visit;
use crate::policy::{With, adaptors};
use crate::step::{About, Data};

/// A read-only observation of the world, with typed evidence.
///
/// Written by hand, or by `#[check]` from an async fn.
///
/// ```
/// use runbook_core::{About, Check, Observer, Result, Verdict};
///
/// struct CoresAtLeast(usize);
///
/// impl Check for CoresAtLeast {
///     type Evidence = usize;
///     fn about(&self) -> About {
///         About::new("cores-at-least", format!("At least {} cores", self.0))
///     }
///     async fn check(&self, _: &Observer) -> Result<Verdict<usize>> {
///         let cores = std::thread::available_parallelism()?.get();
///         Ok(Verdict::pass_if(cores >= self.0, cores, format!("{cores} cores")))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a check",
    label = "expected a `Check`: call a `#[check]` fn, or implement the trait"
)]
pub trait Check: Send + Sync + 'static {
    /// What the verdict rests on.
    type Evidence: Data;

    /// Title, stable id, documentation, preview.
    fn about(&self) -> About;

    /// Shows every [`Input`](crate::Input) that it holds to `visit`.
    fn inputs(&self, visit: &mut dyn Visit) {
        let _ = visit;
    }

    /// Looks, and judges. An `Err` means that it could not be looked at, which fails as well.
    fn check(&self, cx: &Observer) -> impl Future<Output = Result<Verdict<Self::Evidence>>> + Send;

    adaptors!();
}

/// What a check found: pass, warn or fail, the evidence, and why in one line.
///
/// ```
/// use runbook_core::{Level, Verdict};
/// let verdict = Verdict::warn(91, "91 % of /var is used");
/// assert_eq!(verdict.level(), Level::Warn);
/// assert!(verdict.passed(), "a warning lets the run go on");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict<E> {
    level: Level,
    why: String,
    evidence: E,
}

/// How good a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Pass,
    /// Good enough to go on, and worth a look.
    Warn,
    /// Not as it should be.
    Fail,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

impl<E> Verdict<E> {
    /// As it should be.
    pub fn pass(evidence: E, why: impl Into<String>) -> Self {
        Self { level: Level::Pass, why: why.into(), evidence }
    }

    /// Good enough to go on, and worth a look.
    pub fn warn(evidence: E, why: impl Into<String>) -> Self {
        Self { level: Level::Warn, why: why.into(), evidence }
    }

    /// Not as it should be.
    pub fn fail(evidence: E, why: impl Into<String>) -> Self {
        Self { level: Level::Fail, why: why.into(), evidence }
    }

    /// Pass if `good`, else fail.
    pub fn pass_if(good: bool, evidence: E, why: impl Into<String>) -> Self {
        if good { Self::pass(evidence, why) } else { Self::fail(evidence, why) }
    }

    /// Pass, warn or fail.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether a run goes on after it: pass or warn.
    pub fn passed(&self) -> bool {
        self.level != Level::Fail
    }

    /// Why, in one line.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The evidence.
    pub fn evidence(&self) -> &E {
        &self.evidence
    }

    /// The evidence, by value.
    pub fn into_evidence(self) -> E {
        self.evidence
    }
}

/// What [`Runbook::observe`](crate::Runbook::observe) gives: a verdict whose evidence may be
/// missing, since a look that fails is an observation as well.
///
/// ```
/// use runbook_core::{Level, Observation};
/// let seen: Observation<u32> = serde_json::from_str(
///     r#"{"level":"fail","why":"connection refused","evidence":null}"#,
/// )?;
/// assert!(!seen.passed());
/// assert_eq!(seen.evidence(), None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation<E> {
    level: Level,
    why: String,
    evidence: Option<E>,
}

impl<E> Observation<E> {
    /// Nothing could be seen.
    pub(crate) fn blind(why: String) -> Self {
        Self { level: Level::Fail, why, evidence: None }
    }

    /// Pass, warn or fail.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether it is as it should be: pass or warn.
    pub fn passed(&self) -> bool {
        self.level != Level::Fail
    }

    /// Why, in one line.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The evidence, unless the look itself failed.
    pub fn evidence(&self) -> Option<&E> {
        self.evidence.as_ref()
    }
}

impl<E> From<Verdict<E>> for Observation<E> {
    fn from(verdict: Verdict<E>) -> Self {
        Self { level: verdict.level, why: verdict.why, evidence: Some(verdict.evidence) }
    }
}
