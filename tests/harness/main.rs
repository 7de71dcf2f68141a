//! The harness, run as CI runs it.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The demo program, run. `cargo test` builds it; `cargo test --test harness` alone does not.
fn demo(words: &[&str], vars: &[(&str, &str)]) -> Output {
    static DEMO: OnceLock<PathBuf> = OnceLock::new();
    let program = DEMO.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--example", "harness-demo", "--features", "harness"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "building the demo program");
        profile.join("examples/harness-demo")
    });
    let mut command = Command::new(program);
    command.args(words).env_remove("RUNBOOK_LIVE").env_remove("RUNBOOK_JUNIT");
    command.envs(vars.iter().copied()).env("INSTA_UPDATE", "no").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_runner_of_tests_can_list_them() {
    let listed = demo(&["--list", "--format", "terse"], &[]);
    assert!(listed.status.success());
    let text = text(&listed.stdout);
    let of = |book| text.lines().filter(|line| line.starts_with(book)).count();
    assert_eq!((of("deploy::"), of("leaky::"), of("twice::")), (7, 7, 7), "{text}");
    let ignored = demo(&["--list", "--format", "terse", "--ignored"], &[]);
    let ignored = self::text(&ignored.stdout);
    assert_eq!(ignored.lines().count(), 3, "nothing live was given: {ignored}");
}

#[test]
fn a_runner_of_tests_can_run_one() {
    let ran = demo(&["--exact", "deploy::crash_at_every_line", "--nocapture"], &[]);
    assert!(ran.status.success(), "{}", text(&ran.stdout));
    assert!(text(&ran.stdout).contains("1 passed"), "{}", text(&ran.stdout));
}

#[test]
fn the_matrix_finds_what_is_left_behind_and_what_is_done_twice() {
    let ran = demo(&[], &[]);
    assert!(!ran.status.success());
    let said = text(&ran.stdout) + &text(&ran.stderr);
    assert!(said.contains("3 failed"), "{said}");
    for why in [
        "step 1 fails after its effect: it ended Failed, but not all is as it was: \
         /srv/shop/notes on FakeTarget(web-1) is new",
        "killed at boundary 9 of its journal: it ended Failed, but not all is as it was",
        "with every step run twice, /srv/shop/log on FakeTarget(web-1) is changed",
    ] {
        assert!(said.contains(why), "no {why:?} in {said}");
    }
}

#[test]
fn a_fleet_that_goes_on_without_a_host_leaves_each_done_or_as_it_was() {
    let ran = demo(&[], &[("DEMO", "fleet")]);
    assert!(ran.status.success(), "{}{}", text(&ran.stdout), text(&ran.stderr));
}

#[test]
fn what_is_known_and_accepted_is_no_failure() {
    let ran = demo(&[], &[("DEMO", "known")]);
    assert!(ran.status.success(), "{}", text(&ran.stdout));
}

#[test]
fn what_is_no_file_is_compared_as_well() {
    let ran = demo(&[], &[("DEMO", "mail")]);
    assert!(!ran.status.success());
    let said = text(&ran.stdout) + &text(&ran.stderr);
    for why in [
        "step 1 fails after its effect: it ended Failed, but not all is as it was: ",
        "mails is \"1\" and not \"0\"",
        "with every step run twice, mails is \"2\" and not \"1\"",
    ] {
        assert!(said.contains(why), "no {why:?} in {said}");
    }
    // Nobody wrote a mail but the person who is asked to, and a known leftover is none.
    let ran = demo(&[], &[("DEMO", "mail-known")]);
    assert!(ran.status.success(), "{}", text(&ran.stdout));
}

#[test]
fn an_answer_to_a_question_that_nobody_asks_fails() {
    let ran = demo(&["--exact", "mail::run"], &[("DEMO", "mail-unknown")]);
    let said = text(&ran.stdout) + &text(&ran.stderr);
    assert!(
        said.contains("no unit is called `write-the-mial`; there is: write-the-mail,"),
        "{said}"
    );
}

#[test]
fn a_case_for_a_runbook_that_is_not_there_fails() {
    let ran = demo(&["deplyo"], &[("DEMO", "unknown")]);
    assert!(!ran.status.success());
    let said = text(&ran.stdout) + &text(&ran.stderr);
    assert!(
        said.contains("no runbook is called `deplyo`; there is: deploy, leaky, twice"),
        "{said}"
    );
}

#[test]
fn a_changed_page_fails() {
    let ran = demo(&["--exact", "deploy::plan"], &[("DEMO_DIR", "/srv/elsewhere")]);
    assert!(!ran.status.success());
    let said = text(&ran.stdout) + &text(&ran.stderr);
    assert!(said.contains("no folder /srv/shop"), "{said}");
}

#[test]
fn live_checks_are_made_where_the_variable_says() {
    let live = ["--exact", "deploy::check_live"];
    let ran = demo(&live, &[("RUNBOOK_LIVE", "staging"), ("DEMO", "live")]);
    assert!(!ran.status.success(), "the live shop is not there");
    let said = text(&ran.stdout) + &text(&ran.stderr);
    assert!(said.contains("no folder /srv/shop"), "{said}");
    let nowhere = demo(&live, &[("RUNBOOK_LIVE", "nowhere"), ("DEMO", "live")]);
    let said = text(&nowhere.stdout) + &text(&nowhere.stderr);
    assert!(said.contains("no environment is called `nowhere`"), "{said}");
}

#[test]
fn the_results_are_written_as_junit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("junit.xml");
    demo(&[], &[("RUNBOOK_JUNIT", file.to_str().unwrap())]);
    let xml = std::fs::read_to_string(&file).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let count = |name| document.descendants().filter(|node| node.has_tag_name(name)).count();
    assert_eq!((count("testsuite"), count("testcase"), count("failure")), (3, 18, 3), "{xml}");
    let unwritable = dir.path().join("no/such/folder.xml");
    let ran = demo(&["deploy::page"], &[("RUNBOOK_JUNIT", unwritable.to_str().unwrap())]);
    assert!(!ran.status.success());
    assert!(text(&ran.stderr).contains("folder.xml"), "{}", text(&ran.stderr));
}
