//! One handle, used from several runtimes: one after the other, and at once.

use std::time::Duration;

use lab::{Proxy, Sshd};
use runbook_core::testing::context;
use runbook_core::{Command, FailureKind, Host, Result};
use tokio::runtime::{Builder, Runtime};

use crate::support::{LONG, Mark, comes_true, sh, soon};
use crate::{by_way_of, to};

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn run(host: &Host, command: &Command) -> Result<String> {
    soon(context().on(host).run(command)).await.map(|output| output.text())
}

/// What a command needs of the far side: that it ends, and that it can be ended.
async fn works(host: &Host) {
    assert_eq!(run(host, &sh("echo fine")).await.unwrap(), "fine");
    let endless = sh("sleep 1000").timeout(Duration::from_millis(50));
    let late = soon(context().on(host).run(&endless)).await.unwrap_err();
    assert_eq!(late.kind(), FailureKind::TimedOut, "{late}");
}

#[test]
fn a_runtime_that_ended_leaves_the_next_one_a_host_that_works() {
    let sshd = Sshd::start();
    for ssh in [to(&sshd), to(&sshd).isolated()] {
        let host = Host::new(ssh);
        for turn in 0..12 {
            let runtime = if turn % 2 == 0 { one_thread() } else { threads() };
            runtime.block_on(async {
                // The first command at once: what the runtime before left must not be taken.
                assert_eq!(run(&host, &sh("echo first")).await.unwrap(), "first");
                works(&host).await;
            });
            drop(runtime);
        }
    }
}

#[test]
fn a_runtime_that_ends_takes_nothing_of_another_along() {
    let sshd = Sshd::start();
    for ssh in [to(&sshd), to(&sshd).isolated()] {
        let host = Host::new(ssh);
        let (first, second) = (threads(), threads());
        first.block_on(works(&host));
        let (long, other) = (Mark::new(), Mark::new());
        let folder = tempfile::tempdir().unwrap();
        let go_on = folder.path().join("go on");
        let waits = long.on(sh("while [ ! -e \"$0\" ]; do sleep 0.05; done; echo through"));
        let (there, waits) = (host.clone(), waits.arg(&go_on));
        let through = second.spawn(async move { run(&there, &waits).await });
        second.block_on(comes_true("it runs", || !long.living().is_empty()));
        // The first one ends with a command of its own, which must not outlive it.
        let (there, endless) = (host.clone(), other.on(sh("sleep 1000")));
        first.spawn(async move { run(&there, &endless).await });
        first.block_on(comes_true("the other runs", || !other.living().is_empty()));
        first.shutdown_timeout(LONG);
        second.block_on(async {
            comes_true("the other is gone", || other.living().is_empty()).await;
            std::fs::write(&go_on, "").unwrap();
            assert_eq!(soon(through).await.unwrap().unwrap(), "through");
            works(&host).await;
        });
    }
}

#[test]
fn a_runtime_that_stands_still_keeps_no_other_waiting() {
    let sshd = Sshd::start();
    for ssh in [to(&sshd), to(&sshd).isolated()] {
        let host = Host::new(ssh);
        let (still, other) = (one_thread(), one_thread());
        still.block_on(works(&host));
        other.block_on(works(&host));
        still.block_on(works(&host));
    }
}

#[test]
fn a_connection_that_a_runtime_asked_for_is_there_for_the_next() {
    let sshd = Sshd::start();
    let proxy = Proxy::start(sshd.port());
    for end in [true, false] {
        let host = Host::new(by_way_of(&sshd, &proxy));
        let first = one_thread();
        // Nobody answers yet, so that the connection is still being made when it stops waiting.
        proxy.silence();
        let accepted = proxy.accepted();
        first.block_on(async {
            let cx = context();
            let (there, command) = (cx.on(&host), sh("true"));
            tokio::select! {
                ended = there.run(&command) => panic!("nobody answers: {ended:?}"),
                () = comes_true("it connects", || proxy.accepted() > accepted) => {}
            }
        });
        let kept = if end { None } else { Some(first) };
        proxy.resume();
        one_thread().block_on(works(&host));
        drop(kept);
    }
}
