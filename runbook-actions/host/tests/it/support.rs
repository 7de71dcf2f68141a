//! What all of these tests need.

use std::process::Command;

use runbook_core::testing::{Faults, observer};
use runbook_core::{
    Check, Engine, Host, MemoryStore, Outcome, RunOptions, Runbook, Status, Verdict,
};
use runbook_host::Machine;
use runbook_targets::Local;

pub(crate) fn here() -> Machine {
    Machine::new(&Host::new(Local::new()))
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

/// What a check finds.
pub(crate) fn look<C: Check>(check: C) -> Verdict<C::Evidence> {
    wait(check.check(&observer())).unwrap()
}

/// What a check fails with, and its advice.
pub(crate) fn cannot_look<C: Check>(check: C) -> String {
    match wait(check.check(&observer())) {
        Ok(verdict) => panic!("it could be looked at: {}", verdict.why()),
        Err(failure) => format!("{failure:?}"),
    }
}

pub(crate) fn run_with(faults: Option<Faults>, fill: impl FnOnce(&mut Runbook)) -> Outcome {
    let mut b = Runbook::new("test");
    fill(&mut b);
    let plan = b.build().unwrap();
    let mut options = RunOptions::new();
    options.faults = faults;
    wait(async { Engine::new(MemoryStore::new()).run(&plan, options).outcome().await }).unwrap()
}

pub(crate) fn run(fill: impl FnOnce(&mut Runbook)) -> Outcome {
    run_with(None, fill)
}

/// Runs to its end.
pub(crate) fn succeed(fill: impl FnOnce(&mut Runbook)) -> Outcome {
    let outcome = run(fill);
    assert_eq!(outcome.status, Status::Succeeded, "{}", problem(&outcome));
    outcome
}

/// Fails after all of it was done, and puts it back.
pub(crate) fn undone(fill: impl FnOnce(&mut Runbook)) {
    let outcome = run(|b| {
        fill(b);
        b.check(false_check());
    });
    assert_eq!(outcome.status, Status::RolledBack, "{}", problem(&outcome));
    assert!(problem(&outcome).contains("no, on purpose"), "{}", problem(&outcome));
}

/// What a run that failed says.
pub(crate) fn refused<T>(fill: impl FnOnce(&mut Runbook) -> T) -> String {
    let outcome = run(|b| {
        fill(b);
    });
    assert_ne!(outcome.status, Status::Succeeded);
    problem(&outcome)
}

pub(crate) fn problem(outcome: &Outcome) -> String {
    let problem = outcome.finished.as_ref().and_then(|finished| finished.problem.as_ref());
    problem.map_or("it has no problem".into(), |problem| {
        format!("{problem} | {}", problem.next.clone().unwrap_or_default())
    })
}

struct False;

impl Check for False {
    type Evidence = ();
    fn about(&self) -> runbook_core::About {
        runbook_core::About::new("false", "Says no")
    }
    async fn check(&self, _: &runbook_core::Observer) -> runbook_core::Result<Verdict<()>> {
        Ok(Verdict::fail((), "no, on purpose"))
    }
}

pub(crate) fn false_check() -> impl Check<Evidence = ()> {
    False
}

/// What a program says, to compare with.
pub(crate) fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
