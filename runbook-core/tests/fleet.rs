//! A fleet, seen from outside: batches, hosts that fail or can't be reached, resume and rollback.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runbook_core::testing::FakeTarget;
use runbook_core::*;
use serde::{Deserialize, Serialize};
use support::*;

/// Writes a file on a host; what was there is put back.
struct Install {
    host: Host,
    /// Cuts the host off once it is written.
    cut: Option<FakeTarget>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Before(bool);

const PATH: &str = "/srv/release";

impl Step for Install {
    type Output = ();
    type Rollback = Before;
    fn about(&self) -> About {
        About::new("install", format!("Install on {}", self.host))
    }
    async fn run(&self, cx: &Context) -> Result<()> {
        cx.on(&self.host).write(PATH, "v2").await?;
        if let Some(target) = &self.cut {
            target.disconnect();
        }
        Ok(())
    }
}

impl Rollback<Install> for Before {
    async fn record(step: &Install, cx: &Observer) -> Result<Self> {
        Ok(Before(cx.on(&step.host).exists(PATH).await?))
    }
    async fn rollback(&self, step: &Install, _: Option<&()>, cx: &Context) -> Result<()> {
        if self.0 { Ok(()) } else { cx.on(&step.host).remove(PATH).await }
    }
}

struct Start(Host);

impl Step for Start {
    type Output = ();
    type Rollback = Harmless;
    fn about(&self) -> About {
        About::new("start", format!("Start {}", self.0))
    }
    async fn run(&self, cx: &Context) -> Result<()> {
        cx.on(&self.0).run(&Command::new("start")).await?;
        Ok(())
    }
}

/// Five hosts; those of `cut` are lost after their first step.
struct Fleet {
    targets: Vec<FakeTarget>,
    inventory: Inventory,
}

impl Fleet {
    fn new() -> Self {
        let names: Vec<String> = (1..=5).map(|n| format!("web-{n}")).collect();
        let target = |name: &String| {
            let target = FakeTarget::new(name).dir("/srv");
            target.on("start").reply(testing::Reply::ok());
            target
        };
        Self {
            targets: names.iter().map(target).collect(),
            inventory: Inventory::new(names.iter().map(|name| Entry::new(name, ()))).unwrap(),
        }
    }

    fn target(&self, name: &str) -> &FakeTarget {
        self.targets.iter().find(|target| target.name() == name).unwrap()
    }

    fn plan(&self, rolling: Rolling, cut: &[&str]) -> Plan {
        let mut b = Runbook::new("restart");
        let members = self.inventory.hosts(|entry| Host::new(self.target(entry.name()).clone()));
        b.each(&members, rolling, |member, b| {
            let cut = cut.contains(&member.entry.name());
            let cut = cut.then(|| self.target(member.entry.name()).clone());
            b.step(Install { host: member.host.clone(), cut });
            b.step(Start(member.host.clone()));
        });
        b.build().unwrap()
    }

    /// The hosts that have the new release, cut off or not.
    fn installed(&self) -> String {
        let has = |target: &&FakeTarget| {
            target.tree().iter().any(|(info, _)| info.path.ends_with("release"))
        };
        let names: Vec<_> = self.targets.iter().filter(has).map(|t| t.name().to_owned()).collect();
        names.join(" ")
    }
}

fn engine() -> Engine {
    Engine::new(MemoryStore::new())
}

fn ids(ids: &[UnitId]) -> String {
    ids.iter().map(UnitId::as_str).collect::<Vec<_>>().join(" ")
}

const TWO_AT_ONCE: Rolling =
    Rolling { at_once: 2, max_failed: 1, canary: 1, pause: Duration::ZERO };

#[tokio::test]
async fn a_host_that_can_not_be_reached_fails_alone() {
    let fleet = Fleet::new();
    fleet.target("web-3").disconnect();
    let plan = fleet.plan(TWO_AT_ONCE, &[]);
    let (outcome, events) = watch(engine().run(&plan, RunOptions::new())).await;
    assert_eq!(outcome.status, Status::Succeeded, "{events:#?}");
    let finished = outcome.finished.unwrap();
    assert_eq!(ids(&finished.without), "each/web-3");
    assert_eq!(finished.exit_code(), 6, "no silent success");
    assert_eq!(fleet.installed(), "web-1 web-2 web-4 web-5");
    assert!(events.contains(&"left each/web-3 Isolated".into()), "{events:#?}");
    let BlockOutcome::Isolated { problem } = outcome.state.block(&"each/web-3".into()).unwrap()
    else {
        panic!("{:?}", outcome.state.block(&"each/web-3".into()))
    };
    assert_eq!(problem.kind, FailureKind::Disconnected);
}

#[tokio::test]
async fn a_host_lost_on_the_way_leaves_the_run_stuck_and_the_others_done() {
    let fleet = Fleet::new();
    let plan = fleet.plan(TWO_AT_ONCE, &["web-3"]);
    let engine = engine();
    let (outcome, events) = watch(engine.run(&plan, RunOptions::new())).await;
    assert_eq!(outcome.status, Status::Stuck, "{events:#?}");
    let finished = outcome.finished.unwrap();
    assert_eq!(ids(&finished.not_restored), "each/web-3/install");
    assert_eq!(ids(&finished.without), "each/web-3");
    assert_eq!(fleet.installed(), "web-1 web-2 web-3 web-4 web-5");

    // Still away: nothing else is touched.
    let again = || ResumeOptions::forward(RunOptions::new());
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, again())).await;
    assert_eq!(outcome.status, Status::Stuck, "{events:#?}");
    assert!(!events.iter().any(|event| event.starts_with("start ")), "{events:#?}");

    // Back again: it is undone, and the rest stays as it is.
    fleet.target("web-3").reconnect();
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, again())).await;
    assert_eq!(outcome.status, Status::Succeeded, "{events:#?}");
    assert_eq!(ids(&outcome.finished.unwrap().without), "each/web-3");
    assert_eq!(fleet.installed(), "web-1 web-2 web-4 web-5");
    let undone: Vec<_> = events.iter().filter(|event| event.starts_with("undo")).collect();
    assert_eq!(undone, ["undo each/web-3/install", "undone each/web-3/install"]);
}

#[tokio::test]
async fn a_person_may_put_a_lost_host_back() {
    let fleet = Fleet::new();
    let plan = fleet.plan(TWO_AT_ONCE, &["web-3"]);
    let engine = engine();
    let (outcome, _) = watch(engine.run(&plan, RunOptions::new())).await;
    let skip = ResumeOptions::forward(RunOptions::new()).interrupted(Decision::Skip);
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, skip)).await;
    assert_eq!(outcome.status, Status::Succeeded, "{events:#?}");
    assert!(!events.iter().any(|event| event.starts_with("undo ")), "{events:#?}");
    assert_eq!(events.iter().filter(|event| *event == "Decided").count(), 1, "{events:#?}");
}

#[tokio::test]
async fn one_failure_too_many_begins_no_more_hosts_and_rolls_all_back() {
    let fleet = Fleet::new();
    fleet.target("web-2").disconnect();
    fleet.target("web-3").disconnect();
    let plan = fleet.plan(TWO_AT_ONCE, &[]);
    let (outcome, events) = watch(engine().run(&plan, RunOptions::new())).await;
    assert_eq!(outcome.status, Status::RolledBack, "{events:#?}");
    assert_eq!(fleet.installed(), "");
    for host in ["web-4", "web-5"] {
        assert!(!events.iter().any(|event| event.contains(host)), "{host}: {events:#?}");
        assert!(fleet.target(host).calls().is_empty(), "{host} was not touched");
    }
    assert_eq!(outcome.finished.unwrap().exit_code(), 1);
}

#[tokio::test]
async fn a_canary_may_not_fail() {
    let fleet = Fleet::new();
    fleet.target("web-1").disconnect();
    let plan = fleet.plan(Rolling { max_failed: 3, ..TWO_AT_ONCE }, &[]);
    let (outcome, _) = watch(engine().run(&plan, RunOptions::new())).await;
    assert_eq!(outcome.status, Status::Failed, "nothing had been changed");
    for host in ["web-2", "web-3", "web-4", "web-5"] {
        assert!(fleet.target(host).calls().is_empty(), "{host} was not touched");
    }
}

#[tokio::test]
async fn a_lost_host_does_not_keep_the_others_from_being_undone() {
    let fleet = Fleet::new();
    // web-2 is lost on its way, web-3 fails as well: one too many.
    fleet.target("web-3").disconnect();
    let plan = fleet.plan(TWO_AT_ONCE, &["web-2"]);
    let engine = engine();
    let (outcome, events) = watch(engine.run(&plan, RunOptions::new())).await;
    assert_eq!(outcome.status, Status::Stuck, "{events:#?}");
    assert_eq!(fleet.installed(), "web-2", "{events:#?}");
    fleet.target("web-2").reconnect();
    let again = ResumeOptions::forward(RunOptions::new());
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, again)).await;
    assert_eq!(outcome.status, Status::RolledBack, "{events:#?}");
    assert_eq!(fleet.installed(), "");
}

#[tokio::test]
async fn what_came_before_the_fleet_stays_as_long_as_a_host_rests_on_it() {
    let (fleet, world) = (Fleet::new(), World::default());
    let mut b = Runbook::new("restart");
    b.step(world.put("before", "1"));
    let members = fleet.inventory.hosts(|e| Host::new(fleet.target(e.name()).clone()));
    b.each(&members, Rolling::default(), |member, b| {
        let cut = (member.entry.name() == "web-2").then(|| fleet.target("web-2").clone());
        b.step(Install { host: member.host.clone(), cut });
        b.step(Start(member.host.clone()));
    });
    let (outcome, _) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Stuck);
    assert_eq!(fleet.installed(), "web-2", "web-1 rests on nothing of web-2");
    assert_eq!(world.get("before").unwrap(), "1", "web-2 may rest on it");
}

#[tokio::test]
async fn a_rollback_undoes_all_hosts_in_reverse() {
    let fleet = Fleet::new();
    let plan = fleet.plan(Rolling::default(), &[]);
    let engine = engine();
    let (outcome, _) = watch(engine.run(&plan, RunOptions::new())).await;
    assert_eq!(fleet.installed(), "web-1 web-2 web-3 web-4 web-5");
    let back = ResumeOptions::rollback(RunOptions::new());
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, back)).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(fleet.installed(), "");
    let undone: Vec<_> = events.iter().filter_map(|event| event.strip_prefix("undone ")).collect();
    let expected: Vec<_> = (1..=5).rev().map(|n| format!("each/web-{n}/install")).collect();
    assert_eq!(undone, expected);
}

#[tokio::test]
async fn hosts_that_failed_before_a_resume_count() {
    for (fails, status) in [(false, Status::Succeeded), (true, Status::RolledBack)] {
        let world = World::default();
        let mut b = Runbook::new("restart");
        let rolling = Rolling { max_failed: 1, ..Rolling::default() };
        b.each(["a", "b", "c"], rolling, |host, b| {
            let step = world.put(host, "1");
            match *host {
                "a" => b.step(step.mood(Mood::Fails)),
                "b" if fails => b.step(step.mood(Mood::Fails).confirm("Go on?")),
                _ => b.step(step.confirm("Go on?")),
            };
        });
        let plan = b.build().unwrap();
        let engine = engine();
        let (outcome, _) = watch(engine.run(&plan, RunOptions::new().unattended())).await;
        assert_eq!(outcome.status, Status::Suspended);
        let resume = ResumeOptions::forward(RunOptions::new().yes());
        let (outcome, events) = watch(engine.resume(&outcome.run, &plan, resume)).await;
        assert_eq!(outcome.status, status, "{events:#?}");
        assert!(!events.iter().any(|event| event.contains("each/a")), "{events:#?}");
    }
}

/// Notes how many are at work at the same time.
struct Busy(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<tokio::sync::Barrier>);

impl Step for Busy {
    type Output = ();
    type Rollback = Harmless;
    fn about(&self) -> About {
        About::new("busy", "Be busy")
    }
    async fn run(&self, _: &Context) -> Result<()> {
        let now = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.1.fetch_max(now, Ordering::SeqCst);
        // Both of a batch meet here, so that they are at work at the same time.
        self.2.wait().await;
        self.0.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn so_many_are_at_work_at_the_same_time_and_no_more() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let barrier = Arc::new(tokio::sync::Barrier::new(2));
    let mut b = Runbook::new("busy");
    let rolling = Rolling { at_once: 2, canary: 2, ..Rolling::default() };
    b.each(0..6, rolling, |_, b| {
        b.step(Busy(Arc::clone(&now), Arc::clone(&most), Arc::clone(&barrier)));
    });
    let (outcome, _) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn between_batches_there_is_a_pause_and_after_the_last_there_is_none() {
    let world = World::default();
    let mut b = Runbook::new("pause");
    let pause = Duration::from_secs(60);
    b.each(["a", "b", "c"], Rolling { at_once: 2, pause, ..Rolling::default() }, |host, b| {
        b.step(world.put(host, "1"));
    });
    let began = tokio::time::Instant::now();
    let (outcome, events) = run(&engine(), b, RunOptions::new()).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(events.iter().filter(|event| *event == "Pausing").count(), 1);
    let took = began.elapsed();
    assert!(took >= pause && took < pause * 2, "{took:?}");
}

#[tokio::test]
async fn a_pause_ends_when_the_run_is_cancelled() {
    let world = World::default();
    let mut b = Runbook::new("pause");
    let pause = Duration::from_secs(100_000);
    b.each(["a", "b"], Rolling { pause, ..Rolling::default() }, |host, b| {
        b.step(world.put(host, "1"));
    });
    let plan = b.build().unwrap();
    let mut handle = engine().run(&plan, RunOptions::new());
    while let Some(event) = handle.next().await {
        if matches!(event.event, EventKind::Pausing { pause_ms: 100_000_000, .. }) {
            handle.control().cancel("ann");
        }
    }
    assert_eq!(handle.outcome().await.unwrap().status, Status::RolledBack);
    assert!(world.map().is_empty());
}

#[tokio::test]
async fn a_remedy_that_can_not_be_undone_is_gone_on_with_alone() {
    let world = World::default();
    let mut b = Runbook::new("ladder");
    b.step(world.put("before", "1"));
    b.ladder("up", world.is("up", "1"), |ladder| {
        ladder.remedy("first", |b| {
            b.step(world.put("half", "1").mood(Mood::CantUndo));
            b.step(world.put("rest", "1").mood(Mood::Fails));
        });
        ladder.remedy("second", |b| {
            b.step(world.put("up", "1"));
        });
    });
    let plan = b.build().unwrap();
    let engine = engine();
    let (outcome, _) = watch(engine.run(&plan, RunOptions::new())).await;
    assert_eq!(outcome.status, Status::Stuck);
    world.set("half", None);
    let skip = ResumeOptions::forward(RunOptions::new()).interrupted(Decision::Skip);
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, skip)).await;
    assert_eq!(outcome.status, Status::Succeeded, "{events:#?}");
    assert_eq!(world.map().into_keys().collect::<Vec<_>>(), ["before", "up"]);
}

#[tokio::test]
async fn a_look_goes_on_past_a_host_that_can_not_be_reached() {
    struct Idle(Host);
    impl Check for Idle {
        type Evidence = ();
        fn about(&self) -> About {
            About::new("idle", format!("{} is idle", self.0))
        }
        async fn check(&self, cx: &Observer) -> Result<Verdict<()>> {
            let busy = cx.on(&self.0).exists("/srv/busy").await?;
            Ok(Verdict::pass_if(!busy, (), "it is"))
        }
    }
    let fleet = Fleet::new();
    fleet.target("web-2").disconnect();
    let mut b = Runbook::new("look");
    let members = fleet.inventory.hosts(|e| Host::new(fleet.target(e.name()).clone()));
    b.each(&members, Rolling::default(), |member, b| {
        b.check(Idle(member.host.clone()));
    });
    let plan = b.build().unwrap();
    let (outcome, events) = watch(engine().check(&plan, RunOptions::new())).await;
    assert!(outcome.checks_failed);
    let checked: Vec<_> = events.iter().filter(|e| e.starts_with("checked")).collect();
    assert_eq!(checked.len(), 5, "{events:#?}");
    assert_eq!(checked.iter().filter(|e| e.ends_with("fail")).count(), 1, "{events:#?}");
    assert!(fleet.targets.iter().all(|target| target.changes().is_empty()));
}
