//! How commands are ended, with all that they started.

use std::time::Duration;

use runbook_core::testing::{Surroundings, context};
use runbook_core::{FailureKind, Stdin, Target};
use runbook_targets::Local;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{Mark, comes_true, here, sh, soon};

/// A shell, a child, one in a session of its own, and one adopted by init with a child: six.
const FAMILY: &str = "sleep 1000 & setsid sleep 1001 & \
    (setsid sh -c 'sleep 1002 & sleep 1003 & wait' >/dev/null 2>&1 &); wait";

#[tokio::test]
async fn a_timeout_ends_the_whole_tree() {
    let mark = Mark::new();
    let command = mark.on(sh(FAMILY)).timeout(Duration::from_millis(500));
    let failure = soon(context().on(&here()).run(&command)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::TimedOut);
    assert!(failure.to_string().ends_with("its process tree was ended"), "{failure}");
    assert_eq!(mark.living(), [0; 0]);
}

#[tokio::test]
async fn a_cancel_ends_the_whole_tree() {
    let mark = Mark::new();
    let around = Surroundings::new();
    let (cx, host, command) = (around.context(), here(), mark.on(sh(FAMILY)));
    let shell = cx.on(&host);
    let run = shell.run(&command);
    let cancel = async {
        comes_true("all six run", || mark.living().len() == 6).await;
        around.cancel();
    };
    let (result, ()) = soon(async { tokio::join!(run, cancel) }).await;
    assert_eq!(result.unwrap_err().kind(), FailureKind::Cancelled);
    assert_eq!(mark.living(), [0; 0]);
}

#[tokio::test]
async fn dropping_a_command_ends_its_whole_tree_and_leaves_no_zombie() {
    let mark = Mark::new();
    let (cx, host, command) = (context(), here(), mark.on(sh(FAMILY)));
    let running = cx.on(&host).spawn(&command).await.unwrap();
    comes_true("all six run", || mark.living().len() == 6).await;
    let pids = mark.living();
    drop(running);
    comes_true("none runs and none is a zombie", || {
        pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    })
    .await;
    assert_eq!(mark.living(), [0; 0]);
}

#[tokio::test]
async fn what_ignores_sigterm_is_killed_and_what_is_stopped_hears_it() {
    for (script, word) in [
        ("trap '' TERM; echo ready; while :; do sleep 1000; done", ""),
        (
            "trap 'echo good-bye; exit' TERM; echo ready; kill -STOP $$; sleep 1000 & wait",
            "good-bye",
        ),
    ] {
        let mark = Mark::new();
        let around = Surroundings::new();
        let (cx, host, command) = (around.context(), here(), mark.on(sh(script)));
        let shell = cx.on(&host);
        let run = shell.run(&command);
        let cancel = async {
            comes_true("it is ready", || around.lines() == ["ready"]).await;
            around.cancel();
        };
        let (result, ()) = soon(async { tokio::join!(run, cancel) }).await;
        let failure = result.unwrap_err().to_string();
        assert!(failure.contains(word), "last words are kept: {failure}");
        assert_eq!(mark.living(), [0; 0]);
    }
}

#[tokio::test]
async fn a_child_without_the_environment_is_ended_with_its_parent() {
    let mark = Mark::new();
    let (cx, host) = (context(), here());
    let command = mark.on(sh("env -i setsid sleep 1000 & echo $!; wait")).stdin(Stdin::Empty);
    let mut running = cx.on(&host).spawn(&command).await.unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout().unwrap()).read_line(&mut line).await.unwrap();
    let child = format!("/proc/{}", line.trim());
    let cleared = || std::fs::read(format!("{child}/environ")).is_ok_and(|env| env.is_empty());
    comes_true("it runs with no environment", cleared).await;
    drop(running);
    comes_true("it is gone", || !std::path::Path::new(&child).exists()).await;
}

#[tokio::test]
async fn a_daemon_of_an_earlier_command_outlives_the_timeout_of_a_later_one() {
    let daemon = Mark::new();
    let (cx, host) = (context(), here());
    let start = daemon.on(sh("setsid sleep 1000 >/dev/null 2>&1 &"));
    soon(cx.on(&host).run(&start)).await.unwrap();
    let hang = sh("sleep 1000").timeout(Duration::from_millis(50));
    soon(cx.on(&host).run(&hang)).await.unwrap_err();
    assert_eq!(daemon.living().len(), 1);
}

#[tokio::test]
async fn leftovers_of_a_killed_process_are_ended_and_nothing_else() {
    let (left, own) = (Mark::new(), Mark::new());
    let cookie = format!("run:{}", left.value());
    // As a runbook that was killed would have left them.
    std::process::Command::new("sh")
        .args(["-c", "setsid sh -c 'sleep 1004 & exec sleep 1005' >/dev/null 2>&1 &"])
        .env(Mark::NAME, left.value())
        .env("RUNBOOK_UNIT", &cookie)
        .env("RUNBOOK_COMMAND", "1.0123456789abcdef.7")
        .status()
        .unwrap();
    comes_true("they run", || left.command_lines() == ["sleep 1004", "sleep 1005"]).await;
    let command = own.on(sh("exec sleep 1006"));
    let local = Local::new();
    let mut running = local.spawn(&command, &runbook_core::Spawn::new(&cookie)).await.unwrap();

    let mut ended = soon(local.end_leftovers(&cookie, Duration::MAX)).await.unwrap();
    ended.sort();
    assert_eq!(left.living(), [0; 0]);
    assert_eq!(own.living().len(), 1, "what this process started is none of them");
    let ended: Vec<_> = ended.iter().map(|line| line.split(" (").next().unwrap()).collect();
    assert_eq!(ended, ["sleep 1004", "sleep 1005"]);
    let again = soon(local.end_leftovers(&cookie, Duration::from_secs(5))).await.unwrap();
    assert_eq!(again, [""; 0]);
    soon(running.kill(Duration::MAX)).await.unwrap();
}
