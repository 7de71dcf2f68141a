//! Runs as wholes: plans that only look, plans that differ, locks, broken journals, many at once.

use runbook_core::*;

use crate::engine;
use crate::support::*;
use crate::undo::everything;

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

/// Sends a build.
struct Send(Host);

impl Step for Send {
    type Output = ();
    type Rollback = Harmless;
    fn about(&self) -> About {
        About::new("send", "Send the build")
    }
    async fn run(&self, cx: &Context) -> Result<()> {
        cx.on(&self.0).write("/srv/shop", vec![b'x'; 100 << 10]).await
    }
}

/// The line about a file is one like others: wherever the disk is full or the process dies, the
/// run is taken up again, and at its end the journal has the file.
#[tokio::test]
async fn a_journal_that_fails_about_a_file_stops_the_run_and_resume_goes_on() {
    let mut without = 0;
    for at in 1.. {
        let memory = MemoryStore::new();
        let store = runbook_core::testing::CrashStore::new(memory.clone(), at, || {});
        let target = runbook_core::testing::FakeTarget::new("web-1").dir("/srv");
        let mut b = Runbook::new("send");
        b.step(Send(Host::new(target)));
        let plan = b.build().unwrap();
        let mut options = RunOptions::new();
        options.run = Some(RunId::new("r"));
        let whole = Engine::new(store).run(&plan, options).outcome().await;
        if let Err(error) = &whole {
            assert!(error.is_journal(), "{error}");
        }
        let run = RunId::new("r");
        let files = |events: Vec<std::sync::Arc<Event>>| -> Vec<Transfer> {
            let file = |event: &std::sync::Arc<Event>| match &event.event {
                EventKind::Transfer(file) => Some((**file).clone()),
                _ => None,
            };
            events.iter().filter_map(file).collect()
        };
        let before = files(memory.read(&run).await.unwrap_or_default());
        let engine = Engine::new(memory.clone());
        if whole.is_err() {
            let on =
                ResumeOptions::forward(RunOptions::new().unattended()).interrupted(Decision::Retry);
            match engine.resume(&run, &plan, on).outcome().await {
                Ok(outcome) => {
                    assert_eq!(outcome.status, Status::Succeeded, "boundary {at}");
                    without += usize::from(before.is_empty());
                }
                Err(error) => {
                    let all_done = error.to_string().contains("has succeeded");
                    assert!(at <= 3 || all_done, "boundary {at}: {error}");
                    continue;
                }
            }
        }
        let after = files(memory.read(&run).await.unwrap());
        let sum = "8b77ec70310a4f694fff9ad0bf5f1e9da39b97ec5ccb3ced6a6261ac4effee4c";
        assert!(!after.is_empty() && after.len() <= before.len() + 1, "boundary {at}: {after:?}");
        assert!(after.iter().all(|file| file.sha256.as_deref() == Some(sum)), "{after:?}");
        if whole.is_ok() {
            assert!(without > 1, "some boundaries are before the file");
            return;
        }
    }
}
