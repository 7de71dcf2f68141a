//! Many commands, many connections, many hosts.

use std::time::Instant;

use lab::Sshd;
use runbook_core::testing::context;
use runbook_core::{
    Command, Context, Engine, FileStore, Host, Result, Rolling, RunOptions, Runbook, Status,
};
use runbook_macros::step;
use runbook_targets::Ssh;
use tokio::task::JoinSet;

use crate::support::{sh, soon};
use crate::to;

/// Says how long something took. Nothing asserts it: machines differ.
#[expect(clippy::print_stderr, reason = "a figure")]
fn took(what: &str, since: Instant) {
    eprintln!("{what}: {:?}", since.elapsed());
}

/// The limits of OpenSSH, and wider ones.
fn servers() -> [(&'static str, Sshd); 2] {
    let raised = Sshd::builder().config("MaxSessions 100\nMaxStartups 100:30:200").start();
    [("default limits", Sshd::start()), ("raised limits", raised)]
}

#[tokio::test]
async fn forty_commands_at_once_all_run() {
    for (name, sshd) in servers() {
        for (mode, ssh) in [("persistent", to(&sshd)), ("isolated", to(&sshd).isolated())] {
            let host = Host::new(ssh);
            let since = Instant::now();
            let mut set = JoinSet::new();
            for number in 0..40 {
                let host = host.clone();
                set.spawn(async move {
                    let command = sh(&format!("sleep 0.2; echo {number}"));
                    context().on(&host).run(&command).await.map(|output| output.text())
                });
            }
            let mut said: Vec<u32> = soon(set.join_all())
                .await
                .into_iter()
                .map(|s| s.unwrap().parse().unwrap())
                .collect();
            took(&format!("40 commands at once, {name}, {mode}"), since);
            said.sort_unstable();
            assert!(said.into_iter().eq(0..40));
        }
    }
}

#[tokio::test]
async fn many_first_connections_at_once_are_not_refused() {
    // From ten unfinished logins on, sshd refuses some at random. A refused one is no failure of
    // ours to hide; one target never makes so many by itself.
    let sshd = Sshd::start();
    let host = Host::new(to(&sshd).connections(20));
    let since = Instant::now();
    let mut set = JoinSet::new();
    for _ in 0..100 {
        let host = host.clone();
        set.spawn(async move { context().on(&host).run(&sh("sleep 0.1")).await.map(drop) });
    }
    soon(set.join_all()).await.into_iter().for_each(Result::unwrap);
    took("100 commands at once on up to 20 connections", since);
    assert!(!sshd.log().contains("MaxStartups"), "{}", sshd.log());
}

/// Run `line`
#[step(harmless)]
async fn run(cx: &Context, host: &Host, line: &str) -> Result<String> {
    cx.on(host).run(&sh(line)).await.map(|output| output.text())
}

/// Put a file there and read it back
#[step(harmless)]
async fn file(cx: &Context, host: &Host, size: usize) -> Result<()> {
    let folder = cx.on(host).run(&Command::new("mktemp").arg("-d")).await?.text();
    let path = format!("{folder}/file");
    cx.on(host).write(&path, vec![b'x'; size]).await?;
    let there = cx.on(host).read(&path).await?;
    cx.on(host).remove_tree(&folder).await?;
    assert_eq!(there.len(), size);
    Ok(())
}

#[tokio::test]
async fn thirty_units_run_at_once_on_one_host() {
    for (name, sshd) in servers() {
        for (mode, ssh) in [("persistent", to(&sshd)), ("isolated", to(&sshd).isolated())] {
            let host = Host::new(ssh);
            let mut b = Runbook::new("parallel");
            b.parallel("all", |b| {
                for number in 0..30 {
                    b.group(&format!("part {number}"), |b| {
                        b.step(run(&host, "sleep 0.1; echo one"));
                        b.step(file(&host, 1000));
                    });
                }
            });
            let plan = b.build().unwrap();
            let journal = tempfile::tempdir().unwrap();
            let engine = Engine::new(FileStore::new(journal.path()));
            let since = Instant::now();
            let handle = engine.run(&plan, RunOptions::new().unattended());
            let outcome = soon(handle.outcome()).await.unwrap();
            took(&format!("30 units at once, {name}, {mode}"), since);
            assert_eq!(outcome.status, Status::Succeeded, "{:?}", outcome.finished);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_hosts_at_once_and_one_of_them_dead() {
    let since = Instant::now();
    let servers = tokio::task::spawn_blocking(|| {
        let starting: Vec<_> = (0..50).map(|_| std::thread::spawn(Sshd::start)).collect();
        starting.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let mut servers = servers.await.unwrap();
    took("50 servers start", since);
    servers[17].stop();
    for isolated in [false, true] {
        let hosts: Vec<Host> = servers
            .iter()
            .enumerate()
            .map(|(number, sshd)| {
                let ssh: Ssh = to(sshd).named(format!("web-{number}"));
                Host::new(if isolated { ssh.isolated() } else { ssh })
            })
            .collect();
        let mut b = Runbook::new("fleet");
        let rolling = Rolling { at_once: 50, max_failed: 1, ..Rolling::default() };
        b.each(&hosts, rolling, |host, b| {
            b.step(run(host, "uname"));
            b.step(run(host, "id -un"));
            b.step(file(host, 1024));
        });
        let plan = b.build().unwrap();
        let journal = tempfile::tempdir().unwrap();
        let engine = Engine::new(FileStore::new(journal.path()));
        let since = Instant::now();
        let handle = engine.run(&plan, RunOptions::new().unattended());
        let outcome = soon(handle.outcome()).await.unwrap();
        took(&format!("50 hosts, isolated: {isolated}"), since);
        let finished = outcome.finished.unwrap();
        assert_eq!(outcome.status, Status::Succeeded, "{finished:?}");
        let without: Vec<_> = finished.without.iter().map(ToString::to_string).collect();
        assert_eq!(without.len(), 1, "{without:?}");
        assert!(without[0].ends_with("web-17"), "{without:?}");
    }
}
