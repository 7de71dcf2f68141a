//! The runbooks as their operator meets them: the program itself, over SSH, against real servers.
//!
//! One world for all tests of this process, one test after the other; at the end nothing of it is
//! left.
#![allow(missing_docs)]

mod backups;
mod deploys;
mod errors;
mod incidents;
mod operator;
mod readme;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::operator::Stage;

type Test = (&'static str, fn(&Stage));

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let stage: Arc<Mutex<Option<Stage>>> = Arc::default();
    let tests = [
        ("errors", errors::TESTS),
        ("deploys", deploys::TESTS),
        ("backups", backups::TESTS),
        ("incidents", incidents::TESTS),
        ("readme", readme::TESTS),
    ];
    let tests = tests.into_iter().flat_map(|(module, tests)| {
        tests.iter().map(move |(name, test)| (format!("{module}::{name}"), *test))
    });
    let trials = tests.map(|(name, test)| {
        let stage = Arc::clone(&stage);
        Trial::test(name.clone(), move || {
            let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
            let stage = stage.get_or_insert_with(Stage::set);
            stage.reset();
            let began = std::time::Instant::now();
            test(stage);
            stage.note(&format!("{name}: {:.1} s", began.elapsed().as_secs_f32()));
            Ok::<(), Failed>(())
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if let Some(stage) = stage.lock().unwrap_or_else(PoisonError::into_inner).take() {
        stage.strike();
    }
    conclusion.exit_code()
}
