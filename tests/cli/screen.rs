//! The command line at a terminal: the live view, questions, keys.

use crate::support::{World, tidy};

#[test]
fn questions_are_asked_and_wrong_answers_are_refused() {
    let world = World::new();
    let _tidy = tidy(&world);
    let mut terminal = world.terminal(&["run", "ask"], 90, 50);
    let approve = "approve? [y]es, [n]o stops the run:";
    terminal.wait_for_cue(approve);
    terminal.type_keys("\n");
    terminal.wait_for_cue(&format!("please type y or n\n  {approve}"));
    terminal.type_keys("y\n");
    terminal.wait_for_cue("The number is in the contract.\n  done? [y]es, [n]o stops the run:");
    terminal.type_keys("done\n");
    let value = "a whole number from 0 to 65535:";
    terminal.wait_for_cue(&format!("Which number did it get?\n  {value}"));
    terminal.type_keys("soon\n");
    terminal.wait_for_cue(&format!("expected a whole number from 0 to 65535\n  {value}"));
    terminal.type_keys("4711\n");
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    assert_eq!(world.file("ticket").as_deref(), Some("4711"));
    insta::assert_snapshot!("screen_ask", screen);
}

#[test]
fn questions_of_branches_are_asked_one_after_the_other() {
    let world = World::new();
    let mut terminal = world.terminal(&["run", "both"], 90, 50);
    let first = terminal.wait_for_cue("stops the run:");
    terminal.type_keys("y\n");
    let other = if first.contains("Go left?") { "Go right?" } else { "Go left?" };
    terminal.wait_for_cue(&format!("{other}\n  approve? [y]es, [n]o stops the run:"));
    terminal.type_keys("y\n");
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    assert_eq!((world.file("left"), world.file("right")), (Some("1".into()), Some("1".into())));
}

#[test]
fn a_no_stops_the_run_and_rolls_it_back() {
    let world = World::new();
    let mut terminal = world.terminal(&["run", "ask"], 90, 50);
    terminal.wait_for_cue("stops the run:");
    terminal.type_keys("n\n");
    let (code, screen) = terminal.end();
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("rolled back"), "{screen}");
    assert_eq!(world.file("before"), None);
}

#[test]
fn the_end_of_input_at_a_question_ends_the_run_in_order() {
    let world = World::new();
    let mut terminal = world.terminal(&["run", "ask"], 90, 50);
    terminal.wait_for_cue("stops the run:");
    terminal.type_keys("\x04");
    let (code, screen) = terminal.end();
    assert_eq!(code, 1, "{screen}");
    assert_eq!(world.file("before"), None);
}

#[test]
fn ctrl_c_at_a_question_ends_the_run_in_order() {
    let world = World::new();
    let mut terminal = world.terminal(&["run", "ask"], 90, 50);
    terminal.wait_for_cue("stops the run:");
    terminal.type_keys("\x03");
    let (code, screen) = terminal.end();
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("Asked to end by SIGINT"), "{screen}");
    assert_eq!(world.file("before"), None);
}

#[test]
fn a_run_shows_what_is_going_on_and_ctrl_c_rolls_it_back() {
    let world = World::new();
    let _tidy = tidy(&world);
    let mut terminal = world.terminal(&["run", "slow"], 80, 24);
    let live = terminal.wait_for("waiting for the word");
    insta::assert_snapshot!("screen_slow_live", live);
    terminal.type_keys("\x03");
    let (code, screen) = terminal.end();
    assert_eq!(code, 1, "{screen}");
    insta::assert_snapshot!("screen_slow_cancelled", screen);
}

#[test]
fn ctrl_c_twice_stops_at_once() {
    let world = World::new();
    let _tidy = tidy(&world);
    let mut terminal = world.terminal(&["run", "stubborn"], 80, 24);
    terminal.wait_for("waiting for the word");
    terminal.type_keys("\x03");
    terminal.wait_for("Ctrl-C again stops at once");
    terminal.type_keys("\x03");
    let (code, screen) = terminal.end();
    assert_eq!(code, 130, "{screen}");
    insta::assert_snapshot!("screen_stubborn_interrupted", screen);
    assert_eq!(world.file("first").as_deref(), Some("1"));
}

#[test]
fn an_interrupted_run_asks_what_to_do_with_what_was_under_way() {
    let world = World::new();
    let mut child = world.start(&["run", "slow"]);
    world.wait_for("hold");
    child.kill().unwrap();
    child.wait().unwrap();
    world.put("go", "");
    let mut terminal = world.terminal(&["resume", "last"], 90, 30);
    terminal.wait_for_cue("[r]etry, [s]kip, roll [b]ack:");
    terminal.type_keys("r\n");
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("taken up again by ops"), "{screen}");
    assert_eq!(world.file("last").as_deref(), Some("3"));
}

#[test]
fn blocks_of_all_kinds_scroll_by_in_order_at_any_width() {
    for (columns, name) in [(60, "screen_rollout_60"), (160, "screen_rollout_160")] {
        let world = World::new();
        let _tidy = tidy(&world);
        let terminal = world.terminal(&["run", "rollout"], columns, 60);
        let (code, screen) = terminal.end();
        assert_eq!(code, 6, "not on every host: {screen}");
        assert!(screen.lines().all(|line| line.chars().count() <= columns.into()));
        assert!(screen.contains("web2: failed and undone, the run goes on"), "{screen}");
        insta::assert_snapshot!(name, order_free(&screen));
    }
}

/// The screen with what is prepared at the same time in a fixed order.
fn order_free(screen: &str) -> String {
    let mut lines: Vec<&str> = screen.lines().collect();
    let first = lines.iter().position(|line| line.contains("Prepare")).unwrap() + 1;
    let behind = lines.iter().position(|line| line.contains("maintenance is there")).unwrap();
    lines[first..behind].sort_unstable();
    lines.join("\n")
}

#[test]
fn the_view_follows_the_width_of_the_terminal() {
    let world = World::new();
    let mut terminal = world.terminal(&["run", "slow"], 100, 30);
    terminal.wait_for("Ctrl-C cancels and rolls back");
    terminal.resize(30, 30);
    let narrow = terminal.wait_for("…");
    assert!(narrow.lines().all(|line| line.chars().count() <= 30), "{narrow}");
    terminal.type_keys("\x03");
    assert_eq!(terminal.end().0, 1);
}

#[test]
fn a_terminal_without_colours_or_utf8_gets_neither() {
    let world = World::new();
    let vars = [("NO_COLOR", "1"), ("LANG", "C")];
    let terminal = world.terminal_with(&["run", "broken"], &vars);
    let raw = {
        terminal.wait_for("rolled back");
        terminal.raw()
    };
    let (code, screen) = terminal.end();
    assert_eq!(code, 1);
    assert!(screen.is_ascii(), "{screen}");
    assert!(!raw.contains("\x1b[3") && !raw.contains("\x1b[1m"), "{raw:?}");
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let world = World::new();
    let (code, screen) = world.terminal_with(&["run", "broken"], &[("TERM", "dumb")]).end();
    assert_eq!(code, 1);
    assert!(screen.contains("started   write-release"), "{screen}");
}

#[test]
fn a_secret_is_asked_for_and_not_shown() {
    let world = World::new();
    let mut terminal = world.terminal(&["run", "sealed", "--yes"], 90, 30);
    terminal.wait_for("The password of the database:");
    // The terminal's echo is off only from now on.
    wait_for_no_echo(&terminal);
    terminal.type_keys("correct\x7f\x7fct horse\n");
    terminal.wait_for("succeeded");
    let raw = terminal.raw();
    assert_eq!(terminal.end().0, 0);
    assert!(!raw.contains("horse"), "{raw}");
    assert_eq!(world.file("length").as_deref(), Some("13"));
}

fn wait_for_no_echo(terminal: &crate::support::Terminal) {
    crate::support::wait_until("the echo is off", || !terminal.echoes());
}

#[test]
fn ctrl_c_at_a_secret_prompt_leaves_the_terminal_as_it_was() {
    let world = World::new();
    let mut terminal = world.terminal(&["run", "sealed"], 90, 30);
    terminal.wait_for("The password of the database:");
    wait_for_no_echo(&terminal);
    terminal.type_keys("corr\x03");
    terminal.wait_for("interrupted");
    assert!(terminal.echoes());
    let (code, screen) = terminal.end();
    assert_eq!(code, 2, "{screen}");
}

#[test]
fn taking_a_lock_away_is_asked_for_and_says_whose_it_was() {
    let world = World::new();
    let child = world.start(&["run", "slow", "--reason", "prices"]);
    world.wait_for("hold");
    let mut terminal = world.terminal(&["unlock", "site:demo"], 100, 20);
    let asked = terminal.wait_for_cue("take the lock away? [y]es, [n]o:");
    assert!(asked.contains("(prices)"), "{asked}");
    terminal.type_keys("n\n");
    assert_eq!(terminal.end(), (0, asked + " n\nthe lock stays"));
    world.put("go", "");
    assert_eq!(crate::support::finish(child).code, 0);
}
