//! The way back: what is undone, what stays, and what gets out when it is stuck.

use runbook_core::testing::Faults;
use runbook_core::*;

use crate::engine;
use crate::support::*;

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

/// Every kind of block, to break in every place.
pub(crate) fn everything(world: &World) -> Runbook {
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
