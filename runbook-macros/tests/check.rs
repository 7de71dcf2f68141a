//! What `#[check]` makes of a fn.

extern crate runbook_core as runbook;

use runbook_core::{
    Check, Engine, MemoryStore, Observer, Result, RunOptions, Runbook, Status, Verdict,
};
use runbook_macros::{check, step};

/// The service has enough workers.
///
/// Counts them.
#[check(title = "{service} has {least} workers", preview = "pgrep -c {service}")]
async fn workers(_cx: &Observer, service: &str, least: u32, now: u32) -> Result<Verdict<u32>> {
    let _ = service;
    Ok(Verdict::pass_if(now >= least, now, format!("{now} of {least}")))
}

/// Takes no context and fails in its own way.
#[check]
async fn readable(file: &std::path::Path) -> std::io::Result<Verdict<u64>> {
    let length = std::fs::metadata(file)?.len();
    Ok(Verdict::pass(length, "it can be read"))
}

#[step(harmless)]
async fn count() -> Result<u32> {
    Ok(3)
}

async fn status(b: Runbook) -> Status {
    let plan = b.build().expect("it is wired rightly");
    let engine = Engine::new(MemoryStore::new());
    engine.run(&plan, RunOptions::new()).outcome().await.expect("it runs").status
}

#[test]
fn title_preview_and_documentation_are_as_for_a_step() {
    let mut b = Runbook::new("test");
    b.check(workers("shop", 2u32, 3u32));
    let plan = b.build().expect("it is wired rightly");
    let unit = plan.outline().units().next().expect("one").clone();
    assert_eq!(unit.title, "shop has 2 workers");
    assert_eq!(unit.preview, ["pgrep -c shop"]);
    assert_eq!(unit.doc, "Counts them.");
    assert_eq!(readable(std::path::Path::new("/x")).about().id(), "readable");
}

#[tokio::test]
async fn a_check_judges_the_output_of_an_earlier_step() {
    for (least, expected) in [(3, Status::Succeeded), (4, Status::Failed)] {
        let mut b = Runbook::new("test");
        let now = b.step(count());
        let evidence: runbook_core::Out<u32> = b.check(workers("shop", least, now));
        b.check(workers("shop", 1u32, evidence));
        let got = status(b).await;
        // A harmless step leaves nothing to undo.
        assert_eq!(got == Status::Succeeded, expected == Status::Succeeded, "{got:?}");
    }
}

#[tokio::test]
async fn a_check_that_can_not_look_fails() {
    let mut b = Runbook::new("test");
    b.check(readable(std::path::Path::new("/nonexistent/file")));
    assert_ne!(status(b).await, Status::Succeeded);
}
