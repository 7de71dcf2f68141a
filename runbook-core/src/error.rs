//! The two error types: [`Failure`], what a unit says went wrong, and [`Error`], what building,
//! running or reading a run can answer.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::UnitId;

/// The result of a step, a check or a rollback: `Ok`, or a [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a step, a check or a rollback did not do its work.
///
/// Any error converts into it with `?`. Say what was being done with [`During::during`], and what
/// to do next with [`Failure::next`]; an operator reads both.
///
/// ```
/// use runbook_core::{During, Failure, Result};
///
/// fn read_release() -> Result<String> {
///     std::fs::read_to_string("/nonexistent/release")
///         .during("reading the current release")
/// }
///
/// let failure = read_release().unwrap_err().next("run the deploy runbook first");
/// assert!(failure.to_string().starts_with("reading the current release: "));
/// assert_eq!(Failure::msg("no space left").to_string(), "no space left");
/// ```
pub struct Failure(Box<Inner>);

struct Inner {
    kind: FailureKind,
    /// Outermost first.
    doing: Vec<String>,
    message: String,
    causes: Vec<String>,
    next: Option<String>,
}

/// What sort of failure it is; decides whether the outcome of the unit is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The work was refused or failed, and said so.
    Failed,
    /// The time allowed ran out: the outcome is unknown.
    TimedOut,
    /// The run was cancelled: the outcome is unknown.
    Cancelled,
    /// The connection to the target was lost: the outcome is unknown.
    Disconnected,
    /// A requirement, a verification or an approval said no.
    Refused,
    /// The code of the unit panicked: the outcome is unknown.
    Panicked,
}

impl FailureKind {
    /// Whether the work may or may not have taken effect.
    #[must_use]
    pub fn outcome_unknown(self) -> bool {
        matches!(self, Self::TimedOut | Self::Cancelled | Self::Disconnected | Self::Panicked)
    }
}

impl Failure {
    /// A failure that says `message`.
    #[must_use]
    pub fn msg(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Failed, message)
    }

    /// A failure of a given kind.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl fmt::Display) -> Self {
        Self(Box::new(Inner {
            kind,
            doing: Vec::new(),
            message: message.to_string(),
            causes: Vec::new(),
            next: None,
        }))
    }

    /// The same failure, with what to do next; shown below the error.
    #[must_use]
    pub fn next(mut self, advice: impl fmt::Display) -> Self {
        self.0.next = Some(advice.to_string());
        self
    }

    /// The same failure, with what was being done put before it.
    #[must_use]
    pub fn while_doing(mut self, what: impl fmt::Display) -> Self {
        self.0.doing.insert(0, what.to_string());
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.0.kind
    }

    /// The serialisable form, scrubbed of every registered secret.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        let scrub = |text: &str| crate::secret::scrub(text).into_owned();
        Problem {
            kind: self.0.kind,
            message: scrub(&self.to_string()),
            causes: self.0.causes.iter().map(|cause| scrub(cause)).collect(),
            next: self.0.next.as_deref().map(scrub),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        // A unit may pass on a problem it was given, and a stream of a target breaks with one
        // inside of an I/O error: keep its kind and advice.
        let error_ref = &error as &(dyn StdError + 'static);
        let inside = error_ref.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        let problem = error_ref
            .downcast_ref::<Problem>()
            .or_else(|| inside.and_then(|inside| inside.downcast_ref()));
        if let Some(problem) = problem {
            return Self(Box::new(Inner {
                kind: problem.kind,
                doing: Vec::new(),
                message: problem.message.clone(),
                causes: problem.causes.clone(),
                next: problem.next.clone(),
            }));
        }
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        let mut failure = Self::msg(&error);
        failure.0.causes = causes;
        failure
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for doing in &self.0.doing {
            write!(f, "{doing}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        for cause in &self.0.causes {
            write!(f, "\n  because: {cause}")?;
        }
        if let Some(next) = &self.0.next {
            write!(f, "\n  next: {next}")?;
        }
        Ok(())
    }
}

/// Says what was being done when an error came back.
///
/// ```
/// use runbook_core::During;
/// let error = "x".parse::<u16>().during("reading the port").unwrap_err();
/// assert_eq!(error.to_string(), "reading the port: invalid digit found in string");
/// ```
pub trait During<T> {
    /// Puts `what` before the error's own words.
    ///
    /// # Errors
    /// The same error, as a [`Failure`].
    fn during(self, what: impl fmt::Display) -> Result<T>;

    /// Adds what to do next.
    ///
    /// # Errors
    /// The same error, as a [`Failure`].
    fn or_next(self, advice: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Failure>> During<T> for std::result::Result<T, E> {
    fn during(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().while_doing(what))
    }

    fn or_next(self, advice: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().next(advice))
    }
}

/// A [`Failure`] as events, journals and reports carry it: text only, free of secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What sort of failure.
    pub kind: FailureKind,
    /// What was being done, to what, and what came back.
    pub message: String,
    /// The causes below it, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Problem {}

/// What building a plan, running it, or reading a run can answer instead of doing it.
///
/// Opaque; ask it with the `is_*` methods. Its text says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] Cause);

/// The private causes, one a domain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("{0}")]
    Build(String),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    #[error(
        "run {run} was started from a different plan of `{book}`: the first unit that differs is \
         `{unit}` ({how}); check out the version that started it, or `rollback {run}` with that \
         version"
    )]
    PlanDiffers { run: String, book: String, unit: UnitId, how: String },
    #[error("{0}")]
    State(String),
}

impl Error {
    pub(crate) fn build(message: impl fmt::Display) -> Self {
        Self(Cause::Build(message.to_string()))
    }

    /// An error about what the caller asked for: a parameter, an unknown name, a missing value.
    #[must_use]
    pub fn usage(message: impl fmt::Display) -> Self {
        Self(Cause::Usage(message.to_string()))
    }

    pub(crate) fn state(message: impl fmt::Display) -> Self {
        Self(Cause::State(message.to_string()))
    }

    /// The plan is wired wrongly: a foreign handle, a duplicate id, a handle out of scope.
    #[must_use]
    pub fn is_build(&self) -> bool {
        matches!(self.0, Cause::Build(_))
    }

    /// The caller asked for something that does not exist or does not parse.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self.0, Cause::Usage(_))
    }

    /// The journal could not be written or read, or was changed.
    #[must_use]
    pub fn is_journal(&self) -> bool {
        matches!(self.0, Cause::Journal(_))
    }

    /// The plan offered for a resume is not the one that the run was started with.
    #[must_use]
    pub fn is_plan_differs(&self) -> bool {
        matches!(self.0, Cause::PlanDiffers { .. })
    }

    /// The run is not in a state that allows what was asked.
    #[must_use]
    pub fn is_state(&self) -> bool {
        matches!(self.0, Cause::State(_))
    }

    /// The journal's own error, if it is one.
    #[must_use]
    pub fn as_journal(&self) -> Option<&crate::journal::JournalError> {
        match &self.0 {
            Cause::Journal(error) => Some(error),
            _ => None,
        }
    }
}

impl From<crate::journal::JournalError> for Error {
    fn from(error: crate::journal::JournalError) -> Self {
        Self(Cause::Journal(error))
    }
}
