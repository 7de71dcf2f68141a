//! Deploys: good ones, bad ones, two at once, and one whose operator is gone.

use std::time::Duration;

use lab::{Release, wait_until};

use crate::Test;
use crate::operator::Stage;

pub(crate) const TESTS: &[Test] = &[
    ("a_deploy_takes_the_site_to_the_next_release", a_deploy_takes_the_site_to_the_next_release),
    ("a_release_that_does_not_build_is_put_back", a_release_that_does_not_build_is_put_back),
    ("a_release_that_crashes_is_put_back", a_release_that_crashes_is_put_back),
    ("a_release_that_is_ill_is_put_back", a_release_that_is_ill_is_put_back),
    ("an_earlier_commit_is_a_runbook_away", an_earlier_commit_is_a_runbook_away),
    ("the_site_is_stopped_and_started", the_site_is_stopped_and_started),
    ("the_second_of_two_operators_is_told_who", the_second_of_two_operators_is_told_who),
    ("a_killed_operator_resumes", a_killed_operator_resumes),
    ("a_frozen_operator_who_lost_the_lock_stops", a_frozen_operator_who_lost_the_lock_stops),
];

fn a_deploy_takes_the_site_to_the_next_release(stage: &Stage) {
    let plan = stage.run(&["plan", "deploy", "--migrate"], 0);
    assert!(plan.contains("Nothing was changed"), "{plan}");
    let watch = stage.watch();
    let said = stage.run(&["run", "deploy", "--migrate", "--reason", "release 1.1"], 0);
    let (gaps, asked) = watch.gaps();
    stage.note(&format!("asked {asked} times; did not answer for {gaps:?}"));
    assert!(gaps.len() <= 1, "it was away more than once, for its restart: {gaps:?}\n{said}");
    assert_eq!(stage.version(), Release::Second.version());
    assert_eq!(stage.head(), stage.world.remote().commit_of(Release::Second));
    let status = stage.run(&["run", "status"], 0);
    assert!(!status.contains("failed"), "{status}");
    let report = stage.report();
    assert!(report.contains("succeeded"), "{report}");
}

fn put_back(stage: &Stage, release: Release, cause: &str) {
    stage.world.remote().publish(release);
    let said = stage.run(&["run", "deploy"], 1);
    assert!(said.contains("rolled back"), "{said}");
    assert_eq!(stage.version(), Release::First.version());
    assert_eq!(stage.head(), stage.world.remote().commit_of(Release::First));
    assert_eq!(stage.world.ssh("git -C eaf_platform branch --show-current"), "main");
    let status = stage.world.ssh("git -C eaf_platform status --porcelain");
    assert_eq!(status, "", "nothing is left in the work tree");
    let report = stage.report();
    assert!(report.contains(cause), "no {cause:?} in:\n{report}");
    stage.run(&["run", "verify"], 0);
}

fn a_release_that_does_not_build_is_put_back(stage: &Stage) {
    let watch = stage.watch();
    put_back(stage, Release::DoesNotBuild, "build failed: 1 file(s) of packages/web");
    let (gaps, _) = watch.gaps();
    assert!(gaps.is_empty(), "it never was restarted: {gaps:?}");
}

fn a_release_that_crashes_is_put_back(stage: &Stage) {
    put_back(stage, Release::Crashes, "reading 'warmUp'");
}

fn a_release_that_is_ill_is_put_back(stage: &Stage) {
    put_back(stage, Release::Unhealthy, "status 503");
}

fn an_earlier_commit_is_a_runbook_away(stage: &Stage) {
    stage.run(&["run", "deploy", "--migrate"], 0);
    let first = stage.world.remote().commit_of(Release::First);
    let said = stage.run(&["run", "return-to", "--commit", &first[..10]], 5);
    assert!(said.contains("Keep the data, or restore the latest dump?"), "{said}");
    assert_eq!(stage.version(), Release::First.version());
    assert_eq!(stage.head(), first);
    let question = "decide-whether-a-backup-is-restored";
    stage.run(&["approve", "last", question, "--answer", "keep"], 0);
    stage.run(&["resume", "last"], 0);
    assert_eq!(stage.version(), Release::First.version());
    let said = stage.run(&["run", "return-to", "--commit", "v9"], 1);
    assert!(said.contains("there is no commit `v9`"), "{said}");
    assert_eq!(stage.head(), first);
}

fn the_site_is_stopped_and_started(stage: &Stage) {
    stage.run(&["run", "stop", "--yes"], 0);
    assert!(stage.world.health().is_err());
    let status = stage.run(&["run", "status"], 0);
    assert!(status.contains("eaf-platform (number 0) is stopped"), "{status}");
    stage.run(&["run", "start"], 0);
    stage.run(&["run", "verify"], 0);
}

fn the_second_of_two_operators_is_told_who(stage: &Stage) {
    let first =
        stage.run_up_to(&["run", "deploy", "--migrate", "--reason", "release 1.1"], "started");
    let second = stage.ask(&["run", "deploy", "--reason", "me too"]);
    let first = first.finish();
    assert_eq!(first.code, Some(0), "{}", first.text);
    assert_eq!(second.code, Some(1), "{}", second.text);
    for word in ["ann", "release 1.1", "deploy", "since"] {
        assert!(second.text.contains(word), "no {word:?} in {}", second.text);
    }
    assert_eq!(stage.version(), Release::Second.version());
}

fn a_killed_operator_resumes(stage: &Stage) {
    for at in ["started   switch-the-code/install", "started   restart/restart-2"] {
        stage.reset();
        stage.run_up_to(&["run", "deploy", "--migrate"], at).kill();
        let listed = stage.run(&["runs"], 0);
        assert!(listed.contains("interrupted"), "{at}: {listed}");
        let said = stage.run(&["resume", "last"], 0);
        assert!(said.contains("succeeded"), "{at}: {said}");
        assert_eq!(stage.version(), Release::Second.version(), "{at}");
        assert_eq!(stage.head(), stage.world.remote().commit_of(Release::Second), "{at}");
        stage.run(&["run", "verify"], 0);
    }
}

/// As a laptop that is closed in mid-deploy, and opened when somebody else has gone on.
fn a_frozen_operator_who_lost_the_lock_stops(stage: &Stage) {
    let short = stage.config().replace("disk_mib = 10", "disk_mib = 10\nlease_seconds = 3");
    stage.write("eaf-premium.toml", &short);
    let first = stage.run_up_to(
        &["run", "deploy", "--migrate", "--reason", "release 1.1"],
        "started   switch-the-code/install",
    );
    first.freeze();
    let ends = |said: &str| {
        let rest = said.split_once("its lease ends at ").map(|(_, rest)| rest.to_owned());
        rest.map(|rest| rest.split(',').next().unwrap_or_default().to_owned())
    };
    let mut lease = None;
    wait_until("the lease to run out", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(200));
        let said = stage.ask(&["run", "stop", "--yes", "--reason", "taking over"]);
        lease = ends(&said.text).or(lease.take());
        said.code == Some(0)
    });
    if let Some(lease) = lease {
        let now = runbook::Timestamp::now().to_string();
        assert!(now > lease, "it was taken at {now}, and was held until {lease}");
    }
    let (version, head) = (stage.world.health().is_err(), stage.head());
    assert!(version, "the second has stopped the site");
    first.thaw();
    let said = first.finish();
    assert_eq!(said.code, Some(2), "{}", said.text);
    assert!(said.text.contains("lost eaf-platform on eaf-lab"), "{}", said.text);
    // It neither went on nor back: the site is as the second has left it.
    assert_eq!(stage.head(), head);
    assert!(stage.world.health().is_err(), "nobody has started it again");
    let runs = stage.run(&["runs", "--limit", "0"], 0);
    assert!(runs.contains("interrupted"), "{runs}");
    let lost = runs.lines().find(|line| line.contains("interrupted")).unwrap_or_default();
    let id = lost.split_whitespace().find(|word| word.len() == 20).unwrap_or_default();
    stage.write("eaf-premium.toml", &stage.config());
    stage.run(&["run", "start"], 0);
    stage.run(&["rollback", id], 0);
    assert_eq!(stage.version(), Release::First.version());
    stage.run(&["run", "verify"], 0);
}
