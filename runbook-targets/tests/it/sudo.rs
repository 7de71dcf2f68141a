//! Commands and files as another user. Needs `sudo` (`scripts/setup` installs it), and root or a
//! user who may act as `nobody` without a password; who may not sees the tests pass over, unless
//! `CI` is set.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use insta::assert_snapshot;
use runbook_core::testing::context;
use runbook_core::{Command, Exit, FailureKind, Host, Secret, Stdin, WriteOptions};
use runbook_targets::Sudo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::files::{Broken, behave, is_root, names};
use crate::support::{Mark, comes_true, here, sh, soon};

/// This machine as `nobody`; `None` if that is not allowed.
pub(crate) fn nobody() -> Option<Host> {
    let asked = std::process::Command::new("sudo")
        .args(["-n", "-u", "nobody", "--", "true"])
        .output()
        .expect("sudo is not installed: run scripts/setup");
    let allowed = asked.status.success();
    assert!(allowed || std::env::var_os("CI").is_none(), "sudo refuses to act as nobody");
    allowed.then(|| Host::new(Sudo::new(here(), "nobody")))
}

/// The command lines of living processes of `nobody` that carry a mark, sorted. Only `nobody` (and
/// root) can see whose they are.
fn living(mark: &Mark) -> Vec<String> {
    let lines = "for file in $(grep -szlxF -e \"$1\" /proc/[0-9]*/environ); do \
        tr '\\0' ' ' < \"${file%environ}cmdline\"; echo; done 2>/dev/null";
    let said = std::process::Command::new("sudo")
        .args(["-n", "-u", "nobody", "--", "sh", "-c", lines, "sh"])
        .arg(format!("{}={}", Mark::NAME, mark.value()))
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let mut lines: Vec<_> = said.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.sort();
    lines
}

macro_rules! nobody {
    () => {
        match nobody() {
            Some(host) => host,
            None => return,
        }
    };
}

/// A folder of `nobody`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

#[tokio::test]
async fn commands_run_as_the_other_user() {
    let host = nobody!();
    let folder = folder();
    let secret = Secret::new("never-in-the-arguments-of-sudo");
    let command =
        sh("id -un; pwd; echo \"$GIVEN $TOKEN\"; cat; echo; tr '\\0' ' ' < /proc/$PPID/cmdline")
            .env("GIVEN", "a 'b' $c")
            .env("TOKEN", &secret)
            .dir(folder.path())
            .stdin(&secret);
    let output = soon(context().on(&host).run(&command)).await.unwrap();
    let said = output.text();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], ["nobody", folder.path().to_str().unwrap()]);
    assert_eq!(lines[2], "a 'b' $c never-in-the-arguments-of-sudo");
    assert_eq!(lines[3], "never-in-the-arguments-of-sudo");
    assert!(lines[4].starts_with("sudo -n -u nobody"), "{}", lines[4]);
    assert!(!lines[4].contains(secret.expose()));

    let seven = soon(context().on(&host).run_unchecked(&sh("exit 7"))).await.unwrap();
    assert_eq!(seven.exit, Exit::Code(7));
}

#[tokio::test]
async fn a_spawned_command_can_be_spoken_with() {
    let host = nobody!();
    let cx = context();
    let mut running = cx.on(&host).spawn(&Command::new("cat").stdin(Stdin::Piped)).await.unwrap();
    let (mut stdin, mut stdout) = (running.stdin().unwrap(), running.stdout().unwrap());
    stdin.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    soon(stdout.read_exact(&mut answer)).await.unwrap();
    drop(stdin);
    assert_eq!(soon(running.wait()).await.unwrap(), Exit::Code(0));
}

#[tokio::test]
async fn a_timeout_and_a_drop_end_the_whole_tree() {
    let host = nobody!();
    let family = "sleep 1000 & setsid sleep 1001 & (setsid sleep 1002 >/dev/null 2>&1 &); wait";
    let mark = Mark::new();
    let command = mark.on(sh(family)).timeout(Duration::from_secs(1));
    let failure = soon(context().on(&host).run(&command)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::TimedOut);
    assert!(failure.to_string().ends_with("its process tree was ended"), "{failure}");
    assert_eq!(living(&mark), [""; 0]);

    let command = mark.on(sh(family));
    let running = context().on(&host).spawn(&command).await.unwrap();
    comes_true("all run", || living(&mark).len() == 4).await;
    drop(running);
    comes_true("all are gone", || living(&mark).is_empty()).await;
}

#[tokio::test]
async fn leftovers_of_the_other_user_are_ended() {
    let host = nobody!();
    let mark = Mark::new();
    let cookie = format!("run:{}", mark.value());
    std::process::Command::new("sudo")
        .args(["-n", "-u", "nobody", "--preserve-env", "--", "sh", "-c"])
        .arg("setsid sleep 1007 >/dev/null 2>&1 &")
        .env(Mark::NAME, mark.value())
        .env("RUNBOOK_UNIT", &cookie)
        .env("RUNBOOK_COMMAND", "1.0123456789abcdef.7")
        .status()
        .unwrap();
    comes_true("it runs", || living(&mark) == ["sleep 1007"]).await;
    let ended = soon(host.target().end_leftovers(&cookie, Duration::from_secs(5))).await.unwrap();
    assert_eq!(living(&mark), [""; 0]);
    assert_eq!(ended.len(), 1);
    assert!(ended[0].starts_with("sleep 1007 (process "), "{ended:?}");
    let again = soon(host.target().end_leftovers(&cookie, Duration::from_secs(5))).await.unwrap();
    assert_eq!(again, [""; 0]);
}

#[tokio::test]
async fn files_of_the_other_user_behave() {
    let host = nobody!();
    // The test looks at the same files from outside, also at those that only `nobody` may read.
    if !is_root() {
        return;
    }
    let folder = folder();
    behave(&host, folder.path()).await;
    context().on(&host).write(folder.path().join("file"), "x").await.unwrap();
    assert_ne!(fs::metadata(folder.path().join("file")).unwrap().uid(), 0);
}

#[tokio::test]
async fn a_write_that_is_dropped_leaves_no_trace() {
    let host = nobody!();
    let folder = folder();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    let options = WriteOptions::default();
    let mut write = host.target().write(&path, Box::new(Broken(false, false)), &options);
    tokio::select! {
        _ = &mut write => panic!("the content never ends"),
        () = comes_true("it is under way", || names(folder.path()).len() == 2) => {}
    }
    drop(write);
    comes_true("its temporary file is gone", || names(folder.path()) == ["file"]).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
}

#[tokio::test]
async fn what_is_refused_says_who_where_and_why() {
    let host = nobody!();
    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().join("file");
    let cx = context();
    let failures = [
        cx.on(&host).write(&private, "x").await.unwrap_err(),
        cx.on(&host).read("/etc/shadow").await.unwrap_err(),
        cx.on(&host).read("/nonexistent").await.unwrap_err(),
        cx.on(&host).run(&Command::new("frobnicate")).await.unwrap_err(),
        cx.on(&host).run(&Command::new("true").env("A,B", "c")).await.unwrap_err(),
        cx.on(&host).remove("/etc/hostname").await.unwrap_err(),
    ];
    let text: Vec<_> = failures
        .iter()
        .map(|failure| format!("{failure:?}").replace(folder.path().to_str().unwrap(), "/folder"))
        .collect();
    assert_snapshot!(text.join("\n").replace("no such file or directory", "no such file"), @r"
    writing /folder/file on local as nobody: permission denied
      next: look at the owner and mode of it and of the folders above: nobody may not do that
    reading /etc/shadow on local as nobody: permission denied
      next: look at the owner and mode of it and of the folders above: nobody may not do that
    reading /nonexistent on local as nobody: no such file
    `frobnicate` on local as nobody: exit code 1: sudo: frobnicate: command not found
    `A,B=c true` on local as nobody: sudo can't hand on the environment variable `A,B`: its name has a comma
    removing /etc/hostname on local as nobody: permission denied
      next: look at the owner and mode of it and of the folders above: nobody may not do that
    ");
}

#[tokio::test]
async fn a_folder_that_only_the_other_user_may_enter_is_entered_by_that_user() {
    let host = nobody!();
    let folder = folder();
    let private = folder.path().join("private");
    let cx = context();
    cx.on(&host).create_dir(&private).await.unwrap();
    cx.on(&host).set_mode(&private, 0o700).await.unwrap();
    let output = cx.on(&host).run(&Command::new("pwd").dir(&private)).await.unwrap();
    assert_eq!(output.text(), private.to_str().unwrap());
    let missing = Command::new("true").dir("/nonexistent");
    let failure = cx.on(&host).run(&missing).await.unwrap_err().to_string();
    assert!(failure.contains("/nonexistent"), "{failure}");
}

#[tokio::test]
async fn a_password_that_would_be_asked_for_is_an_error_with_what_to_do() {
    let nobody = nobody!();
    // `nobody` itself may do nothing.
    let root = Host::new(Sudo::new(nobody.clone(), "root"));
    let failure = context().on(&root).run(&Command::new("true")).await.unwrap_err();
    assert_snapshot!(format!("{failure:?}"), @r"
    `true` on local as nobody as root: acting as root on local as nobody: sudo: a password is required
      next: allow it in sudoers on local as nobody (`visudo`), without a password and with SETENV, e.g. `deploy ALL=(root) NOPASSWD: ALL`
    ");
    let unknown = Host::new(Sudo::new(here(), "nobody-of-that-name"));
    let failure = context().on(&unknown).run(&Command::new("true")).await.unwrap_err();
    let text = format!("{failure:?}");
    assert!(text.contains("unknown user"), "{text}");
    assert!(text.ends_with("next: create the user nobody-of-that-name, or correct its name"));
}

#[test]
fn a_write_that_ends_with_the_runtime_does_not_take_the_program_along() {
    let Some(host) = nobody() else { return };
    let folder = folder();
    let path = folder.path().join("file");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let write = async move {
        let options = WriteOptions::default();
        host.target().write(&path, Box::new(Broken(false, false)), &options).await
    };
    runtime.spawn(write);
    runtime.block_on(comes_true("it is under way", || names(folder.path()).len() == 1));
    drop(runtime);
}
