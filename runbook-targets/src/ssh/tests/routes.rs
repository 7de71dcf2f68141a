//! The ways to a host.

use std::time::Duration;

use super::*;

fn proxy(command: String) -> Route {
    Route::Proxy { command }
}

fn forwards_to(port: u16) -> String {
    // Any program that copies both ways will do; this one is there wherever sshd is.
    format!("exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3 & exec cat >&3'")
}

#[tokio::test]
async fn a_host_is_reached_through_two_others() {
    let (first, second, third) = (Sshd::start(), Sshd::start(), Sshd::start());
    let jump = |through: Connections, port| Route::Jump {
        through: Arc::new(through),
        host: "127.0.0.1".into(),
        port,
    };
    let way = pool(&first, limits());
    let way = route(&second, jump(way, second.port), limits());
    let host = route(&third, jump(way, third.port), limits());
    let line = "echo $SSH_CONNECTION | cut -d' ' -f4";
    let ran = soon("the third host", run(&host, line)).await.unwrap();
    assert_eq!(ran.stdout.trim(), third.port.to_string());
    let line = "head -c 8388608 /dev/zero";
    assert_eq!(soon("8 MiB", run(&host, line)).await.unwrap().stdout.len(), 8 << 20);
}

#[tokio::test]
async fn a_jump_host_that_does_not_let_us_through_is_named() {
    let (first, second) = (Sshd::with("AllowTcpForwarding no"), Sshd::start());
    let through = Connections::new(
        "bastion",
        Route::Direct { host: "127.0.0.1".into(), port: first.port },
        Arc::new(first.login()),
        limits(),
    );
    let port = second.port;
    let way = Route::Jump { through: Arc::new(through), host: "127.0.0.1".into(), port };
    let failure = refused(run(&route(&second, way, limits()), "true").await);
    let said = failure.to_string();
    assert!(
        said.starts_with(&format!(
            "connecting to web-1: connecting to 127.0.0.1:{port} through bastion: "
        )),
        "{said}"
    );
}

#[tokio::test]
async fn a_lost_jump_host_loses_what_runs_behind_it_and_is_replaced() {
    let (first, second) = (Sshd::start(), Sshd::start());
    let through = Arc::new(pool(&first, limits()));
    let way = Route::Jump { through, host: "127.0.0.1".into(), port: second.port };
    let host = route(&second, way, limits());
    let mut channel = host.open("echo up; exec sleep 60", Purpose::Command).await.unwrap();
    let mut up = [0; 3];
    channel.stdout.read_exact(&mut up).await.unwrap();
    first.signal_sessions(rustix::process::Signal::KILL);
    let failure = refused(soon("the end", channel.exit).await.unwrap());
    assert_eq!(failure.kind(), runbook_core::FailureKind::Disconnected);
    assert_eq!(soon("a new way", run(&host, "echo x")).await.unwrap().stdout, "x\n");
}

#[tokio::test]
async fn a_proxy_command_carries_a_connection_and_ends_with_it() {
    let server = Sshd::start();
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let command = format!("echo $$ > {}; {}", pid.display(), forwards_to(server.port));
    let host = route(&server, proxy(command), limits());
    assert_eq!(soon("the host", run(&host, "echo x")).await.unwrap().stdout, "x\n");
    let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    assert!(group_lives(pid));
    drop(host);
    until("the proxy is gone", || !group_lives(pid)).await;
}

fn group_lives(group: i32) -> bool {
    let group = rustix::process::Pid::from_raw(group).unwrap();
    rustix::process::test_kill_process_group(group).is_ok()
}

#[tokio::test]
async fn a_proxy_command_that_fails_says_why() {
    let server = Sshd::start();
    let host = route(&server, proxy("echo no such tunnel >&2; exit 1".into()), limits());
    let failure = refused(soon("the failure", run(&host, "true")).await);
    assert!(failure.to_string().contains("no such tunnel"), "{failure}");
}

#[tokio::test]
async fn a_proxy_command_that_ignores_its_end_is_killed() {
    let server = Sshd::start();
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let command =
        format!("trap '' TERM; echo $$ > {}; while :; do sleep 0.05; done", pid.display());
    let limits = Limits { login: Duration::from_millis(500), ..limits() };
    let host = route(&server, proxy(command), limits);
    let failure = refused(soon("the failure", run(&host, "true")).await);
    assert!(failure.to_string().contains("not done within 0.5 s"), "{failure}");
    let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    until("the proxy is gone", || !group_lives(pid)).await;
}

#[tokio::test]
async fn every_address_of_a_name_is_tried_and_the_last_failure_is_named() {
    let server = Sshd::start();
    // On most machines a name with an IPv6 address too, where this server does not listen.
    let way = Route::Direct { host: "localhost".into(), port: server.port };
    assert_eq!(run(&route(&server, way, limits()), "echo x").await.unwrap().stdout, "x\n");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let way = Route::Direct { host: "127.0.0.1".into(), port: free };
    let failure = refused(run(&route(&server, way, limits()), "true").await);
    let said = format!("{failure:?}");
    assert!(said.contains(&format!("connecting to web-1: 127.0.0.1:{free}: ")), "{said}");
    assert!(said.contains("refused"), "{said}");
    let way = Route::Direct { host: "no-such-host.invalid".into(), port: 22 };
    let failure = refused(run(&route(&server, way, limits()), "true").await);
    assert!(failure.to_string().contains("finding no-such-host.invalid"), "{failure}");
}

#[tokio::test]
async fn a_login_chooses_the_algorithms_before_the_handshake() {
    #[derive(Debug)]
    struct Chooses(sshd::KeyLogin, std::sync::Mutex<String>);
    impl crate::ssh::login::Login for Chooses {
        fn prepare(&self, session: &mut ssh2::Session) -> Result<()> {
            Ok(session.method_pref(ssh2::MethodType::CryptSc, "aes256-ctr,aes128-ctr")?)
        }
        fn authenticate(&self, session: &mut ssh2::Session) -> Result<()> {
            let cipher = session.methods(ssh2::MethodType::CryptSc).unwrap_or_default();
            cipher.clone_into(&mut self.1.lock().unwrap());
            self.0.authenticate(session)
        }
    }
    let choose = |server: &Sshd| {
        let login = Arc::new(Chooses(server.login(), std::sync::Mutex::default()));
        let way = Route::Direct { host: "127.0.0.1".into(), port: server.port };
        (Connections::new("web-1", way, login.clone(), limits()), login)
    };
    let server = Sshd::start();
    let (host, login) = choose(&server);
    run(&host, "true").await.unwrap();
    assert_eq!(*login.1.lock().unwrap(), "aes256-ctr");
    let server = Sshd::with("Ciphers aes128-gcm@openssh.com");
    let failure = refused(run(&choose(&server).0, "true").await);
    assert!(failure.to_string().contains("the handshake"), "{failure}");
}
