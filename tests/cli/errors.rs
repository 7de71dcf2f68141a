//! What an operator reads when something was wrong with what was asked.

use runbook::cli::{self, Exit, Io};

use crate::support::{World, tidy};

/// One line of the table: what was typed, the exit code, and what came back.
fn row(world: &World, table: &mut String, words: &[&str]) {
    let ran = world.run(words);
    assert_eq!(ran.out, "", "an error goes to standard error alone: {words:?}");
    let typed: Vec<_> = words.iter().map(|word| runbook::quote(word)).collect();
    table.push_str(&format!("$ demo {}\n{}[{}]\n\n", typed.join(" "), ran.err, ran.code));
    assert!(ran.code == 2, "{words:?} is a matter of usage: {ran:?}");
}

#[test]
fn every_operator_error_says_what_was_wrong_and_what_there_is() {
    let world = World::new();
    let _tidy = tidy(&world);
    let mut table = String::new();
    row(&world, &mut table, &["run", "deplyo"]);
    row(&world, &mut table, &["show", "nothing-like-it"]);
    row(&world, &mut table, &["deploy"]);
    row(&world, &mut table, &["run", "deploy"]);
    row(&world, &mut table, &["run", "deploy", "--relese", "v2"]);
    row(&world, &mut table, &["run", "deploy", "--release", "v2", "--keep-last", "300"]);
    row(&world, &mut table, &["run", "deploy", "--release", "v2", "--size", "lage"]);
    row(&world, &mut table, &["run", "deploy", "--release", "v2", "--announce=maybe"]);
    row(&world, &mut table, &["run", "rollout", "--pace", "soon"]);
    row(&world, &mut table, &["run", "sealed", "--db-password", "hunter2"]);
    row(&world, &mut table, &["run", "sealed"]);
    row(&world, &mut table, &["run", "sealed", "--db-password-file", "not-there"]);
    row(&world, &mut table, &["run", "broken", "--env", "prod"]);
    row(&world, &mut table, &["run", "broken", "--env", "other"]);
    row(&world, &mut table, &["run", "broken", "--config", "not-there.toml"]);
    std::fs::write(world.path().join("broken.toml"), "[test]\nroot = /srv\n").unwrap();
    row(&world, &mut table, &["run", "broken", "--config", "broken.toml"]);
    row(&world, &mut table, &["run", "broken", "--output", "html"]);
    row(&world, &mut table, &["resume", "last"]);
    row(&world, &mut table, &["runs", "show", "abcd"]);
    row(&world, &mut table, &["unlock", "site:demo"]);
    row(&world, &mut table, &["completions", "tcsh"]);
    insta::assert_snapshot!("errors", table);
}

#[test]
fn every_error_about_a_run_says_which_run_and_what_can_be_done() {
    let world = World::new();
    let _tidy = tidy(&world);
    let mut table = String::new();
    world.run(&["run", "deploy", "--release", "v2", "--yes"]);
    row(&world, &mut table, &["resume", "last"]);
    world.run(&["run", "broken"]);
    row(&world, &mut table, &["resume", "last"]);
    row(&world, &mut table, &["rollback", "last"]);
    row(&world, &mut table, &["approve", "last", "write-health"]);
    // The clock is part of an id: all of today's begin alike.
    let ran = world.run(&["resume", "2"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("`2` could be 2 runs"), "{}", ran.err);
    row(&world, &mut table, &["resume", "no-such-run"]);

    world.run(&["run", "ask"]);
    row(&world, &mut table, &["approve", "last", "write-before"]);
    row(&world, &mut table, &["approve", "last", "write-approved", "--answer", "3"]);
    row(&world, &mut table, &["resume", "last", "--retry", "--skip"]);

    world.put("variant", "one");
    world.run(&["run", "drift"]);
    world.put("variant", "two");
    row(&world, &mut table, &["resume", "last"]);
    world.put("variant", "one");
    let ran = world.run(&["resume", "last", "--env", "other"]);
    assert!(ran.err.contains("was started in the environment `test`"), "{}", ran.err);
    insta::assert_snapshot!("errors_about_runs", table);
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let world = World::new();
    let ran = world.run(&["run", "sealed", "--db-password", "hunter2"]);
    assert_eq!(ran.code, 2);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}

#[test]
fn errors_of_a_machine_are_json_as_well() {
    let world = World::new();
    let ran = world.run(&["run", "broken", "--env", "prod", "--output", "json"]);
    let line: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(line["exit_code"], 2);
    assert!(line["error"].as_str().unwrap().starts_with("no environment is called `prod`"));
}

#[test]
fn a_call_within_the_process_is_like_one_from_a_shell() {
    let world = World::new();
    let (io, captured) = Io::captured("");
    let io = io.dir(world.path()).var("HOME", world.path().to_str().unwrap());
    let exit = cli::run(&crate::demo::catalog(), ["demo", "run", "broken", "--env", "test"], io);
    assert_eq!(exit, Exit::Failed, "{}", captured.err());
    assert!(captured.out().contains("rolled back"), "{}", captured.out());
    assert!(world.path().join(".local/state/demo").is_dir());
}
