//! A host whose network goes away, and comes back: nothing tells either side that the other is out
//! of reach, as when a cable is pulled.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command as Program, Stdio};
use std::time::Duration;

use lab::{KeyKind, Sshd};
use runbook_core::testing::context;
use runbook_core::{FailureKind, Host};
use runbook_targets::{Auth, Ssh};
use tokio::task::JoinSet;

use crate::support::{Mark, comes_true, sh, soon};

/// A network namespace with an sshd in it, at the other end of a cable.
struct Far {
    namespace: String,
    /// Its end of the cable.
    device: String,
    address: Ipv4Addr,
    server: Option<Child>,
}

fn ip(words: &[&str]) -> Result<(), String> {
    let said = Program::new("ip").args(words).output().map_err(|error| error.to_string())?;
    let failed = || format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&said.stderr));
    if said.status.success() { Ok(()) } else { Err(failed()) }
}

impl Far {
    /// None where this may not be done; says why.
    #[expect(clippy::print_stderr, reason = "why the test is left out")]
    fn new(sshd: &Sshd) -> Option<Self> {
        let pid = std::process::id();
        let namespace = format!("runbook-{pid}");
        if let Err(why) = ip(&["netns", "add", &namespace]) {
            eprintln!("left out: no network namespace can be made here: {why}");
            return None;
        }
        // Of the addresses for measurements between networks, four by the process id.
        let at = |host: u32| Ipv4Addr::from(0xc612_0000 | ((pid & 0x3fff) << 2) | host);
        let (near, device) = (format!("rb{pid}n"), format!("rb{pid}f"));
        let mut far = Self { namespace, device, address: at(2), server: None };
        match far.connect(&near, at(1)) {
            Ok(()) => {
                far.serve(sshd);
                Some(far)
            }
            Err(why) => {
                eprintln!("left out: no cable can be laid here: {why}");
                None
            }
        }
    }

    fn connect(&self, near: &str, address: Ipv4Addr) -> Result<(), String> {
        let Self { namespace, device, .. } = self;
        ip(&["link", "add", near, "type", "veth", "peer", "name", device, "netns", namespace])?;
        ip(&["address", "add", &format!("{address}/30"), "dev", near])?;
        ip(&["link", "set", near, "up"])?;
        ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        self.plug(true)?;
        ip(&["-n", namespace, "address", "add", &format!("{}/30", self.address), "dev", device])
    }

    /// Its own end: ours looks as if nobody answered.
    fn plug(&self, up: bool) -> Result<(), String> {
        let state = if up { "up" } else { "down" };
        ip(&["-n", &self.namespace, "link", "set", &self.device, state])
    }

    /// With the keys and the configuration of another one.
    fn serve(&mut self, like: &Sshd) {
        let listen = format!("ListenAddress={}", self.address);
        let server = Program::new("ip")
            .args(["netns", "exec", &self.namespace, "/usr/sbin/sshd", "-D", "-o", &listen])
            .arg("-f")
            .arg(like.dir().join("sshd_config"))
            .arg("-E")
            .arg(like.dir().join("far.log"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.server = Some(server);
    }

    fn to(&self, like: &Sshd) -> Ssh {
        let known_hosts = like.dir().join("far_known_hosts");
        let key = like.host_key(KeyKind::Ed25519);
        std::fs::write(&known_hosts, format!("[{}]:{} {key}\n", self.address, like.port()))
            .unwrap();
        Ssh::at(self.address.to_string())
            .named("web-1")
            .port(like.port())
            .user(like.user())
            .known_hosts(known_hosts)
            .auth(Auth::new().key_file(like.client_key()).without_agent())
    }

    /// The processes in it.
    fn processes(&self) -> Vec<String> {
        let said = Program::new("ip").args(["netns", "pids", &self.namespace]).output().unwrap();
        String::from_utf8_lossy(&said.stdout).split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        for process in self.processes() {
            let _ = Program::new("kill").args(["-9", &process]).output();
        }
        if let Some(mut server) = self.server.take() {
            let _ = server.wait();
        }
        // The cable goes with it.
        let _ = ip(&["netns", "delete", &self.namespace]);
    }
}

#[tokio::test]
async fn a_cable_that_is_pulled_ends_what_runs_on_both_sides_and_leaves_nothing() {
    let like = Sshd::start();
    let Some(far) = Far::new(&like) else { return };
    let answers = async || {
        comes_true("its sshd answers", || {
            let port = (far.address, like.port()).into();
            TcpStream::connect_timeout(&port, Duration::from_secs(1)).is_ok()
        })
        .await;
        // What it had for that question ends a moment later.
        comes_true("only the sshd itself runs there", || far.processes().len() == 1).await;
    };
    answers().await;
    for ssh in [far.to(&like), far.to(&like).isolated()] {
        let host = Host::new(ssh.keepalive(Duration::from_secs(2), 2));
        let (mark, cx) = (Mark::new(), context());
        let long = mark.on(sh("sleep 1000 & setsid sleep 1001 & wait"));
        let pull = async {
            comes_true("it runs", || mark.living().len() == 3).await;
            far.plug(false).unwrap();
        };
        let there = cx.on(&host);
        let (ended, ()) = soon(async { tokio::join!(there.run(&long), pull) }).await;
        let failure = ended.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
        assert!(failure.to_string().contains("web-1"), "{failure}");
        comes_true("nothing of it runs over there", || mark.living().is_empty()).await;
        // While the cable is out, a unit fails, and nothing waits for ever.
        let meanwhile = Host::new(far.to(&like).connect_timeout(Duration::from_millis(300)));
        let failure = soon(cx.on(&meanwhile).run(&sh("true"))).await.unwrap_err();
        assert!(failure.to_string().contains("no answer within 0.3 s"), "{failure}");

        far.plug(true).unwrap();
        // Who was asked for in vain for some seconds is not asked again for one more.
        answers().await;
        // The next unit connects again, and finds every place free.
        let mut all = JoinSet::new();
        for number in 0..12 {
            let host = host.clone();
            all.spawn(async move {
                let command = sh(&format!("sleep 0.2; echo {number}"));
                context().on(&host).run(&command).await.map(|output| output.text())
            });
        }
        for said in soon(all.join_all()).await {
            said.unwrap();
        }
        drop((meanwhile, host));
        comes_true("every session has ended", || far.processes().len() == 1).await;
    }
}
