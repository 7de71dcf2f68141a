//! What is left of commands and uploads that ended before their time: nothing, on either side.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio as Streams};
use std::sync::Arc;
use std::time::Duration;

use lab::{Agent, Proxy, Sshd};
use runbook_core::testing::context;
use runbook_core::{BoxRead, Command, FailureKind, Host, Result, Stdin, Target, WriteOptions};
use runbook_targets::{Auth, Ssh};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::files::names;
use crate::support::{Mark, comes_true, in_a_process_of_its_own, sh, soon};
use crate::{by_way_of, to};

/// A shell, a child, one in a session of its own, and one adopted by init with a child: six.
const FAMILY: &str = "sleep 1000 & setsid sleep 1001 & \
    (setsid sh -c 'sleep 1002 & sleep 1003 & wait' >/dev/null 2>&1 &); wait";

/// Content that begins, and then never comes.
async fn stuck() -> BoxRead {
    let (mut writer, reader) = tokio::io::duplex(2 << 20);
    writer.write_all(&vec![7; 1 << 20]).await.unwrap();
    Box::new(tokio::io::AsyncReadExt::chain(reader.take(1 << 20), Pending(writer)))
}

/// Never ready.
struct Pending(
    #[expect(dead_code, reason = "held, so that the content does not end")] tokio::io::DuplexStream,
);

impl tokio::io::AsyncRead for Pending {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Pending
    }
}

/// Everything that can be under way on a host: a command in a shell of the pool, one that is
/// spoken with, one in isolated mode, and an upload to `folder`.
fn busy(ssh: &Ssh, mark: &Mark, folder: &Path) -> Vec<JoinHandle<Result<()>>> {
    let command = |ssh: Ssh, command: Command| {
        tokio::spawn(async move {
            let host = Host::new(ssh);
            let cx = context();
            let mut running = cx.on(&host).spawn(&command).await?;
            // Held: its end would be one of the input.
            let _stdin = running.stdin();
            running.wait().await.map(drop)
        })
    };
    let upload = {
        let (ssh, path) = (ssh.clone(), folder.join("large"));
        tokio::spawn(async move { ssh.write(&path, stuck().await, &WriteOptions::default()).await })
    };
    vec![
        command(ssh.clone(), mark.on(sh(FAMILY))),
        command(ssh.clone(), mark.on(sh(FAMILY)).stdin(Stdin::Piped)),
        command(ssh.clone().isolated(), mark.on(sh(FAMILY))),
        upload,
    ]
}

/// Waits until all of [`busy`] is.
async fn is_busy(mark: &Mark, folder: &Path) {
    comes_true("all commands run and the upload has begun", || {
        mark.command_lines().iter().filter(|line| line.starts_with("sleep 100")).count() == 12
            && names(folder).iter().any(|name| name.starts_with(".large.runbook-"))
    })
    .await;
}

/// Waits until nothing of [`busy`] is left on the host.
async fn is_gone(mark: &Mark, folder: &Path) {
    comes_true("no command runs", || mark.living().is_empty()).await;
    comes_true("no file is half written", || names(folder).is_empty()).await;
}

/// Something that an earlier command left running on purpose.
async fn daemon(host: &Host) -> Mark {
    let daemon = Mark::new();
    let start = daemon.on(sh("setsid sleep 1009 >/dev/null 2>&1 &"));
    soon(context().on(host).run(&start)).await.unwrap();
    comes_true("the daemon runs", || daemon.command_lines() == ["sleep 1009"]).await;
    daemon
}

/// Those processes of a server's sessions that are not its own.
fn strangers(sshd: &Sshd, known: &Mark) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = sshd.sessions().into_iter().collect();
    let own = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).map_or(true, |name| name.trim() == "sshd")
    };
    found.retain(|pid| !own(pid));
    for pid in known.living() {
        found.remove(&pid);
    }
    found
}

#[tokio::test]
async fn what_is_dropped_is_gone_and_so_are_its_files_and_sessions() {
    let (sshd, folder, mark) = (Sshd::start(), tempfile::tempdir().unwrap(), Mark::new());
    let ssh = to(&sshd);
    let daemon = daemon(&Host::new(ssh.clone())).await;
    let busy = busy(&ssh, &mark, folder.path());
    is_busy(&mark, folder.path()).await;
    busy.iter().for_each(JoinHandle::abort);
    is_gone(&mark, folder.path()).await;
    drop(busy);
    drop(ssh);
    comes_true("its sessions have ended", || strangers(&sshd, &daemon).is_empty()).await;
    let rest = || sshd.sessions().iter().all(|pid| daemon.living().contains(pid));
    comes_true("its connections have ended", rest).await;
    assert_eq!(daemon.living().len(), 1, "what was left running on purpose runs");
}

#[tokio::test]
async fn what_ran_on_a_connection_that_is_cut_is_gone() {
    let (sshd, folder, mark) = (Sshd::start(), tempfile::tempdir().unwrap(), Mark::new());
    let proxy = Proxy::start(sshd.port());
    let ssh = by_way_of(&sshd, &proxy);
    let daemon = daemon(&Host::new(ssh.clone())).await;
    let busy = busy(&ssh, &mark, folder.path());
    is_busy(&mark, folder.path()).await;
    proxy.cut();
    for one in busy {
        let failure = soon(one).await.unwrap().unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    }
    is_gone(&mark, folder.path()).await;
    // The next unit connects again.
    let host = Host::new(ssh);
    assert_eq!(soon(context().on(&host).run(&sh("echo on"))).await.unwrap().text(), "on");
    drop(host);
    comes_true("its sessions have ended", || strangers(&sshd, &daemon).is_empty()).await;
    assert_eq!(daemon.living().len(), 1, "what was left running on purpose runs");
}

#[tokio::test]
async fn what_ran_over_a_link_that_went_dead_is_gone() {
    let (sshd, folder, mark) = (Sshd::start(), tempfile::tempdir().unwrap(), Mark::new());
    let proxy = Proxy::start(sshd.port());
    let ssh = by_way_of(&sshd, &proxy).keepalive(Duration::from_secs(2), 2);
    let daemon = daemon(&Host::new(ssh.clone())).await;
    let busy = busy(&ssh, &mark, folder.path());
    is_busy(&mark, folder.path()).await;
    proxy.silence();
    for one in busy {
        let failure = soon(one).await.unwrap().unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    }
    is_gone(&mark, folder.path()).await;
    comes_true("its sessions have ended", || strangers(&sshd, &daemon).is_empty()).await;
    assert_eq!(daemon.living().len(), 1, "what was left running on purpose runs");
}

/// What the killed program does, in a process of its own.
#[test]
fn child() {
    let Ok(told) = std::env::var("RUNBOOK_TEST_KILLED") else { return };
    let told: Vec<_> = told.split('\n').collect();
    let [port, user, key, known_hosts, folder, mark] = told[..] else { panic!("{told:?}") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ssh = Ssh::at("127.0.0.1")
            .port(port.parse().unwrap())
            .user(user)
            .known_hosts(known_hosts)
            .auth(Auth::new().key_file(key).without_agent());
        // Not the one that ends what bears it.
        let mark = std::mem::ManuallyDrop::new(Mark(mark.to_owned()));
        let mut busy = busy(&ssh, &mark, Path::new(folder));
        let [first, ..] = &mut busy[..] else { panic!("nothing runs") };
        panic!("it ended: {:?}", first.await);
    });
}

#[tokio::test]
async fn what_a_killed_program_ran_is_gone() {
    let (sshd, folder, mark) = (Sshd::start(), tempfile::tempdir().unwrap(), Mark::new());
    let ssh = to(&sshd);
    let daemon = daemon(&Host::new(ssh.clone())).await;
    let known_hosts = sshd.dir().join(format!("known_hosts_at_{}", sshd.port()));
    let told = [
        sshd.port().to_string(),
        sshd.user().to_owned(),
        sshd.client_key().display().to_string(),
        known_hosts.display().to_string(),
        folder.path().display().to_string(),
        mark.value().to_owned(),
    ];
    let mut program = Program::new(std::env::current_exe().unwrap())
        .args(["--exact", "left_behind::child", "--nocapture"])
        .env("RUNBOOK_TEST_KILLED", told.join("\n"))
        .stdin(Streams::null())
        .stdout(Streams::null())
        .spawn()
        .unwrap();
    is_busy(&mark, folder.path()).await;
    program.kill().unwrap();
    program.wait().unwrap();
    is_gone(&mark, folder.path()).await;
    drop(ssh);
    comes_true("its sessions have ended", || strangers(&sshd, &daemon).is_empty()).await;
    let rest = || sshd.sessions().iter().all(|pid| daemon.living().contains(pid));
    comes_true("its connections have ended", rest).await;
    assert_eq!(daemon.living().len(), 1, "what was left running on purpose runs");
}

#[tokio::test]
async fn no_session_stays_taken_by_commands_that_were_ended() {
    let sshd = Sshd::start();
    // One connection, with the ten sessions that sshd allows.
    for ssh in [to(&sshd).connections(1), to(&sshd).connections(1).isolated()] {
        let host = Host::new(ssh);
        let mark = Mark::new();
        let short = Duration::from_millis(100);
        for round in 0..12 {
            let cx = context();
            match round % 3 {
                0 => {
                    let command = mark.on(sh(FAMILY)).timeout(short);
                    let failure = soon(cx.on(&host).run(&command)).await.unwrap_err();
                    assert_eq!(failure.kind(), FailureKind::TimedOut, "{failure}");
                }
                1 => drop(soon(cx.on(&host).spawn(&mark.on(sh(FAMILY)))).await.unwrap()),
                _ => {
                    let piped = mark.on(sh(FAMILY)).stdin(Stdin::Piped);
                    drop(soon(cx.on(&host).spawn(&piped)).await.unwrap());
                }
            }
        }
        let mut ten = tokio::task::JoinSet::new();
        for number in 0..10 {
            let host = host.clone();
            ten.spawn(async move {
                let command = sh(&format!("sleep 0.1; echo {number}"));
                context().on(&host).run(&command).await.map(|output| output.text())
            });
        }
        let mut said: Vec<_> = soon(ten.join_all()).await.into_iter().map(Result::unwrap).collect();
        said.sort();
        assert_eq!(said.concat(), "0123456789");
        comes_true("all that was ended is gone", || mark.living().is_empty()).await;
        drop(host);
        comes_true("its sessions have ended", || sshd.sessions().is_empty()).await;
    }
}

#[tokio::test]
async fn what_cleared_its_environment_and_left_its_parents_escapes_and_nothing_else() {
    let sshd = Sshd::start();
    let host = Host::new(to(&sshd));
    let dir = tempfile::tempdir().unwrap();
    let pid = |name: &str| -> PathBuf {
        let text = fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        Path::new("/proc").join(text.trim())
    };
    // Each says its id before it becomes what sleeps.
    let line = "in_session() { setsid sh -c 'echo $$ >session; exec sleep 1010'; }
        orphan() { (setsid sh -c 'echo $$ >orphan; exec sleep 1011' >/dev/null 2>&1 &); }
        cleared() { env -i setsid sh -c 'echo $$ >cleared; exec sleep 1012'; }
        both() { (env -i setsid sh -c 'echo $$ >both; exec sleep 1013' >/dev/null 2>&1 &); }
        in_session & orphan; cleared & both; wait";
    let cx = context();
    let command = sh(line).dir(dir.path());
    let running = soon(cx.on(&host).spawn(&command)).await.unwrap();
    let all = ["session", "orphan", "cleared", "both"];
    let sleeps = |name: &str| {
        let said = fs::read(pid(name).join("cmdline")).unwrap_or_default();
        pid(name) != Path::new("/proc/") && said.starts_with(b"sleep\0")
    };
    comes_true("all run", || all.iter().all(|name| sleeps(name))).await;
    // Whose parent is not yet gone is no orphan.
    let orphaned = || {
        let status = fs::read_to_string(pid("both").join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let parent = parent.map(|parent| format!("/proc/{}/cmdline", parent.trim()));
        parent.is_some_and(|path| {
            let line = fs::read(path).unwrap_or_default();
            !line.windows(8).any(|part| part == b"sleep 10")
        })
    };
    comes_true("it left its parents", orphaned).await;
    drop(running);
    for name in ["session", "orphan", "cleared"] {
        comes_true(name, || !pid(name).exists()).await;
    }
    drop(host);
    // All that hangs on its mark is gone with the connection, and still it runs.
    let escaped = pid("both");
    let number: u32 = escaped.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let connected = || sshd.sessions().into_iter().any(|pid| pid != number);
    comes_true("its sessions have ended", || !connected()).await;
    assert!(sleeps("both"), "it escaped");
    lab::kill_tree(number);
    comes_true("the test ends it", || !escaped.exists()).await;
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn nothing_is_left_on_this_side() {
    in_a_process_of_its_own("left_behind::nothing_is_left_on_this_side", "exec", || {
        let (sshd, agent) = (Sshd::start(), Agent::start());
        agent.add(&sshd.client_key());
        let config = sshd.dir().join("config");
        let known = sshd.dir().join("known");
        fs::write(&known, sshd.known_hosts()).unwrap();
        let text = format!(
            "Host web\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile none\n \
             IdentityAgent {}\n UserKnownHostsFile {}\n",
            sshd.port(),
            sshd.user(),
            agent.socket().display(),
            known.display(),
        );
        fs::write(&config, text).unwrap();
        let round = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let ssh = Ssh::new("web").config_file(&config);
                let host = Host::new(ssh.clone());
                let cx = context();
                let mut set = tokio::task::JoinSet::new();
                for _ in 0..12 {
                    let host = host.clone();
                    set.spawn(async move { context().on(&host).run(&sh("true")).await.map(drop) });
                }
                soon(set.join_all()).await.into_iter().for_each(Result::unwrap);
                let file = sshd.home().join("file");
                cx.on(&host).write(&file, vec![1; 1 << 20]).await.unwrap();
                assert_eq!(cx.on(&host).read(&file).await.unwrap().len(), 1 << 20);
                let hangs = sh("sleep 1000").timeout(Duration::from_millis(50));
                soon(cx.on(&host).run(&hangs)).await.unwrap_err();
                drop((host, Arc::new(ssh)));
                comes_true("no session is left", || sshd.sessions().is_empty()).await;
            });
        };
        // The first round opens what the runtime and the system's libraries keep.
        round();
        let before = (open_files(), threads());
        for _ in 0..3 {
            round();
        }
        let end = std::time::Instant::now() + crate::support::LONG;
        while open_files() > before.0 || threads() > before.1 {
            assert!(std::time::Instant::now() < end, "{:?}", (open_files(), threads(), before));
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}
