//! A network with a round trip of 20 ms.

use std::time::{Duration, Instant};

use lab::{Proxy, Sshd};
use runbook_core::testing::context;
use runbook_core::{Command, Host, Stdin};

use crate::by_way_of;
use crate::support::{Mark, comes_true, sh, soon};

fn far_away() -> (Sshd, Proxy) {
    let sshd = Sshd::start();
    let proxy = Proxy::start(sshd.port());
    proxy.delay(Duration::from_millis(10));
    (sshd, proxy)
}

#[tokio::test]
async fn commands_that_run_at_once_keep_their_output_apart() {
    let (sshd, proxy) = far_away();
    for ssh in [by_way_of(&sshd, &proxy), by_way_of(&sshd, &proxy).isolated()] {
        let host = Host::new(ssh);
        let mut set = tokio::task::JoinSet::new();
        for number in 0..20 {
            let host = host.clone();
            set.spawn(async move {
                let cx = context();
                for round in 0..3 {
                    let script = format!("echo {number}.{round}; echo e{number}.{round} >&2; cat");
                    let command = sh(&script).stdin(Stdin::Bytes(b"in".to_vec()));
                    let output = cx.on(&host).run(&command).await.unwrap();
                    assert_eq!(output.text(), format!("{number}.{round}\nin"));
                    assert_eq!(output.stderr, format!("e{number}.{round}\n").as_bytes());
                }
                let mark = Mark::new();
                let hangs = mark.on(sh("sleep 1000")).timeout(Duration::from_millis(100));
                cx.on(&host).run(&hangs).await.unwrap_err();
                comes_true("it is gone", || mark.living().is_empty()).await;
            });
        }
        soon(set.join_all()).await;
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a figure, which nothing asserts")]
async fn twenty_commands_in_sequence() {
    let (sshd, proxy) = far_away();
    for (name, ssh) in [
        ("persistent", by_way_of(&sshd, &proxy)),
        ("isolated", by_way_of(&sshd, &proxy).isolated()),
    ] {
        let host = Host::new(ssh);
        let (cx, command) = (context(), Command::new("uname"));
        let start = Instant::now();
        soon(cx.on(&host).run(&command)).await.unwrap();
        let first = start.elapsed();
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(soon(cx.on(&host).run(&command)).await.unwrap().text(), "Linux");
        }
        let twenty = start.elapsed();
        eprintln!("20 ms round trip, {name}: first {first:?}, 20 more in sequence {twenty:?}");
    }
}
