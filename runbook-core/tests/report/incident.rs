//! An incident: how grave it is, who answered and when, whom to call, and what is ticked off after.

use std::sync::Arc;
use std::time::Duration;

use runbook_core::report::{json, junit, mermaid, page, timeline_html, timeline_markdown};
use runbook_core::{
    Answer, BlockOutcome, CheckRole, Contact, Escalation, EventKind, FailureKind, Level, Manual,
    Mode, Outline, Problem, Question, QuestionKind, Runbook, Severity, Status, Timestamp, Waiting,
};

use crate::fixture::{Look, Script, change, problem, unit};
use crate::runs::without_style;

const MINUTE: u64 = 60_000;
const LADDER: &str = "bring-it-back";
const RESTART: &str = "bring-it-back/restart-it/restart";
const HEALTHY: &str = "afterwards/the-services-are-up-and-healthy";
const LOGS: &str = "afterwards/the-logs-have-no-errors";

/// Symptom, one remedy, and what is ticked off afterwards.
pub(crate) fn outline() -> Arc<Outline> {
    let contact = |name: &str, to: &str| Contact::new(name).reach(to).expect("a way to reach them");
    let kim = contact("Kim", "+1 555 0100").role("operator on call").hours("24/7");
    let host = contact("Hosting company", "https://support.example.org");
    let lee = contact("Lee", "lee@example.org").role("lead").hours("9:00 to 18:00");
    let mut b = Runbook::new("site-down");
    b.title("Bring the site back");
    b.severity(Severity::SEV1);
    b.escalation(
        &Escalation::at_once([kim.reach("#ops").expect("a channel"), host])
            .after(Duration::from_secs(15 * 60), [lee])
            .after(Duration::from_secs(3600), [contact("The management", "+1 555 0102")]),
    );
    b.ladder("Bring it back", Look("answers", "The site answers"), |ladder| {
        ladder.remedy("Restart it", |b| {
            b.step(change("restart", "Restart the site".into()));
        });
        ladder.escalate("say that the release of today is suspected");
    });
    b.ladder("Give it room", Look("has-room", "The disk has room"), |ladder| {
        ladder.remedy("Clean up", |b| {
            b.step(change("clean", "Remove old logs".into()));
        });
        ladder.call(&Escalation::at_once([contact("The storage team", "#storage")]));
    });
    b.checklist(
        "Afterwards",
        [
            Manual::new("The services are up and healthy"),
            Manual::new("The logs have no errors").doc(
                "Of the last ten minutes:\n\n```\njournalctl --since -10m -p err\n```\n\nNone is \
                 expected.",
            ),
        ],
    );
    Arc::clone(b.build().expect("the fixture is wired well").outline())
}

fn begun() -> Script {
    let mut script = Script::of(outline(), Mode::Run);
    script.entered(LADDER);
    script.looked(900, LADDER, CheckRole::Ladder, "The site answers", Level::Fail, "no answer");
    script
}

/// The remedy did not help, twenty minutes after the start.
pub(crate) fn failed() -> Script {
    let mut script = begun();
    script.entered("bring-it-back/restart-it");
    script.started(10, RESTART).finished(20 * MINUTE, RESTART, "\"up\"");
    script.left("bring-it-back/restart-it", BlockOutcome::Succeeded);
    script.looked(10, LADDER, CheckRole::Ladder, "The site answers", Level::Fail, "no answer");
    script.left(LADDER, BlockOutcome::Failed);
    let no = Problem {
        next: Some("escalate: say that the release of today is suspected".into()),
        ..problem(FailureKind::Failed, "no remedy helped: The site answers: no answer")
    };
    let cause = no.message.clone();
    script.add(1, EventKind::RollbackStarted { cause, units: vec![unit(RESTART)] });
    script.undone(400, RESTART);
    script.end(Status::RolledBack, |end| {
        end.problem = Some(no);
        end.undone = vec![unit(RESTART)];
        end.next = vec!["report 20260314-150926-k7xq".into()];
    });
    script
}

/// The site answered again by itself; the checklist waits.
fn suspended() -> Script {
    let mut script = Script::of(outline(), Mode::Run);
    for ladder in [LADDER, "give-it-room"] {
        script.entered(ladder);
        script.looked(900, ladder, CheckRole::Ladder, "It is well", Level::Pass, "it is");
        script.left(ladder, BlockOutcome::Succeeded);
    }
    script.entered("afterwards");
    let ask = |id: &str, text: &str| {
        let question = Question { kind: QuestionKind::Confirmation, text: text.into() };
        Waiting { unit: unit(id), question }
    };
    let waiting =
        vec![ask(HEALTHY, "The services are up and healthy"), ask(LOGS, "The logs have no errors")];
    for wait in waiting.clone() {
        script.add(2, EventKind::Asked { unit: wait.unit, question: wait.question });
    }
    script.add(1, EventKind::Suspended { waiting });
    script
}

/// The checklist was ticked off after so many minutes.
fn solved(after_minutes: u64) -> Script {
    let mut script = suspended();
    for (id, by) in [(HEALTHY, "kim"), (LOGS, "lee")] {
        let answer = EventKind::Answered { unit: unit(id), by: by.into(), answer: Answer::Yes };
        script.add(after_minutes * MINUTE, answer);
    }
    let mode = runbook_core::ResumeMode::Forward;
    script.add(1000, EventKind::RunResumed { by: crate::fixture::actor("kim", 4300), mode });
    script.entered("afterwards").finished(1, HEALTHY, "").finished(1, LOGS, "");
    script.left("afterwards", BlockOutcome::Succeeded);
    script.end(Status::Succeeded, |_| {});
    script
}

#[test]
fn its_page_says_how_grave_it_is_whom_to_call_and_has_boxes_to_tick() {
    insta::assert_snapshot!("page", page(&outline()));
    insta::assert_snapshot!("mermaid", mermaid(&outline()));
}

#[test]
fn a_report_says_whom_to_call_by_how_long_it_has_lasted() {
    let timeline = failed().timeline();
    insta::assert_snapshot!("failed.md", timeline_markdown(&timeline));
    insta::assert_snapshot!("failed.json", json(&timeline));
    insta::assert_snapshot!("failed.junit", junit(&timeline));
    insta::assert_snapshot!("failed.html", without_style(&timeline_html(&timeline)));
}

#[test]
fn a_checklist_waits_for_each_of_its_items() {
    insta::assert_snapshot!("suspended.md", timeline_markdown(&suspended().timeline()));
}

#[test]
fn a_solved_incident_says_who_answered_and_whether_in_time() {
    insta::assert_snapshot!("solved.md", timeline_markdown(&solved(4).timeline()));
    let response = solved(4).timeline().response().unwrap();
    assert_eq!((response.met(), response.how.as_deref()), (Some(true), Some("kim answered")));
    assert_eq!(solved(16).timeline().response().unwrap().met(), Some(false));
    assert_eq!(failed().timeline().response().unwrap().met(), None, "nobody answered in it");
}

/// Who starts a run for something older answers it by that.
#[test]
fn an_incident_is_as_old_as_its_starter_says() {
    let older = |minutes: u64| {
        let mut script = failed();
        let head = Arc::make_mut(&mut script.events[0]);
        let EventKind::RunStarted(start) = &mut head.event else { panic!("the head") };
        start.began = Some(Timestamp::from_micros(head.at.as_micros() - minutes * MINUTE * 1000));
        script.timeline()
    };
    let response = older(12).response().unwrap();
    assert_eq!((response.met(), response.how.as_deref()), (Some(true), Some("kim started")));
    assert_eq!(older(16).response().unwrap().met(), Some(false));
    let called = |minutes: u64| {
        let lines = older(minutes).summary().lines;
        lines.iter().filter(|line| line.label == "Call now").count()
    };
    assert_eq!((called(0), called(45)), (3, 4), "the first two levels, and that after an hour");
}

/// What a ladder names counts for what that ladder was for.
#[test]
fn a_ladder_with_people_of_its_own_names_them() {
    let mut script = begun();
    script.left(LADDER, BlockOutcome::Succeeded);
    let label = |script: &Script| script.timeline().calls()[0].call[0].name.clone();
    assert_eq!(label(&script), "Kim");
    script.entered("give-it-room").left("give-it-room", BlockOutcome::Failed);
    assert_eq!(label(&script), "The storage team");
}

#[test]
fn what_a_person_ended_needs_nobody_called() {
    let mut script = begun();
    script.add(5, EventKind::CancelRequested { by: "kim".into() });
    script.left(LADDER, BlockOutcome::Failed);
    script.end(Status::Failed, |end| {
        end.problem = Some(problem(FailureKind::Cancelled, "cancelled by kim"));
    });
    let lines = script.timeline().summary().lines;
    assert!(lines.iter().all(|line| !line.label.starts_with("Call")), "{lines:?}");
}
