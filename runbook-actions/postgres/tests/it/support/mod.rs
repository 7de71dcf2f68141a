//! Throw-away servers, and steps run by an engine.

mod cluster;

use std::time::{Duration, Instant};

use runbook_core::testing;
use runbook_core::{
    Check, Engine, MemoryStore, Outcome, Result, RunOptions, Runbook, Step, Verdict,
};

pub(crate) use self::cluster::{Cluster, Spec};

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

/// Waits until something is so.
pub(crate) async fn until(so: impl Fn() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < Duration::from_secs(20), "it never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
