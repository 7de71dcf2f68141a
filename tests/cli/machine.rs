//! The command line without a terminal: exit codes, plain lines, JSON, signals, suspended runs.

use std::io::Write as _;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{World, finish, signal, tidy, wait_until};

fn json_lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn every_way_to_end_has_its_exit_code() {
    let world = World::new();
    assert_eq!(world.run(&["run", "deploy", "--release", "v2", "-y"]).code, 0);
    assert_eq!(world.run(&["run", "broken"]).code, 1, "failed and rolled back");
    assert_eq!(world.run(&["run", "hopeless"]).code, 1, "failed with nothing to undo");
    assert_eq!(world.run(&["run", "stuck"]).code, 3);
    assert_eq!(world.run(&["run", "ask"]).code, 5);
}

#[test]
fn plain_lines_tell_what_happened_and_the_summary_what_to_do() {
    let world = World::new();
    let _tidy = tidy(&world);
    insta::assert_snapshot!("plain_broken", world.run(&["run", "broken"]).out);
    insta::assert_snapshot!("plain_stuck", world.run(&["run", "stuck"]).out);
    insta::assert_snapshot!("plain_ask", world.run(&["run", "ask", "--reason", "a test"]).out);
    let verbose = world.run(&["run", "broken", "-v"]).out;
    assert!(verbose.contains("output    write-current: current: line 12 of 12"), "{verbose}");
    assert!(!verbose.contains('\x1b'));
}

/// When it began decides who is called.
#[test]
fn an_incident_that_is_not_solved_says_whom_to_call_now_and_later() {
    let world = World::new();
    let _tidy = tidy(&world);
    insta::assert_snapshot!("plan_outage", world.run(&["plan", "outage"]).out);
    insta::assert_snapshot!("plain_outage", world.run(&["run", "outage"]).out);
    let older = world.run(&["run", "outage", "--began", "20m"]).out;
    let call = "  call now   Kim (on call): +1 555 0100 or #shop\n             Lee (lead): lee@example.org\n";
    assert!(older.contains(call), "{older}");
    let report = world.run(&["report", "last"]).out;
    assert!(report.contains("in time: ops started after 20 min"), "{report}");

    for (when, why) in [("soon", "write `20m`"), ("2999-01-01T00:00:00Z", "still to come")] {
        let ran = world.run(&["run", "outage", "--began", when]);
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains(why), "{}", ran.err);
    }
}

/// Without a terminal: each item is ticked off by itself, in any order.
#[test]
fn a_checklist_is_ticked_off_item_by_item() {
    let world = World::new();
    let _tidy = tidy(&world);
    world.put("up", "yes");
    let ran = world.run(&["run", "outage"]);
    assert_eq!(ran.code, 5, "{}", ran.out);
    insta::assert_snapshot!("plain_checklist", ran.out);
    for item in ["write-down-why", "see-that-orders-come-in"] {
        assert_eq!(world.run(&["resume", "last"]).code, 5, "{item} is still to be done");
        assert_eq!(world.run(&["approve", "last", &format!("afterwards/{item}")]).code, 0);
    }
    assert_eq!(world.run(&["resume", "last"]).code, 0);
    let report = world.run(&["report", "last"]).out;
    assert!(report.contains("in time: ops took it up again after"), "{report}");
}

#[test]
fn what_failed_is_put_back_and_what_can_not_be_stays() {
    let world = World::new();
    world.put("current", "old");
    let ran = world.run(&["run", "broken"]);
    assert_eq!(ran.code, 1);
    assert_eq!(world.file("current").as_deref(), Some("old"));
    assert_eq!(world.file("release"), None);
    assert_eq!(world.file("announced").as_deref(), Some("yes"));
}

#[test]
fn a_run_that_keeps_what_it_did_can_be_rolled_back_later() {
    let world = World::new();
    assert_eq!(world.run(&["run", "broken", "--keep-on-failure"]).code, 1);
    assert_eq!(world.file("current").as_deref(), Some("new"));
    let ran = world.run(&["rollback", "last"]);
    assert_eq!(ran.code, 0, "it did what was asked: {ran:?}");
    assert_eq!(world.file("current"), None);
}

#[test]
fn a_run_that_succeeded_can_be_undone() {
    let world = World::new();
    world.run(&["run", "deploy", "--release", "v2", "--yes"]);
    assert_eq!(world.file("release").as_deref(), Some("v2"));
    let ran = world.run(&["rollback", "last"]);
    assert_eq!(ran.code, 0, "it did what was asked: {ran:?}");
    assert!(ran.out.contains("because    the operator asked to roll back"), "{}", ran.out);
    assert_eq!(world.file("release"), None);
}

#[test]
fn a_stuck_run_goes_on_when_its_cause_is_gone() {
    let world = World::new();
    let ran = world.run(&["run", "stuck"]);
    assert_eq!(ran.code, 3);
    assert!(ran.out.contains("--retry"), "{}", ran.out);
    world.put("repaired", "yes");
    let ran = world.run(&["resume", "last", "--retry"]);
    assert_eq!(ran.code, 1, "rolled back: {ran:?}");
    assert_eq!((world.file("first"), world.file("second")), (None, None));
}

#[test]
fn every_line_of_json_is_an_event_and_the_last_one_the_outcome() {
    let world = World::new();
    let ran = world.run(&["run", "broken", "--output", "json"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let lines = json_lines(&ran.out);
    assert!(lines.iter().all(|line| line["at"].is_string()));
    assert!(lines[0]["event"]["run_started"]["plan"]["book"] == "broken");
    let (last, events) = lines.split_last().unwrap();
    assert!(events.iter().all(|line| line["event"].is_object()));
    let outcome = &last["outcome"];
    assert_eq!(outcome["status"], "rolled_back");
    assert_eq!(outcome["exit_code"], 1);
    assert_eq!(outcome["finished"]["undone"].as_array().unwrap().len(), 3);
    assert!(outcome["next"][0].as_str().unwrap().contains(" report "));

    let ran = world.run(&["run", "ask", "--output", "json"]);
    let outcome = &json_lines(&ran.out).pop().unwrap()["outcome"];
    assert_eq!(outcome["status"], "suspended");
    assert_eq!(outcome["waiting"][0]["unit"], "write-approved");
    assert!(outcome["next"][0].as_str().unwrap().ends_with("write-approved"));

    let ran = world.run(&["plan", "hopeless", "--output", "json"]);
    let outcome = &json_lines(&ran.out).pop().unwrap()["outcome"];
    assert_eq!((&outcome["checks_failed"], &outcome["exit_code"]), (&true.into(), &4.into()));
}

#[test]
fn a_suspended_run_is_approved_and_resumed_until_it_is_done() {
    let world = World::new();
    assert_eq!(world.run(&["run", "ask"]).code, 5);
    let run = world.last_run();

    let ran = world.run(&["approve", &run, "write-approved"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.ends_with(&format!(" resume {run}\n")), "{}", ran.out);
    assert_eq!(world.run(&["resume", &run]).code, 5, "the next question");
    assert_eq!(world.file("approved").as_deref(), Some("yes"));

    // The end of an id is enough.
    assert_eq!(world.run(&["approve", &run[16..], "call-the-hosting-company"]).code, 0);
    assert_eq!(world.run(&["resume", "last"]).code, 5);

    let refused = world.run(&["approve", "last", "open-a-ticket"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("give --answer VALUE (a whole number from 0 to 65535)"));
    // Known at once, and not only when somebody takes the run up again.
    let refused = world.run(&["approve", "last", "open-a-ticket", "--answer", "soon"]);
    assert_eq!(refused.code, 2);
    let why = "`open-a-ticket`: \"soon\": expected a whole number from 0 to 65535";
    assert!(refused.err.contains(why), "{refused:?}");
    let again = world.run(&["resume", "last"]);
    assert_eq!(again.code, 5, "nothing was noted: {again:?}");
    assert_eq!(world.run(&["approve", "last", "open-a-ticket", "--answer", "4711"]).code, 0);
    let ran = world.run(&["resume", "last"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.file("ticket").as_deref(), Some("4711"));
}

#[test]
fn questions_of_branches_are_answered_in_any_order() {
    let world = World::new();
    let ran = world.run(&["run", "both"]);
    assert_eq!(ran.code, 5);
    assert!(ran.out.contains("ask/write-left") && ran.out.contains("ask/write-right"));
    let ran = world.run(&["approve", "last", "ask/write-right"]);
    assert!(ran.out.contains("ask/write-left"), "what is still open is told: {}", ran.out);
    world.run(&["approve", "last", "ask/write-left"]);
    assert_eq!(world.run(&["resume", "last"]).code, 0);
}

#[test]
fn a_refused_approval_rolls_the_run_back() {
    let world = World::new();
    world.run(&["run", "ask"]);
    assert_eq!(world.run(&["approve", "last", "write-approved", "--no"]).code, 0);
    let ran = world.run(&["resume", "last"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!((world.file("before"), world.file("approved")), (None, None));
}

#[test]
fn a_signal_cancels_the_run_and_rolls_it_back() {
    for (kind, name) in
        [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP")]
    {
        let world = World::new();
        let child = world.start(&["run", "slow"]);
        world.wait_for("hold");
        signal(&child, kind);
        let ran = finish(child);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.out.contains(&format!("asked to end by {name}")), "{}", ran.out);
        assert_eq!((world.file("first"), world.file("hold")), (None, None));
    }
}

#[test]
fn a_second_interrupt_stops_at_once_and_says_how_to_go_on() {
    let world = World::new();
    let mut child = world.start(&["run", "stubborn", "--output", "json"]);
    world.wait_for("hold");
    // Two that come together are one: an impatient operator goes on pressing.
    wait_until("it stops", || {
        signal(&child, Signal::INT);
        child.try_wait().unwrap().is_some()
    });
    let ran = finish(child);
    assert_eq!(ran.code, 130, "{ran:?}");
    let last = json_lines(&ran.out).pop().unwrap();
    assert_eq!(last["outcome"]["status"], "interrupted");
    assert_eq!(last["outcome"]["under_way"][0], "hold");
    assert_eq!(world.file("first").as_deref(), Some("1"), "nothing was rolled back");
    let shown = world.run(&["runs", "show", "last"]);
    assert!(shown.out.contains("interrupted"), "{}", shown.out);

    let ran = world.run(&["resume", "last"]);
    assert_eq!(ran.code, 5, "an operator has to decide: {ran:?}");
    assert!(ran.out.contains("--skip"), "{}", ran.out);
    let ran = world.run(&["resume", "last", "--rollback"]);
    assert_eq!(ran.code, 0, "it did what was asked: {ran:?}");
    assert_eq!((world.file("first"), world.file("hold")), (None, None));
}

#[test]
fn a_killed_run_is_taken_up_again() {
    let world = World::new();
    let mut child = world.start(&["run", "slow"]);
    world.wait_for("hold");
    let shown = world.run(&["runs", "show", "last"]);
    assert!(shown.out.contains("running"), "{}", shown.out);
    child.kill().unwrap();
    child.wait().unwrap();
    let runs = world.run(&["runs"]);
    assert!(runs.out.contains("interrupted"), "{}", runs.out);
    world.put("go", "");
    let ran = world.run(&["resume", "last", "--retry"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.file("last").as_deref(), Some("3"));
}

#[test]
fn locks_are_listed_and_taken_away() {
    let world = World::new();
    let _tidy = tidy(&world);
    assert_eq!(world.run(&["locks"]).out, "nothing is locked\n");
    let child = world.start(&["run", "slow", "--reason", "prices"]);
    world.wait_for("hold");
    let locks = world.run(&["locks"]);
    assert!(locks.out.contains("site:demo") && locks.out.contains("prices"), "{}", locks.out);
    let json = world.run(&["locks", "--output", "json"]);
    let locks: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(locks[0]["holder"]["reason"], "prices");

    let second = world.run(&["run", "slow"]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.out.contains("site:demo"), "it says what is locked: {}", second.out);

    let refused = world.run(&["unlock", "site:demo"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("give --yes"), "{}", refused.err);
    let broken = world.run(&["unlock", "site:demo", "--yes"]);
    assert_eq!(broken.code, 0);
    assert!(broken.out.contains("it was locked by run"), "{}", broken.out);
    world.put("go", "");
    finish(child);
    wait_until("the lock is gone", || world.run(&["locks"]).out == "nothing is locked\n");
}

#[test]
fn secrets_come_from_a_variable_or_a_file_and_are_shown_nowhere() {
    let world = World::new();
    let mut command = world.command(&["run", "sealed", "--env", "test", "-v", "-y"]);
    let ran = World::end(command.env("RUNBOOK_PARAM_DB_PASSWORD", "correct horse"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.file("length").as_deref(), Some("13"));
    assert!(ran.out.contains("logged in with ***"), "{}", ran.out);
    assert!(!format!("{ran:?}").contains("correct horse"));

    let world = World::new();
    std::fs::write(world.path().join("password"), "battery staple\n").unwrap();
    let ran = world.run(&["run", "sealed", "--db-password-file", "password", "-v"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert_eq!(world.file("length").as_deref(), Some("14"), "the line end is not part of it");

    // The journal does not have it, so that it has to be given again.
    world.run(&["approve", "last", "write-later"]);
    let refused = world.run(&["resume", "last"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("the secret `db_password` is missing"), "{}", refused.err);
    let ran = world.run(&["resume", "last", "--secret-file", "db_password=password"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let journal = world.path().join("state/demo/runs").join(world.last_run()).join("journal.jsonl");
    let journal = std::fs::read_to_string(journal).unwrap();
    assert!(journal.contains("db_password") && !journal.contains("battery staple"));
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let world = World::new();
    let mut child = world.start(&["run", "deploy", "--release", "v2", "--yes"]);
    drop(child.stdout.take());
    let ran = finish(child);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.file("log").as_deref(), Some("deployed"));
}

#[test]
fn input_that_is_no_terminal_is_not_taken_for_an_operator() {
    let world = World::new();
    let mut command = world.command(&["run", "ask", "--env", "test"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"y\ny\n42\n").unwrap();
    assert_eq!(finish(child).code, 5);
}
