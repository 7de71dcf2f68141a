//! What happened in runs, in every state that a journal can be in.

use std::sync::Arc;

use runbook_core::report::{
    RunStatus, Timeline, UnitStatus, json, junit, summary, timeline_html, timeline_markdown,
};
use runbook_core::{Actor, EventKind, ResumeMode, Status};

use crate::fixture::{self, Script, unit};

#[test]
fn a_run_that_succeeded() {
    let timeline = fixture::succeeded().timeline();
    insta::assert_snapshot!("succeeded.md", timeline_markdown(&timeline));
    insta::assert_snapshot!("succeeded.junit", junit(&timeline));
}

#[test]
fn a_run_that_failed_and_was_rolled_back() {
    let timeline = fixture::rolled_back().timeline();
    insta::assert_snapshot!("rolled_back.md", timeline_markdown(&timeline));
    insta::assert_snapshot!("rolled_back.json", json(&timeline));
    insta::assert_snapshot!("rolled_back.junit", junit(&timeline));
    insta::assert_snapshot!("rolled_back.html", without_style(&timeline_html(&timeline)));
}

#[test]
fn a_run_that_is_stuck() {
    let timeline = fixture::stuck().timeline();
    insta::assert_snapshot!("stuck.md", timeline_markdown(&timeline));
    insta::assert_snapshot!("stuck.junit", junit(&timeline));
}

#[test]
fn a_run_that_waits_for_an_approval() {
    let timeline = fixture::suspended().timeline();
    insta::assert_snapshot!("suspended.md", timeline_markdown(&timeline));
    insta::assert_snapshot!("suspended.junit", junit(&timeline));
}

#[test]
fn a_run_that_was_interrupted_in_the_middle_of_a_step() {
    let timeline = fixture::interrupted().timeline();
    insta::assert_snapshot!("interrupted.md", timeline_markdown(&timeline));
}

#[test]
fn a_run_that_was_interrupted_and_taken_up_again() {
    let timeline = fixture::resumed().timeline();
    insta::assert_snapshot!("resumed.md", timeline_markdown(&timeline));
    insta::assert_snapshot!("resumed.html", without_style(&timeline_html(&timeline)));
}

#[test]
fn a_run_of_checks_only() {
    let timeline = fixture::checked().timeline();
    insta::assert_snapshot!("checked.md", timeline_markdown(&timeline));
    insta::assert_snapshot!("checked.junit", junit(&timeline));
}

#[test]
fn a_plan() {
    let timeline = fixture::planned().timeline();
    insta::assert_snapshot!("planned.md", timeline_markdown(&timeline));
}

#[test]
fn a_run_that_went_on_without_a_host() {
    let timeline = fixture::isolated().timeline();
    insta::assert_snapshot!("isolated.md", timeline_markdown(&timeline));
}

/// The style is the same in all and would hide the changes that matter.
pub(crate) fn without_style(html: &str) -> String {
    let (head, rest) = html.split_once("<style>").expect("a style");
    let (_, tail) = rest.split_once("</style>").expect("its end");
    format!("{head}{tail}")
}

fn all() -> [Script; 9] {
    [
        fixture::succeeded(),
        fixture::rolled_back(),
        fixture::stuck(),
        fixture::suspended(),
        fixture::interrupted(),
        fixture::resumed(),
        fixture::checked(),
        fixture::planned(),
        fixture::isolated(),
    ]
}

#[test]
fn every_prefix_of_a_journal_has_all_reports() {
    for script in all() {
        for end in 0..=script.events.len() {
            let events = &script.events[..end];
            let timeline = Timeline::of(&script.outline, events);
            let html = timeline_html(&timeline);
            roxmltree::Document::parse(html.trim_start_matches("<!DOCTYPE html>"))
                .expect("well-formed HTML");
            let xml = junit(&timeline);
            roxmltree::Document::parse(&xml).expect("well-formed XML");
            assert!(timeline_markdown(&timeline).starts_with("# "));
            let report: serde_json::Value = serde_json::from_str(&json(&timeline)).expect("JSON");
            let s = summary_of(&script, end);
            let said = serde_json::to_value(&s).expect("JSON");
            assert_eq!(report["summary"], said, "the same on every way");
            let sum = s.done + s.skipped + s.failed + s.undone + s.not_restored;
            let sum = sum + s.interrupted + s.open + s.previewed + s.pending;
            assert_eq!(sum, s.total, "every unit counts once");
        }
    }
}

fn summary_of(script: &Script, end: usize) -> runbook_core::report::Summary {
    summary(&script.outline, &script.events[..end])
}

#[test]
fn a_live_view_sees_what_a_reader_of_the_journal_sees() {
    for script in all() {
        let mut live = Timeline::new();
        script.events.iter().for_each(|event| live.apply(event));
        assert_eq!(json(&live), json(&Timeline::of(&script.outline, &script.events)));
    }
}

#[test]
fn ci_is_never_green_by_mistake() {
    for script in all() {
        for end in 0..=script.events.len() {
            let timeline = Timeline::of(&script.outline, &script.events[..end]);
            let xml = junit(&timeline);
            let red = xml.contains("<failure ") || xml.contains("<error ");
            let good = timeline.status == RunStatus::Succeeded;
            let lone = timeline.units.iter().any(|unit| unit.problem.is_some());
            assert_eq!(red, !good || lone, "{xml}");
        }
    }
}

#[test]
fn a_unit_at_work_when_its_process_died_is_interrupted_once_the_run_is_taken_up() {
    let mut script = fixture::interrupted();
    let status =
        |script: &Script| script.timeline().unit(&unit(fixture::SWITCH_1)).map(|unit| unit.status);
    assert_eq!(status(&script), Some(UnitStatus::Running), "nobody can know that yet");
    let by = Actor { name: "kim".into(), machine: "ops-1".into(), pid: 1 };
    script.add(1000, EventKind::RunResumed { by, mode: ResumeMode::Rollback });
    assert_eq!(status(&script), Some(UnitStatus::Interrupted));
}

#[test]
fn who_knows_that_the_process_is_gone_can_say_so() {
    let mut timeline = fixture::interrupted().timeline();
    timeline.interrupted();
    assert_eq!(timeline.status, RunStatus::Interrupted);
    let markdown = timeline_markdown(&timeline);
    let first: String = markdown.lines().take(6).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!("gone.md", first);

    let mut over = fixture::rolled_back().timeline();
    over.interrupted();
    assert_eq!(over.status, RunStatus::RolledBack, "a run that ended was not interrupted");
}

#[test]
fn a_question_that_was_answered_leaves_only_the_resume_to_be_done() {
    let mut script = fixture::suspended();
    script.approve(60_000, "robin");
    let summary = script.timeline().summary();
    assert_eq!(summary.headline, "Answered, to be resumed: Deploy a release of the shop");
    assert_eq!(summary.next[0], format!("shopctl resume {}", fixture::RUN));
}

#[test]
fn a_failed_run_that_was_not_rolled_back_says_what_is_left() {
    let mut script = Script::start(runbook_core::Mode::Run);
    script.prepare().ask_to_migrate().approve(5_000, "robin").migrate().second_host_fails();
    script.end(Status::Failed, |end| {
        end.problem = Some(fixture::unhealthy());
        end.unit = Some(unit(fixture::HEALTHY_2));
    });
    let summary = script.timeline().summary();
    let left: Vec<&str> = summary.left_units.iter().map(|id| id.as_str()).collect();
    assert_eq!(left, [fixture::DUMP, fixture::FETCH, fixture::SWITCH_1, fixture::SWITCH_2]);
    assert_eq!(summary.kept_units, [unit(fixture::MIGRATE)]);
    assert!(summary.lines.iter().any(|line| line.label == "Left as it is"));
}

#[test]
fn a_timeline_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&Arc::new(Timeline::new()));
}
