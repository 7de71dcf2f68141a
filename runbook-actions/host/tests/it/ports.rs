//! Ports, with real processes on them.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use lab::{Child, free_port, is_alive, wait_until};
use runbook_core::Host;
use runbook_core::testing::{FakeTarget, Reply};
use runbook_host::Machine;

use crate::support::{here, look, problem, refused, run, succeed};

const DEADLINE: Duration = Duration::from_secs(20);

/// A python that listens, and does `then` before it sleeps.
fn python(port: u16, then: &str) -> Child {
    let program = format!(
        "import signal, socket, time\n{then}\ns = socket.socket()\ns.bind(('127.0.0.1', {port}))\n\
         s.listen()\ntime.sleep(600)"
    );
    let child = Child::spawn(Command::new("python3").args(["-c", &program]));
    wait_until("python to listen", DEADLINE, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    child
}

#[test]
fn who_listens_is_found() {
    let port = free_port();
    assert!(look(here().port_free(port)).passed());
    let child = python(port, "");
    let verdict = look(here().port_owned_by(port, "python3"));
    assert!(verdict.passed(), "{}", verdict.why());
    let listener = verdict.into_evidence().unwrap();
    assert_eq!(listener.owners[0].pid, child.pid());
    assert_eq!(listener.addresses[0].to_string(), "127.0.0.1");
    let verdict = look(here().port_owned_by(port, "node"));
    let found = format!("port {port}: python3 (pid {})", child.pid());
    assert_eq!((verdict.passed(), verdict.why()), (false, found.as_str()));
    assert!(!look(here().port_free(port)).passed());
    let all = look(here().listening());
    assert!(all.evidence().iter().any(|listener| listener.port == port));
}

#[test]
fn another_program_than_the_expected_is_not_stopped() {
    let port = free_port();
    let mut child = python(port, "");
    let said = refused(|b| {
        b.irreversible(here().stop_port_owner(port, "node"), "test");
    });
    assert!(said.contains("not node but another program listens"), "{said}");
    assert!(child.is_running());
    succeed(|b| {
        b.irreversible(here().stop_port_owner(port, "python3"), "test");
        b.check(here().port_free(port));
        // And where nothing listens, there is nothing to stop.
        b.irreversible(here().stop_port_owner(port, "python3"), "test");
    });
    assert!(!child.is_running());
}

#[test]
fn one_that_does_not_listen_to_sigterm_is_killed_with_its_workers() {
    let port = free_port();
    let fork = "signal.signal(signal.SIGTERM, signal.SIG_IGN)";
    let child = python(port, fork);
    succeed(|b| {
        b.irreversible(here().stop_port_owner(port, "python3"), "test");
    });
    wait_until("it to end", DEADLINE, || !is_alive(child.pid()));
}

#[test]
fn connections_are_counted_by_state() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let clients: Vec<_> =
        (0..3).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let verdict = look(here().connections_below(port, 3));
    assert!(verdict.passed(), "{}", verdict.why());
    assert_eq!(verdict.evidence().states["established"], 3);
    assert_eq!(verdict.evidence().peers, [("127.0.0.1".parse().unwrap(), 3)]);
    assert!(!look(here().connections_below(port, 2)).passed());
    drop(clients);
}

/// A host on which the service `shop` listens on port 8080.
fn with_service() -> FakeTarget {
    let fake = FakeTarget::new("web-1");
    fake.on(|command: &runbook_core::Command| command.program() == "sh").reply_with(|call| {
        let args: Vec<_> = call.args.iter().map(|arg| arg.to_string_lossy()).collect();
        let asks = |path: &str| args.iter().any(|arg| arg == path);
        if asks("/proc/net/tcp") {
            return Reply::stdout(
                "\u{1}/proc/net/tcp\n 0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 1 0 4242 1\n",
            );
        }
        if asks("/proc/9/stat") {
            return Reply::stdout(
                "\u{1}/proc/9/stat\n9 (gunicorn) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 555 0 0\n\
                 \u{1}/proc/9/cgroup\n0::/system.slice/shop.service\n",
            );
        }
        Reply::stdout("/proc/9/fd:\nlrwx------ 1 root root 64 Nov 21 12:00 3 -> socket:[4242]\n")
    });
    fake
}

#[test]
fn a_service_is_restarted_and_not_killed() {
    let fake = with_service();
    fake.on("systemctl restart --no-ask-password -- shop.service").reply(Reply::ok());
    fake.on(runbook_core::testing::prefix("systemctl show"))
        .reply(Reply::stdout("LoadState=loaded\nActiveState=active\nSubState=running\n"));
    let web = Machine::new(&Host::new(fake.clone()));
    let said = refused(|b| {
        b.irreversible(web.stop_port_owner(8080, "gunicorn"), "test");
    });
    assert!(said.contains("belongs to the service shop.service"), "{said}");
    let outcome = run(|b| {
        b.step(web.restart_port_owner(8080, "gunicorn"));
    });
    assert_eq!(outcome.status, runbook_core::Status::Succeeded, "{}", problem(&outcome));
    assert_eq!(fake.changes(), ["systemctl restart --no-ask-password -- shop.service"]);
}
