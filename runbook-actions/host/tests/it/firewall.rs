//! Isolation, with real iptables in network namespaces that a test makes: two of them, joined by a
//! cable. It takes root; without, nothing here can be shown, and the rules are unit tests only.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use lab::{Child, wait_until};
use runbook_core::Host;
use runbook_host::{Machine, Operator};
use runbook_targets::{Local, WithEnv};

use crate::support::{refused, succeed, undone};

const DEADLINE: Duration = Duration::from_secs(20);
const OPERATOR: &str = "192.0.2.7";
const OTHER: &str = "192.0.2.8";

struct Network {
    dir: tempfile::TempDir,
    host: Child,
    client: Child,
    _listeners: Vec<Child>,
}

impl Network {
    /// None without root.
    fn new() -> Option<Self> {
        let probe = Command::new("unshare").args(["-n", "iptables", "-S"]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let hold = || {
            let child = Child::spawn(Command::new("unshare").args(["-n", "sleep", "600"]));
            let ns = format!("/proc/{}/ns/net", child.pid());
            wait_until("a namespace", DEADLINE, || fs::read_link(&ns).is_ok_and(|ns| ns != own));
            child
        };
        let (host, client) = (hold(), hold());
        let (h, c) = (host.pid().to_string(), client.pid().to_string());
        let ip = |pid: &str, words: &str| {
            let words: Vec<_> = words.split(' ').collect();
            let output = Command::new("nsenter")
                .args(["-t", pid, "-n", "ip"])
                .args(&words)
                .output()
                .unwrap();
            assert!(output.status.success(), "ip {words:?}: {output:?}");
        };
        ip(&h, &format!("link add eth9 type veth peer name eth9 netns {c}"));
        for (pid, address) in [(&h, "192.0.2.1"), (&c, OPERATOR), (&c, OTHER)] {
            ip(pid, &format!("address add {address}/24 dev eth9"));
            ip(pid, "link set eth9 up");
            ip(pid, "link set lo up");
        }
        let mut network =
            Self { dir: tempfile::tempdir().unwrap(), host, client, _listeners: Vec::new() };
        for program in
            ["sh", "iptables", "ip6tables", "iptables-restore", "ip6tables-restore", "printenv"]
        {
            let path = network.dir.path().join(program);
            let real = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
            let real = String::from_utf8(real.unwrap().stdout).unwrap();
            let text = format!("#!/bin/sh\nexec nsenter -t {h} -n {} \"$@\"\n", real.trim());
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (pid, port) in [(&h, 2222), (&h, 8080), (&c, 9090)] {
            let program = format!(
                "import socket, time\ns = socket.socket()\ns.bind(('0.0.0.0', {port}))\n\
                 s.listen()\ntime.sleep(600)"
            );
            let mut python = Command::new("nsenter");
            python.args(["-t", pid, "-n", "python3", "-c", &program]);
            network._listeners.push(Child::spawn(&mut python));
        }
        for port in [2222, 8080] {
            wait_until("a listener", DEADLINE, || network.gets_in(OPERATOR, port));
        }
        wait_until("the way out", DEADLINE, || network.gets_out());
        Some(network)
    }

    fn machine(&self, connection: Option<&str>) -> Machine {
        let path = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap());
        let host = WithEnv::new(Host::new(Local::new())).env("PATH", path);
        // Empty where the tests themselves run over SSH.
        Machine::new(&Host::new(host.env("SSH_CONNECTION", connection.unwrap_or_default())))
    }

    fn connects(&self, pid: u32, from: &str, to: &str, port: u16) -> bool {
        let program =
            format!("import socket\nsocket.create_connection(('{to}', {port}), 1, ('{from}', 0))");
        let mut python = Command::new("nsenter");
        python.args(["-t", &pid.to_string(), "-n", "python3", "-c", &program]);
        python.output().unwrap().status.success()
    }

    fn gets_in(&self, from: &str, port: u16) -> bool {
        self.connects(self.client.pid(), from, "192.0.2.1", port)
    }

    fn gets_out(&self) -> bool {
        self.connects(self.host.pid(), "192.0.2.1", OTHER, 9090)
    }

    fn rules(&self) -> String {
        let mut all = String::new();
        for program in ["iptables", "ip6tables"] {
            let output = Command::new(self.dir.path().join(program)).arg("-S").output().unwrap();
            all += &String::from_utf8(output.stdout).unwrap();
        }
        all
    }
}

#[test]
fn an_isolated_host_lets_in_its_operator_and_nobody_else() {
    let Some(network) = Network::new() else { return };
    let firewall = network.machine(Some("192.0.2.7 50000 192.0.2.1 2222")).firewall();
    let accept = ["-A", "INPUT", "-p", "tcp", "--dport", "8080", "-j", "ACCEPT"];
    let status = Command::new(network.dir.path().join("iptables")).args(accept).status().unwrap();
    assert!(status.success());
    let before = network.rules();
    assert!(network.gets_in(OTHER, 8080) && network.gets_out());

    succeed(|b| {
        b.step(firewall.isolate(Operator::OfThisConnection));
    });
    assert!(network.gets_in(OPERATOR, 2222), "the operator keeps their way in");
    assert!(!network.gets_in(OPERATOR, 8080), "and to nothing else");
    assert!(!network.gets_in(OTHER, 2222));
    assert!(!network.gets_in(OTHER, 8080), "whatever others' rules allow");
    assert!(!network.gets_out());
    assert!(network.connects(network.host.pid(), "127.0.0.1", "127.0.0.1", 8080), "loopback");
    assert!(network.rules().contains("-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT"));

    // Isolating twice is isolating once.
    let address = OPERATOR.parse().unwrap();
    undone(|b| {
        b.step(firewall.isolate(Operator::At { address, port: 2222 }));
    });
    assert!(network.gets_in(OPERATOR, 2222) && !network.gets_in(OTHER, 8080));

    undone(|b| {
        b.step(firewall.rejoin(Operator::OfThisConnection));
    });
    assert!(network.gets_in(OPERATOR, 2222) && !network.gets_in(OTHER, 8080));
    succeed(|b| {
        b.step(firewall.rejoin(Operator::OfThisConnection));
    });
    assert_eq!(network.rules(), before);
    assert!(network.gets_in(OTHER, 8080) && network.gets_out());
}

#[test]
fn an_isolation_that_is_undone_leaves_no_trace() {
    let Some(network) = Network::new() else { return };
    let before = network.rules();
    let address = OPERATOR.parse().unwrap();
    undone(|b| {
        let firewall = network.machine(None).firewall();
        b.step(firewall.isolate(Operator::At { address, port: 2222 }));
    });
    assert_eq!(network.rules(), before);
    assert!(network.gets_in(OTHER, 8080));
}

#[test]
fn a_host_whose_operator_is_unknown_is_not_isolated() {
    let Some(network) = Network::new() else { return };
    let before = network.rules();
    for connection in [None, Some("nonsense"), Some("host.example.org 1 192.0.2.1 22")] {
        let said = refused(|b| {
            b.step(network.machine(connection).firewall().isolate(Operator::OfThisConnection));
        });
        assert!(said.contains("the operator's own address can't be determined"), "{said}");
        assert!(said.contains("Operator::At"), "{said}");
    }
    assert_eq!(network.rules(), before);
}

/// The real ufw, in namespaces of its own: its files are copies, its network nobody's.
#[test]
fn ports_that_ufw_allows_are_allowed_until_undone() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("ufw");
    let prepare = r#"cp -a /etc/ufw "$1" && mount --bind "$1" /etc/ufw && ufw status >/dev/null && : >"$1.ready" && exec sleep 600"#;
    let mut hold = Command::new("unshare");
    hold.args(["-n", "-m", "sh", "-c", prepare, "sh"]).arg(&copy);
    let mut holder = Child::spawn(&mut hold);
    let ready = dir.path().join("ufw.ready");
    wait_until("ufw, or that it is not here", DEADLINE, || ready.exists() || !holder.is_running());
    if !ready.exists() {
        return; // It takes root and ufw.
    }
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let wrapper = bin.join("ufw");
    let pid = holder.pid();
    // By its path: the wrapper itself is what is first found by its name.
    let real = Command::new("sh").args(["-c", "command -v ufw"]).output().unwrap().stdout;
    let real = String::from_utf8(real).unwrap();
    let text = format!("#!/bin/sh\nexec nsenter -t {pid} -n -m {} \"$@\"\n", real.trim());
    fs::write(&wrapper, text).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let host = Host::new(WithEnv::new(Host::new(Local::new())).env("PATH", path));
    let firewall = Machine::new(&host).firewall();
    let rules = || {
        let output = Command::new(&wrapper).args(["show", "added"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let before = rules();
    undone(|b| {
        b.step(firewall.allow("443/tcp"));
    });
    assert_eq!(rules(), before);
    succeed(|b| {
        b.step(firewall.allow("443/tcp"));
    });
    assert!(rules().contains("ufw allow 443/tcp"));
    // One that was there stays.
    undone(|b| {
        b.step(firewall.allow("443/tcp"));
    });
    assert!(rules().contains("ufw allow 443/tcp"));
    let said = refused(|b| {
        b.step(firewall.allow("--force reset"));
    });
    assert!(said.contains("is no port"), "{said}");
    let verdict = crate::support::look(firewall.ufw_status());
    assert!(!verdict.passed() && verdict.why().starts_with("inactive"), "{}", verdict.why());
}
