//! Blocks: conditions, branches, hosts and remedies.

use runbook_core::*;

use crate::engine;
use crate::support::*;

#[tokio::test]
async fn conditions_choose() {
    for (flag, expected) in [("yes", true), ("no", false)] {
        let world = World::default();
        world.set("flag", Some(flag));
        let mut b = Runbook::new("when");
        let seen = b.observe(world.is("flag", "yes"));
        b.when("if flagged", seen.passed(), |b| {
            b.step(world.put("a", "1"));
        });
        b.step(world.put("b", "1"));
        let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
        assert_eq!(outcome.status, Status::Succeeded);
        assert_eq!(world.get("a").is_some(), expected);
        assert_eq!(events.contains(&"skipped if-flagged/put-a Condition".into()), !expected);
    }
}

#[tokio::test]
async fn parallel_branches_run_beside_each_other_and_fail_together() {
    let world = World::default();
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(3));
    struct Meet(std::sync::Arc<tokio::sync::Barrier>, u8);
    impl Step for Meet {
        type Output = u8;
        type Rollback = Harmless;
        fn about(&self) -> About {
            About::new(format!("meet-{}", self.1), "Meet the others")
        }
        async fn run(&self, _: &Context) -> Result<u8> {
            self.0.wait().await;
            Ok(self.1)
        }
    }
    let mut b = Runbook::new("parallel");
    let all = b.parallel("meet", |b| [0, 1, 2].map(|n| b.step(Meet(barrier.clone(), n))));
    struct Sum(World, Input<Vec<u8>>);
    impl Step for Sum {
        type Output = ();
        type Rollback = Harmless;
        fn about(&self) -> About {
            About::new("sum", "Sum")
        }
        fn inputs(&self, visit: &mut dyn Visit) {
            visit.see("parts", &self.1);
        }
        async fn run(&self, cx: &Context) -> Result<()> {
            self.0.set("sum", Some(&self.1.get(cx)?.iter().sum::<u8>().to_string()));
            Ok(())
        }
    }
    b.step(Sum(world.clone(), all.into_input()));
    let (outcome, _) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(world.get("sum").unwrap(), "3");

    let mut b = Runbook::new("parallel");
    b.parallel("both", |b| {
        b.group("left", |b| {
            b.step(world.put("l1", "1"));
            b.step(world.put("l2", "1").mood(Mood::Fails));
        });
        b.group("right", |b| {
            b.step(world.put("r1", "1"));
        });
    });
    b.step(world.put("after", "1"));
    let (outcome, _) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(world.map().into_keys().collect::<Vec<_>>(), ["sum"]);
}

#[tokio::test]
async fn a_rolling_each_undoes_the_failed_host_alone_up_to_the_limit() {
    for (max_failed, status) in [(1, Status::Succeeded), (0, Status::RolledBack)] {
        let world = World::default();
        let mut b = Runbook::new("fleet");
        let rolling = Rolling { at_once: 2, max_failed, canary: 1, ..Rolling::default() };
        b.each(["web-1", "web-2", "web-3"], rolling, |host, b| {
            b.step(world.put(&format!("{host}-a"), "1"));
            let mood = if *host == "web-2" { Mood::Fails } else { Mood::Well };
            b.step(world.put(&format!("{host}-b"), "1").mood(mood));
        });
        let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
        assert_eq!(outcome.status, status);
        let left: Vec<_> = world.map().into_keys().collect();
        if max_failed == 1 {
            assert_eq!(left, ["web-1-a", "web-1-b", "web-3-a", "web-3-b"]);
            assert!(events.contains(&"left each/web-2 Isolated".into()));
        } else {
            assert!(left.is_empty());
        }
    }
}

#[tokio::test]
async fn a_ladder_stops_at_the_remedy_that_helps() {
    let world = World::default();
    let mut b = Runbook::new("ladder");
    b.ladder("up again", world.is("service", "up"), |ladder| {
        ladder.remedy("reload", |b| {
            b.step(world.put("reloaded", "1").mood(Mood::FailsLate));
        });
        ladder.remedy("restart", |b| {
            b.step(world.put("service", "up"));
        });
        ladder.remedy("reinstall", |b| {
            b.step(world.put("reinstalled", "1"));
        });
    });
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Succeeded, "{events:#?}");
    assert_eq!(world.map().into_keys().collect::<Vec<_>>(), ["service"]);
    assert!(events.contains(&"skipped up-again/reinstall/put-reinstalled NotNeeded".into()));

    let world = World::default();
    let mut b = Runbook::new("ladder");
    b.ladder("up again", world.is("service", "up"), |ladder| {
        ladder.remedy("reload", |b| {
            b.step(Note(world.clone(), "reloaded"));
        });
        ladder.escalate("call +1 555 0100");
    });
    let (outcome, _) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Failed);
    let problem = outcome.finished.unwrap().problem.unwrap();
    assert_eq!(
        problem.message,
        "no remedy helped: service is up: it is not set (tried: reload: done, did not help)"
    );
    assert_eq!(problem.next.unwrap(), "escalate: call +1 555 0100");
}
