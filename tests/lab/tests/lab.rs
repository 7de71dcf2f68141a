//! What the lab starts works, and ends.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::{Agent, Child, KeyKind, Proxy, Sshd, is_alive, wait_until};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn sshd_runs_commands_in_a_home_of_its_own() {
    let sshd = Sshd::start();
    let output = sshd.ssh().arg("echo $HOME").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.trim(), sshd.home().to_str().unwrap(), "{}", sshd.log());
}

#[test]
fn a_dropped_sshd_leaves_no_process_and_no_file() {
    let sshd = Sshd::start();
    let mut client = Child::spawn(
        sshd.ssh()
            .arg("setsid sleep 300 >/dev/null 2>&1 & sleep 301")
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    wait_until("both commands to run", SOON, || {
        let runs = |time: &str| {
            sshd.sessions().iter().any(|pid| {
                let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
                line.is_ok_and(|line| line == format!("sleep\0{time}\0"))
            })
        };
        runs("300") && runs("301")
    });
    let sessions = sshd.sessions();
    let (pid, port, dir) = (sshd.pid(), sshd.port(), sshd.dir().to_owned());
    drop(sshd);
    assert!(!is_alive(pid));
    wait_until("its sessions to be gone", SOON, || !sessions.iter().any(|pid| is_alive(*pid)));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!dir.exists());
    assert!(client.wait(SOON).is_some());
}

#[test]
fn sshd_comes_back_on_its_port_with_its_keys() {
    let mut sshd = Sshd::builder().host_keys([KeyKind::Ecdsa, KeyKind::Rsa]).start();
    let (port, known, pid) = (sshd.port(), sshd.known_hosts(), sshd.pid());
    assert_eq!(known.lines().count(), 2);
    sshd.restart();
    assert_eq!((sshd.port(), sshd.known_hosts()), (port, known));
    assert!(sshd.pid() != pid && !is_alive(pid));
    assert!(sshd.ssh().arg("true").status().unwrap().success());
}

#[test]
fn the_configuration_of_a_test_wins_and_its_match_blocks_come_last() {
    let sshd = Sshd::builder()
        .config("SetEnv HOME=/ WHO=first\nMatch user nobody-else\nForceCommand false")
        .start();
    let output = sshd.ssh().arg("echo $WHO").output().unwrap();
    assert_eq!(output.stdout, b"first\n", "{}", sshd.log());
}

#[test]
fn a_frozen_sshd_takes_connections_and_says_nothing_until_it_thaws() {
    let sshd = Sshd::start();
    sshd.freeze();
    let mut stream = TcpStream::connect(sshd.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(stream.read_exact(&mut [0; 4]).is_err());
    sshd.thaw();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
}

#[test]
fn a_dropped_child_takes_its_children_along() {
    let child = Child::spawn(Command::new("sh").args(["-c", "sleep 300 & sleep 301; true"]));
    wait_until("its children to start", SOON, || lab::descendants(child.pid()).len() == 2);
    let tree = lab::descendants(child.pid());
    drop(child);
    wait_until("its children to be gone", SOON, || !tree.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn an_agent_holds_the_keys_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start();
    for kind in [KeyKind::Ed25519, KeyKind::Ecdsa, KeyKind::Rsa] {
        lab::keygen(&dir.path().join(kind.name()), kind, "");
        agent.add(&dir.path().join(kind.name()));
    }
    let list = Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", agent.socket()).output();
    assert_eq!(String::from_utf8(list.unwrap().stdout).unwrap().lines().count(), 3);
}

fn through_a_proxy() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().port());
    let client = TcpStream::connect(proxy.addr()).unwrap();
    let server = listener.accept().unwrap().0;
    for end in [&client, &server] {
        end.set_read_timeout(Some(SOON)).unwrap();
    }
    (proxy, client, server)
}

#[test]
fn a_proxy_forwards_both_ways_to_the_end() {
    let (proxy, mut client, mut server) = through_a_proxy();
    client.write_all(&vec![7; 1 << 20]).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), 1 << 20);
    server.write_all(b"thanks").unwrap();
    drop(server);
    got.clear();
    client.read_to_end(&mut got).unwrap();
    assert_eq!((got.as_slice(), proxy.accepted()), (&b"thanks"[..], 1));
}

#[test]
fn a_delayed_proxy_never_delivers_early() {
    let (proxy, mut client, mut server) = through_a_proxy();
    proxy.delay(Duration::from_millis(40));
    let start = Instant::now();
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(40));
}

#[test]
fn a_silent_proxy_holds_back_until_it_resumes() {
    let (proxy, mut client, mut server) = through_a_proxy();
    proxy.silence();
    client.write_all(b"x").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(server.read_exact(&mut [0]).is_err());
    proxy.resume();
    server.set_read_timeout(Some(SOON)).unwrap();
    server.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_cut_proxy_ends_what_was_open() {
    let (proxy, mut client, mut server) = through_a_proxy();
    proxy.cut();
    for end in [&mut server, &mut client] {
        let ended = match end.read(&mut [0]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(ended);
    }
}
