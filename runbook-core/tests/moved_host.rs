//! A run goes on only where it began: not on another host of the same name.

mod support;

use runbook_core::testing::FakeTarget;
use runbook_core::*;
use support::*;

/// A database is shown with the host that it is on, as most of what steps work on is.
#[derive(Clone)]
struct Database(Host);

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shop on {}", self.0)
    }
}

struct Fill(Database);

impl Step for Fill {
    type Output = ();
    type Rollback = Harmless;
    fn about(&self) -> About {
        About::new("fill", format!("Fill {}", self.0))
    }
    async fn run(&self, _: &Context) -> Result<()> {
        Ok(())
    }
}

struct Ready(Host);

impl Check for Ready {
    type Evidence = ();
    fn about(&self) -> About {
        About::new("ready", "It is ready").arg("host", &self.0)
    }
    async fn check(&self, _: &Observer) -> Result<Verdict<()>> {
        Ok(Verdict::pass((), "it is"))
    }
}

fn at(identity: &str) -> Host {
    Host::new(FakeTarget::new("db-1").with_identity(identity))
}

/// Waits for a person after the first unit, so that it can be resumed.
fn plan(host: &Host, required: &Host) -> Plan {
    let mut b = Runbook::new("fill");
    b.step(Fill(Database(host.clone())));
    b.manual(Manual::new("Look at it"));
    b.step(World::default().put("a", "1").requires(Ready(required.clone())));
    b.build().unwrap()
}

#[tokio::test]
async fn a_run_is_not_resumed_on_another_host_of_the_same_name() {
    let engine = Engine::new(MemoryStore::new());
    let (old, new) = (at("deploy@192.0.2.7:22"), at("deploy@192.0.2.8:22"));
    let options = || RunOptions::new().unattended();
    let outcome = engine.run(&plan(&old, &old), options()).outcome().await.unwrap();
    assert_eq!(outcome.status, Status::Suspended);
    for (now, unit) in [(plan(&new, &old), "fill"), (plan(&old, &new), "put-a")] {
        for how in [ResumeOptions::forward(options()), ResumeOptions::rollback(options())] {
            let error = engine.resume(&outcome.run, &now, how).outcome().await.unwrap_err();
            assert!(error.is_plan_differs());
            let said = error.to_string();
            assert!(said.contains(&format!("first unit that differs is `{unit}`")), "{said}");
            let moved = "its host db-1 was deploy@192.0.2.7:22, and is deploy@192.0.2.8:22 now";
            assert!(said.contains(moved), "{said}");
        }
    }
    // The same place, however the handle came about.
    let again = at("deploy@192.0.2.7:22");
    let how = ResumeOptions::forward(options());
    let outcome = engine.resume(&outcome.run, &plan(&again, &again), how).outcome().await.unwrap();
    assert_eq!(outcome.status, Status::Suspended);
}

#[test]
fn hosts_that_are_known_by_their_names_alone_change_no_plan() {
    let named = || Host::new(FakeTarget::new("db-1"));
    let (one, two) = (plan(&named(), &named()), plan(&named(), &named()));
    assert_eq!(one.outline(), two.outline());
    assert!(one.outline().units().all(|unit| unit.hosts.is_empty()));
}
