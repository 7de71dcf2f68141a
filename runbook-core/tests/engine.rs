//! What the engine does with a plan, seen from outside.
#![allow(missing_docs)]

mod support;

use runbook_core::testing::Faults;
use runbook_core::*;
use support::*;

fn engine() -> Engine {
    Engine::new(MemoryStore::new())
}

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
async fn a_failure_undoes_in_reverse_and_verifies() {
    let world = World::default();
    world.set("a", Some("old"));
    let mut b = Runbook::new("fail");
    b.step(world.put("a", "1"));
    b.step(world.put("b", "2"));
    b.step(world.put("c", "3").mood(Mood::FailsLate));
    b.step(world.put("d", "4"));
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(world.map().into_iter().collect::<Vec<_>>(), [("a".into(), "old".into())]);
    let undone: Vec<_> = events.iter().filter(|e| e.starts_with("undone")).collect();
    assert_eq!(undone, ["undone put-c", "undone put-b", "undone put-a"]);
    assert!(!events.contains(&"start put-d".into()));
    let finished = outcome.finished.unwrap();
    assert_eq!(finished.unit.unwrap().as_str(), "put-c");
    assert_eq!(finished.problem.unwrap().message, "no, but too late");
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
async fn a_failure_with_nothing_to_undo_is_failed() {
    let world = World::default();
    let mut b = Runbook::new("gate");
    b.check(world.is("a", "1"));
    b.step(world.put("a", "1"));
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(
        events,
        ["run", "checked is-a Gate fail", "failed is-a: a is 1: it is not set", "end failed"]
    );
}

#[tokio::test]
async fn an_undo_that_fails_or_lies_leaves_the_run_stuck_and_resume_gets_out() {
    for mood in [Mood::CantUndo, Mood::UndoLies] {
        let world = World::default();
        let engine = engine();
        let mut b = Runbook::new("stuck");
        b.step(world.put("a", "1"));
        b.step(world.put("b", "2").mood(mood));
        b.step(world.put("c", "3").mood(Mood::Fails));
        let plan = b.build().unwrap();
        let (outcome, _) = watch(engine.run(&plan, RunOptions::new())).await;
        assert_eq!(outcome.status, Status::Stuck);
        let finished = outcome.finished.unwrap();
        assert_eq!(finished.not_restored, [UnitId::from("put-b")]);
        assert_eq!(world.get("a").unwrap(), "1", "what is below a stuck unit is left alone");
        assert_eq!(finished.next[1], format!("resume {} --skip", outcome.run));
        // Once more: still stuck.
        let again = ResumeOptions::forward(RunOptions::new());
        let (outcome, _) = watch(engine.resume(&outcome.run, &plan, again)).await;
        assert_eq!(outcome.status, Status::Stuck);
        // A person put it back.
        world.set("b", None);
        let skip = ResumeOptions::forward(RunOptions::new()).interrupted(Decision::Skip);
        let (outcome, _) = watch(engine.resume(&outcome.run, &plan, skip)).await;
        assert_eq!(outcome.status, Status::RolledBack);
        assert!(world.map().is_empty());
    }
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
async fn cancel_ends_the_running_unit_and_rolls_back() {
    let world = World::default();
    let mut b = Runbook::new("cancel");
    b.step(world.put("a", "1"));
    b.step(world.put("b", "2").mood(Mood::Hangs));
    b.finally(|b| {
        b.step(Note(world.clone(), "swept"));
    });
    let plan = b.build().unwrap();
    let mut handle = engine().run(&plan, RunOptions::new());
    let control = handle.control();
    let mut asked = Vec::new();
    while let Some(event) = handle.next().await {
        match &event.event {
            EventKind::Started { unit, .. } if unit.as_str() == "put-b" => control.cancel("SIGINT"),
            EventKind::CancelRequested { by } => asked.push(by.clone()),
            _ => {}
        }
    }
    assert_eq!(asked, ["SIGINT"]);
    let outcome = handle.outcome().await.unwrap();
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(outcome.finished.unwrap().problem.unwrap().kind, FailureKind::Cancelled);
    assert_eq!(world.map().into_iter().collect::<Vec<_>>(), [("note".into(), "swept".into())]);
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
async fn what_cant_be_undone_is_kept_and_said() {
    let world = World::default();
    let mut b = Runbook::new("kept");
    b.step(world.put("a", "1"));
    b.irreversible(Shout(world.clone(), "fire"), "everybody must know");
    b.step(world.put("b", "1").mood(Mood::Fails));
    let (outcome, _) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(outcome.finished.unwrap().kept, [UnitId::from("shout")]);
    assert_eq!(world.get("shouted").unwrap(), "fire");
    assert_eq!(world.get("a"), None);
}

#[tokio::test]
async fn keep_on_failure_leaves_all_and_resume_tries_again() {
    let world = World::default();
    let engine = engine();
    let mut b = Runbook::new("keep");
    b.step(world.put("a", "1"));
    b.step(world.put("b", "2").mood(Mood::FailsFirst(1)));
    let plan = b.build().unwrap();
    let (outcome, _) = watch(engine.run(&plan, RunOptions::new().keep_on_failure())).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(world.get("a").unwrap(), "1");
    let again = ResumeOptions::forward(RunOptions::new());
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, again)).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert!(!events.contains(&"start put-a".into()), "done units never run again");
    assert_eq!(world.get("b").unwrap(), "2");
    // And a run that succeeded can be rolled back as a whole.
    let back = ResumeOptions::rollback(RunOptions::new());
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, back)).await;
    assert_eq!(outcome.status, Status::RolledBack);
    let undone: Vec<_> = events.iter().filter(|e| e.starts_with("undone")).collect();
    assert_eq!(undone, ["undone put-b", "undone put-a"]);
    let again = ResumeOptions::forward(RunOptions::new());
    let error = engine.resume(&outcome.run, &plan, again).outcome().await.unwrap_err();
    assert!(error.to_string().contains("was rolled back"), "{error}");
}

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

#[tokio::test]
async fn questions_wait_for_answers_through_the_handle() {
    let world = World::default();
    let mut b = Runbook::new("ask");
    b.step(world.put("a", "1").confirm("Really?"));
    let number = b.manual(Manual::new("Open a ticket").ask::<u16>("Which number?"));
    b.manual(Manual::new("Tell the team"));
    b.step(world.put("b", number.map(u16::to_string)));
    let plan = b.build().unwrap();
    let mut handle = engine().run(&plan, RunOptions::new());
    let control = handle.control();
    while let Some(event) = handle.next().await {
        if let EventKind::Asked { unit, question } = &event.event {
            match &question.kind {
                QuestionKind::Value { accepts } => {
                    let wrong = Answer::Value("many".into());
                    let error = control.answer(unit, wrong, "ann").unwrap_err();
                    assert_eq!(
                        error.to_string(),
                        format!("`open-a-ticket`: \"many\": expected {accepts}")
                    );
                    control.answer(unit, Answer::Value("42".into()), "ann").unwrap();
                }
                _ => control.approve(unit, "ann").unwrap(),
            }
        }
    }
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
    assert_eq!(world.get("b").unwrap(), "42");
}

#[tokio::test]
async fn unattended_questions_suspend_and_resume_goes_on_after_the_answer() {
    let world = World::default();
    let engine = engine();
    let mut b = Runbook::new("ask");
    b.step(world.put("a", "1"));
    b.step(world.put("b", "1").confirm("Really?"));
    let plan = b.build().unwrap();
    let (outcome, events) = watch(engine.run(&plan, RunOptions::new().unattended())).await;
    assert_eq!(outcome.status, Status::Suspended);
    assert_eq!(events.last().unwrap(), "suspended");
    let unit = UnitId::from("put-b");
    let wrong = engine.answer(&outcome.run, &"put-a".into(), Answer::Yes, "ann").await;
    assert!(wrong.unwrap_err().to_string().contains("these do: put-b"));
    engine.answer(&outcome.run, &unit, Answer::Yes, "ann").await.unwrap();
    let on = ResumeOptions::forward(RunOptions::new().unattended());
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, on)).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert!(!events.contains(&"start put-a".into()));
    assert_eq!(world.map().len(), 2);
}

#[tokio::test]
async fn a_no_fails_the_unit_and_rolls_back() {
    let world = World::default();
    let engine = engine();
    let mut b = Runbook::new("ask");
    b.step(world.put("a", "1"));
    b.step(world.put("b", "1").confirm("Really?"));
    let plan = b.build().unwrap();
    let (outcome, _) = watch(engine.run(&plan, RunOptions::new().unattended())).await;
    engine.answer(&outcome.run, &"put-b".into(), Answer::No, "ann").await.unwrap();
    let on = ResumeOptions::forward(RunOptions::new().unattended());
    let (outcome, _) = watch(engine.resume(&outcome.run, &plan, on)).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert!(world.map().is_empty());
}

#[tokio::test]
async fn locks_keep_two_runs_apart_and_name_the_holder() {
    let world = World::default();
    let engine = engine();
    let build = |mood| {
        let mut b = Runbook::new("locked");
        b.lock("site:shop");
        b.step(world.put("a", "1").mood(mood));
        b.build().unwrap()
    };
    let mut first = engine.run(&build(Mood::Hangs), RunOptions::new().reason("ticket 7"));
    let control = first.control();
    while let Some(event) = first.next().await {
        if matches!(event.event, EventKind::Started { .. }) {
            break;
        }
    }
    let (outcome, _) = watch(engine.run(&build(Mood::Well), RunOptions::new())).await;
    assert_eq!(outcome.status, Status::Failed);
    let problem = outcome.finished.unwrap().problem.unwrap();
    assert!(problem.message.starts_with("site:shop is locked by run "), "{problem}");
    assert!(problem.message.ends_with("(ticket 7)"), "{problem}");
    control.cancel("ann");
    while first.next().await.is_some() {}
    assert_eq!(first.outcome().await.unwrap().status, Status::RolledBack);
    assert!(engine.store().locks().list().await.unwrap().is_empty(), "given back at the end");
    let (outcome, _) = watch(engine.run(&build(Mood::Well), RunOptions::new())).await;
    assert_eq!(outcome.status, Status::Succeeded);
}

#[tokio::test]
async fn a_broken_lock_stops_the_run_and_nothing_is_undone() {
    let world = World::default();
    let engine = engine();
    let mut b = Runbook::new("locked");
    b.lock(Lock::on("site:shop").lease(ms(60)));
    b.step(world.put("a", "1").mood(Mood::Hangs));
    let plan = b.build().unwrap();
    let mut handle = engine.run(&plan, RunOptions::new());
    let mut lost = false;
    while let Some(event) = handle.next().await {
        match &event.event {
            EventKind::Started { .. } => {
                engine.store().locks().break_lock("site:shop").await.unwrap();
            }
            EventKind::LockLost { .. } => lost = true,
            _ => {}
        }
    }
    assert!(lost);
    let run = handle.run_id().clone();
    let error = handle.outcome().await.unwrap_err().to_string();
    assert!(error.starts_with("the lock on site:shop was lost: nothing more was done"), "{error}");
    // Whoever broke it has looked by now, and decides.
    let back = ResumeOptions::rollback(RunOptions::new());
    let (outcome, _) = watch(engine.resume(&run, &plan, back)).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert!(world.map().is_empty());
}

#[tokio::test]
async fn a_run_whose_lock_another_run_has_by_now_stops_and_undoes_nothing() {
    let world = World::default();
    let engine = engine();
    let mut b = Runbook::new("locked");
    b.lock(Lock::on("site:shop").lease(ms(60)));
    b.step(world.put("a", "1"));
    b.step(world.put("b", "1").mood(Mood::Hangs));
    let plan = b.build().unwrap();
    let mut handle = engine.run(&plan, RunOptions::new());
    let locks = engine.store().locks();
    while let Some(event) = handle.next().await {
        if matches!(&event.event, EventKind::Started { unit, .. } if unit.as_str() == "put-b") {
            // As a run that came when the lease was over.
            let (resource, mut other) = locks.list().await.unwrap().remove(0);
            locks.break_lock(&resource).await.unwrap();
            other.run = runbook_core::RunId::new("20260314-150926-k7xq");
            other.expires = Timestamp::from_micros(other.expires.as_micros() + 3_600_000_000);
            locks.acquire(&resource, &other).await.unwrap().unwrap();
        }
    }
    let run = handle.run_id().clone();
    let error = handle.outcome().await.unwrap_err().to_string();
    assert!(error.contains("the lock on site:shop was lost"), "{error}");
    assert_eq!(world.map()["a"], "1", "nothing was undone");
    // When that run is over, this one can be taken up again.
    locks.break_lock("site:shop").await.unwrap();
    let back = ResumeOptions::rollback(RunOptions::new());
    let (outcome, _) = watch(engine.resume(&run, &plan, back)).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert!(world.map().is_empty());
}

#[tokio::test]
async fn plan_runs_checks_previews_steps_and_changes_nothing() {
    let world = World::default();
    world.set("ready", Some("yes"));
    let engine = engine();
    let mut b = Runbook::new("deploy");
    b.check(world.is("ready", "yes"));
    let a = b.step(world.put("a", "1"));
    b.step(world.put("b", a));
    b.wait_until(world.is("a", "1"), Wait::at_most(ms(100)));
    b.manual(Manual::new("Look at it"));
    let plan = b.build().unwrap();
    let before = world.log();
    let (outcome, events) = watch(engine.plan(&plan, RunOptions::new())).await;
    assert!(!outcome.checks_failed, "a check after a step decides nothing yet");
    assert_eq!(
        events,
        [
            "run",
            "checked is-ready Gate pass",
            "done is-ready",
            "preview put-a Some(false)",
            "preview put-b None",
            "checked is-a Wait fail",
            "preview look-at-it None",
            "end succeeded"
        ]
    );
    assert_eq!(world.log(), before);
    assert!(engine.store().list().await.unwrap().is_empty(), "nothing is journaled");

    world.set("ready", None);
    let (outcome, _) = watch(engine.plan(&plan, RunOptions::new())).await;
    assert!(outcome.checks_failed);
    let (outcome, events) = watch(engine.check(&plan, RunOptions::new())).await;
    assert!(outcome.checks_failed);
    assert!(!events.iter().any(|e| e.starts_with("preview") || e.starts_with("start")));
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

/// Every kind of block, to break in every place.
fn everything(world: &World) -> Runbook {
    let mut b = Runbook::new("everything");
    b.lock("everything");
    b.observe(world.is("flag", "yes"));
    let a = b.step(world.put("a", "1"));
    b.group("group", |b| {
        b.step(world.put("b", a));
        b.parallel("beside", |b| {
            b.group("left", |b| {
                b.step(world.put("c", "1"));
                b.step(world.put("d", a));
            });
            b.step(world.put("e", "1"));
        });
    });
    let flag = b.observe(world.is("a", "1"));
    b.when("flagged", flag.passed(), |b| {
        b.step(world.put("f", "1"));
    });
    b.each(["one", "two"], Rolling::default(), |host, b| {
        b.step(world.put(&format!("g-{host}"), "1"));
    });
    b.ladder("ladder", world.is("h", "1"), |ladder| {
        ladder.remedy("remedy", |b| {
            b.step(world.put("h", "1"));
        });
    });
    b.step(world.put("i", "1").verify(world.is("i", "1")));
    b.check(world.is("i", "1"));
    b.finally(|b| {
        b.step(Note(world.clone(), "swept"));
    });
    b
}

#[tokio::test]
async fn a_failure_at_any_step_restores_everything() {
    let steps = 10;
    for n in 1..=steps {
        for late in [false, true] {
            let world = World::default();
            world.set("b", Some("before"));
            let before = world.map();
            let faults = if late { Faults::fail_after(n) } else { Faults::fail_before(n) };
            let options = RunOptions::new().faults(faults);
            let (outcome, events) = run(&engine(), everything(&world), options).await;
            // A ladder is left for the next remedy, of which there is none: that fails as well.
            assert_eq!(outcome.status, Status::RolledBack, "step {n}: {events:#?}");
            world.set("note", None);
            assert_eq!(world.map(), before, "step {n}, late {late}");
        }
    }
    let world = World::default();
    let options = RunOptions::new().faults(Faults::fail_before(steps + 2));
    let (outcome, _) = run(&engine(), everything(&world), options).await;
    assert_eq!(outcome.status, Status::Succeeded, "there were exactly that many steps");
}

#[tokio::test]
async fn every_unit_twice_gives_the_same_world() {
    let once = World::default();
    run(&engine(), everything(&once), RunOptions::new()).await;
    let twice = World::default();
    let options = RunOptions::new().faults(Faults::repeat_every_unit());
    let (outcome, _) = run(&engine(), everything(&twice), options).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(once.map(), twice.map());
}

#[tokio::test]
async fn a_different_plan_is_refused_and_the_unit_named() {
    let world = World::default();
    let engine = engine();
    let build = |value: &str| {
        let mut b = Runbook::new("p");
        b.step(world.put("a", "1"));
        b.step(world.put("b", value).mood(Mood::FailsFirst(1)));
        b.build().unwrap()
    };
    let (outcome, _) = watch(engine.run(&build("1"), RunOptions::new().keep_on_failure())).await;
    let on = ResumeOptions::forward(RunOptions::new());
    let error = engine.resume(&outcome.run, &build("2"), on).outcome().await.unwrap_err();
    assert!(error.is_plan_differs());
    assert!(error.to_string().contains("first unit that differs is `put-b`"), "{error}");
    let on = ResumeOptions::forward(RunOptions::new());
    let (outcome, _) = watch(engine.resume(&outcome.run, &build("1"), on)).await;
    assert_eq!(outcome.status, Status::Succeeded);
}

#[tokio::test]
async fn wiring_from_another_runbook_or_out_of_a_condition_is_refused_at_build() {
    let world = World::default();
    let mut other = Runbook::new("other");
    let foreign = other.step(world.put("x", "1"));
    let mut b = Runbook::new("mine");
    b.step(world.put("a", foreign));
    let seen = b.observe(world.is("x", "1"));
    let mut inner = None;
    b.when("maybe", seen.passed(), |b| inner = Some(b.step(world.put("y", "1"))));
    b.step(world.put("b", inner.unwrap()));
    let error = b.build().unwrap_err();
    assert!(error.is_build());
    assert_eq!(
        error.to_string(),
        "the runbook `mine` is wired wrongly:\n  - `Set a`: its input `value` is wired to a unit \
         of another runbook\n  - `Set b`: its input `value` needs the output of `maybe/put-y`, \
         which may be left out; move the two into the same block"
    );
}

#[tokio::test]
async fn a_hundred_runs_at_once_do_not_disturb_each_other() {
    let engine = engine();
    let mut runs = Vec::new();
    for n in 0..100 {
        let world = World::default();
        let mut b = Runbook::new("many");
        b.step(world.put("a", format!("{n}")));
        let mood = if n % 3 == 0 { Mood::FailsLate } else { Mood::Well };
        b.step(world.put("b", format!("{n}")).mood(mood));
        let plan = b.build().unwrap();
        runs.push((n, world, engine.run(&plan, RunOptions::new())));
    }
    for (n, world, handle) in runs {
        let outcome = handle.outcome().await.unwrap();
        let expected = if n % 3 == 0 { Status::RolledBack } else { Status::Succeeded };
        assert_eq!(outcome.status, expected);
        assert_eq!(world.get("a"), (n % 3 != 0).then(|| n.to_string()));
    }
    assert_eq!(engine.store().list().await.unwrap().len(), 100);
}

/// A journal that fails at boundary n stops the run at once; what it says then is true.
#[tokio::test]
async fn a_failed_journal_write_stops_the_run_and_resume_goes_on_from_any_place() {
    for at in 1.. {
        let world = World::default();
        let memory = MemoryStore::new();
        let store = runbook_core::testing::CrashStore::new(memory.clone(), at, || {});
        let mut options = RunOptions::new();
        options.run = Some(RunId::new("r"));
        let plan = everything(&world).build().unwrap();
        match Engine::new(store).run(&plan, options).outcome().await {
            Ok(outcome) => {
                assert_eq!(outcome.status, Status::Succeeded);
                assert!(at > 100, "there are many boundaries: {at}");
                return;
            }
            Err(error) => assert!(error.is_journal(), "{error}"),
        }
        let engine = Engine::new(memory);
        // The lease of the dead process runs out, or somebody breaks it.
        engine.store().locks().break_lock("everything").await.unwrap();
        let run = RunId::new("r");
        let on =
            ResumeOptions::forward(RunOptions::new().unattended()).interrupted(Decision::Retry);
        match engine.resume(&run, &plan, on).outcome().await {
            Ok(outcome) => {
                assert_eq!(outcome.status, Status::Succeeded, "boundary {at}");
                let done: Vec<_> =
                    world.map().into_iter().filter(|(_, value)| value == "1").collect();
                assert_eq!(done.len(), 10, "boundary {at}");
            }
            Err(error) => {
                let nothing_yet = at <= 3;
                let all_done = error.to_string().contains("has succeeded");
                assert!(nothing_yet || all_done, "boundary {at}: {error}");
            }
        }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_that_lock_the_same_resource_share_the_lock() {
    let world = World::default();
    let engine = engine();
    let mut b = Runbook::new("shared");
    b.parallel("both", |b| {
        for name in ["left", "right"] {
            b.group(name, |b| {
                b.lock(Lock::on("site:shop").lease(ms(30)));
                b.step(world.put(name, "1"));
            });
        }
    });
    let (outcome, events) = run(&engine, b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Succeeded, "{events:#?}");
    assert!(!events.contains(&"LockLost".into()));
    assert!(engine.store().locks().list().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_asked_for_again() {
    let world = World::default();
    let engine = engine();
    let mut b = Runbook::new("ask");
    let number = b.manual(Manual::new("Open a ticket").ask::<u16>("Which number?"));
    b.step(world.put("ticket", number.map(u16::to_string)));
    let plan = b.build().unwrap();
    let (outcome, _) = watch(engine.run(&plan, RunOptions::new().unattended())).await;
    let unit = UnitId::from("open-a-ticket");
    for wrong in [Answer::Yes, Answer::Value("many".into())] {
        engine.answer(&outcome.run, &unit, wrong, "ann").await.unwrap();
        let on = ResumeOptions::forward(RunOptions::new().unattended());
        let (again, _) = watch(engine.resume(&outcome.run, &plan, on)).await;
        assert_eq!(again.status, Status::Suspended);
        let question = &again.state.waiting()[0].question.text;
        assert!(question.contains("expected a whole number from 0 to 65535"), "{question}");
    }
    engine.answer(&outcome.run, &unit, Answer::Value("42".into()), "ann").await.unwrap();
    let on = ResumeOptions::forward(RunOptions::new().unattended());
    let (outcome, _) = watch(engine.resume(&outcome.run, &plan, on)).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(world.get("ticket").unwrap(), "42");
}
