//! What the command line prints when nothing is wrong: help, lists, plans, pages, reports.

use crate::support::{World, tidy};

#[test]
fn help_documents_the_program_and_its_runbooks() {
    let world = World::new();
    let _tidy = tidy(&world);
    for (name, words) in [
        ("help", ["--help"].as_slice()),
        ("help_run", &["run", "--help"]),
        ("help_run_deploy", &["run", "deploy", "--help"]),
        ("help_run_sealed", &["run", "sealed", "-h"]),
        ("help_resume", &["resume", "--help"]),
    ] {
        let ran = World::end(&mut world.command(words));
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{words:?}");
        insta::assert_snapshot!(name, ran.out);
    }
}

#[test]
fn no_words_print_help_as_an_error_and_the_version_is_told() {
    let world = World::new();
    let ran = World::end(&mut world.command::<&str>(&[]));
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("Usage:"));
    let ran = World::end(&mut world.command(&["--version"]));
    assert_eq!(ran.code, 0);
    assert!(ran.out.ends_with(" 1.2.3\n"), "{}", ran.out);
}

#[test]
fn runbooks_are_listed() {
    let world = World::new();
    let ran = world.run(&["list"]);
    assert!(ran.out.starts_with("deploy    Deploy a release\n"), "{}", ran.out);
    let ran = world.run(&["list", "--output", "json"]);
    let books: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(books[0]["params"][1]["default"], "3");
}

#[test]
fn a_plan_shows_all_that_would_happen_and_changes_nothing() {
    let world = World::new();
    let _tidy = tidy(&world);
    let words = ["plan", "deploy", "--release", "v2", "--announce", "--tag=a", "--tag=b"];
    let ran = world.run(&words);
    assert_eq!(ran.code, 0, "{ran:?}");
    insta::assert_snapshot!("plan_deploy", ran.out);
    insta::assert_snapshot!("plan_rollout", world.run(&["plan", "rollout"]).out);
    assert_eq!(std::fs::read_dir(world.root()).unwrap().count(), 0);
    assert!(!world.path().join("state").exists(), "a plan leaves no journal");
}

#[test]
fn a_plan_or_check_with_a_failing_check_says_so_with_its_exit_code() {
    let world = World::new();
    let _tidy = tidy(&world);
    let plan = world.run(&["plan", "hopeless"]);
    let check = world.run(&["check", "hopeless"]);
    assert_eq!((plan.code, check.code), (4, 4));
    insta::assert_snapshot!("plan_hopeless", plan.out);
    insta::assert_snapshot!("check_hopeless", check.out);
    assert_eq!(world.run(&["check", "deploy", "--release", "v2"]).code, 0);
}

#[test]
fn what_is_so_already_is_said_in_the_plan() {
    let world = World::new();
    world.put("backup", "dump of the shop");
    let ran = world.run(&["plan", "deploy", "--release", "v2"]);
    assert!(ran.out.contains("already so, nothing to do"), "{}", ran.out);
    assert!(ran.out.contains("1 already so"), "{}", ran.out);
}

#[test]
fn pages_of_runbooks_need_no_values() {
    let world = World::new();
    let page = world.run(&["show", "deploy"]);
    assert_eq!(page.code, 0, "{page:?}");
    assert!(page.out.starts_with("# "), "{}", page.out);
    assert!(page.out.contains("Deploy a release"));
    let graph = world.run(&["show", "deploy", "--format", "mermaid", "--release", "v2"]);
    assert!(graph.out.contains("flowchart"), "{}", graph.out);
    let json = world.run(&["show", "deploy", "--format", "json"]);
    let outline: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(outline["book"], "deploy");
    assert_eq!(world.run(&["show", "sealed"]).code, 0, "a page asks for no secret");
}

#[test]
fn runs_are_listed_and_shown_and_reported() {
    let world = World::new();
    let _tidy = tidy(&world);
    assert_eq!(world.run(&["runs"]).out, "there are no runs yet\n");
    world.run(&["run", "deploy", "--release", "v2", "--yes", "--reason", "new prices"]);
    world.run(&["run", "broken"]);
    insta::assert_snapshot!("runs", world.run(&["runs"]).out);
    insta::assert_snapshot!("runs_show_broken", world.run(&["runs", "show", "last"]).out);
    let one = world.run(&["runs", "--limit", "1"]);
    assert!(one.out.ends_with("and 1 older; --limit 0 shows all\n"), "{}", one.out);

    let markdown = world.run(&["report", "last"]);
    assert!(markdown.out.contains("connection refused"), "{}", markdown.out);
    let html = world.run(&["report", "last", "--format", "html", "--out", "report.html"]);
    assert_eq!((html.code, html.out.as_str()), (0, ""));
    let page = std::fs::read_to_string(world.path().join("report.html")).unwrap();
    assert!(page.contains("<html"));
    let json = world.run(&["report", "last", "--format", "json"]);
    serde_json::from_str::<serde_json::Value>(&json.out).unwrap();
    let junit = world.run(&["report", "last", "--format", "junit"]);
    assert!(junit.out.contains("<testsuite"), "{}", junit.out);
}

#[test]
fn a_changed_journal_is_found() {
    let world = World::new();
    world.run(&["run", "broken"]);
    let good = world.run(&["runs", "verify", "last"]);
    assert_eq!(good.code, 0, "{good:?}");
    assert!(good.out.contains("all as they were written"), "{}", good.out);
    let journal = world.path().join("state/demo/runs").join(world.last_run()).join("journal.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replacen("write-current", "write-nothing", 1)).unwrap();
    let bad = world.run(&["runs", "verify", "last"]);
    assert_eq!(bad.code, 1, "{bad:?}");
    assert!(bad.out.contains("was changed"), "{}", bad.out);
    assert!(world.run(&["runs"]).out.contains("unreadable"), "the list shows it all the same");
}

#[test]
fn completions_are_written_for_every_shell() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = world.run(&["completions", shell]);
        assert_eq!(ran.code, 0);
        for word in ["rollout", "keep-last", "approve"] {
            assert!(ran.out.contains(word), "{shell}: {word}");
        }
    }
}
