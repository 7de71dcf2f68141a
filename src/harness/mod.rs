//! Runbooks as tests: a catalog becomes a test program.
//!
//! Give the crate of the runbooks a test target without the standard harness:
//!
//! ```toml
//! [dev-dependencies]
//! runbook = { version = "0.1", features = ["harness"] }
//!
//! [[test]]
//! name = "runbooks"
//! harness = false
//! ```
//!
//! and let its `main` say which runbooks there are and what they run on:
//!
//! ```no_run
//! use runbook::harness::{Fakes, Harness};
//! use runbook::prelude::*;
//! use runbook::testing::{FakeTarget, Reply, prefix};
//! # #[derive(serde::Deserialize)] struct Env { #[serde(skip, default = "host")] host: Host }
//! # fn host() -> Host { Host::new(FakeTarget::new("x")) }
//! # fn catalog() -> Catalog<Env> { Catalog::new("shop") }
//!
//! fn main() -> std::process::ExitCode {
//!     Harness::new(catalog, || {
//!         let web = FakeTarget::new("web-1").file("/srv/shop/release", "v1");
//!         web.on(prefix("systemctl")).reply(Reply::ok());
//!         Fakes::new(Env { host: Host::new(web.clone()) }).target(&web)
//!     })
//!     .snapshots(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"))
//!     .book("deploy", |case| case.arg("release", "v2"))
//!     .main()
//! }
//! ```
//!
//! `cargo test` and `cargo nextest` list and run these tests for each runbook:
//!
//! | test | what it shows |
//! | --- | --- |
//! | `deploy::page` | its page (`show`) is the snapshot |
//! | `deploy::plan` | its plan on the fakes is the snapshot, and planning changed nothing |
//! | `deploy::run` | on the fakes it ends as it should |
//! | `deploy::fail_every_unit` | whichever step fails, before or after its effect: never stuck, and the fakes are as they were |
//! | `deploy::repeat_every_unit` | with every step run twice it ends the same, and so do the fakes |
//! | `deploy::crash_at_every_line` | killed at every boundary of its journal and resumed: it ends, and the fakes are as after a run or as they were |
//! | `deploy::check_live` | its checks pass where `RUNBOOK_LIVE` says; ignored without it |
//!
//! What is compared are the files of the fake targets and each [`Fakes::state`]. Times in names and
//! texts are left out; every run is called the same, for what is named after its run.
//!
//! Time is paused: a wait of minutes takes none. Questions are answered with yes, and with
//! [`Case::answer`].
//!
//! There are fakes of servers, too: `runbook_postgres::testing::FakePostgres`,
//! `runbook_redis::testing::FakeRedis`, `runbook_http::testing::FakeSite` (features `testing`),
//! which listen on a fake target. `examples/eaf-premium/tests` makes a whole platform of them.
//!
//! - `RUNBOOK_LIVE=staging` runs the checks against that environment of the catalog or of the
//!   [configuration file](Harness::config).
//! - `RUNBOOK_JUNIT=FILE` writes the results as JUnit XML as well.
//! - `INSTA_UPDATE=always` accepts changed snapshots; so does `cargo insta review`.

mod case;
mod fakes;
mod junit;
mod matrix;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use runbook_core::Catalog;
use serde::de::DeserializeOwned;

pub use self::case::{Case, Test};
pub use self::fakes::Fakes;
use self::junit::Results;
use crate::cli::{self, Exit, Io};

/// The environment's name in plans and pages that the harness makes.
const FAKES: &str = "fakes";

/// A catalog and what its runbooks are tested on. See the [module](self).
pub struct Harness<E> {
    catalog: Arc<dyn Fn() -> Catalog<E> + Send + Sync>,
    fakes: Arc<dyn Fn() -> Fakes<E> + Send + Sync>,
    cases: BTreeMap<String, Case<E>>,
    snapshots: Option<PathBuf>,
    config: Option<PathBuf>,
}

impl<E> Harness<E>
where
    E: DeserializeOwned + Send + Sync + 'static,
{
    /// The runbooks of `catalog`, each run on fresh `fakes`.
    #[must_use]
    pub fn new(
        catalog: impl Fn() -> Catalog<E> + Send + Sync + 'static,
        fakes: impl Fn() -> Fakes<E> + Send + Sync + 'static,
    ) -> Self {
        Self {
            catalog: Arc::new(catalog),
            fakes: Arc::new(fakes),
            cases: BTreeMap::new(),
            snapshots: None,
            config: None,
        }
    }

    /// The folder of the snapshots; `tests/snapshots` in the current folder, which is the
    /// package's when `cargo test` runs it, if this is not called.
    #[must_use]
    pub fn snapshots(mut self, dir: impl Into<PathBuf>) -> Self {
        self.snapshots = Some(dir.into());
        self
    }

    /// The configuration file that holds the environment that `RUNBOOK_LIVE` names.
    #[must_use]
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = Some(file.into());
        self
    }

    /// What one runbook needs: parameters, answers, fakes of its own.
    #[must_use]
    pub fn book(mut self, name: impl Into<String>, case: impl FnOnce(Case<E>) -> Case<E>) -> Self {
        let name = name.into();
        let before = self.cases.remove(&name).unwrap_or_default();
        self.cases.insert(name, case(before));
        self
    }

    /// Runs the tests that the process's arguments ask for, as any test program does.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let arguments = Arguments::from_args();
        let results = Results::default();
        let junit = std::env::var_os("RUNBOOK_JUNIT").map(PathBuf::from);
        let live = std::env::var("RUNBOOK_LIVE").ok().filter(|name| !name.is_empty());
        let conclusion = libtest_mimic::run(&arguments, self.trials(&results, live.as_deref()));
        if let Some(path) = junit.filter(|_| !arguments.list)
            && let Err(error) = std::fs::write(&path, results.junit())
        {
            return fail(&format!("writing {}: {error}", path.display()));
        }
        conclusion.exit_code()
    }

    /// The tests.
    fn trials(self, results: &Results, live: Option<&str>) -> Vec<Trial> {
        let catalog = (self.catalog)();
        let known: Vec<String> = catalog.books().map(|spec| spec.name.clone()).collect();
        let mut trials = Vec::new();
        for name in self.cases.keys().filter(|name| !known.contains(name)) {
            let why = format!("no runbook is called `{name}`; there is: {}", known.join(", "));
            trials.push(results.trial(name, "case", move || Err(Failed::from(why.clone()))));
        }
        let harness = Arc::new(self);
        for book in known {
            for test in Test::ALL {
                let (harness, of) = (Arc::clone(&harness), book.clone());
                let case = harness.cases.get(&book);
                let left_out = case.is_some_and(|case| case.leaves_out(test));
                let asked = live.map(str::to_owned);
                let ignored = left_out || (test == Test::CheckLive && asked.is_none());
                let trial = results.trial(&book, test.name(), move || {
                    harness.test(&of, test, asked.as_deref()).map_err(Failed::from)
                });
                trials.push(trial.with_ignored_flag(ignored));
            }
        }
        trials
    }

    fn test(&self, book: &str, test: Test, live: Option<&str>) -> Result<(), String> {
        let default = Case::default();
        let case = self.cases.get(book).unwrap_or(&default);
        let fakes = case.fakes.as_ref().unwrap_or(&self.fakes);
        match test {
            Test::Page => {
                let page = self.say(fakes(), &["show", book], case)?;
                self.compare(&format!("{book}.page"), &page)
            }
            Test::Plan => {
                let world = fakes();
                let targets = world.watched.targets.clone();
                let plan = self.say(world, &["plan", book], case)?;
                let changes: Vec<String> = targets.iter().flat_map(|t| t.changes()).collect();
                if !changes.is_empty() {
                    return Err(format!("planning changed the fakes: {}", changes.join("; ")));
                }
                self.compare(&format!("{book}.plan"), &fakes::timeless(&plan))
            }
            Test::CheckLive => self.check_live(book, case, live.unwrap_or_default()),
            Test::Run | Test::FailEveryUnit | Test::RepeatEveryUnit | Test::CrashAtEveryLine => {
                let build = || {
                    let world = fakes();
                    let plan = (self.catalog)().plan(book, &world.env, &case.args);
                    plan.map(|plan| (plan, world.watched)).map_err(|error| error.to_string())
                };
                let matrix = matrix::Matrix { case, build: &build };
                match test {
                    Test::Run => matrix.run(),
                    Test::FailEveryUnit => matrix.fail_every_unit(),
                    Test::RepeatEveryUnit => matrix.repeat_every_unit(),
                    _ => matrix.crash_at_every_line(),
                }
            }
        }
    }

    /// What the command line prints for these words and the parameters, on the fakes.
    fn say(
        &self,
        fakes: Fakes<E>,
        [verb, book]: &[&str; 2],
        case: &Case<E>,
    ) -> Result<String, String> {
        let catalog = (self.catalog)().env(FAKES, fakes.env);
        let spec = catalog.spec(book).map_err(|error| error.to_string())?;
        let mut words = vec![catalog.name(), *verb, *book];
        let (params, secrets) = case.given(spec);
        if *verb != "show" {
            words.splice(1..1, ["--env", FAKES]);
            words.extend(params.iter().map(String::as_str));
        }
        // No configuration file is to be found there.
        let nowhere = tempfile::tempdir().map_err(|error| format!("a folder: {error}"))?;
        let (io, said) = Io::captured("");
        let io = secrets.into_iter().fold(io, |io, (name, value)| io.var(name, value));
        match cli::run(&catalog, words, io.dir(nowhere.path()).still()) {
            // A check that fails is part of the plan.
            Exit::Succeeded | Exit::ChecksFailed => Ok(said.out()),
            exit => Err(format!("exit code {}: {}{}", exit.code(), said.err(), said.out())),
        }
    }

    fn check_live(&self, book: &str, case: &Case<E>, env: &str) -> Result<(), String> {
        let catalog = (self.catalog)();
        let spec = catalog.spec(book).map_err(|error| error.to_string())?;
        let mut words = vec![catalog.name().to_owned()];
        if let Some(config) = &self.config {
            words.extend(["--config".into(), config.display().to_string()]);
        }
        words.extend(["--env".into(), env.into(), "check".into(), book.into()]);
        let (params, secrets) = case.given(spec);
        words.extend(params);
        let (io, said) = Io::captured("");
        let io = secrets.into_iter().fold(io, |io, (name, value)| io.var(name, value));
        let here = std::env::current_dir().map_err(|error| error.to_string())?;
        match cli::run(&catalog, words, io.dir(here)) {
            Exit::Succeeded => Ok(()),
            exit => Err(format!("exit code {}\n{}{}", exit.code(), said.out(), said.err())),
        }
    }

    fn compare(&self, name: &str, text: &str) -> Result<(), String> {
        let dir = match &self.snapshots {
            Some(dir) => dir.clone(),
            None => std::env::current_dir().map_err(|e| e.to_string())?.join("tests/snapshots"),
        };
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(dir);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        // It fails as an assertion does.
        settings.bind(|| insta::assert_snapshot!(name.to_owned(), text));
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "a test program says why it failed")]
fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
