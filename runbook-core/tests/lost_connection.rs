//! Losing a connection is an ordinary failure of a unit; a notification that fails is none.
#![allow(missing_docs)]

mod support;

use runbook_core::testing::{FakeTarget, Reply};
use runbook_core::*;
use serde::{Deserialize, Serialize};
use support::*;

/// Writes a file, then runs a command during which the connection is lost.
struct Deploy(Host);

#[derive(Clone, Serialize, Deserialize)]
struct WasThere(bool);

impl Step for Deploy {
    type Output = ();
    type Rollback = WasThere;
    fn about(&self) -> About {
        About::new("deploy", "Deploy")
    }
    async fn run(&self, cx: &Context) -> Result<()> {
        cx.on(&self.0).write("/srv/new", "half").await?;
        cx.on(&self.0).run(&Command::new("deploy")).await?;
        Ok(())
    }
}

impl Rollback<Deploy> for WasThere {
    async fn record(step: &Deploy, cx: &Observer) -> Result<Self> {
        Ok(WasThere(cx.on(&step.0).exists("/srv/new").await?))
    }
    async fn rollback(&self, step: &Deploy, done: Option<&()>, cx: &Context) -> Result<()> {
        assert!(done.is_none(), "nobody knows how far it got");
        if self.0 { Ok(()) } else { cx.on(&step.0).remove("/srv/new").await }
    }
}

fn plan(target: &FakeTarget, world: &World) -> Plan {
    let mut b = Runbook::new("deploy");
    b.step(world.put("a", "1"));
    b.step(Deploy(Host::new(target.clone())));
    b.build().unwrap()
}

#[tokio::test]
async fn a_connection_lost_in_mid_command_fails_the_unit_and_all_is_undone() {
    let (target, world) = (FakeTarget::new("web-1").dir("/srv"), World::default());
    target.on("deploy").reply(Reply::disconnects());
    let engine = Engine::new(MemoryStore::new());
    let (outcome, events) = watch(engine.run(&plan(&target, &world), RunOptions::new())).await;
    assert_eq!(outcome.status, Status::RolledBack, "{events:#?}");
    let problem = outcome.finished.unwrap().problem.unwrap();
    assert_eq!(problem.kind, FailureKind::Disconnected);
    assert!(problem.message.contains("web-1"), "{problem}");
    assert!(target.tree().iter().all(|(info, _)| !info.path.ends_with("new")));
    assert_eq!(world.get("a"), None);
}

#[tokio::test]
async fn a_host_that_stays_away_leaves_the_run_stuck_until_it_is_back() {
    let (target, world) = (FakeTarget::new("web-1").dir("/srv"), World::default());
    let gone = target.clone();
    target.on("deploy").reply_with(move |_| {
        // Asked for in a call of the target, which is not to be entered again from there.
        let gone = gone.clone();
        std::thread::spawn(move || gone.disconnect());
        Reply::never_ends()
    });
    let engine = Engine::new(MemoryStore::new());
    let plan = plan(&target, &world);
    let (outcome, events) = watch(engine.run(&plan, RunOptions::new())).await;
    assert_eq!(outcome.status, Status::Stuck, "{events:#?}");
    assert_eq!(world.get("a").unwrap(), "1", "what lies below the stuck unit is left alone");

    target.reconnect();
    let again = ResumeOptions::forward(RunOptions::new());
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, again)).await;
    assert_eq!(outcome.status, Status::RolledBack, "{events:#?}");
    assert!(target.tree().iter().all(|(info, _)| !info.path.ends_with("new")));
    assert_eq!(world.get("a"), None);
}

struct Refused;

#[async_trait]
impl Notifier for Refused {
    fn to(&self) -> String {
        "#ops".into()
    }
    async fn notify(&self, _: &News) -> Result<()> {
        Err(Failure::msg("the hook answered 410"))
    }
}

#[tokio::test]
async fn a_notification_that_fails_is_noted_and_changes_nothing() {
    let world = World::default();
    let mut b = Runbook::new("told");
    b.notify(Refused);
    b.step(world.put("a", "1"));
    let plan = b.build().unwrap();
    let mut handle = Engine::new(MemoryStore::new()).run(&plan, RunOptions::new());
    let mut noted = Vec::new();
    while let Some(event) = handle.next().await {
        if let EventKind::Notified { to, problem: Some(problem) } = &event.event {
            noted.push(format!("{to}: {problem}"));
        }
    }
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
    assert_eq!(noted, ["#ops: the hook answered 410"]);
}

#[test]
fn a_stream_that_breaks_with_a_problem_inside_keeps_its_kind() {
    let lost = Failure::new(FailureKind::Disconnected, "the connection to web-1 was lost");
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, lost.to_problem());
    let failure = Failure::from(broken);
    assert_eq!(failure.kind(), FailureKind::Disconnected);
    assert_eq!(failure.to_string(), "the connection to web-1 was lost");
}
