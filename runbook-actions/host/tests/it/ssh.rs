//! The same over SSH.

use std::fs;
use std::time::Duration;

use lab::Sshd;
use runbook_core::{Host, Level};
use runbook_host::{Bytes, Generate, Machine, Retention};
use runbook_targets::{Auth, Ssh};

use crate::support::{look, succeed, undone};

#[test]
fn facts_files_and_secrets_of_a_host_over_ssh() {
    let sshd = Sshd::start();
    let known_hosts = sshd.dir().join("known_hosts_of_the_test");
    fs::write(&known_hosts, sshd.known_hosts()).unwrap();
    // Each run has a runtime of its own here, which its connections live in.
    let web = || {
        let ssh = Ssh::at(sshd.addr().ip().to_string())
            .port(sshd.port())
            .user(sshd.user())
            .known_hosts(known_hosts.clone())
            .auth(Auth::new().key_file(sshd.client_key()).without_agent());
        Machine::new(&Host::new(ssh))
    };
    let dir = tempfile::tempdir().unwrap();
    let env = dir.path().join(".env");
    fs::write(&env, "SECRET=old-secret # kept\n").unwrap();
    fs::write(dir.path().join("-old\nlog"), "x").unwrap();

    succeed(|b| {
        let web = web();
        b.check(web.disk_free("/", Bytes::new(1)));
        b.check(web.memory_available(Bytes::new(1)));
        b.check(web.listening());
        b.check(web.os());
    });
    undone(|b| {
        b.step(web().env_file(&env).rotate("SECRET", Generate::hex(16)));
    });
    assert_eq!(fs::read_to_string(&env).unwrap(), "SECRET=old-secret # kept\n");
    succeed(|b| {
        let folder = web().folder(dir.path());
        let old = b.check(folder.list_old(Retention::count(0).named("-old*")));
        b.irreversible(folder.remove(old), "test");
    });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let verdict = look(web().clock_within(Duration::from_secs(5)));
    assert_ne!(verdict.level(), Level::Fail, "{}", verdict.why());
}
