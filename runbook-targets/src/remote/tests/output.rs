//! Floods, long lines, and what others say in between.

use std::time::Duration;

use runbook_core::testing::{Surroundings, context};
use runbook_core::{Exit, FailureKind, Spawn, Stdin, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::here::{Far, Here, SHELLS, hosts};
use super::support::{Mark, comes_true, sh, soon};
use runbook_core::Host;

#[tokio::test]
async fn a_line_of_a_hundred_megabytes_passes_in_pieces() {
    let command = sh("head -c 100000000 /dev/zero | tr '\\0' x; echo end >&2");
    for sh in SHELLS {
        let far = Far::new(&Here::new(), sh);
        let mut process = soon(far.spawn(&command, &Spawn::new("t"))).await.unwrap();
        let (mut out, mut err) = (process.stdout().unwrap(), process.stderr().unwrap());
        let before = resident();
        let read = async {
            let (mut piece, mut total) = (vec![0; 64 << 10], 0);
            loop {
                match out.read(&mut piece).await.unwrap() {
                    0 => break total,
                    read => total += read,
                }
            }
        };
        assert_eq!(soon(read).await, 100_000_000);
        let mut said = String::new();
        soon(err.read_to_string(&mut said)).await.unwrap();
        assert_eq!(said, "end\n");
        assert_eq!(soon(process.wait()).await.unwrap(), Exit::Code(0));
        // Other tests run beside this one.
        assert!(resident().saturating_sub(before) < 60 << 20, "{before} {}", resident());
    }
}

/// Bytes of memory in use.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn an_endless_flood_waits_for_its_reader_and_ends_when_it_is_cancelled() {
    for sh_ in SHELLS {
        let mark = Mark::new();
        let around = Surroundings::new();
        let (cx, host) = (around.context(), Host::new(Far::new(&Here::new(), sh_)));
        let command = mark.on(sh("yes & yes >&2"));
        let on = cx.on(&host);
        let cancel = async {
            comes_true("it says a lot", || around.lines().len() > 1000).await;
            around.cancel();
        };
        let (failure, ()) = soon(async { tokio::join!(on.run(&command), cancel) }).await;
        assert_eq!(failure.unwrap_err().kind(), FailureKind::Cancelled);
        assert_eq!(mark.living(), [0; 0]);
    }
}

#[tokio::test]
async fn waiting_needs_no_reader_and_a_dropped_reader_blocks_nobody() {
    for sh_ in SHELLS {
        let far = Far::new(&Here::new(), sh_);
        let mut process =
            soon(far.spawn(&sh("echo some; exit 4"), &Spawn::new("t"))).await.unwrap();
        assert_eq!(soon(process.wait()).await.unwrap(), Exit::Code(4));
        let mut said = String::new();
        soon(process.stdout().unwrap().read_to_string(&mut said)).await.unwrap();
        assert_eq!(said, "some\n");

        let much = sh("head -c 10000000 /dev/zero; exit 5");
        let mut process = soon(far.spawn(&much, &Spawn::new("t"))).await.unwrap();
        drop((process.stdout(), process.stderr()));
        assert_eq!(soon(process.wait()).await.unwrap(), Exit::Code(5));
    }
}

#[tokio::test]
async fn what_a_command_left_behind_is_not_heard_in_the_next_one() {
    for host in hosts() {
        let mark = Mark::new();
        let folder = tempfile::tempdir().unwrap();
        let go = folder.path().join("go");
        let cx = context();
        let start = mark
            .on(sh("(while [ ! -e \"$GO\" ]; do sleep 0.01; done; echo late; echo late >&2; \
                exec sleep 1000) & echo early"))
            .env("GO", go.as_os_str());
        let output = soon(cx.on(&host).run(&start)).await.unwrap();
        assert_eq!(output.text(), "early");
        let next = sh("touch \"$GO\"; sleep 0.3; echo next").env("GO", go.as_os_str());
        let output = soon(cx.on(&host).run(&next)).await.unwrap();
        assert_eq!((output.text().as_str(), output.stderr.as_slice()), ("next", &b""[..]));
        assert_eq!(mark.living().len(), 1, "it was left on purpose");
    }
}

#[tokio::test]
async fn the_output_of_a_child_that_outlives_its_command_shortly_is_kept() {
    for host in hosts() {
        let command = sh("(sleep 0.3; echo late) & echo early");
        let output = soon(context().on(&host).run(&command)).await.unwrap();
        assert_eq!(output.text(), "early\nlate");
    }
}

#[tokio::test]
async fn piped_input_is_a_conversation() {
    for sh_ in SHELLS {
        let far = Far::new(&Here::new(), sh_);
        let command = sh("while read -r line; do echo \"got $line\"; done; exit 6");
        let command = command.stdin(Stdin::Piped);
        let mut process = soon(far.spawn(&command, &Spawn::new("t"))).await.unwrap();
        let (mut stdin, mut stdout) = (process.stdin().unwrap(), process.stdout().unwrap());
        for word in ["one", "two"] {
            stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
            stdin.flush().await.unwrap();
            let mut said = vec![0; 8];
            soon(stdout.read_exact(&mut said)).await.unwrap();
            assert_eq!(said, format!("got {word}\n").as_bytes());
        }
        drop(stdin);
        assert_eq!(soon(process.wait()).await.unwrap(), Exit::Code(6));
    }
}

#[tokio::test]
async fn a_command_that_ends_its_own_group_ends_no_shell() {
    for host in hosts() {
        let output = soon(context().on(&host).run_unchecked(&sh("kill 0; sleep 5"))).await.unwrap();
        assert_eq!(output.exit, Exit::Signal(15));
        let mut limit = sh("kill -9 $PPID");
        limit = limit.timeout(Duration::from_secs(50));
        let failure = soon(context().on(&host).run_unchecked(&limit)).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
        assert_eq!(soon(context().on(&host).run(&sh("echo on"))).await.unwrap().text(), "on");
    }
}
