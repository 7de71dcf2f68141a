//! One unit's life: inputs, retries, time limits, requirements, verification.

use runbook_core::*;

use crate::engine;
use crate::support::*;

#[tokio::test]
async fn outputs_flow_into_later_units() {
    let world = World::default();
    let mut b = Runbook::new("flow");
    let one = b.step(world.put("a", "1"));
    let two = b.step(world.put("b", one.map(|a| format!("{a}2"))));
    b.step(world.put("c", two));
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(world.get("c").unwrap(), "12");
    assert_eq!(
        events,
        [
            "run",
            "start put-a",
            "> a is 1",
            "done put-a",
            "put-b value=12",
            "start put-b",
            "> b is 12",
            "done put-b",
            "put-c value=12",
            "start put-c",
            "> c is 12",
            "done put-c",
            "end succeeded"
        ]
    );
}

#[tokio::test]
async fn a_panic_is_a_failure_and_undone() {
    let world = World::default();
    let mut b = Runbook::new("panic");
    b.step(world.put("a", "1"));
    b.step(world.put("b", "2").mood(Mood::Panics));
    let (outcome, _) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert!(world.map().is_empty());
    let problem = outcome.finished.unwrap().problem.unwrap();
    assert_eq!(problem.kind, FailureKind::Panicked);
    assert!(problem.message.contains("at the disco"));
}

#[tokio::test]
async fn satisfied_steps_are_skipped_and_not_undone() {
    struct Sure(World);
    impl Step for Sure {
        type Output = String;
        type Rollback = Harmless;
        fn about(&self) -> About {
            About::new("sure", "Be sure")
        }
        async fn satisfied(&self, _: &Observer) -> Result<Option<String>> {
            Ok(self.0.get("sure"))
        }
        async fn run(&self, _: &Context) -> Result<String> {
            Err(Failure::msg("not reached"))
        }
    }
    let world = World::default();
    world.set("sure", Some("yes"));
    let mut b = Runbook::new("sure");
    let sure = b.step(Sure(world.clone()));
    b.step(world.put("b", sure));
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert!(events.contains(&"skipped sure Satisfied".into()));
    assert_eq!(world.get("b").unwrap(), "yes");
}

#[tokio::test]
async fn retries_until_it_works_or_the_attempts_are_over() {
    let world = World::default();
    let mut b = Runbook::new("retry");
    b.step(world.put("a", "1").mood(Mood::FailsFirst(2)).retry(Retry::times(3).pause(ms(1))));
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(events.iter().filter(|e| e.starts_with("retrying")).count(), 2);

    let world = World::default();
    let mut b = Runbook::new("retry");
    b.step(world.put("a", "1").mood(Mood::FailsFirst(3)).retry(Retry::times(3).pause(ms(1))));
    let (outcome, _) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(outcome.finished.unwrap().problem.unwrap().message, "attempt 3: not yet");
}

#[tokio::test]
async fn out_of_time_means_unknown_and_is_undone() {
    let world = World::default();
    let mut b = Runbook::new("slow");
    b.step(world.put("a", "1").mood(Mood::Hangs).timeout(ms(20)));
    let (outcome, _) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert!(world.map().is_empty());
    assert_eq!(outcome.finished.unwrap().problem.unwrap().kind, FailureKind::TimedOut);
}

#[tokio::test]
async fn requirements_stop_a_unit_and_verification_fails_it() {
    let world = World::default();
    let mut b = Runbook::new("around");
    b.step(world.put("a", "1").requires(world.is("go", "yes")));
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Failed);
    assert!(!events.iter().any(|e| e.starts_with("start")));

    let mut b = Runbook::new("around");
    b.step(world.put("a", "1").verify(world.is("a", "2")));
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert!(events.contains(&"failed put-a: a is 2: it is 1".into()));
    assert!(world.map().is_empty());
}

#[tokio::test]
async fn a_wait_passes_when_it_comes_true_and_fails_when_time_is_up() {
    let world = World::default();
    let other = world.clone();
    let mut b = Runbook::new("wait");
    b.wait_until(world.is("a", "1"), Wait::at_most(ms(5_000)).every(ms(2)));
    let plan = b.build().unwrap();
    let mut handle = engine().run(&plan, RunOptions::new());
    while let Some(event) = handle.next().await {
        if matches!(event.event, EventKind::Checked { .. }) {
            other.set("a", Some("1"));
        }
    }
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);

    let mut b = Runbook::new("wait");
    b.wait_until(world.is("never", "1"), Wait::at_most(ms(20)).every(ms(2)));
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(events.iter().filter(|e| e.starts_with("checked")).count(), 2, "first and last");
    assert_eq!(
        outcome.finished.unwrap().problem.unwrap().message,
        "never is 1: it is not set (not within 20ms)"
    );
}

#[tokio::test]
async fn for_ever_is_a_time_like_any_other() {
    let ever = std::time::Duration::MAX;
    let world = World::default();
    let mut b = Runbook::new("ever");
    b.lock(Lock::on("site:shop").wait(ever).lease(ever));
    let retry = Retry::times(2).pause(ever).max_pause(ever);
    assert_eq!(retry.pause_after(40), ever);
    b.step(world.put("a", "1").timeout(ever).retry(retry));
    b.wait_until(world.is("a", "1"), Wait::at_most(ever).every(ever));
    let mut options = RunOptions::new();
    options.grace = ever;
    let (outcome, events) = run(&engine(), b, options).await;
    assert_eq!(outcome.status, Status::Succeeded, "{events:?}");
}

/// Says what it found so many times, then never again.
struct FallsSilent {
    after: usize,
    looks: std::sync::atomic::AtomicUsize,
}

impl Check for FallsSilent {
    type Evidence = ();
    fn about(&self) -> About {
        About::new("shop-answers", "shop answers on port 80")
    }
    async fn check(&self, cx: &Observer) -> Result<Verdict<()>> {
        let looks = self.looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if looks < self.after {
            return Ok(Verdict::fail((), "connection refused"));
        }
        Err(cx.stopped().await)
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_whose_time_is_up_in_the_middle_of_a_look_says_what_was_seen_before() {
    for (after, said) in [
        (3, "connection refused (not within 30s, and the last look did not end)"),
        (0, "no answer came (not within 30s)"),
    ] {
        let mut b = Runbook::new("wait");
        let check = FallsSilent { after, looks: 0.into() };
        b.wait_until(check, Wait::at_most(ms(30_000)).every(ms(2_000)));
        let plan = b.build().unwrap();
        let mut handle = engine().run(&plan, RunOptions::new());
        let mut verdicts = Vec::new();
        while let Some(event) = handle.next().await {
            if let EventKind::Checked { verdict, .. } = &event.event {
                verdicts.push(verdict.why.clone());
            }
        }
        let problem = handle.outcome().await.unwrap().finished.unwrap().problem.unwrap();
        assert_eq!(problem.message, format!("shop answers on port 80: {said}"));
        let why = said.split(" (").next().unwrap();
        assert!(verdicts.iter().all(|verdict| verdict == why), "{verdicts:?}");
    }
}

#[tokio::test]
async fn an_observation_that_cant_look_is_noted_and_the_run_goes_on() {
    struct Blind;
    impl Check for Blind {
        type Evidence = u32;
        fn about(&self) -> About {
            About::new("blind", "See something")
        }
        async fn check(&self, _: &Observer) -> Result<Verdict<u32>> {
            Err(Failure::msg("connection refused"))
        }
    }
    let world = World::default();
    let mut b = Runbook::new("diagnosis");
    let seen = b.observe(Blind);
    b.when("if blind", seen.failed(), |b| {
        b.step(world.put("glasses", "on"));
    });
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert!(events.contains(&"checked blind Observation fail".into()));
    assert_eq!(world.get("glasses").unwrap(), "on");
}
