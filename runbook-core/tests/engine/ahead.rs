//! The hosts with which a run begins get ready while its journal is made.

use std::path::Path;

use runbook_core::testing::{FakeTarget, Reply};
use runbook_core::*;

use crate::engine;
use crate::support::*;

/// Runs a command on a host.
struct Touch(Host);

impl Step for Touch {
    type Output = ();
    type Rollback = Untouched;
    fn about(&self) -> About {
        About::new("touch", format!("Touch {}", self.0))
    }
    async fn run(&self, cx: &Context) -> Result<()> {
        cx.on(&self.0).run(&Command::new("touch")).await.map(drop)
    }
}

#[derive(Clone, serde::Serialize, serde::Deserialize, PartialEq)]
struct Untouched;

impl Rollback<Touch> for Untouched {
    async fn record(_: &Touch, _: &Observer) -> Result<Self> {
        Ok(Self)
    }
    async fn rollback(&self, _: &Touch, _: Option<&()>, _: &Context) -> Result<()> {
        Ok(())
    }
}

/// Looks at a host.
struct Looked(Host);

impl Check for Looked {
    type Evidence = ();
    fn about(&self) -> About {
        About::new("looked", format!("{} is there", self.0))
    }
    async fn check(&self, cx: &Observer) -> Result<Verdict<()>> {
        let there = cx.on(&self.0).exists(Path::new("/")).await?;
        Ok(Verdict::pass_if(there, (), "it is"))
    }
}

fn targets<const N: usize>() -> [(FakeTarget, Host); N] {
    std::array::from_fn(|n| {
        let target = FakeTarget::new(format!("web-{n}"));
        target.otherwise(Reply::ok());
        (target.clone(), Host::new(target))
    })
}

/// How often each was told to get ready.
fn prepared(targets: &[(FakeTarget, Host)]) -> Vec<usize> {
    targets.iter().map(|(target, _)| target.prepared()).collect()
}

async fn succeeds(plan: &Plan) {
    let outcome = engine().run(plan, RunOptions::new()).outcome().await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
}

#[tokio::test]
async fn the_host_of_the_first_unit_is_told_before_anything_is_done_on_it() {
    let [(target, host)] = targets();
    let before = target.clone();
    target.on("touch").reply_with(move |_| match before.prepared() {
        1 => Reply::ok(),
        other => Reply::exit(1).stderr(format!("told {other} times")),
    });
    let mut b = Runbook::new("touch");
    b.step(Touch(host.clone()));
    b.step(Touch(host));
    succeeds(&b.build().unwrap()).await;
    assert_eq!(target.prepared(), 1);
}

#[tokio::test]
async fn what_comes_after_the_first_unit_is_not_told() {
    let targets = targets::<2>();
    let mut b = Runbook::new("touch");
    b.group("first", |b| {
        b.step(Touch(targets[0].1.clone()));
        b.step(Touch(targets[1].1.clone()));
    });
    succeeds(&b.build().unwrap()).await;
    assert_eq!(prepared(&targets), [1, 0]);
}

#[tokio::test]
async fn of_a_fleet_only_the_first_batch_is_told() {
    let targets = targets::<5>();
    for (rolling, told) in [
        (Rolling::default(), [1, 0, 0, 0, 0]),
        (Rolling { at_once: 3, ..Rolling::default() }, [1, 1, 1, 0, 0]),
        (Rolling { at_once: 3, canary: 1, ..Rolling::default() }, [1, 0, 0, 0, 0]),
    ] {
        let before = prepared(&targets);
        let mut b = Runbook::new("touch");
        let hosts = targets.iter().map(|(_, host)| host.clone());
        b.each(hosts, rolling, |host, b| {
            b.step(Touch(host.clone()));
        });
        succeeds(&b.build().unwrap()).await;
        let now = prepared(&targets);
        let news: Vec<_> = now.iter().zip(before).map(|(now, before)| now - before).collect();
        assert_eq!(news, told, "{rolling:?}");
    }
}

#[tokio::test]
async fn every_branch_begins_with_its_own_host() {
    let targets = targets::<3>();
    let mut b = Runbook::new("touch");
    b.parallel("both", |b| {
        b.step(Touch(targets[0].1.clone()));
        b.group("second", |b| {
            b.step(Touch(targets[1].1.clone()));
            b.step(Touch(targets[2].1.clone()));
        });
    });
    succeeds(&b.build().unwrap()).await;
    assert_eq!(prepared(&targets), [1, 1, 0]);
}

#[tokio::test]
async fn what_is_checked_before_a_step_is_told_and_what_is_checked_after_it_is_not() {
    let targets = targets::<3>();
    let mut b = Runbook::new("touch");
    let [first, required, verified] = [0, 1, 2].map(|n| targets[n].1.clone());
    let step = Touch(first).requires(Looked(required)).verify(Looked(verified));
    b.step(step);
    let plan = b.build().unwrap();
    let _ = engine().run(&plan, RunOptions::new()).outcome().await.unwrap();
    assert_eq!(prepared(&targets), [1, 1, 0]);
}

#[tokio::test]
async fn nothing_is_told_that_a_condition_a_lock_or_a_person_comes_before() {
    let [(target, host)] = targets();
    let first: [fn(&mut Runbook, Host); 3] = [
        |b, host| {
            b.when("sometimes", true, |b| {
                b.step(Touch(host));
            });
        },
        |b, host| {
            b.lock(Lock::on("shop"));
            b.step(Touch(host));
        },
        |b, host| {
            b.manual(Manual::new("Look"));
            b.step(Touch(host));
        },
    ];
    for fill in first {
        let mut b = Runbook::new("touch");
        fill(&mut b, host.clone());
        let plan = b.build().unwrap();
        let options = RunOptions::new().unattended();
        let _ = engine().run(&plan, options).outcome().await.unwrap();
        assert_eq!(target.prepared(), 0);
    }
}

#[tokio::test]
async fn a_branch_that_waits_for_another_is_not_told() {
    let targets = targets::<2>();
    let world = World::default();
    let mut b = Runbook::new("touch");
    b.parallel("both", |b| {
        let value = b.step(world.put("a", "1"));
        b.step(world.put("b", value).requires(Looked(targets[0].1.clone())));
        b.check(Looked(targets[1].1.clone()));
    });
    let plan = b.build().unwrap();
    let _ = engine().run(&plan, RunOptions::new()).outcome().await.unwrap();
    assert_eq!(prepared(&targets), [0, 1]);
}

#[tokio::test]
async fn a_plan_tells_nobody_and_a_check_tells_the_host_of_its_first_check() {
    let targets = targets::<2>();
    let mut b = Runbook::new("touch");
    b.step(Touch(targets[0].1.clone()));
    b.check(Looked(targets[1].1.clone()));
    let plan = b.build().unwrap();
    let _ = engine().plan(&plan, RunOptions::new()).outcome().await.unwrap();
    assert_eq!(prepared(&targets), [0, 0]);
    let _ = engine().check(&plan, RunOptions::new()).outcome().await.unwrap();
    assert_eq!(prepared(&targets), [0, 1]);
}

#[tokio::test]
async fn a_run_that_is_taken_up_tells_where_it_goes_on_or_back() {
    let targets = targets::<2>();
    let mut b = Runbook::new("touch");
    b.step(Touch(targets[0].1.clone()));
    b.manual(Manual::new("Look").named("look"));
    b.step(Touch(targets[1].1.clone()));
    let plan = b.build().unwrap();
    let engine = engine();
    let options = || RunOptions::new().unattended();
    let run = engine.run(&plan, options()).outcome().await.unwrap().run;
    assert_eq!(prepared(&targets), [1, 0]);
    // It waits for a person: nobody knows when it goes on.
    let _ = engine.resume(&run, &plan, ResumeOptions::forward(options())).outcome().await.unwrap();
    assert_eq!(prepared(&targets), [1, 0]);
    let back = ResumeOptions::rollback(options());
    let outcome = engine.resume(&run, &plan, back).outcome().await.unwrap();
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(prepared(&targets), [2, 0]);
}

#[tokio::test]
async fn a_run_that_failed_tells_the_host_of_the_unit_that_is_tried_again() {
    let targets = targets::<2>();
    targets[1].0.on("touch").replies([Reply::exit(1), Reply::ok()]);
    let mut b = Runbook::new("touch");
    b.step(Touch(targets[0].1.clone()));
    b.step(Touch(targets[1].1.clone()));
    let plan = b.build().unwrap();
    let engine = engine();
    let outcome = engine.run(&plan, RunOptions::new().keep_on_failure()).outcome().await.unwrap();
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(prepared(&targets), [1, 0]);
    let on = ResumeOptions::forward(RunOptions::new());
    let outcome = engine.resume(&outcome.run, &plan, on).outcome().await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(prepared(&targets), [1, 1]);
}
