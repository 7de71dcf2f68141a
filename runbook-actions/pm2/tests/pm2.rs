//! PM2, against the real one, in a home of its own.
#![allow(missing_docs)]

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use runbook_core::testing::Faults;
use runbook_core::{Engine, Host, MemoryStore, Outcome, RunOptions, Runbook, Status, Wait};
use runbook_pm2::Pm2;
use runbook_targets::Local;

const PATIENCE: Duration = Duration::from_secs(60);

/// A home, and an app that answers on a port.
struct Home {
    dir: tempfile::TempDir,
    port: u16,
}

impl Home {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let it = Self { dir: tempfile::tempdir().unwrap(), port };
        it.app("console.error('up');");
        let config = "module.exports = { apps: [{ name: 'shop', script: 'shop.js' }] };";
        std::fs::write(it.dir.path().join("ecosystem.config.js"), config).unwrap();
        it
    }

    /// What the app does once it listens.
    fn app(&self, then: &str) {
        let listen = format!(
            "require('http').createServer((q, r) => r.end('ok')).listen({}, '127.0.0.1', () => {{ {then} }});",
            self.port
        );
        self.script(&listen);
    }

    fn script(&self, text: &str) {
        std::fs::write(self.dir.path().join("shop.js"), text).unwrap();
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("pm2")
    }

    fn pm2(&self) -> Pm2 {
        Pm2::new(&Host::new(Local::new())).home(self.home())
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ecosystem.config.js")
    }

    fn by_hand(&self, words: &[&str]) -> String {
        let mut pm2 = Command::new("pm2");
        pm2.args(words).current_dir(self.dir.path()).env("PM2_HOME", self.home());
        let output = pm2.env("TOP_SECRET", "s3cr3t-of-the-app").output().unwrap();
        assert!(output.status.success(), "pm2 {words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn answers(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    fn started(self) -> Self {
        self.by_hand(&["start", "ecosystem.config.js"]);
        let up = run(None, |b| {
            b.wait_until(
                self.pm2().is_healthy("shop").port(self.port).steady_for(Duration::ZERO),
                Wait::at_most(PATIENCE).every(Duration::from_millis(100)),
            );
        });
        assert_eq!(up.status, Status::Succeeded, "{:?}", up.finished);
        self
    }

    fn daemon(&self) -> Option<i32> {
        std::fs::read_to_string(self.home().join("pm2.pid")).ok()?.trim().parse().ok()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let daemon = self.daemon();
        let _ = Command::new("pm2").arg("kill").env("PM2_HOME", self.home()).output();
        // It says that it is killed some time before it is gone.
        let deadline = Instant::now() + PATIENCE;
        while daemon.is_some_and(|pid| PathBuf::from(format!("/proc/{pid}/exe")).exists()) {
            assert!(Instant::now() < deadline, "the daemon lives on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn run(faults: Option<Faults>, fill: impl FnOnce(&mut Runbook)) -> Outcome {
    let mut b = Runbook::new("test");
    fill(&mut b);
    let plan = b.build().unwrap();
    let mut options = RunOptions::new();
    options.faults = faults;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(async { Engine::new(MemoryStore::new()).run(&plan, options).outcome().await })
        .unwrap()
}

fn problem(outcome: &Outcome) -> String {
    let finished = outcome.finished.as_ref().unwrap();
    let problem = finished.problem.as_ref().unwrap();
    format!("{problem} | {}", problem.next.clone().unwrap_or_default())
}

#[test]
fn an_app_is_started_from_its_file_watched_and_forgotten_again() {
    let home = Home::new();
    let done = run(None, |b| {
        b.step(home.pm2().start_file("shop", home.file()));
        b.wait_until(
            home.pm2().is_healthy("shop").port(home.port).steady_for(Duration::from_millis(500)),
            Wait::at_most(PATIENCE).every(Duration::from_millis(100)),
        );
        b.check(home.pm2().is_online("shop"));
    });
    assert_eq!(done.status, Status::Succeeded, "{:?}", done.finished);
    assert!(home.answers());
    // The daemon and the app outlive the run, and bear no mark of it.
    let environ = std::fs::read(format!("/proc/{}/environ", home.daemon().unwrap())).unwrap();
    assert!(!String::from_utf8_lossy(&environ).contains("RUNBOOK_"));
    home.by_hand(&["delete", "shop"]);

    let back = run(Some(Faults::fail_after(1)), |b| {
        b.step(home.pm2().start_file("shop", home.file()));
    });
    assert_eq!(back.status, Status::RolledBack);
    assert!(!home.answers());
    assert!(!home.by_hand(&["jlist"]).contains("\"shop\""));
}

#[test]
fn an_app_that_ran_runs_again_after_a_stop_is_undone() {
    let home = Home::new().started();
    let back = run(Some(Faults::fail_after(1)), |b| {
        b.step(home.pm2().stop("shop"));
    });
    assert_eq!(back.status, Status::RolledBack, "{:?}", back.finished);
    let up = run(None, |b| {
        b.wait_until(
            home.pm2().is_healthy("shop").port(home.port).steady_for(Duration::ZERO),
            Wait::at_most(PATIENCE).every(Duration::from_millis(100)),
        );
    });
    assert_eq!(up.status, Status::Succeeded);
    let stopped = run(None, |b| {
        b.step(home.pm2().stop("shop"));
    });
    assert_eq!(stopped.status, Status::Succeeded);
    assert!(!home.answers());
    let back = run(Some(Faults::fail_after(1)), |b| {
        b.step(home.pm2().start("shop"));
    });
    assert_eq!(back.status, Status::RolledBack, "{:?}", back.finished);
    assert!(!home.answers());
}

#[test]
fn errors_since_the_restart_are_told_from_older_ones() {
    let home = Home::new();
    home.app("console.error('Error: of old');");
    let home = home.started();
    home.app("console.error('a warning, no more');");
    let fine = run(None, |b| {
        let restarted = b.step(home.pm2().restart("shop"));
        b.wait_until(
            home.pm2().is_healthy("shop").port(home.port).steady_for(Duration::from_millis(300)),
            Wait::at_most(PATIENCE).every(Duration::from_millis(100)),
        );
        b.check(home.pm2().no_errors_since("shop", restarted));
        b.observe(home.pm2().last_errors("shop", 5));
    });
    assert_eq!(fine.status, Status::Succeeded, "{:?}", fine.finished);
    home.app("console.error('TypeError: x is not a function');");
    let bad = run(None, |b| {
        let restarted = b.step(home.pm2().restart("shop"));
        b.wait_until(
            home.pm2().is_healthy("shop").port(home.port).steady_for(Duration::from_millis(300)),
            Wait::at_most(PATIENCE).every(Duration::from_millis(100)),
        );
        b.check(home.pm2().no_errors_since("shop", restarted));
    });
    assert!(problem(&bad).contains("TypeError: x is not a function"), "{}", problem(&bad));
}

#[test]
fn a_crash_loop_is_not_healthy() {
    let home = Home::new().started();
    home.script("setTimeout(() => process.exit(1), 200);");
    let looping = run(None, |b| {
        b.step(home.pm2().restart("shop"));
        b.check(home.pm2().is_healthy("shop").steady_for(Duration::from_secs(2)));
    });
    let said = problem(&looping);
    assert!(said.contains("restarted") || said.contains("restarts"), "{said}");
}

/// The daemon may start an app of a crash loop in the middle of a restart, and then refuses it.
#[test]
fn an_app_that_was_started_in_the_middle_of_its_restart_is_stopped_first() {
    let home = Home::new().started();
    let (program, log) = (home.dir.path().join("pm2-of-a-crash-loop"), home.dir.path().join("log"));
    let script = format!(
        "#!/bin/sh\necho \"$1\" >> {log}\ncase \"$1 $(grep -c stop {log})\" in\n\
         'restart 0') echo '[PM2][ERROR] Process with pid 7 already exists' >&2; exit 1;;\n\
         *) exec pm2 \"$@\";;\nesac\n",
        log = log.display()
    );
    std::fs::write(&program, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    home.script("setInterval(() => {}, 1000);");
    let done = run(None, |b| {
        b.step(home.pm2().program(&program).restart("shop"));
        b.check(home.pm2().is_healthy("shop").steady_for(Duration::ZERO));
    });
    assert_eq!(done.status, Status::Succeeded, "{:?}", done.finished);
    let words = std::fs::read_to_string(&log).unwrap();
    let changes: Vec<&str> = words.lines().filter(|word| *word != "jlist").collect();
    assert_eq!(changes, ["restart", "stop", "restart"]);
}

#[test]
fn an_app_that_does_not_listen_is_not_healthy() {
    let home = Home::new().started();
    home.script("setInterval(() => {}, 1000);");
    let deaf = run(None, |b| {
        b.step(home.pm2().restart("shop"));
        b.check(home.pm2().is_healthy("shop").port(home.port).steady_for(Duration::ZERO));
    });
    assert!(problem(&deaf).contains(&format!("its port {}", home.port)), "{}", problem(&deaf));
}

#[test]
fn on_the_way_back_the_app_is_restarted_last() {
    let home = Home::new().started();
    let pm2 = home.pm2();
    let count = || {
        let list = home.by_hand(&["jlist"]);
        let at = list.find("\"restart_time\":").unwrap();
        list[at + 15..].split(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<u32>().unwrap()
    };
    let before = count();
    let back = run(Some(Faults::fail_after(2)), |b| {
        b.step(pm2.restart_on_the_way_back("shop"));
        b.step(pm2.restart("shop"));
    });
    assert_eq!(back.status, Status::RolledBack, "{:?}", back.finished);
    assert_eq!(count(), before + 2, "once by the step, once on the way back");
    let untouched = run(Some(Faults::fail_before(2)), |b| {
        b.step(pm2.restart_on_the_way_back("shop"));
        b.step(pm2.restart("shop"));
    });
    assert_eq!(untouched.status, Status::RolledBack);
    assert_eq!(count(), before + 2, "nothing had restarted it");
}

#[test]
fn the_saved_list_is_put_back() {
    let home = Home::new().started();
    home.by_hand(&["save"]);
    let list = home.home().join("dump.pm2");
    let saved = std::fs::read(&list).unwrap();
    home.by_hand(&["delete", "shop"]);
    for faults in [Faults::fail_before(1), Faults::fail_after(1)] {
        let back = run(Some(faults), |b| {
            b.step(home.pm2().save());
        });
        assert_eq!(back.status, Status::RolledBack, "{:?}", back.finished);
        assert_eq!(std::fs::read(&list).unwrap(), saved);
    }
    let done = run(Some(Faults::repeat_every_unit()), |b| {
        b.step(home.pm2().save());
    });
    assert_eq!(done.status, Status::Succeeded);
    assert_ne!(std::fs::read(&list).unwrap(), saved);
}

#[test]
fn a_look_starts_no_daemon_and_shows_no_environment() {
    let home = Home::new();
    let none = run(None, |b| {
        b.check(home.pm2().status());
    });
    assert!(problem(&none).contains("no daemon runs"), "{}", problem(&none));
    let none = run(None, |b| {
        b.check(home.pm2().is_online("shop"));
    });
    assert!(problem(&none).contains("pm2 resurrect"), "{}", problem(&none));
    assert_eq!(home.daemon(), None);

    let home = home.started();
    let mut b = Runbook::new("status");
    b.check(home.pm2().status());
    let plan = b.build().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let events = runtime.block_on(async {
        let mut handle = Engine::new(MemoryStore::new()).run(&plan, RunOptions::new());
        let mut all = String::new();
        while let Some(event) = handle.next().await {
            all.push_str(&format!("{event:?}"));
        }
        all
    });
    assert!(events.contains("shop online") && !events.contains("s3cr3t-of-the-app"));
    let unknown = run(None, |b| {
        b.step(home.pm2().restart("shpo"));
    });
    assert!(problem(&unknown).contains("has no app `shpo`; it has: shop"), "{}", problem(&unknown));
}

#[test]
fn a_program_that_is_missing_is_named() {
    let home = Home::new();
    let missing = run(None, |b| {
        b.step(home.pm2().program("pm2-is-not-here").start_file("shop", home.file()));
    });
    let said = problem(&missing);
    assert!(said.contains("there is no program `pm2-is-not-here`"), "{said}");
    let looked = run(None, |b| {
        b.check(home.pm2().program("pm2-is-not-here").status());
    });
    assert!(problem(&looked).contains("no daemon runs"), "nothing to ask: {}", problem(&looked));
}
