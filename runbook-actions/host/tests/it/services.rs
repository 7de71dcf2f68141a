//! Services and upkeep. Where these tests run no systemd does, so `systemctl`, `journalctl` and
//! `apt-get` are scripts on PATH that keep what they were told in files; logrotate is the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use runbook_core::Host;
use runbook_core::testing::{FakeTarget, Reply, prefix};
use runbook_host::{Bytes, Machine};
use runbook_targets::{Local, WithEnv};

use crate::support::{cannot_look, look, refused, succeed, undone};

const SYSTEMCTL: &str = r#"#!/bin/sh
state=$(dirname "$0")/state
echo "$*" >>"$state/log"
for unit do :; done
[ -d "$state/$unit" ] || { [ "$1" = show ] && echo LoadState=not-found && exit 0; echo "Unit $unit not found." >&2; exit 5; }
cd "$state/$unit"
start() { echo $(($(cat pid) + 1)) >pid; if [ -f broken ]; then echo failed >active; else echo active >active; fi; }
case $1 in
show)
  echo LoadState=loaded
  echo "ActiveState=$(cat active)"; echo SubState=x; echo "UnitFileState=$(cat enabled)"
  echo Result=success; echo "MainPID=$(cat pid)"; echo NRestarts=0; echo "StateChangeTimestamp=$(cat pid)"
  if [ -f flapping ]; then start; fi;;
start) [ "$(cat active)" = active ] || start;;
restart|reload) start;;
stop) echo inactive >active;;
enable) echo enabled >enabled;;
disable) echo disabled >enabled;;
esac
"#;

struct Systemd {
    dir: tempfile::TempDir,
}

impl Systemd {
    fn new() -> Self {
        let it = Self { dir: tempfile::tempdir().unwrap() };
        it.program("systemctl", SYSTEMCTL);
        fs::create_dir_all(it.unit()).unwrap();
        for (name, text) in [("active", "active"), ("enabled", "disabled"), ("pid", "100")] {
            it.set(name, text);
        }
        it
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn unit(&self) -> PathBuf {
        self.dir.path().join("state/shop")
    }

    fn set(&self, name: &str, text: &str) {
        fs::write(self.unit().join(name), format!("{text}\n")).unwrap();
    }

    fn get(&self, name: &str) -> String {
        fs::read_to_string(self.unit().join(name)).unwrap().trim().to_owned()
    }

    fn machine(&self) -> Machine {
        on_path(self.dir.path())
    }
}

fn on_path(dir: &Path) -> Machine {
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    Machine::new(&Host::new(WithEnv::new(Host::new(Local::new())).env("PATH", path)))
}

#[test]
fn a_service_that_runs_is_told_from_one_that_does_not() {
    let systemd = Systemd::new();
    let shop = systemd.machine().service("shop");
    assert!(look(shop.is_active()).passed());
    assert!(!look(shop.is_enabled()).passed());
    assert!(look(shop.is_stable(Duration::ZERO)).passed());
    systemd.set("active", "failed");
    assert!(!look(shop.is_active()).passed());
    let said = cannot_look(systemd.machine().service("shopp").is_active());
    assert!(said.contains("there is no service shopp"), "{said}");
}

#[test]
fn a_service_that_restarts_again_and_again_is_not_stable() {
    let systemd = Systemd::new();
    systemd.set("flapping", "");
    let verdict = look(systemd.machine().service("shop").is_stable(Duration::ZERO));
    assert!(!verdict.passed() && verdict.why().contains("it was restarted"), "{}", verdict.why());
}

#[test]
fn what_was_started_stopped_or_enabled_is_put_back() {
    let systemd = Systemd::new();
    let shop = systemd.machine().service("shop");
    undone(|b| {
        b.step(shop.stop());
        b.step(shop.enable());
    });
    assert_eq!(
        (systemd.get("active"), systemd.get("enabled")),
        ("active".into(), "disabled".into())
    );
    systemd.set("active", "inactive");
    undone(|b| {
        b.step(shop.start());
    });
    assert_eq!(systemd.get("active"), "inactive");
    succeed(|b| {
        b.step(shop.start());
        b.step(shop.enable());
        b.check(shop.is_enabled());
    });
    assert_eq!(systemd.get("active"), "active");
}

#[test]
fn a_restart_that_fails_says_so_and_one_on_the_way_back_restarts() {
    let systemd = Systemd::new();
    let shop = systemd.machine().service("shop");
    undone(|b| {
        b.step(shop.restart_on_the_way_back());
        b.step(shop.restart());
    });
    assert_eq!(systemd.get("pid"), "102", "once there, once on the way back");
    systemd.set("broken", "");
    let said = refused(|b| {
        b.step(shop.restart());
    });
    assert!(said.contains("shop does not run: failed"), "{said}");
    assert!(said.contains("journalctl -u shop"), "{said}");
}

#[test]
fn the_journal_is_shrunk_as_told() {
    let systemd = Systemd::new();
    let log = systemd.dir.path().join("state/journal");
    systemd.program("journalctl", &format!("#!/bin/sh\necho \"$*\" >>'{}'\n", log.display()));
    succeed(|b| {
        b.irreversible(systemd.machine().vacuum_journal(Bytes::mib(500)), "test");
        let age = Duration::from_secs(3 * 86_400);
        b.irreversible(systemd.machine().vacuum_journal_older_than(age), "test");
    });
    let told = fs::read_to_string(log).unwrap();
    assert_eq!(told, "--rotate --vacuum-size=524288000\n--rotate --vacuum-time=259200s\n");
}

#[test]
fn only_packages_that_were_listed_are_removed() {
    let fake = FakeTarget::new("web-1");
    let lock = "apt-get -o DPkg::Lock::Timeout=120";
    let listed = "Reading package lists...\nRemv libold1 [1.2-3]\nRemv linux-image-5 [5.10]\n";
    fake.on(format!("{lock} --simulate autoremove").as_str()).replies([
        Reply::stdout(listed),
        Reply::stdout(format!("{listed}Remv nginx [1.22]\n")),
        Reply::stdout(listed),
        Reply::stdout(listed),
    ]);
    fake.on(prefix(format!("{lock} --assume-yes"))).reply(Reply::ok());
    let web = Machine::new(&Host::new(fake.clone()));
    let said = refused(|b| {
        let listed = b.check(web.unneeded_packages());
        b.irreversible(web.remove_packages(listed), "test");
    });
    assert!(said.contains("apt would now remove nginx"), "{said}");
    assert!(fake.changes().is_empty());
    succeed(|b| {
        let listed = b.check(web.unneeded_packages());
        b.irreversible(web.remove_packages(listed), "test");
    });
    assert_eq!(fake.changes(), [format!("{lock} --assume-yes autoremove")]);
}

#[test]
fn logs_are_rotated_by_the_real_logrotate() {
    if Command::new("logrotate").arg("--version").output().is_err() {
        return; // It is not installed here.
    }
    let dir = tempfile::tempdir().unwrap();
    let (log, config) = (dir.path().join("shop.log"), dir.path().join("conf"));
    fs::write(&log, "line\n").unwrap();
    fs::write(&config, format!("{} {{\n  rotate 2\n  daily\n}}\n", log.display())).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Its state is its own, not the machine's.
    let state = dir.path().join("state");
    let real = String::from_utf8(
        Command::new("sh").args(["-c", "command -v logrotate"]).output().unwrap().stdout,
    )
    .unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let wrapper = bin.join("logrotate");
    fs::write(
        &wrapper,
        format!("#!/bin/sh\nexec {} -s '{}' \"$@\"\n", real.trim(), state.display()),
    )
    .unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let machine = on_path(&bin);
    let config = config.to_str().unwrap().to_owned();
    let would = look(machine.would_rotate(&config));
    assert!(would.why().contains("shop.log"), "{}", would.why());
    assert!(log.exists());
    succeed(|b| {
        b.irreversible(machine.rotate_logs(&config), "test");
    });
    assert_eq!(fs::read_to_string(dir.path().join("shop.log.1")).unwrap(), "line\n");
}
