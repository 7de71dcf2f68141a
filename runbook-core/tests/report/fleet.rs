//! A fleet in every report: which host goes when, and what became of each.

use std::sync::Arc;

use runbook_core::report::{
    HostStatus, junit, mermaid, page, run_report, timeline_html, timeline_markdown,
};
use runbook_core::{
    BlockOutcome, EventKind, FailureKind, Mode, Outline, Problem, Rolling, Runbook, Status,
};

use crate::fixture::{Script, change, problem, unit};
use crate::runs::without_style;

fn outline() -> Arc<Outline> {
    let mut b = Runbook::new("restart");
    b.title("Restart the web servers");
    let rolling = Rolling { at_once: 2, canary: 1, max_failed: 1, ..Rolling::default() };
    b.each((1..=5).map(|n| format!("web-{n}")), rolling, |host, b| {
        b.step(change("drain", format!("Drain {host}")));
        b.step(change("restart", format!("Restart {host}")));
    });
    Arc::clone(b.build().expect("a plan").outline())
}

fn lost() -> Problem {
    let lost = "connecting to web-3 (192.0.2.13:22): no route to host";
    Problem { next: None, ..problem(FailureKind::Disconnected, lost) }
}

fn host(n: usize) -> String {
    format!("each/web-{n}")
}

impl Script {
    fn fleet() -> Self {
        let mut script = Self::of(outline(), Mode::Run);
        script.entered("each");
        script
    }

    /// All goes well on a host.
    fn well(&mut self, n: usize) -> &mut Self {
        self.entered(&host(n)).half(n);
        let restart = format!("{}/restart", host(n));
        self.started(2, &restart).finished(700, &restart, "");
        self.left(&host(n), BlockOutcome::Succeeded)
    }

    /// The first of two steps.
    fn half(&mut self, n: usize) -> &mut Self {
        let drain = format!("{}/drain", host(n));
        self.started(2, &drain).finished(400, &drain, "")
    }

    /// The second fails.
    fn fails(&mut self, n: usize) -> &mut Self {
        self.entered(&host(n)).half(n);
        let restart = unit(&format!("{}/restart", host(n)));
        self.add(900, EventKind::Failed { unit: restart, problem: lost() });
        self.left(&host(n), BlockOutcome::Failed)
    }

    fn isolated(&mut self, n: usize) -> &mut Self {
        self.undone(300, &format!("{}/drain", host(n)));
        self.left(&host(n), BlockOutcome::Isolated { problem: lost() })
    }
}

/// One host can't be reached; it is allowed to.
fn one_lost() -> Script {
    let mut s = Script::fleet();
    s.well(1).well(2).fails(3).isolated(3).well(4).well(5);
    s.left("each", BlockOutcome::Succeeded);
    s.end(Status::Succeeded, |end| end.without = vec![unit(&host(3))]);
    s
}

/// The same, and it can't be put back.
fn one_stuck() -> Script {
    let mut s = Script::fleet();
    s.well(1).well(2).fails(3);
    let drain = unit(&format!("{}/drain", host(3)));
    s.add(1, EventKind::UndoStarted { unit: drain.clone() });
    s.add(2000, EventKind::UndoFailed { unit: drain.clone(), problem: lost() });
    let outcome =
        BlockOutcome::NotRestored { problem: lost(), unit: drain.clone(), not_restored: lost() };
    s.left(&host(3), outcome).well(4).well(5).left("each", BlockOutcome::Succeeded);
    s.end(Status::Stuck, |end| {
        end.without = vec![unit(&host(3))];
        end.unit = Some(drain.clone());
        end.problem = Some(lost());
        end.not_restored = vec![drain];
        end.next = vec!["resume 20260314-150926-k7xq --retry".into()];
    });
    s
}

/// One more fails than may: the rest is not started.
fn too_many() -> Script {
    let mut s = Script::fleet();
    s.well(1).fails(2).isolated(2).fails(3);
    s.left("each", BlockOutcome::Failed);
    let units =
        ["web-3/drain", "web-1/restart", "web-1/drain"].map(|id| unit(&format!("each/{id}")));
    let cause = lost().message;
    s.add(1, EventKind::RollbackStarted { cause, units: units.to_vec() });
    for unit in &units {
        s.undone(200, unit.as_str());
    }
    s.end(Status::RolledBack, |end| {
        end.unit = Some(unit(&format!("{}/restart", host(3))));
        end.problem = Some(lost());
        end.undone = units.to_vec();
    });
    s
}

#[test]
fn the_page_and_the_chart_show_the_batches() {
    insta::assert_snapshot!("fleet.page", page(&outline()));
    insta::assert_snapshot!("fleet.mermaid", mermaid(&outline()));
}

#[test]
fn a_host_that_was_lost_is_in_every_report() {
    let timeline = one_lost().timeline();
    insta::assert_snapshot!("fleet_lost.md", timeline_markdown(&timeline));
    insta::assert_snapshot!("fleet_lost.junit", junit(&timeline));
    insta::assert_snapshot!("fleet_lost.html", without_style(&timeline_html(&timeline)));
    let hosts = serde_json::to_string_pretty(&run_report(&timeline).hosts).expect("JSON");
    insta::assert_snapshot!("fleet_lost.json", hosts);
}

#[test]
fn a_host_that_could_not_be_put_back_stands_first() {
    let timeline = one_stuck().timeline();
    insta::assert_snapshot!("fleet_stuck.md", timeline_markdown(&timeline));
    insta::assert_snapshot!("fleet_stuck.junit", junit(&timeline));
}

#[test]
fn hosts_that_were_not_begun_are_called_so() {
    let timeline = too_many().timeline();
    insta::assert_snapshot!("fleet_too_many.md", timeline_markdown(&timeline));
}

#[test]
fn a_host_has_a_status_at_every_moment() {
    let script = one_lost();
    let mut seen = Vec::new();
    for end in 0..=script.events.len() {
        let events = &script.events[..end];
        let timeline = runbook_core::report::Timeline::of(&script.outline, events);
        let status = timeline.hosts()[2].status;
        if seen.last() != Some(&status) {
            seen.push(status);
        }
    }
    use HostStatus as H;
    assert_eq!(seen.first(), Some(&H::NotStarted));
    assert_eq!(seen.get(1), Some(&H::Running));
    assert_eq!(seen.last(), Some(&H::FailedAndRolledBack));
}
