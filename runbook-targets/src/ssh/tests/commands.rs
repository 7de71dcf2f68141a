//! Commands on a server that does what it should.

use std::time::Duration;

use runbook_core::Exit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn a_command_says_what_it_has_to_say_on_both_streams_and_how_it_ended() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let ran = run(&connections, "echo out; echo err >&2; exit 7").await.unwrap();
    assert_eq!(ran, Ran { exit: Exit::Code(7), stdout: "out\n".into(), stderr: "err\n".into() });
}

#[tokio::test]
async fn a_command_that_a_signal_ended_says_which() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    for (name, number) in [("TERM", 15), ("KILL", 9), ("USR1", 10)] {
        let ran = run(&connections, &format!("kill -{name} $$; sleep 20")).await.unwrap();
        assert_eq!(ran.exit, Exit::Signal(number), "{name}");
    }
}

#[tokio::test]
async fn input_arrives_whole_and_ends() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let input: Vec<u8> = (0..8 << 20).map(|i: u32| (i % 251) as u8).collect();
    let expected = {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(&input);
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let channel = connections.open("sha256sum", Purpose::Bulk).await.unwrap();
    let ran = soon("the upload", finish(channel, &input)).await.unwrap();
    assert!(ran.stdout.starts_with(&expected), "{}", ran.stdout);
}

#[tokio::test]
async fn much_on_both_streams_at_once_arrives_whole() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let line =
        "head -c 8388608 /dev/zero | tr '\\0' o & head -c 8388608 /dev/zero | tr '\\0' e >&2; wait";
    let ran = soon("16 MiB", run(&connections, line)).await.unwrap();
    assert_eq!((ran.stdout.len(), ran.stderr.len()), (8 << 20, 8 << 20));
    assert!(ran.stdout.bytes().all(|byte| byte == b'o'));
    assert!(ran.stderr.bytes().all(|byte| byte == b'e'));
}

#[tokio::test]
async fn a_slow_command_does_not_hold_up_quick_ones() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let mut slow = connections
        .open("while :; do echo drip; sleep 0.05; done", Purpose::Command)
        .await
        .unwrap();
    let mut dripped = [0; 5];
    slow.stdout.read_exact(&mut dripped).await.unwrap();
    for number in 0..300 {
        let line = format!("echo {number}");
        let channel = soon("a quick start", connections.open(&line, Purpose::Shell)).await;
        let ran = soon("a quick command", finish(channel.unwrap(), b"")).await;
        assert_eq!(ran.unwrap().stdout, format!("{number}\n"));
    }
    slow.stdout.read_exact(&mut dripped).await.unwrap();
    assert_eq!(slow.exit.try_recv().unwrap_err(), tokio::sync::oneshot::error::TryRecvError::Empty);
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_only_its_own_command() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let mut flood = connections.open("exec yes", Purpose::Command).await.unwrap();
    let mut first = [0; 2];
    flood.stdout.read_exact(&mut first).await.unwrap();
    for _ in 0..20 {
        assert_eq!(run(&connections, "echo here").await.unwrap().stdout, "here\n");
    }
    // What was kept for the reader is still in order.
    let mut next = vec![0; 4 << 20];
    soon("reading on", flood.stdout.read_exact(&mut next)).await.unwrap();
    assert!(next.chunks(2).all(|line| line == b"y\n"));
}

#[tokio::test]
async fn a_driver_whose_reader_does_not_read_sleeps() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let mut flood = connections.open("exec yes", Purpose::Command).await.unwrap();
    let mut first = [0; 2];
    flood.stdout.read_exact(&mut first).await.unwrap();
    // The buffers fill up, and then nothing moves any more.
    let yes = server.sessions().into_iter().last().expect("the flooding command");
    let used = |pid: rustix::process::Pid| ticks(&format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let mut before = (used(yes), driver_ticks());
    let mut still = 0;
    let deadline = std::time::Instant::now() + SOON;
    while still < 10 {
        assert!(std::time::Instant::now() < deadline, "it goes on and on");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = (used(yes), driver_ticks());
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    drop(flood);
}

/// The processor time that the driver threads of this process took.
fn driver_ticks() -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.trim() == "runbook-ssh" {
            sum += ticks(&task.path().join("stat").display().to_string());
        }
    }
    sum
}

fn ticks(stat: &str) -> u64 {
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    [11, 12].iter().filter_map(|&at| fields.get(at)?.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn thirty_commands_at_once_run_within_the_limits_of_a_default_server() {
    let server = Sshd::start();
    let connections = Arc::new(pool(&server, limits()));
    let mut set = tokio::task::JoinSet::new();
    for number in 0..30 {
        let connections = connections.clone();
        set.spawn(async move { run(&connections, &format!("sleep 0.2; echo {number}")).await });
    }
    let mut said: Vec<u32> = soon("thirty commands", set.join_all())
        .await
        .into_iter()
        .map(|ran| ran.unwrap().stdout.trim().parse().unwrap())
        .collect();
    said.sort_unstable();
    assert_eq!(said, (0..30).collect::<Vec<_>>());
    assert!(!server.log().contains("MaxStartups"), "{}", server.log());
}

#[tokio::test]
async fn channels_that_the_server_refuses_are_asked_for_again() {
    let server = Sshd::with("MaxSessions 2");
    let connections = Arc::new(pool(&server, Limits { connections: 1, ..limits() }));
    let mut set = tokio::task::JoinSet::new();
    for number in 0..12 {
        let connections = connections.clone();
        set.spawn(async move { run(&connections, &format!("sleep 0.05; echo {number}")).await });
    }
    for ran in soon("twelve commands", set.join_all()).await {
        assert_eq!(ran.unwrap().exit, Exit::Code(0));
    }
}

#[tokio::test]
async fn one_session_at_a_time_is_enough() {
    let server = Sshd::with("MaxSessions 1");
    let connections = pool(&server, Limits { connections: 1, ..limits() });
    for _ in 0..10 {
        assert_eq!(
            soon("a command", run(&connections, "echo $PPID")).await.unwrap().exit,
            Exit::Code(0)
        );
    }
}

#[tokio::test]
async fn a_command_that_nobody_listens_to_is_closed_and_its_place_is_free_again() {
    let server = Sshd::with("MaxSessions 3");
    let connections = pool(&server, Limits { connections: 1, channels: 2, ..limits() });
    for _ in 0..20 {
        // It ends when its input does.
        let channel = connections.open("cat", Purpose::Command).await.unwrap();
        drop(channel);
    }
    assert_eq!(soon("a place", run(&connections, "echo free")).await.unwrap().stdout, "free\n");
}

#[tokio::test]
async fn an_open_that_is_given_up_runs_nothing_more() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    run(&connections, "true").await.unwrap();
    for _ in 0..50 {
        let open = connections.open("sleep 20", Purpose::Command);
        // Polled once, then dropped.
        let _ = tokio::time::timeout(Duration::ZERO, open).await;
    }
    assert_eq!(soon("a place", run(&connections, "echo free")).await.unwrap().stdout, "free\n");
}

#[tokio::test]
async fn the_end_is_told_even_if_what_was_said_is_not_read() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let channel =
        connections.open("head -c 1000000 /dev/zero; exit 3", Purpose::Command).await.unwrap();
    let Channel { stdin, mut stdout, stderr, exit } = channel;
    drop(stdin);
    assert_eq!(soon("the end", exit).await.unwrap().unwrap(), Exit::Code(3));
    let mut said = Vec::new();
    stdout.read_to_end(&mut said).await.unwrap();
    assert_eq!(said.len(), 1_000_000);
    drop(stderr);
}

#[tokio::test]
async fn a_line_that_can_not_be_sent_is_refused_before_anything_is() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let zero = refused(connections.open("echo \0", Purpose::Command).await);
    assert!(zero.to_string().contains("zero byte"), "{zero}");
    let long = refused(connections.open(&"x".repeat(40_000), Purpose::Command).await);
    assert!(long.to_string().contains("40000 bytes"), "{long}");
    let longest = format!("true {}", "x".repeat(32_000));
    assert_eq!(run(&connections, &longest).await.unwrap().exit, Exit::Code(0));
}

#[tokio::test]
async fn no_answer_is_left_lying_that_was_read_with_something_else() {
    let server = Sshd::start();
    // Nothing but the answers themselves may wake the driver.
    let keepalive = Keepalive { interval: Duration::from_secs(300), count: 3 };
    let connections = pool(&server, Limits { keepalive, connections: 1, ..limits() });
    let mut asked = connections.open("exec cat", Purpose::Shell).await.unwrap();
    let mut told = connections.open("exec cat > /dev/null", Purpose::Shell).await.unwrap();
    let mut answer = [0; 6];
    for number in 0..3000 {
        let question = format!("{number:05}\n");
        asked.stdin.write_all(question.as_bytes()).await.unwrap();
        // A write to the other reads what comes for both: now and then just this answer.
        let since = std::time::Instant::now();
        while since.elapsed() < Duration::from_micros(number % 150) {
            std::hint::spin_loop();
        }
        told.stdin.write_all(b"x").await.unwrap();
        soon("the answer", asked.stdout.read_exact(&mut answer)).await.unwrap();
        assert_eq!(answer, question.as_bytes());
    }
}

/// libssh2 does not tell whether the server said how a command ended. A line whose success matters
/// says so itself.
#[tokio::test]
async fn a_channel_that_the_server_closes_on_its_own_looks_like_success() {
    let server = Sshd::with("ChannelTimeout session:command=1");
    let connections = pool(&server, limits());
    let ran = soon("the end", run(&connections, "echo up; sleep 60; exit 3")).await.unwrap();
    assert_eq!(ran, Ran { exit: Exit::Code(0), stdout: "up\n".into(), stderr: String::new() });
}
