use std::time::Duration;

use insta::assert_snapshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::lines::Lines;
use super::*;
use crate::event::EventKind;
use crate::secret::Secret;
use crate::testing::{FakeTarget, Reply, Surroundings, prefix};

fn fake(reply: Reply) -> (FakeTarget, Host, Surroundings) {
    let target = FakeTarget::new("web-1");
    target.otherwise(reply);
    let host = Host::new(target.clone());
    (target, host, Surroundings::new())
}

async fn failure(reply: Reply, command: &Command) -> Failure {
    let (_, host, around) = fake(reply);
    around.context().on(&host).run(command).await.unwrap_err()
}

#[tokio::test]
async fn what_a_command_says_is_given_back_and_streamed() {
    let (_, host, around) = fake(Reply::stdout("one\ntwo\r\n").stderr("careful\n"));
    let output = around.context().on(&host).run(&Command::new("list")).await.unwrap();
    assert_eq!(output.text(), "one\ntwo");
    assert_eq!(output.stderr, b"careful\n");
    let mut lines = around.lines();
    lines.sort();
    assert_eq!(lines, ["careful", "one", "two"]);
}

#[tokio::test]
async fn a_failed_command_names_itself_its_host_and_what_it_said() {
    let command = Command::new("pg_dump").args(["-Fc", "shop db"]).env("PGPORT", 5433_u16);
    let one = failure(Reply::exit(1).stderr("pg_dump: no such database\n"), &command).await;
    assert_snapshot!(format!("{one:?}"), @"`PGPORT=5433 pg_dump -Fc 'shop db'` on web-1: exit code 1: pg_dump: no such database");

    let said: String = (1..=30).map(|n| format!("line {n}\n")).collect();
    let many = failure(Reply::exit(3).stderr(said).and_stdout("not this"), &command).await;
    assert_snapshot!(format!("{many:?}"), @r"
    `PGPORT=5433 pg_dump -Fc 'shop db'` on web-1: exit code 3; the end of its stderr:
        line 21
        line 22
        line 23
        line 24
        line 25
        line 26
        line 27
        line 28
        line 29
        line 30
    ");

    let silent_on_stderr = failure(Reply::exit(1).and_stdout("a\n\nb\n"), &command).await;
    assert_snapshot!(format!("{silent_on_stderr:?}"), @r"
    `PGPORT=5433 pg_dump -Fc 'shop db'` on web-1: exit code 1; the end of its output:
        a
        b
    ");

    let silent = failure(Reply::exit(1), &command).await;
    assert_snapshot!(format!("{silent:?}"), @"`PGPORT=5433 pg_dump -Fc 'shop db'` on web-1: exit code 1");
}

#[tokio::test]
async fn ends_with_an_obvious_next_step_say_it() {
    let command = Command::new("sh").args(["-c", "frobnicate"]);
    let missing = Reply::exit(127).stderr("sh: 1: frobnicate: not found\n");
    assert_snapshot!(format!("{:?}", failure(missing, &command).await), @r"
    `sh -c frobnicate` on web-1: exit code 127: sh: 1: frobnicate: not found
      next: exit code 127 says that a program was not found: install it on web-1 or correct the PATH
    ");
    assert_snapshot!(format!("{:?}", failure(Reply::exit(126), &command).await), @r"
    `sh -c frobnicate` on web-1: exit code 126
      next: exit code 126 says that a program may not be executed: look at its mode and at its first line on web-1
    ");
    assert_snapshot!(format!("{:?}", failure(Reply::signal(9), &command).await), @r"
    `sh -c frobnicate` on web-1: killed by SIGKILL (signal 9)
      next: it was not this run that killed it; often the kernel does when memory is short: look into the kernel's log on web-1 (`dmesg`)
    ");
    assert_snapshot!(format!("{:?}", failure(Reply::not_found(), &command).await), @"`sh -c frobnicate` on web-1: no such program");
    assert_snapshot!(format!("{:?}", failure(Reply::disconnects(), &command).await), @r"
    `sh -c frobnicate` on web-1: the connection to web-1 was lost
      next: see whether the host is up and can be reached, then resume the run
    ");
}

#[tokio::test]
async fn a_long_script_is_not_repeated_whole_in_its_error() {
    let command = Command::new("sh").arg("-c").arg("true; ".repeat(1000));
    let text = failure(Reply::exit(1), &command).await.to_string();
    assert!(text.len() < 500, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_command_past_its_time_is_ended_and_its_last_words_are_kept() {
    let (target, host, around) = fake(Reply::never_ends().stderr("waiting for lock\n"));
    let command = Command::new("apt-get").arg("update").timeout(Duration::from_secs(30));
    let failure = around.context().on(&host).run(&command).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::TimedOut);
    assert_snapshot!(failure, @"`apt-get update` on web-1: out of time after 30s, its process tree was ended: waiting for lock");
    let calls: Vec<_> = target.calls().iter().map(ToString::to_string).collect();
    assert_eq!(calls, ["apt-get update", "kill apt-get update"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_unit_ends_its_command() {
    let (target, host, around) = fake(Reply::never_ends().ignoring_sigterm());
    let cx = around.context();
    let command = Command::new("rsync");
    let (failure, ()) =
        tokio::join!(async { cx.on(&host).run(&command).await.unwrap_err() }, async {
            sleep(Duration::from_secs(90)).await;
            around.cancel();
        });
    assert_eq!(failure.kind(), FailureKind::Cancelled);
    assert_snapshot!(failure, @"`rsync` on web-1: cancelled after 1m 30s, its process tree was ended");
    assert_eq!(target.calls().len(), 2);

    let next = around.context().on(&host).run(&command).await.unwrap_err();
    assert_snapshot!(next, @"`rsync` on web-1: cancelled after 0s, before it ran");
    assert_eq!(target.calls().len(), 2, "a stopped unit starts nothing more");
}

#[tokio::test]
async fn a_flood_of_output_does_not_keep_a_command_from_being_ended() {
    let (target, host, around) = fake(Reply::never_ends());
    struct Flood;
    impl tokio::io::AsyncRead for Flood {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            buffer.put_slice(b"y\n");
            std::task::Poll::Ready(Ok(()))
        }
    }
    let cx = around.observer();
    let command = Command::new("yes");
    let invocation = Invocation::changing(&cx, &host, &command);
    let mut process = invocation.start().await.unwrap();
    let mut streams = Streams::of(&cx, &mut *process);
    streams.out = Some(Capture::new(&cx, StreamKind::Stdout, Some(Box::new(Flood))));
    around.cancel();
    let end = end(&cx, &mut *process, &mut streams).await;
    assert_eq!(end, "its process tree was ended");
    assert_eq!(target.calls().len(), 2);
}

#[tokio::test]
async fn a_stopped_unit_looks_no_further_and_says_at_what() {
    let (_, host, around) = fake(Reply::ok());
    around.cancel();
    let cx = around.observer();
    let failure = cx.on(&host).read("/etc/motd").await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Cancelled);
    assert_snapshot!(failure, @"reading /etc/motd on web-1: cancelled");
    let address = crate::Address::Tcp("localhost".into(), 5432);
    let failure = cx.on(&host).connect(&address).await.err().unwrap();
    assert_snapshot!(failure, @"connecting to localhost:5432 from web-1: cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_spawned_command_is_ended_with_its_unit_or_its_handle() {
    let (target, host, around) = fake(Reply::never_ends());
    let cx = around.context();
    let limited = Command::new("cat").stdin(crate::Stdin::Piped).timeout(Duration::from_secs(5));
    let mut running = cx.on(&host).spawn(&limited).await.unwrap();
    running.stdin().unwrap().write_all(b"hello").await.unwrap();
    let failure = running.wait().await.unwrap_err();
    assert_snapshot!(failure, @"`cat` on web-1: out of time after 5s, its process tree was ended");
    let mut said = String::new();
    running.stdout().unwrap().read_to_string(&mut said).await.unwrap();
    drop(running);
    drop(cx.on(&host).spawn(&Command::new("tail")).await.unwrap());
    let calls: Vec<_> = target.calls().iter().map(ToString::to_string).collect();
    assert_eq!(calls, ["cat", "kill cat", "tail", "kill tail"]);
    assert_eq!(target.commands()[0].stdin, b"hello");
}

#[tokio::test]
async fn output_beyond_the_limit_is_counted_and_not_kept() {
    let long = vec![b'x'; Output::LIMIT + 5];
    let (_, host, around) = fake(Reply::stdout(long).stderr("end\n"));
    let output = around.context().on(&host).run(&Command::new("cat")).await.unwrap();
    assert_eq!(output.stdout.len(), Output::LIMIT);
    assert_eq!(output.dropped, 5);
    assert!(around.lines().iter().all(|line| line.len() <= Lines::PIECE + Lines::HELD));
    let streamed: usize = around.lines().iter().map(String::len).sum();
    assert_eq!(streamed, Output::LIMIT + 5 + "end".len(), "all of it was streamed");
}

#[tokio::test]
async fn leftovers_of_a_killed_run_are_ended_once_before_the_first_command() {
    let target = FakeTarget::new("web-1").dir("/srv");
    target.otherwise(Reply::ok());
    target.leave("test:unit", "sleep 1000");
    target.leave("test:other-unit", "sleep 2000");
    let host = Host::new(target.clone());
    let around = Surroundings::with(Sweep::new(true));
    let cx = around.context();
    cx.on(&host).write("/srv/a", "a").await.unwrap();
    cx.on(&host).run(&Command::new("true")).await.unwrap();
    let calls: Vec<_> = target.calls().iter().map(ToString::to_string).collect();
    assert_eq!(calls, ["end leftovers of test:unit", "write /srv/a", "true"]);
    let swept: Vec<_> = around
        .events()
        .into_iter()
        .filter_map(|event| match event {
            EventKind::LeftoversEnded { host, processes, .. } => Some((host, processes)),
            _ => None,
        })
        .collect();
    assert_eq!(swept, [("web-1".to_owned(), vec!["sleep 1000".to_owned()])]);
}

#[tokio::test]
async fn reading_changes_nothing_and_says_so_to_the_target() {
    let (target, host, around) = fake(Reply::ok());
    let look = Command::new("df").read_only();
    around.observer().on(&host).output(&look).await.unwrap();
    around.context().on(&host).status(&look).await.unwrap();
    assert!(target.changes().is_empty());
    around.context().on(&host).run(look.command()).await.unwrap();
    assert_eq!(target.changes(), ["df"]);
}

#[tokio::test]
async fn secrets_that_a_program_echoes_are_in_no_event_and_no_error() {
    let secret = Secret::new("s3cret-of-exec-tests");
    let (target, host, around) = fake(Reply::ok());
    target.on(prefix("login")).reply(
        Reply::exit(1)
            .stderr("password s3cret-of-exec-tests refused\n")
            .and_stdout("s3cret-of-exec-tests\n"),
    );
    let command = Command::new("login").arg(secret.expose()).env("PASSWORD", &secret);
    let failure = around.context().on(&host).run(&command).await.unwrap_err();
    let output = around.context().on(&host).run_unchecked(&command).await.unwrap();
    assert_eq!(output.text(), "s3cret-of-exec-tests", "code gets what the program said");
    let all = format!("{failure:?}\n{:?}\n{:?}", around.events(), target.calls());
    assert!(!format!("{failure:?}").contains("s3cret-of-exec-tests"), "{failure:?}");
    assert!(!format!("{:?}", around.events()).contains("s3cret-of-exec-tests"), "{all}");
    assert!(failure.to_string().contains("password *** refused"), "{failure}");
}

fn cut(chunks: &[&[u8]]) -> Vec<String> {
    let mut lines = Lines::default();
    let mut said = Vec::new();
    for chunk in chunks {
        lines.push(chunk, |line| said.push(line.to_owned()));
    }
    lines.finish(|line| said.push(line.to_owned()));
    said
}

#[test]
fn lines_end_with_any_line_end_wherever_the_chunks_end() {
    assert_eq!(
        cut(&[b"a\nb\r", b"\nc", b"\r10%\r20%\n", b"\nlast"]),
        ["a", "b", "c", "10%", "20%", "", "last"]
    );
}

#[test]
fn bytes_that_are_no_text_and_long_lines_pass() {
    assert_eq!(cut(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    let long = "é".repeat(100_000);
    let pieces = cut(&[long.as_bytes()]);
    assert_eq!(pieces.concat(), long, "no character is cut");
    assert!(pieces.iter().all(|piece| piece.len() <= Lines::PIECE + Lines::HELD));
}

#[test]
fn a_secret_is_scrubbed_wherever_chunks_and_pieces_end() {
    let secret = Secret::new("a-secret-that-is-split-somewhere");
    for at in [0, 1, 7, 20, 31, 32] {
        let (head, tail) = secret.expose().split_at(at);
        assert_eq!(cut(&[b"x", head.as_bytes(), tail.as_bytes(), b"y\n"]), ["x***y"]);
    }
    for before in (Lines::PIECE - 40..Lines::PIECE + 8).chain([2 * Lines::PIECE - 3]) {
        let text = format!("{}{}{}", "-".repeat(before), secret.expose(), "=".repeat(40_000));
        let said = cut(&[text.as_bytes()]).concat();
        assert_eq!(said, text.replace(secret.expose(), "***"), "after {before} bytes");
    }
    // One straight after the other.
    let text = secret.expose().repeat(2_000);
    assert_eq!(cut(&[text.as_bytes()]).concat().replace('*', ""), "");
}
