//! [`Case`]: what one runbook needs to be tested.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runbook_core::{Args, BookSpec, Status};

use super::fakes::Fakes;
use crate::cli::variable;

/// One of the tests that every runbook gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Test {
    /// `page`
    Page,
    /// `plan`
    Plan,
    /// `run`
    Run,
    /// `fail_every_unit`
    FailEveryUnit,
    /// `repeat_every_unit`
    RepeatEveryUnit,
    /// `crash_at_every_line`
    CrashAtEveryLine,
    /// `check_live`
    CheckLive,
}

impl Test {
    pub(super) const ALL: [Self; 7] = [
        Self::Page,
        Self::Plan,
        Self::Run,
        Self::FailEveryUnit,
        Self::RepeatEveryUnit,
        Self::CrashAtEveryLine,
        Self::CheckLive,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Plan => "plan",
            Self::Run => "run",
            Self::FailEveryUnit => "fail_every_unit",
            Self::RepeatEveryUnit => "repeat_every_unit",
            Self::CrashAtEveryLine => "crash_at_every_line",
            Self::CheckLive => "check_live",
        }
    }
}

type MakeFakes<E> = Arc<dyn Fn() -> Fakes<E> + Send + Sync>;

/// What one runbook needs to be tested; given to [`Harness::book`](super::Harness::book).
///
/// ```
/// use runbook::harness::{Case, Test};
/// let case = Case::<()>::default()
///     .arg("release", "v2")
///     .answer("how many", "3")
///     .without(Test::RepeatEveryUnit, "a restart counts");
/// # let _ = case;
/// ```
pub struct Case<E> {
    pub(super) args: Args,
    given: Vec<(String, String)>,
    pub(super) answers: BTreeMap<String, String>,
    pub(super) fakes: Option<MakeFakes<E>>,
    pub(super) ends: Status,
    left: Vec<PathBuf>,
    repeated: Vec<PathBuf>,
    without: Vec<Test>,
}

impl<E> Default for Case<E> {
    fn default() -> Self {
        Self {
            args: Args::new(),
            given: Vec::new(),
            answers: BTreeMap::new(),
            fakes: None,
            ends: Status::Succeeded,
            left: Vec::new(),
            repeated: Vec::new(),
            without: Vec::new(),
        }
    }
}

impl<E> Case<E> {
    /// A parameter of the runbook.
    #[must_use]
    pub fn arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.args = self.args.with(&name, &value);
        self.given.push((name, value));
        self
    }

    /// The answer to the question of the unit with this id. Questions that want no value are
    /// answered with yes.
    #[must_use]
    pub fn answer(mut self, unit: impl Into<String>, value: impl Into<String>) -> Self {
        self.answers.insert(unit.into(), value.into());
        self
    }

    /// Fakes of its own.
    #[must_use]
    pub fn fakes(mut self, fakes: impl Fn() -> Fakes<E> + Send + Sync + 'static) -> Self {
        self.fakes = Some(Arc::new(fakes));
        self
    }

    /// How it ends on its fakes: [`Status::Succeeded`] unless said otherwise.
    #[must_use]
    pub fn ends(mut self, status: Status) -> Self {
        self.ends = status;
        self
    }

    /// A path that a run that failed may leave changed, and all below it: what harmless steps
    /// wrote. Or the name of a [state](super::Fakes::state).
    #[must_use]
    pub fn may_leave(mut self, path: impl Into<PathBuf>) -> Self {
        self.left.push(path.into());
        self
    }

    /// A path, and all below it, or a [state](super::Fakes::state), that is another if every step
    /// is run twice: the second dump beside the first.
    #[must_use]
    pub fn may_repeat(mut self, path: impl Into<PathBuf>) -> Self {
        self.repeated.push(path.into());
        self
    }

    /// Without one of the tests; says in the code why.
    #[must_use]
    pub fn without(mut self, test: Test, _because: &str) -> Self {
        self.without.push(test);
        self
    }

    pub(super) fn leaves_out(&self, test: Test) -> bool {
        self.without.contains(&test)
    }

    pub(super) fn leaves(&self, path: &Path) -> bool {
        self.left.iter().any(|left| path.starts_with(left))
    }

    pub(super) fn repeats(&self, path: &Path) -> bool {
        self.repeated.iter().any(|repeated| path.starts_with(repeated))
    }

    /// The parameters as words of the command line, and the secret ones as variables.
    pub(super) fn given(&self, spec: &BookSpec) -> (Vec<String>, Vec<(String, String)>) {
        let (mut words, mut secrets) = (Vec::new(), Vec::new());
        for (name, value) in &self.given {
            match spec.params.iter().find(|param| param.name == *name) {
                Some(param) if param.kind.secret => {
                    secrets.push((variable(name), value.clone()));
                }
                Some(param) => words.push(format!("--{}={value}", param.flag())),
                // The command line says what there is.
                None => words.push(format!("--{name}={value}")),
            }
        }
        (words, secrets)
    }
}
