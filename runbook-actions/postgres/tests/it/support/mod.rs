//! Throw-away servers, and steps run by an engine.

mod cluster;

use std::time::{Duration, Instant};

use runbook_core::{Engine, MemoryStore, Outcome, RunOptions, Runbook};

#[allow(unused_imports)]
pub(crate) use self::cluster::{Cluster, PASSWORD, Spec};

/// Runs a runbook to its end.
#[allow(dead_code)]
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
