//! Connections that are lost, and connections that are let go.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use runbook_core::FailureKind;
use rustix::process::Signal;
use tokio::io::AsyncReadExt;

use super::*;

/// A command that is known to run.
async fn running(connections: &Connections) -> Channel {
    let mut channel = connections.open("echo up; exec sleep 60", Purpose::Command).await.unwrap();
    let mut up = [0; 3];
    soon("its first words", channel.stdout.read_exact(&mut up)).await.unwrap();
    channel
}

async fn is_lost(channel: Channel) -> runbook_core::Failure {
    let Channel { stdin: _stdin, mut stdout, mut stderr, exit } = channel;
    let failure = refused(soon("the end", exit).await.expect("it is told how it ended"));
    assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    let mut rest = Vec::new();
    for stream in [&mut stdout, &mut stderr] {
        let error = soon("the break", stream.read_to_end(&mut rest)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let failure = runbook_core::Failure::from(error);
        assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    }
    failure
}

#[tokio::test]
async fn a_command_whose_connection_is_killed_is_disconnected_and_the_next_runs_on_a_new_one() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let channel = running(&connections).await;
    server.signal_sessions(Signal::KILL);
    let failure = is_lost(channel).await;
    assert!(failure.to_string().starts_with("the connection to web-1 was lost: "), "{failure}");
    assert_eq!(soon("a new one", run(&connections, "echo x")).await.unwrap().stdout, "x\n");
}

#[tokio::test]
async fn a_connection_that_was_lost_while_idle_is_replaced_unnoticed() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    for _ in 0..5 {
        assert_eq!(run(&connections, "echo x").await.unwrap().stdout, "x\n");
        server.signal_sessions(Signal::KILL);
        until("its processes have ended", || server.sessions().is_empty()).await;
    }
    assert_eq!(run(&connections, "echo x").await.unwrap().stdout, "x\n");
}

#[tokio::test]
async fn a_stopped_server_is_found_by_its_silence() {
    let server = Sshd::start();
    let connections = pool(&server, quick());
    let channel = running(&connections).await;
    server.signal_sessions(Signal::STOP);
    let failure = is_lost(channel).await;
    assert!(failure.to_string().contains("the server said nothing for 4 s"), "{failure}");
    server.signal_sessions(Signal::KILL);
}

#[tokio::test]
async fn a_silent_command_on_a_server_that_lives_is_left_alone() {
    let server = Sshd::start();
    // Patient enough for a server that a busy machine lets wait.
    let limits =
        Limits { keepalive: Keepalive { interval: Duration::from_secs(1), count: 8 }, ..limits() };
    let connections = pool(&server, limits);
    let ran = soon("it", run(&connections, "sleep 11; echo done")).await.unwrap();
    assert_eq!(ran.stdout, "done\n");
    // So is an idle connection: no other was made.
    let line = "echo $SSH_CONNECTION";
    let before = run(&connections, line).await.unwrap().stdout;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(run(&connections, line).await.unwrap().stdout, before);
}

/// Forwards to a server, until it stops to.
struct Cable {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Cable {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cable = Self {
            port: listener.local_addr().unwrap().port(),
            cut: Arc::new(AtomicBool::new(false)),
        };
        let cut = cable.cut.clone();
        std::thread::spawn(move || {
            // Ends with the test program.
            for client in listener.incoming().flatten() {
                if cut.load(Ordering::Relaxed) {
                    continue;
                }
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let ways = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
                for (from, to) in ways {
                    let (mut from, mut to, cut) = (from.unwrap(), to.unwrap(), cut.clone());
                    std::thread::spawn(move || {
                        let mut bytes = [0; 16 << 10];
                        while let Ok(read @ 1..) = from.read(&mut bytes) {
                            while cut.load(Ordering::Relaxed) {
                                std::thread::park();
                            }
                            if to.write_all(&bytes[..read]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        cable
    }
}

#[tokio::test]
async fn a_network_that_carries_nothing_any_more_is_found_by_its_silence() {
    let server = Sshd::start();
    let cable = Cable::to(server.port);
    let way = Route::Direct { host: "127.0.0.1".into(), port: cable.port };
    let connections = route(&server, way, quick());
    let idle = running(&connections).await;
    // One that sends without end must not be taken for a sign of life.
    let mut sends = connections.open("cat > /dev/null", Purpose::Command).await.unwrap();
    cable.cut.store(true, Ordering::Relaxed);
    let flood = tokio::spawn(async move {
        let bytes = vec![0; 64 << 10];
        while sends.stdin.write_all(&bytes).await.is_ok() {}
        sends
    });
    is_lost(idle).await;
    is_lost(soon("the flood", flood).await.unwrap()).await;
}

#[tokio::test]
async fn what_waits_for_its_start_on_a_lost_connection_starts_on_the_next() {
    let server = Sshd::with("MaxSessions 1");
    let connections = Arc::new(pool(&server, Limits { connections: 1, ..limits() }));
    let first = running(&connections).await;
    let second = tokio::spawn({
        let connections = connections.clone();
        async move { run(&connections, "echo second").await }
    });
    // It can't start: the only session is taken.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!second.is_finished());
    server.signal_sessions(Signal::KILL);
    is_lost(first).await;
    assert_eq!(soon("the second", second).await.unwrap().unwrap().stdout, "second\n");
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn drivers() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.trim() == "runbook-ssh")
        .count()
}

/// Runs a test of this file alone in a process of its own, where it may count files and threads.
fn alone(test: &str) -> bool {
    if std::env::var_os("RUNBOOK_TEST_ALONE").is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env("RUNBOOK_TEST_ALONE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

#[test]
fn nothing_is_left_of_connections_that_are_let_go() {
    if !alone("ssh::tests::lost::nothing_is_left_of_connections_that_are_let_go") {
        return;
    }
    let server = Sshd::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // What the runtime itself opens is there after the first round.
        let mut files = None;
        for _ in 0..5 {
            let connections = pool(&server, limits());
            let mut open = Vec::new();
            for _ in 0..8 {
                open.push(running(&connections).await);
            }
            assert!(drivers() >= 2);
            let through = Arc::new(pool(&server, limits()));
            let way = Route::Jump { through, host: "127.0.0.1".into(), port: server.port };
            run(&route(&server, way, limits()), "true").await.unwrap();
            drop(open);
            drop(connections);
            until("the threads have ended", || drivers() == 0).await;
            until("its sessions have ended", || open_files() <= *files.get_or_insert(open_files()))
                .await;
        }
    });
}

#[test]
fn nothing_is_left_of_connections_that_were_lost() {
    if !alone("ssh::tests::lost::nothing_is_left_of_connections_that_were_lost") {
        return;
    }
    let server = Sshd::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut files = None;
        for _ in 0..5 {
            let connections = pool(&server, limits());
            let channel = running(&connections).await;
            server.signal_sessions(Signal::KILL);
            is_lost(channel).await;
            until("the thread has ended", || drivers() == 0).await;
            until("its files are closed", || open_files() <= *files.get_or_insert(open_files()))
                .await;
        }
    });
}

#[tokio::test]
async fn connections_beyond_the_first_are_closed_when_they_are_idle() {
    let server = Sshd::start();
    let idle = Duration::from_millis(300);
    let connections = Arc::new(pool(&server, Limits { idle, ..limits() }));
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let connections = connections.clone();
        set.spawn(async move { run(&connections, "sleep 0.2; echo $SSH_CONNECTION").await });
    }
    let mut seen: Vec<String> =
        set.join_all().await.into_iter().map(|ran| ran.unwrap().stdout).collect();
    seen.sort();
    seen.dedup();
    assert!(seen.len() > 1, "{seen:?}");
    let sessions = || {
        let of = |pid: &rustix::process::Pid| {
            std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()))
        };
        server.sessions().iter().filter(|pid| of(pid).is_ok_and(|name| name == "sshd\n")).count()
    };
    until("one connection is left", || sessions() == 1).await;
    let left = run(&connections, "echo $SSH_CONNECTION").await.unwrap().stdout;
    assert!(seen.contains(&left));
}

#[tokio::test]
async fn a_channel_outlives_the_pool_that_opened_it() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let channel = connections.open("cat", Purpose::Command).await.unwrap();
    drop(connections);
    assert_eq!(soon("its end", finish(channel, b"x")).await.unwrap().stdout, "x");
}
