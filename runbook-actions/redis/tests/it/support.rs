//! Steps and checks on their own, and run by an engine.

use std::time::{Duration, Instant};

use runbook_core::testing;
use runbook_core::{
    Check, Engine, Failure, Host, MemoryStore, Outcome, Result, RunOptions, Runbook, Step, Verdict,
};
use runbook_redis::{Config, Redis};
use runbook_targets::Local;

pub(crate) fn host() -> Host {
    Host::new(Local::named("cache-1"))
}

/// The database 0 of a server of the lab.
pub(crate) fn client(server: &lab::Redis) -> Redis {
    Redis::new(&host(), Config::from_url(server.url(0)).unwrap())
}

/// Does a step on its own.
pub(crate) async fn step<S: Step>(step: S) -> Result<S::Output> {
    step.run(&testing::context()).await
}

/// Makes a check on its own.
pub(crate) async fn check<C: Check>(check: C) -> Result<Verdict<C::Evidence>> {
    check.check(&testing::observer()).await
}

/// Runs a runbook to its end.
pub(crate) async fn run(fill: impl FnOnce(&mut Runbook)) -> Outcome {
    let mut b = Runbook::new("test");
    fill(&mut b);
    let plan = b.build().unwrap();
    Engine::new(MemoryStore::new()).run(&plan, RunOptions::new()).outcome().await.unwrap()
}

/// A step that fails, so that what came before it is undone.
pub(crate) fn broken() -> impl Step<Rollback = runbook_core::Harmless> {
    struct Broken;
    impl Step for Broken {
        type Output = ();
        type Rollback = runbook_core::Harmless;
        fn about(&self) -> runbook_core::About {
            runbook_core::About::new("broken", "Break")
        }
        async fn run(&self, _: &runbook_core::Context) -> Result<()> {
            Err(Failure::msg("broken on purpose"))
        }
    }
    Broken
}

/// What a failure says, and what to do about it.
pub(crate) fn said(failure: &Failure) -> String {
    let problem = failure.to_problem();
    format!("{}\n  next: {}", problem.message, problem.next.unwrap_or_default())
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !so().await {
        assert!(started.elapsed() < Duration::from_secs(30), "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
