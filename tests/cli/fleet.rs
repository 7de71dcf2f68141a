//! A fleet on the command line: which hosts, what became of each, and the exit code.

use serde_json::Value;

use crate::support::{World, tidy};

#[test]
fn hosts_are_selected_in_the_order_of_the_inventory() {
    let world = World::new();
    let ran = world.run(&["run", "restart", "--hosts", "web-4,web,!web-2", "--hosts", "!web-5"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let started: Vec<&str> = ran
        .out
        .lines()
        .filter_map(|line| {
            line.split_once("done      each/")?.1.split_once(':').is_none().then_some(line)
        })
        .collect();
    let hosts: Vec<&str> = started.iter().filter_map(|line| line.rsplit('/').next()).collect();
    assert_eq!(hosts, ["web-1", "web-3", "web-4"], "{}", ran.out);
    assert_eq!(world.file("web-1-drained").as_deref(), Some("1"), "a value of its group");
    assert_eq!(world.file("web-2-drained"), None);
}

#[test]
fn hosts_that_are_not_there_are_refused_with_those_that_are() {
    let world = World::new();
    let _tidy = tidy(&world);
    let mut said = String::new();
    for hosts in ["web-9", "web,!wbe", "mail-*", "web,!web", "web 1", ""] {
        let ran = world.run(&["run", "restart", "--hosts", hosts]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{hosts}");
        said.push_str(&format!("{hosts:?}\n  {}", ran.err));
    }
    let ran = world.run(&["run", "restart"]);
    said.push_str(&ran.err);
    let config = "[test]\nroot = '/srv'\n[test.hosts.web-1]\nwieght = 3\n";
    std::fs::write(world.path().join("slip.toml"), config).unwrap();
    let ran = world.run(&["run", "restart", "--hosts", "all", "--config", "slip.toml"]);
    assert_eq!(ran.code, 2);
    said.push_str(&ran.err);
    insta::assert_snapshot!("fleet_refused", said);
}

#[test]
fn the_plan_and_the_page_show_the_batches() {
    let world = World::new();
    let _tidy = tidy(&world);
    let words = ["--hosts", "web", "--at-once", "40%", "--max-failed", "25%", "--pause", "10s"];
    let plan = world.run(&[["plan", "restart"].as_slice(), &words].concat());
    insta::assert_snapshot!("fleet_plan", plan.out);
    let page = world.run(&["show", "restart"]);
    assert_eq!(page.code, 0, "a page needs no selection: {page:?}");
    assert!(page.out.contains("For each of db-1, web-1, web-2"), "{}", page.out);
    let help = world.run(&["run", "restart", "--help"]);
    insta::assert_snapshot!("fleet_help", help.out);
}

#[test]
fn a_host_that_fails_is_no_silent_success() {
    let world = World::new();
    let _tidy = tidy(&world);
    world.put("fails-web-3", "");
    let words = ["run", "restart", "--hosts", "web", "--max-failed", "1"];
    let ran = world.run(&words);
    assert_eq!(ran.code, 6, "{ran:?}");
    insta::assert_snapshot!("fleet_lost", ran.out);
    assert_eq!(world.file("web-3-drained"), None);
    assert_eq!(world.file("web-5-restarted").as_deref(), Some("yes"));
    let runs = world.run(&["runs"]);
    assert!(runs.out.contains("succeeded without 1 host"), "{}", runs.out);

    let report = world.run(&["report", "last", "--format", "json"]);
    let report: Value = serde_json::from_str(&report.out).unwrap();
    assert_eq!(report["hosts"][2]["host"], "web-3");
    assert_eq!(report["hosts"][2]["status"], "failed_and_rolled_back");
    assert_eq!(report["summary"]["without"][0], "each/web-3");

    // All of it can be taken back.
    let back = world.run(&["rollback", "last"]);
    assert_eq!(back.code, 0, "{back:?}");
    assert_eq!(world.file("web-1-restarted"), None);
    let ended = world.run(&[words.as_slice(), &["--output", "json"]].concat());
    assert_eq!(ended.code, 6);
    let last: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["outcome"]["exit_code"], 6, "{last}");
}

#[test]
fn a_host_that_can_not_be_put_back_waits_for_a_person_alone() {
    let world = World::new();
    let _tidy = tidy(&world);
    world.put("fails-web-3", "");
    world.put("stays-web-3", "");
    let ran = world.run(&["run", "restart", "--hosts", "web", "--max-failed", "1"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    insta::assert_snapshot!("fleet_stuck", ran.out);
    assert_eq!(world.file("web-5-restarted").as_deref(), Some("yes"));

    std::fs::remove_file(world.root().join("web-3-drained")).unwrap();
    let ran = world.run(&["resume", "last", "--skip"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    insta::assert_snapshot!("fleet_skipped", ran.out);
    assert_eq!(world.file("web-5-restarted").as_deref(), Some("yes"));
}

#[test]
fn one_failure_too_many_rolls_all_back_and_says_what_was_not_started() {
    let world = World::new();
    let _tidy = tidy(&world);
    world.put("fails-web-2", "");
    let ran = world.run(&["run", "restart", "--hosts", "web"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("web-3, web-4, web-5: not started"), "{}", ran.out);
    assert_eq!(world.file("web-1-restarted"), None);
}

#[test]
fn a_decision_may_be_about_one_host_alone() {
    let world = World::new();
    let _tidy = tidy(&world);
    for host in ["web-2", "web-3"] {
        world.put(&format!("fails-{host}"), "");
        world.put(&format!("stays-{host}"), "");
    }
    let ran = world.run(&["run", "restart", "--hosts", "web", "--max-failed", "2"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.contains("web-2, web-3: NOT restored"), "{}", ran.out);

    let refused = world.run(&["resume", "last", "--skip", "--unit", "each/web-4"]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.err.contains("open: each/web-2/write-web-2-drained, each/web-3"),
        "{refused:?}"
    );
    let alone = world.run(&["resume", "last", "--unit", "each/web-2"]);
    assert_eq!(alone.code, 2, "what is decided is to be said: {alone:?}");

    let ran = world.run(&["resume", "last", "--skip", "--unit", "each/web-2"]);
    assert_eq!(ran.code, 3, "web-3 is stuck still: {ran:?}");
    assert!(ran.out.contains("web-2: failed and rolled back"), "{}", ran.out);
    assert!(ran.out.contains("web-3: NOT restored"), "{}", ran.out);
    let ran = world.run(&["resume", "last", "--skip", "--unit", "each/web-3"]);
    assert_eq!(ran.code, 6, "{ran:?}");
}
