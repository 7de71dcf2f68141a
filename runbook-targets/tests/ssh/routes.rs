//! The ways to a host, and whether it is the one that it should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use insta::assert_snapshot;
use lab::{Agent, KeyKind, Sshd, keygen};
use runbook_core::testing::context;
use runbook_core::{FailureKind, Host, Result, Secret, Target};
use runbook_targets::{Auth, HostKeys, Local, Ssh, Sudo};

use crate::support::{comes_true, sh, soon};
use crate::{locked_key, to};

async fn run(ssh: Ssh, line: &str) -> Result<String> {
    let host = Host::new(ssh);
    context().on(&host).run(&sh(line)).await.map(|output| output.text())
}

/// The port where the host that ran something was reached.
const PORT: &str = "echo $SSH_CONNECTION | cut -d' ' -f4";

/// What a configuration says of one server, under an alias.
fn alias(name: &str, sshd: &Sshd, more: &str) -> String {
    format!(
        "Host {name}\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n {more}\n",
        sshd.port(),
        sshd.user(),
        sshd.client_key().display(),
    )
}

/// A configuration with a list of all these servers.
fn configuration(dir: &Path, servers: &[&Sshd], text: &str) -> PathBuf {
    let known = dir.join("known");
    fs::write(&known, servers.iter().map(|sshd| sshd.known_hosts()).collect::<String>()).unwrap();
    let path = dir.join("config");
    let all = format!(
        "{text}\nHost *\n IdentitiesOnly yes\n IdentityAgent none\n UserKnownHostsFile {}\n \
         GlobalKnownHostsFile none\n",
        known.display()
    );
    fs::write(&path, all).unwrap();
    path
}

#[tokio::test]
async fn an_alias_is_resolved_through_host_match_and_include() {
    let (sshd, dir) = (Sshd::start(), tempfile::tempdir().unwrap());
    let included = dir.path().join("included");
    fs::write(&included, format!("Match originalhost web-*\n User {}\n", sshd.user())).unwrap();
    let text = format!(
        "Include {}\nMatch host web-1 exec \"test %n = web-1\"\n Port {}\n\
         Host web-? !web-2\n HostName 127.0.0.1\n IdentityFile {}\n",
        included.display(),
        sshd.port(),
        sshd.client_key().display(),
    );
    let config = configuration(dir.path(), &[&sshd], &text);
    let said = soon(run(Ssh::new("web-1").config_file(config), PORT)).await.unwrap();
    assert_eq!(said, sshd.port().to_string());
}

#[tokio::test]
async fn a_host_is_reached_through_two_jump_hosts() {
    let (first, second, third) = (Sshd::start(), Sshd::start(), Sshd::start());
    let dir = tempfile::tempdir().unwrap();
    let text = alias("outer", &first, "")
        + &alias("inner", &second, "ProxyJump outer")
        + &alias("db", &third, "ProxyJump inner")
        + &alias("both", &third, "ProxyJump outer,inner2")
        + &alias("inner2", &second, "");
    let config = configuration(dir.path(), &[&first, &second, &third], &text);
    for name in ["db", "both"] {
        let ssh = Ssh::new(name).config_file(&config);
        let host = Host::new(ssh);
        let cx = context();
        let said = soon(cx.on(&host).run(&sh(PORT))).await.unwrap().text();
        assert_eq!(said, third.port().to_string());
        let path = dir.path().join("large");
        soon(cx.on(&host).write(&path, vec![b'x'; 8 << 20])).await.unwrap();
        assert_eq!(soon(cx.on(&host).read(&path)).await.unwrap().len(), 8 << 20);
    }
    let ssh = to(&third).through(&to(&second).through(&to(&first)));
    assert_eq!(soon(run(ssh, PORT)).await.unwrap(), third.port().to_string());
    for sshd in [&first, &second, &third] {
        comes_true("no session is left", || sshd.sessions().is_empty()).await;
    }
}

#[tokio::test]
async fn a_lost_jump_host_is_a_lost_connection_and_the_next_unit_finds_a_way_again() {
    let (mut jump, sshd) = (Sshd::start(), Sshd::start());
    let host = Host::new(to(&sshd).through(&to(&jump)));
    let cx = context();
    let long = sh("sleep 1000");
    let mut running = soon(cx.on(&host).spawn(&long)).await.unwrap();
    jump.restart();
    let failure = soon(running.wait()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    drop(running);
    assert_eq!(soon(cx.on(&host).run(&sh(PORT))).await.unwrap().text(), sshd.port().to_string());
}

#[tokio::test]
async fn a_proxy_command_carries_the_connection_or_says_why_not() {
    let (sshd, dir) = (Sshd::start(), tempfile::tempdir().unwrap());
    let forward = "ProxyCommand exec bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & exec cat >&3'";
    let text = alias("web", &sshd, forward)
        + &alias("shut", &sshd, "ProxyCommand echo 'no way to %h' >&2; exit 1");
    let config = configuration(dir.path(), &[&sshd], &text);
    let ssh = |name| Ssh::new(name).config_file(&config);
    assert_eq!(soon(run(ssh("web"), PORT)).await.unwrap(), sshd.port().to_string());
    let failure = soon(run(ssh("shut"), "true")).await.unwrap_err();
    assert!(failure.to_string().contains("no way to 127.0.0.1"), "{failure}");
}

/// An error, whole, with what differs from run to run replaced.
async fn told(ssh: Ssh, replaced: &[(&str, &str)]) -> String {
    let failure = soon(run(ssh.named("web-1"), "true")).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Refused, "{failure}");
    let mut text = format!("{failure:?}");
    for (what, with) in replaced {
        text = text.replace(what, with);
    }
    text
}

fn fingerprint(key: &Path) -> String {
    let said = std::process::Command::new("ssh-keygen").arg("-lf").arg(key).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    said.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn unknown_changed_and_revoked_host_keys_say_where_and_what_to_do() {
    let sshd = Sshd::start();
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("known");
    let other = dir.path().join("other");
    keygen(&other, KeyKind::Ed25519, "");
    let other = fs::read_to_string(other.with_extension("pub")).unwrap();
    let (port, known) = (sshd.port().to_string(), list.display().to_string());
    let print = fingerprint(&sshd.dir().join("host_ed25519.pub"));
    let replaced = [(&known[..], "LIST"), (&port[..], "PORT"), (&print[..], "SHA256:PRINT")];
    let ssh = || to(&sshd).known_hosts(&list);

    fs::write(&list, "").unwrap();
    assert_snapshot!("unknown", told(ssh(), &replaced).await);
    fs::write(&list, format!("# ours\n[127.0.0.1]:{port} {other}")).unwrap();
    assert_snapshot!("changed", told(ssh(), &replaced).await);
    let accepting = ssh().host_keys(HostKeys::AcceptNew);
    assert!(told(accepting, &replaced).await.contains("the host key has changed"));
    fs::write(&list, format!("\n@revoked {}{}", "* ", sshd.host_key(KeyKind::Ed25519))).unwrap();
    assert_snapshot!("revoked", told(ssh(), &replaced).await);

    fs::write(&list, "").unwrap();
    let accepting = ssh().host_keys(HostKeys::AcceptNew);
    assert_eq!(soon(run(accepting, "echo in")).await.unwrap(), "in");
    assert_eq!(soon(run(ssh(), "echo in")).await.unwrap(), "in", "it is listed from then on");
    let pinned = || ssh().known_hosts("/nonexistent/known_hosts");
    let right = pinned().host_keys(HostKeys::Pinned(print.clone()));
    assert_eq!(soon(run(right, "echo in")).await.unwrap(), "in");
    let wrong = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".to_owned();
    let wrong = pinned().host_keys(HostKeys::Pinned(wrong));
    assert_snapshot!("pinned", told(wrong, &replaced).await);
}

#[tokio::test]
async fn an_encrypted_key_is_opened_by_a_prompt_that_is_asked_once() {
    let sshd = Sshd::start();
    let key = locked_key(&sshd);
    let asked = Arc::new(AtomicUsize::new(0));
    let auth = Auth::new().key_file(&key).without_agent();
    let prompting = auth.clone().ask_passphrase({
        let asked = Arc::clone(&asked);
        move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            Some(Secret::new("open sesame"))
        }
    });
    let host = Host::new(to(&sshd).auth(prompting));
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let host = host.clone();
        set.spawn(async move { context().on(&host).run(&sh("sleep 0.1")).await.map(drop) });
    }
    soon(set.join_all()).await.into_iter().for_each(Result::unwrap);
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    let given = auth.clone().passphrase(Secret::new("open sesame"));
    assert_eq!(soon(run(to(&sshd).auth(given), "echo in")).await.unwrap(), "in");
    let failure = soon(run(to(&sshd).auth(auth), "true")).await.unwrap_err();
    assert!(format!("{failure:?}").contains("passphrase"), "{failure:?}");
}

#[tokio::test]
async fn an_agent_signs_in_with_the_one_of_its_keys_that_is_taken() {
    let (sshd, agent, dir) = (Sshd::start(), Agent::start(), tempfile::tempdir().unwrap());
    for kind in [KeyKind::Rsa, KeyKind::Ecdsa] {
        let key = dir.path().join(kind.name());
        keygen(&key, kind, "");
        agent.add(&key);
    }
    agent.add(&sshd.client_key());
    let text = format!(
        "Host web\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile none\n IdentitiesOnly no\n \
         IdentityAgent {}\n",
        sshd.port(),
        sshd.user(),
        agent.socket().display()
    );
    let config = configuration(dir.path(), &[&sshd], &text);
    assert_eq!(soon(run(Ssh::new("web").config_file(config), "echo in")).await.unwrap(), "in");
}

#[test]
fn what_a_host_is_can_be_told_from_its_name() {
    let of = |ssh: Ssh| ssh.named("db-1").identity().unwrap();
    let jump = Ssh::at("bastion.example.org").user("jump").port(2222);
    let said = [
        of(Ssh::at("192.0.2.7")),
        of(Ssh::at("2001:db8::7").user("deploy").port(2200)),
        of(Ssh::at("192.0.2.7").user("deploy").through(&jump)),
        of(Ssh::new("web-1")),
        of(Ssh::new("web-1").user("deploy").port(2200)),
        Sudo::new(Host::new(Ssh::at("192.0.2.7")), "postgres").identity().unwrap(),
    ];
    assert_snapshot!(said.join("\n"), @"
    192.0.2.7:22
    deploy@[2001:db8::7]:2200
    deploy@192.0.2.7:22 through jump@bastion.example.org:2222
    web-1
    deploy@web-1:2200
    192.0.2.7:22 as postgres
    ");
    // The name says all that there is to say.
    assert_eq!(Local::new().identity(), None);
    assert_eq!(Sudo::new(Host::new(Local::new()), "postgres").identity(), None);
}
