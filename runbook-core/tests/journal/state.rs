//! Which events may follow which.

use runbook_core::{
    Answer, BlockKind, BlockOutcome, Decision, Direction, Event, EventKind, Phase, Question,
    QuestionKind, ResumeMode, RunState, SkipReason, Stage, Status, Transfer, TransferState,
    UndoKind, UnitKind, Waiting,
};

use crate::kit::{
    actor, block, end, fail, finish, id, json, outline, shop, start, start_plain, started_run,
    undo, undo_failed, undone, unit,
};

/// The state of a run of the shop after these events.
fn after(events: impl IntoIterator<Item = EventKind>) -> RunState {
    let mut state = RunState::default();
    let begin = started_run("run", shop());
    for event in std::iter::once(begin).chain(events) {
        take(&mut state, event);
    }
    state
}

#[track_caller]
fn take(state: &mut RunState, event: EventKind) {
    let event = Event::now(event);
    if let Err(error) = state.apply(&event) {
        panic!("{error}: {:?}", event.event);
    }
}

/// What is said of an event that can't follow; nothing may have changed.
#[track_caller]
fn refusal(state: &RunState, event: EventKind) -> String {
    let mut tried = state.clone();
    let error = tried.apply(&Event::now(event)).expect_err("it is refused");
    assert_eq!(error.at, state.events() + 1);
    assert_eq!(format!("{tried:?}"), format!("{state:?}"), "a refused event changes nothing");
    error.why
}

fn resume(mode: ResumeMode) -> EventKind {
    EventKind::RunResumed { by: actor(), mode }
}

fn forward() -> EventKind {
    resume(ResumeMode::Forward)
}

fn back(units: &[&str]) -> EventKind {
    let units = units.iter().map(|unit| id(unit)).collect();
    EventKind::RollbackStarted { cause: "it failed".into(), units }
}

fn skip(unit: &str, why: SkipReason) -> EventKind {
    EventKind::Skipped { unit: id(unit), why, output: None }
}

fn decide(unit: &str, decision: Decision) -> EventKind {
    EventKind::Decided { unit: id(unit), by: "ada".into(), decision }
}

fn suspend(unit: &str) -> EventKind {
    let question = Question { kind: QuestionKind::Confirmation, text: "Is it up?".into() };
    EventKind::Suspended { waiting: vec![Waiting { unit: id(unit), question }] }
}

fn transfer(unit: &str) -> Transfer {
    Transfer {
        unit: id(unit),
        host: "web-1".into(),
        path: "/srv/shop.tar.gz".into(),
        direction: Direction::Up,
        state: TransferState::Done,
        done: 104_857_600,
        total: Some(104_857_600),
        elapsed_ms: 386,
        sha256: Some("9f".repeat(32)),
    }
}

fn sent(unit: &str) -> EventKind {
    EventKind::Transfer(Box::new(transfer(unit)))
}

fn answer(unit: &str) -> EventKind {
    EventKind::Answered { unit: id(unit), by: "ada".into(), answer: Answer::Yes }
}

#[test]
fn a_run_begins_once_with_its_head() {
    let fresh = RunState::default();
    assert_eq!(fresh.phase(), Phase::Fresh);
    assert_eq!(refusal(&fresh, start("dump")), "a run begins with `run_started`");
    let begun = after([]);
    assert_eq!(begun.phase(), Phase::Running);
    assert_eq!(refusal(&begun, started_run("run", shop())), "the run was started already");
}

#[test]
fn a_plan_with_two_units_of_one_name_is_refused() {
    let unit = || unit("dump", UnitKind::Step, UndoKind::Harmless);
    let plan = outline(vec![unit(), block("web", BlockKind::Group, vec![unit()])], Vec::new());
    let said = refusal(&RunState::default(), started_run("run", plan));
    assert_eq!(said, "the plan has two of `dump`");
}

#[test]
fn a_unit_or_block_that_the_plan_does_not_have_is_refused() {
    let state = after([]);
    assert_eq!(refusal(&state, start("other")), "the plan has no unit `other`");
    let block = EventKind::BlockStarted { block: id("other") };
    assert_eq!(refusal(&state, block), "the plan has no block `other`");
    assert_eq!(refusal(&state, sent("other")), "the plan has no unit `other`");
}

#[test]
fn a_file_may_be_one_of_a_unit_or_of_a_ladders_check() {
    let mut state = after([start("dump"), sent("dump"), sent("web"), finish("dump"), sent("dump")]);
    assert_eq!(state.events(), 6);
    let mut passing = Transfer { sha256: None, ..transfer("other") };
    passing.state = TransferState::Moving;
    take(&mut state, EventKind::Transfer(Box::new(passing)));
    assert_eq!(state.events(), 6, "what only passes is no part of it");
}

#[test]
fn a_unit_is_started_once() {
    let state = after([start("dump")]);
    assert_eq!(refusal(&state, start("dump")), "unit `dump` is started and can't be started");
    let state = after([start("dump"), finish("dump")]);
    assert_eq!(refusal(&state, start("dump")), "unit `dump` is finished and can't be started");
    assert_eq!(refusal(&state, finish("dump")), "unit `dump` is finished and can't be finished");
}

#[test]
fn a_finished_unit_never_runs_again_on_resume() {
    let state = after([start("dump"), finish("dump"), forward()]);
    assert_eq!(refusal(&state, start("dump")), "unit `dump` is finished and can't be started");
    let why = skip("dump", SkipReason::Operator);
    assert_eq!(refusal(&state, why), "unit `dump` is finished and can't be skipped");
}

#[test]
fn a_record_comes_with_a_unit_that_is_undone_by_one() {
    let state = after([]);
    assert_eq!(
        refusal(&state, start_plain("dump")),
        "unit `dump` is pending and can't be started without a record to undo it by"
    );
    assert_eq!(
        refusal(&state, start("note")),
        "unit `note` is pending and can't be started with a record: it is not undone"
    );
}

#[test]
fn a_check_finishes_without_a_start() {
    let state = after([finish("healthy"), finish("look")]);
    assert_eq!(state.unit(&id("healthy")).unwrap().stage, Stage::Finished);
    assert!(state.start_order().is_empty());
    assert_eq!(
        refusal(&after([]), start_plain("healthy")),
        "unit `healthy` is pending and can't be started: it is no step"
    );
    assert_eq!(refusal(&after([]), finish("note")), "unit `note` is pending and can't be finished");
}

#[test]
fn an_interrupted_unit_has_four_ways_on() {
    let interrupted = after([start("dump"), finish("dump"), start("switch"), forward()]);
    assert_eq!(interrupted.interrupted(), [id("switch")]);

    let mut again = interrupted.clone();
    let second = EventKind::Started { unit: id("switch"), record: Some(json("\"later\"")) };
    take(&mut again, second);
    let record = again.unit(&id("switch")).unwrap().record.clone().unwrap();
    assert_eq!(record.get(), r#"{"was":"1"}"#, "the first record shows what to go back to");
    assert_eq!(again.start_order(), [id("dump"), id("switch")]);
    take(&mut again, finish("switch"));

    let mut satisfied = interrupted.clone();
    take(&mut satisfied, finish("switch"));
    take(&mut satisfied, end(Status::Succeeded));

    let mut skipped = interrupted.clone();
    take(&mut skipped, decide("switch", Decision::Skip));
    take(&mut skipped, skip("switch", SkipReason::Operator));
    assert_eq!(skipped.to_undo(), [id("switch"), id("dump")], "it may have taken effect");
    take(&mut skipped, end(Status::Succeeded));

    let mut undone_ = interrupted;
    take(&mut undone_, back(&["switch", "dump"]));
    for event in [undo("switch"), undone("switch"), undo("dump"), undone("dump")] {
        take(&mut undone_, event);
    }
    take(&mut undone_, end(Status::RolledBack));
}

#[test]
fn a_failed_unit_is_tried_again_after_a_resume_only() {
    let events = || [start("dump"), fail("dump")];
    let state = after(events());
    assert_eq!(refusal(&state, start("dump")), "unit `dump` is failed and can't be started");
    assert_eq!(
        refusal(&state, skip("dump", SkipReason::Operator)),
        "unit `dump` is failed and can't be skipped"
    );
    let ended = events().into_iter().chain([end(Status::Failed), forward()]);
    take(&mut after(ended), start("dump"));
    let decided = events().into_iter().chain([decide("dump", Decision::Retry)]);
    take(&mut after(decided), start("dump"));

    let state = after([fail("healthy")]);
    assert_eq!(
        refusal(&state, finish("healthy")),
        "unit `healthy` is failed and can't be finished"
    );
    take(&mut after([fail("healthy"), end(Status::Failed), forward()]), finish("healthy"));
}

#[test]
fn a_verification_can_fail_a_finished_unit() {
    let state = after([start("dump"), finish("dump"), fail("dump")]);
    let dump = state.unit(&id("dump")).unwrap();
    assert_eq!((dump.stage, dump.has_output), (Stage::Failed, true));
    assert_eq!(state.to_undo(), [id("dump")]);
}

#[test]
fn what_is_skipped_as_satisfied_has_an_output() {
    let satisfied = EventKind::Skipped {
        unit: id("dump"),
        why: SkipReason::Satisfied,
        output: Some(json("1")),
    };
    let state = after([satisfied, skip("switch", SkipReason::Condition)]);
    assert!(state.unit(&id("dump")).unwrap().has_output);
    assert!(!state.unit(&id("switch")).unwrap().has_output);
    assert!(state.to_undo().is_empty());
}

#[test]
fn only_what_has_an_effect_is_undone_and_once() {
    let state = after([start_plain("note"), finish("note"), start("dump"), finish("dump")]);
    assert_eq!(
        refusal(&state, undo("note")),
        "unit `note` is finished and can't be undone: there is nothing to undo"
    );
    assert_eq!(
        refusal(&state, undo("switch")),
        "unit `switch` is pending and can't be undone: there is nothing to undo"
    );
    assert_eq!(
        refusal(&state, undone("dump")),
        "unit `dump` is finished and can't be undone before its undoing started"
    );
    let state = after([start("dump"), finish("dump"), undo("dump"), undone("dump")]);
    assert_eq!(
        refusal(&state, undo("dump")),
        "unit `dump` is undone and can't be undone: there is nothing to undo"
    );
}

#[test]
fn a_unit_at_work_is_not_undone_nor_the_run_ended_around_it() {
    let state = after([start("dump")]);
    assert_eq!(
        refusal(&state, undo("dump")),
        "unit `dump` is started and can't be undone while it is at work"
    );
    assert_eq!(refusal(&state, back(&["dump"])), "going back can't begin: `dump` is at work");
    assert_eq!(refusal(&state, suspend("look")), "the run can't be suspended: `dump` is at work");
    for status in [Status::Succeeded, Status::RolledBack, Status::Failed, Status::Stuck] {
        assert_eq!(refusal(&state, end(status)), "the run can't have ended: `dump` is at work");
    }
}

#[test]
fn nothing_new_is_started_on_the_way_back_but_what_is_done_come_what_may() {
    let mut state = after([start("dump"), fail("dump"), back(&["dump"])]);
    assert_eq!(state.phase(), Phase::RollingBack);
    assert_eq!(
        refusal(&state, start("switch")),
        "unit `switch` can't be started: the run is going back"
    );
    assert_eq!(
        refusal(&state, finish("healthy")),
        "unit `healthy` can't be finished: the run is going back"
    );
    for event in [undo("dump"), undone("dump"), start_plain("tidy"), finish("tidy")] {
        take(&mut state, event);
    }
    take(&mut state, end(Status::RolledBack));
}

#[test]
fn what_is_done_come_what_may_stays() {
    let plan = outline(
        vec![unit("dump", UnitKind::Step, UndoKind::Recorded)],
        vec![unit("page-off", UnitKind::Step, UndoKind::Recorded)],
    );
    let mut state = RunState::default();
    let story = [start("dump"), fail("dump"), back(&["dump"]), undo("dump"), undone("dump")];
    for event in std::iter::once(started_run("run", plan)).chain(story) {
        take(&mut state, event);
    }
    take(&mut state, start("page-off"));
    take(&mut state, forward());
    assert!(state.to_undo().is_empty());
    assert_eq!(state.interrupted(), [id("page-off")]);
    take(&mut state, start("page-off"));
    take(&mut state, finish("page-off"));
    take(&mut state, end(Status::RolledBack));
}

#[test]
fn a_rollback_lists_what_has_something_to_undo() {
    let state = after([start("dump"), fail("dump")]);
    assert_eq!(refusal(&state, back(&["switch"])), "unit `switch` has nothing to undo");
}

#[test]
fn a_branch_is_undone_while_the_run_goes_on() {
    let mut state = after([start("switch"), fail("switch"), undo("switch"), undone("switch")]);
    assert_eq!(state.phase(), Phase::Running);
    let isolated = BlockOutcome::Isolated { problem: crate::kit::problem() };
    take(&mut state, EventKind::BlockFinished { block: id("web"), outcome: isolated });
    take(&mut state, start("dump"));
    take(&mut state, finish("dump"));
    take(&mut state, end(Status::Succeeded));
}

#[test]
fn what_was_undone_starts_anew_when_the_run_goes_forward_again() {
    let first = [start("switch"), fail("switch"), undo("switch"), undone("switch"), start("dump")];
    let mut state = after(first.into_iter().chain([fail("dump"), end(Status::Failed)]));
    assert_eq!(state.to_undo(), [id("dump")]);
    take(&mut state, forward());
    let record = Some(json("\"new\""));
    take(&mut state, EventKind::Started { unit: id("switch"), record });
    let switch = state.unit(&id("switch")).unwrap();
    assert_eq!(switch.record.as_ref().unwrap().get(), "\"new\"");
    assert_eq!(state.start_order(), [id("dump"), id("switch")], "it is the latest now");
    assert_eq!(state.to_undo(), [id("switch"), id("dump")]);
}

#[test]
fn a_start_that_came_to_nothing_after_an_undo_leaves_nothing_to_undo() {
    let first = [start("switch"), fail("switch"), undo("switch"), undone("switch")];
    let state = after(first.into_iter().chain([end(Status::Failed), forward(), fail("switch")]));
    assert!(state.to_undo().is_empty());
}

#[test]
fn going_back_is_not_given_up() {
    let begun = [start("dump"), finish("dump"), fail("healthy"), back(&["dump"])];
    let mut interrupted = after(begun.into_iter().chain([forward()]));
    assert_eq!(interrupted.phase(), Phase::RollingBack);
    take(&mut interrupted, back(&["dump"]));
    take(&mut interrupted, undo("dump"));
    take(&mut interrupted, undo_failed("dump"));
    assert_eq!(
        refusal(&interrupted, end(Status::RolledBack)),
        "the run can't be rolled back: `dump` was not undone"
    );
    assert_eq!(
        refusal(&interrupted, end(Status::Failed)),
        "the run is stuck, not failed: `dump` was not undone"
    );
    assert_eq!(
        refusal(&interrupted, end(Status::Succeeded)),
        "the run can't have succeeded: it was going back"
    );
    take(&mut interrupted, end(Status::Stuck));
    take(&mut interrupted, forward());
    assert_eq!(interrupted.phase(), Phase::RollingBack, "stuck goes on going back");
}

#[test]
fn a_rollback_that_suspends_is_a_rollback_still() {
    let begun = [start("dump"), fail("dump"), back(&["dump"]), suspend("tidy"), forward()];
    assert_eq!(after(begun).phase(), Phase::RollingBack);
}

#[test]
fn a_stuck_unit_is_restored_by_hand() {
    let mut state = after([
        start("dump"),
        fail("dump"),
        back(&["dump"]),
        undo("dump"),
        undo_failed("dump"),
        end(Status::Stuck),
    ]);
    assert_eq!(refusal(&state, undo("dump")), "the run had ended: stuck");
    take(&mut state, decide("dump", Decision::Restored));
    take(&mut state, forward());
    take(&mut state, end(Status::RolledBack));
    assert_eq!(refusal(&state, forward()), "the run had ended: rolled back");
}

#[test]
fn an_undo_that_failed_or_was_interrupted_is_tried_again() {
    let begun = [start("dump"), fail("dump"), back(&["dump"]), undo("dump")];
    let state = after(begun);
    assert_eq!(
        refusal(&state, undo("dump")),
        "unit `dump` is being undone and can't be undone while it is at work"
    );
    let begun = [start("dump"), fail("dump"), back(&["dump"]), undo("dump"), forward()];
    let mut interrupted = after(begun);
    for event in [undo("dump"), undo_failed("dump"), undo("dump"), undone("dump")] {
        take(&mut interrupted, event);
    }
    take(&mut interrupted, end(Status::RolledBack));
}

#[test]
fn one_decides_about_what_is_open_only() {
    for (state, stage) in [
        (after([]), "pending"),
        (after([start("dump"), finish("dump")]), "finished"),
        (after([skip("dump", SkipReason::Satisfied)]), "skipped"),
    ] {
        assert_eq!(
            refusal(&state, decide("dump", Decision::Retry)),
            format!("unit `dump` is {stage} and can't be decided about")
        );
    }
    let state = after([start("dump"), fail("dump")]);
    assert_eq!(
        refusal(&state, decide("dump", Decision::Restored)),
        "unit `dump` is failed and can't be taken as restored"
    );
}

#[test]
fn a_suspended_run_takes_answers_to_its_question_only() {
    let mut state = after([suspend("look")]);
    assert_eq!(state.phase(), Phase::Suspended);
    assert_eq!(state.waiting().len(), 1);
    assert_eq!(refusal(&state, answer("dump")), "unit `dump` asks nothing");
    assert_eq!(refusal(&state, start("dump")), "the run was suspended and not resumed");
    assert_eq!(refusal(&state, end(Status::Failed)), "the run was suspended and not resumed");
    take(&mut state, answer("look"));
    assert_eq!(state.unit(&id("look")).unwrap().answer, Some(("ada".into(), Answer::Yes)));
    take(&mut state, forward());
    assert!(state.waiting().is_empty());
    take(&mut state, finish("look"));
}

#[test]
fn a_succeeded_run_can_only_be_rolled_back() {
    let mut state = after([start("dump"), finish("dump"), end(Status::Succeeded)]);
    assert_eq!(state.finished().unwrap().status, Status::Succeeded);
    assert_eq!(refusal(&state, forward()), "the run had ended: succeeded");
    take(&mut state, resume(ResumeMode::Rollback));
    assert!(state.finished().is_none());
    take(&mut state, back(&["dump"]));
    take(&mut state, undo("dump"));
    take(&mut state, undone("dump"));
    take(&mut state, end(Status::RolledBack));
}

#[test]
fn success_leaves_nothing_open() {
    let interrupted = after([start("dump"), forward()]);
    let said = "the run can't have succeeded: `dump` is open";
    assert_eq!(refusal(&interrupted, end(Status::Succeeded)), said);
    assert_eq!(refusal(&after([start("dump"), fail("dump")]), end(Status::Succeeded)), said);
    let not_restored = [start("dump"), fail("dump"), undo("dump"), undo_failed("dump")];
    assert_eq!(refusal(&after(not_restored), end(Status::Succeeded)), said);
    assert_eq!(refusal(&after([]), end(Status::Suspended)), "a suspended run has not ended");
    assert_eq!(
        refusal(&after([]), end(Status::RolledBack)),
        "the run can't be rolled back: it was not going back"
    );
}

#[test]
fn irreversible_effects_are_kept() {
    let sent = [start_plain("mail"), fail("mail"), end(Status::Failed), forward()];
    let mut state = after(sent);
    assert_eq!(state.kept(), [id("mail")]);
    take(&mut state, skip("mail", SkipReason::Operator));
    assert_eq!(state.kept(), [id("mail")], "it was begun, and nothing took it back");
    assert!(state.to_undo().is_empty());
}

#[test]
fn an_ended_run_takes_what_is_told_about_it() {
    let mut state = after([end(Status::Failed)]);
    take(&mut state, EventKind::LockReleased { resource: "database:shop".into() });
    take(&mut state, EventKind::Notified { to: "ops@example.org".into(), problem: None });
    assert_eq!(refusal(&state, start("dump")), "the run had ended: failed");
}

#[test]
fn passing_events_count_for_nothing() {
    let mut state = after([]);
    let before = state.events();
    take(&mut state, EventKind::Progress { unit: id("unknown"), done: 1, total: None });
    assert_eq!(state.events(), before);
}
