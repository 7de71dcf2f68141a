//! How commands end, with all that they started.

use std::io::Write as _;
use std::time::Duration;

use runbook_core::testing::{Surroundings, context};
use runbook_core::{Command, FailureKind, Host, Secret, Spawn, Stdin, Target};

use super::here::{Far, Here, SHELLS};
use super::support::{LONG, Mark, comes_true, sh, soon};
use crate::remote::Limits;
use crate::remote::shell::PROLOGUE;

/// A shell, a child, one in a session of its own, and one adopted by init with a child: six.
const FAMILY: &str = "sleep 1000 & setsid sleep 1001 & \
    (setsid sh -c 'sleep 1002 & sleep 1003 & wait' >/dev/null 2>&1 &); wait";

/// How commands get their shells, and who watches over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Shells are shared, and the lifeline is there before.
    Shared,
    /// Each command has a shell of its own.
    Isolated,
    /// Shells are shared, and the lifeline is opened soon.
    Later,
    /// Shells are shared, and there is a lifeline only if it is asked for something.
    Fused,
}

fn far(here: &Here, sh: &'static str, mode: Mode) -> Far {
    let second = Duration::from_secs(1);
    let later = match mode {
        Mode::Shared | Mode::Isolated => None,
        Mode::Later => Some(Duration::from_millis(300)),
        Mode::Fused => Some(Duration::from_secs(1000)),
    };
    let isolated = mode == Mode::Isolated;
    let (beat, grace, greeting) = (second, second, 2 * second);
    let limits =
        Limits { sh, isolated, later, beat, beats: 2, grace, greeting, ..Limits::default() };
    Far::with(here, limits)
}

fn each() -> impl Iterator<Item = (&'static str, Mode)> {
    let modes = [Mode::Shared, Mode::Isolated, Mode::Later];
    SHELLS.into_iter().flat_map(move |sh| modes.map(|mode| (sh, mode)))
}

/// The channels while nothing runs: the lifeline's, and that of a shell opened ahead.
fn idle(mode: Mode) -> usize {
    1 + usize::from(mode == Mode::Isolated)
}

async fn all_six_run(mark: &Mark) {
    comes_true("all six run", || mark.living().len() == 6).await;
}

#[tokio::test]
async fn a_timeout_ends_the_whole_tree_and_frees_the_channel() {
    for (sh_, mode) in each() {
        let (mark, here) = (Mark::new(), Here::new());
        let host = Host::new(far(&here, sh_, mode));
        let command = mark.on(sh(FAMILY)).timeout(Duration::from_millis(500));
        let failure = soon(context().on(&host).run(&command)).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::TimedOut);
        assert!(failure.to_string().contains("its process tree was ended"), "{failure}");
        assert_eq!(mark.living(), [0; 0]);
        comes_true("none holds a channel", || here.open_channels() <= idle(mode)).await;
        assert_eq!(soon(context().on(&host).run(&sh("echo on"))).await.unwrap().text(), "on");
    }
}

#[tokio::test]
async fn dropping_a_command_ends_its_whole_tree() {
    for (sh_, mode) in each() {
        let (mark, here) = (Mark::new(), Here::new());
        let far = far(&here, sh_, mode);
        let process = soon(far.spawn(&mark.on(sh(FAMILY)), &Spawn::new("t"))).await.unwrap();
        all_six_run(&mark).await;
        drop(process);
        comes_true("none runs", || mark.living().is_empty()).await;
        comes_true("none holds a channel", || here.open_channels() <= idle(mode)).await;
    }
}

#[tokio::test]
async fn a_command_that_is_dropped_at_once_does_not_run_later() {
    for (sh_, mode) in each() {
        let (mark, here) = (Mark::new(), Here::new());
        let far = far(&here, sh_, mode);
        drop(soon(far.spawn(&mark.on(sh(FAMILY)), &Spawn::new("t"))).await.unwrap());
        comes_true("none holds a channel", || here.open_channels() <= idle(mode)).await;
        comes_true("none runs", || mark.living().is_empty()).await;
    }
}

#[tokio::test]
async fn a_cut_connection_ends_everything_over_there() {
    for (sh_, mode) in each() {
        let (mark, daemon, here) = (Mark::new(), Mark::new(), Here::new());
        let host = Host::new(far(&here, sh_, mode));
        let cx = context();
        let start = daemon.on(sh("setsid sleep 1000 >/dev/null 2>&1 </dev/null &"));
        soon(cx.on(&host).run(&start)).await.unwrap();
        let command = mark.on(sh(&format!("trap '' TERM; {FAMILY}")));
        let on = cx.on(&host);
        let cut = async {
            all_six_run(&mark).await;
            here.cut();
        };
        let (failure, ()) = soon(async { tokio::join!(on.run(&command), cut) }).await;
        assert_eq!(failure.unwrap_err().kind(), FailureKind::Disconnected);
        comes_true("none runs", || mark.living().is_empty()).await;
        comes_true("no channel is open", || here.open_channels() == 0).await;
        assert_eq!(daemon.living().len(), 1, "it was left on purpose");
        // And the next command finds a way again.
        here.come_back();
        assert_eq!(soon(on.run(&sh("echo on"))).await.unwrap().text(), "on");
    }
}

#[tokio::test]
async fn a_silent_connection_ends_everything_over_there() {
    for (sh_, mode) in each() {
        let (mark, here) = (Mark::new(), Here::new());
        let far = far(&here, sh_, mode);
        let process = soon(far.spawn(&mark.on(sh(FAMILY)), &Spawn::new("t"))).await.unwrap();
        all_six_run(&mark).await;
        here.fall_silent();
        comes_true("none runs", || mark.living().is_empty()).await;
        comes_true("no channel is open", || here.open_channels() == 0).await;
        drop(process);
    }
}

/// A program that drives its runtime only now and then gives no sign of life between.
#[test]
fn after_a_runtime_stood_still_commands_can_be_ended_again() {
    for (sh_, mode) in each() {
        let (mark, here) = (Mark::new(), Here::new());
        let host = Host::new(far(&here, sh_, mode));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let process = runtime.block_on(async {
            let command = mark.on(sh(FAMILY));
            let process = soon(host.target().spawn(&command, &Spawn::new("t"))).await.unwrap();
            all_six_run(&mark).await;
            process
        });
        let deadline = std::time::Instant::now() + LONG;
        while !mark.living().is_empty() {
            assert!(
                std::time::Instant::now() < deadline,
                "{sh_} {mode:?}: it is not ended over there"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        runtime.block_on(async {
            let command = mark.on(sh(FAMILY)).timeout(Duration::from_millis(500));
            let failure = soon(context().on(&host).run(&command)).await.unwrap_err();
            assert_eq!(failure.kind(), FailureKind::TimedOut, "{failure}");
            assert!(failure.to_string().contains("its process tree was ended"), "{failure}");
            assert_eq!(mark.living(), [0; 0]);
            drop(process);
        });
    }
}

#[tokio::test]
async fn without_a_lifeline_the_fuse_ends_everything_over_there() {
    for sh_ in SHELLS {
        for cut in [true, false] {
            let (mark, here) = (Mark::new(), Here::new());
            let far = far(&here, sh_, Mode::Fused);
            let process = soon(far.spawn(&mark.on(sh(FAMILY)), &Spawn::new("t"))).await.unwrap();
            all_six_run(&mark).await;
            assert_eq!(here.opened(), 1, "there is no lifeline");
            if cut {
                here.cut();
            } else {
                here.fall_silent();
            }
            comes_true("none runs", || mark.living().is_empty()).await;
            comes_true("no channel is open", || here.open_channels() == 0).await;
            drop(process);
        }
    }
}

#[tokio::test]
async fn what_no_lifeline_can_watch_over_is_ended_and_says_so() {
    let (mark, here) = (Mark::new(), Here::new());
    let far = far(&here, "dash", Mode::Later);
    let mut process = soon(far.spawn(&mark.on(sh(FAMILY)), &Spawn::new("t"))).await.unwrap();
    all_six_run(&mark).await;
    here.refuse_more();
    let failure = soon(process.wait()).await.unwrap_err();
    assert!(failure.to_string().contains("to watch over it"), "{failure}");
    assert!(format!("{failure:?}").contains("the server allows no more sessions"), "{failure:?}");
    comes_true("none runs", || mark.living().is_empty()).await;
}

#[tokio::test]
async fn a_fuse_is_put_out_by_the_lifeline_and_goes_with_its_shell() {
    for sh_ in SHELLS {
        let here = Here::new();
        let host = Host::new(far(&here, sh_, Mode::Later));
        // Longer than a fuse burns.
        let output = soon(context().on(&host).run(&sh("sleep 6; echo done"))).await.unwrap();
        assert_eq!((output.text().as_str(), here.opened()), ("done", 2));
        let (mark, short) = (Mark::new(), Here::new());
        let host = Host::new(far(&short, sh_, Mode::Fused));
        soon(context().on(&host).run(&mark.on(Command::new("uname")))).await.unwrap();
        assert_eq!(short.opened(), 1);
        drop(host);
        comes_true("no channel is open", || short.open_channels() == 0).await;
    }
}

#[tokio::test]
async fn what_a_fuse_waits_for_goes_with_its_shell_too() {
    for (number, sh) in SHELLS.into_iter().enumerate() {
        let here = Here::new();
        // A time that nothing else sleeps.
        let beat = Duration::from_millis(61_231 + number as u64);
        let sleep = format!("sleep\0{}\0", beat.as_secs_f32());
        let sleeps = || {
            let all = std::fs::read_dir("/proc").unwrap().flatten();
            all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
                .filter(|line| line.ends_with(sleep.as_bytes()))
                .count()
        };
        let later = Some(Duration::from_secs(1000));
        let host = Host::new(Far::with(&here, Limits { sh, later, beat, ..Limits::default() }));
        soon(context().on(&host).run(&Command::new("uname"))).await.unwrap();
        comes_true("the fuse burns", || sleeps() == 1).await;
        drop(host);
        comes_true("nothing waits", || sleeps() == 0).await;
        comes_true("no channel is open", || here.open_channels() == 0).await;
    }
}

/// A fuse may have been put out hours ago.
#[test]
fn a_shell_leaves_alone_who_has_the_id_of_its_fuse_by_now() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    for sh in SHELLS {
        let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
        let mut words = sh.split(' ');
        let mut shell = Command::new(words.next().unwrap())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = format!("_n=n _beat=0 _w=:\n{}\n_f={}\n", *PROLOGUE, other.id());
        shell.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success(), "{sh}");
        // The first signal that ends a process is the one that it ended by.
        other.kill().unwrap();
        assert_eq!(other.wait().unwrap().signal(), Some(9), "{sh}");
    }
}

#[tokio::test]
async fn signs_of_life_keep_a_long_command_alive() {
    for (sh_, mode) in each() {
        let here = Here::new();
        let host = Host::new(far(&here, sh_, mode));
        let output = soon(context().on(&host).run(&sh("sleep 4; echo done"))).await.unwrap();
        assert_eq!(output.text(), "done");
    }
}

#[tokio::test]
async fn nothing_is_left_when_nothing_runs_any_more() {
    for (sh_, mode) in each() {
        let here = Here::new();
        let host = Host::new(far(&here, sh_, mode));
        soon(context().on(&host).run(&Command::new("uname"))).await.unwrap();
        drop(host);
        comes_true("no channel is open", || here.open_channels() == 0).await;
    }
}

#[tokio::test]
async fn a_stopped_command_and_one_that_ignores_sigterm_are_ended() {
    for (sh_, mode) in each() {
        for script in
            ["trap '' TERM; echo ready; while :; do sleep 1000; done", "echo ready; kill -STOP $$"]
        {
            let (mark, around) = (Mark::new(), Surroundings::new());
            let host = Host::new(far(&Here::new(), sh_, mode));
            let (cx, command) = (around.context(), mark.on(sh(script)));
            let on = cx.on(&host);
            let cancel = async {
                comes_true("it is ready", || around.lines() == ["ready"]).await;
                around.cancel();
            };
            let (result, ()) = soon(async { tokio::join!(on.run(&command), cancel) }).await;
            assert_eq!(result.unwrap_err().kind(), FailureKind::Cancelled);
            assert_eq!(mark.living(), [0; 0]);
        }
    }
}

/// What escapes: it has neither the environment nor the parents of its command.
#[tokio::test]
async fn a_child_escapes_only_without_environment_and_without_parents() {
    for (sh_, mode) in each() {
        let escaped = Mark::new();
        let folder = tempfile::tempdir().unwrap();
        let host = Host::new(far(&Here::new(), sh_, mode));
        let entry = format!("RUNBOOK_TEST_MARK={}", escaped.value());
        // The first loses its parents, the second its environment, the third both.
        let script = "(setsid sleep 1001 &) ; env -i setsid sleep 1002 & \
            (env -i $0 setsid sleep 1003 >/dev/null 2>&1 &) ; sleep 0.2; echo $! > $1; wait";
        let pid = folder.path().join("pid");
        let command = sh(script).arg(&entry).arg(&pid).timeout(Duration::from_secs(1));
        soon(context().on(&host).run(&command)).await.unwrap_err();
        let second = std::fs::read_to_string(&pid).unwrap();
        let second = format!("/proc/{}", second.trim());
        comes_true("it is gone", || !std::path::Path::new(&second).exists()).await;
        assert_eq!(escaped.living().len(), 1, "the third one");
    }
}

#[tokio::test]
async fn leftovers_of_a_killed_process_are_ended_and_nothing_else() {
    for sh_ in SHELLS {
        let (left, own) = (Mark::new(), Mark::new());
        let cookie = format!("run:{}", left.value());
        let (value, unit) = (left.value().to_owned(), cookie.clone());
        // As a runbook that was killed would have left them.
        std::process::Command::new("sh")
            .args(["-c", "setsid sh -c 'sleep 1004 & exec sleep 1005' >/dev/null 2>&1 &"])
            .env("RUNBOOK_TEST_MARK", value)
            .env("RUNBOOK_UNIT", unit)
            .env("RUNBOOK_COMMAND", "1.0123456789abcdef.7")
            .status()
            .unwrap();
        comes_true("they run", || left.living().len() == 2).await;
        let far = far(&Here::new(), sh_, Mode::Shared);
        let command = own.on(sh("exec sleep 1006"));
        let mut running = soon(far.spawn(&command, &Spawn::new(&cookie))).await.unwrap();
        comes_true("it runs", || own.living().len() == 1).await;
        let grace = Duration::from_secs(5);
        let mut ended = soon(far.end_leftovers(&cookie, grace)).await.unwrap();
        ended.sort();
        assert_eq!(left.living(), [0; 0]);
        assert_eq!(own.living().len(), 1, "what this process started is none of them");
        let ended: Vec<_> = ended.iter().map(|line| line.split(" (").next().unwrap()).collect();
        assert_eq!(ended, ["sleep 1004", "sleep 1005"]);
        assert_eq!(soon(far.end_leftovers(&cookie, grace)).await.unwrap(), [""; 0]);
        soon(running.kill(Duration::ZERO)).await.unwrap();
        assert_eq!(own.living(), [0; 0]);
    }
}

#[tokio::test]
async fn secrets_are_in_no_argument_list() {
    for (sh_, mode) in each() {
        let host = Host::new(far(&Here::new(), sh_, mode));
        let secret = Secret::new(format!("hush-{}", super::super::shell::nonce()));
        let command = sh("all=$(cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'); \
            case $all in *\"$W\"*) echo seen ;; *) echo unseen ;; esac; cat; test ${#W} = 21")
        .env("W", secret.clone())
        .stdin(Stdin::Secret(secret));
        let output = soon(context().on(&host).run(&command)).await.unwrap();
        assert!(output.text().starts_with("unseen\n"), "{}", output.text());
    }
}

/// Where there is no `/proc`, parents are all that is known.
#[tokio::test]
async fn without_proc_the_descendants_are_ended() {
    for sh_ in SHELLS {
        let (mark, here) = (Mark::new(), Here::new());
        let limits = Limits { sh: sh_, proc: "/nonexistent", ..Limits::default() };
        let host = Host::new(Far::with(&here, limits));
        let command = mark.on(sh("sleep 1000 & setsid sleep 1001 & wait"));
        let command = command.timeout(Duration::from_millis(500));
        let failure = soon(context().on(&host).run(&command)).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::TimedOut);
        assert_eq!(mark.living(), [0; 0]);
    }
}
