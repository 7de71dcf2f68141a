//! Crash safety of a fleet: five hosts with a canary, one of which can't be reached, killed with
//! SIGKILL at every boundary of its journal, in a process of its own, and resumed. Every effect is
//! there once, or undone, or reported as interrupted, host by host.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::atomic::{AtomicUsize, Ordering};

use runbook_core::testing::CrashStore;
use runbook_core::*;
use serde::{Deserialize, Serialize};

/// Adds a line to the ledger of a host: one that stands twice is an effect that happened twice.
struct Effect {
    world: PathBuf,
    host: String,
    name: &'static str,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Before(String);

impl Effect {
    fn ledger(&self) -> PathBuf {
        self.world.join(&self.host)
    }
    fn text(&self) -> String {
        fs::read_to_string(self.ledger()).unwrap_or_default()
    }
    /// A host is away if a file says so, from a step on.
    fn reach(&self) -> Result<()> {
        let away = fs::read_to_string(self.world.join("away")).unwrap_or_default();
        if away.lines().any(|line| line == format!("{} {}", self.host, self.name)) {
            let gone = format!("the connection to {} was lost", self.host);
            return Err(Failure::new(FailureKind::Disconnected, gone));
        }
        Ok(())
    }
}

impl Step for Effect {
    type Output = ();
    type Rollback = Before;
    fn about(&self) -> About {
        About::new(self.name, format!("Do {} on {}", self.name, self.host))
    }
    async fn run(&self, _: &Context) -> Result<()> {
        use std::io::Write;
        self.reach()?;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.ledger())?;
        file.write_all(format!("{}\n", self.name).as_bytes())?;
        Ok(())
    }
}

impl Rollback<Effect> for Before {
    async fn record(step: &Effect, _: &Observer) -> Result<Self> {
        Ok(Before(step.text()))
    }
    async fn rollback(&self, step: &Effect, _: Option<&()>, _: &Context) -> Result<()> {
        if step.world.join(format!("{}.gone", step.host)).exists() {
            let gone = format!("the connection to {} was lost", step.host);
            return Err(Failure::new(FailureKind::Disconnected, gone));
        }
        let new = step.world.join(format!("{}.new", step.host));
        fs::write(&new, &self.0)?;
        Ok(fs::rename(new, step.ledger())?)
    }
}

const HOSTS: [&str; 5] = ["web-1", "web-2", "web-3", "web-4", "web-5"];
const STEPS: [&str; 3] = ["stop", "install", "start"];

fn plan(world: &Path, max_failed: usize) -> Plan {
    let mut b = Runbook::new("restart");
    let rolling = Rolling { at_once: 2, canary: 1, max_failed, ..Rolling::default() };
    b.each(HOSTS, rolling, |host, b| {
        for name in STEPS {
            b.step(Effect { world: world.into(), host: (*host).into(), name });
        }
    });
    b.build().unwrap()
}

fn die() -> ! {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
    loop {
        std::thread::park();
    }
}

/// What the child does: runs or resumes in `FLEET_DIR`, killed where it is told to be.
#[test]
fn child() {
    let Ok(dir) = std::env::var("FLEET_DIR") else { return };
    let dir = PathBuf::from(dir);
    let word = |name: &str| std::env::var(name).ok();
    let number = |name: &str| word(name).map(|word| word.parse::<u64>().unwrap());
    let store = FileStore::new(dir.join("journal"));
    let store = CrashStore::new(store, number("FLEET_AT").unwrap_or(u64::MAX), || die());
    let engine = Engine::new(store);
    let plan = plan(&dir.join("world"), number("FLEET_MAX_FAILED").unwrap_or(1) as usize);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = RunId::new("run");
    let outcome = runtime.block_on(async {
        let mut options = RunOptions::new().unattended();
        match word("FLEET_DO").as_deref() {
            None => {
                options.run = Some(run.clone());
                engine.run(&plan, options).outcome().await
            }
            Some("rollback") => {
                engine.resume(&run, &plan, ResumeOptions::rollback(options)).outcome().await
            }
            Some("decide") => {
                // As an operator does: looks at the host, and takes what is done as done.
                let (_, events) = engine.store().open(&run).await?;
                let state = RunState::fold(&events).unwrap();
                for unit in state.interrupted() {
                    let words: Vec<_> = unit.as_str().split('/').collect();
                    let done = ledger(&dir, words[1]).iter().any(|line| line == words[2]);
                    let decision = if done { Decision::Skip } else { Decision::Retry };
                    engine.decide(&run, &unit, decision, "ann").await?;
                }
                engine.resume(&run, &plan, ResumeOptions::forward(options)).outcome().await
            }
            Some(_) => engine.resume(&run, &plan, ResumeOptions::forward(options)).outcome().await,
        }
    });
    let said = match outcome {
        Ok(Outcome { finished: Some(end), .. }) => {
            let without: Vec<_> = end.without.iter().map(UnitId::as_str).collect();
            format!("{} {}", end.status, without.join(" "))
        }
        Ok(outcome) => outcome.status.to_string(),
        Err(error) => format!("error: {error}"),
    };
    fs::write(dir.join("said"), said.trim()).unwrap();
}

/// One child; what it said, or nothing if it was killed.
fn spawn(dir: &Path, words: &[(&str, String)]) -> Option<String> {
    use std::os::unix::process::ExitStatusExt;
    let _ = fs::remove_file(dir.join("said"));
    let output = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env("FLEET_DIR", dir)
        .envs(words.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    if output.status.signal() == Some(9) {
        return None;
    }
    let said = fs::read_to_string(dir.join("said"));
    Some(said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

fn again(dir: &Path, how: &str, max_failed: usize) -> String {
    let max_failed = ("FLEET_MAX_FAILED", max_failed.to_string());
    spawn(dir, &[("FLEET_DO", how.into()), max_failed]).unwrap()
}

fn ledger(dir: &Path, host: &str) -> Vec<String> {
    let text = fs::read_to_string(dir.join("world").join(host)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// `away`: from which step on which host can't be reached; `gone`: whether it can't be undone.
fn world(away: &[(&str, &str)], gone: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let world = dir.path().join("world");
    fs::create_dir(&world).unwrap();
    let lines: Vec<String> = away.iter().map(|(host, step)| format!("{host} {step}\n")).collect();
    fs::write(world.join("away"), lines.concat()).unwrap();
    for host in gone {
        fs::write(world.join(format!("{host}.gone")), "").unwrap();
    }
    let path = dir.path().to_owned();
    (dir, path)
}

/// All effects on `done` once and in order, and none elsewhere.
fn assert_world(dir: &Path, done: &[&str], place: &str) {
    for host in HOSTS {
        let expected: &[&str] = if done.contains(&host) { &STEPS } else { &[] };
        assert_eq!(ledger(dir, host), expected, "{place}: {host}");
    }
}

/// No effect is there twice, whatever is not known yet.
fn assert_never_twice(dir: &Path, place: &str) {
    for host in HOSTS {
        let lines = ledger(dir, host);
        assert!(
            STEPS.starts_with(&lines.iter().map(String::as_str).collect::<Vec<_>>()),
            "{place}: {host} {lines:?}"
        );
    }
}

/// Kills a run at every boundary, and hands each place to `then`; gives how many there were.
fn at_every_boundary(
    max_failed: usize,
    away: &[(&str, &str)],
    gone: &[&str],
    ends: &str,
    then: impl Fn(&Path, &str) + Sync,
) -> usize {
    let places = AtomicUsize::new(1);
    let over = AtomicUsize::new(usize::MAX);
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get()) {
            threads.spawn(|| {
                loop {
                    let at = places.fetch_add(1, Ordering::SeqCst);
                    if at >= over.load(Ordering::SeqCst) {
                        return;
                    }
                    let (_keep, dir) = world(away, gone);
                    let words = [
                        ("FLEET_AT", at.to_string()),
                        ("FLEET_MAX_FAILED", max_failed.to_string()),
                    ];
                    match spawn(&dir, &words) {
                        Some(said) => {
                            assert_eq!(said, ends);
                            over.fetch_min(at, Ordering::SeqCst);
                        }
                        None => then(&dir, &format!("killed at boundary {at}")),
                    }
                }
            });
        }
    });
    over.into_inner()
}

fn never_began(said: &str) -> bool {
    said.contains("there is no run") || said.contains("never started")
}

#[test]
fn killed_anywhere_only_hosts_that_were_not_done_are_gone_on_with() {
    let asked = AtomicUsize::new(0);
    let others = ["web-1", "web-2", "web-4", "web-5"];
    let boundaries =
        at_every_boundary(1, &[("web-3", "install")], &[], "succeeded each/web-3", |dir, place| {
            assert_never_twice(dir, place);
            let mut said = again(dir, "forward", 1);
            assert_never_twice(dir, place);
            if said == "suspended" {
                asked.fetch_add(1, Ordering::SeqCst);
                said = again(dir, "decide", 1);
            }
            match said.as_str() {
                "succeeded each/web-3" => assert_world(dir, &others, place),
                said if said.contains("has succeeded") => assert_world(dir, &others, place),
                said if never_began(said) => assert_world(dir, &[], place),
                said => panic!("{place}: {said}"),
            }
            // The whole of it can be taken back, host by host.
            if !never_began(&said) {
                assert_eq!(again(dir, "rollback", 1), "rolled back", "{place}");
                assert_world(dir, &[], place);
            }
        });
    assert!(boundaries > 50, "five hosts of three steps have many boundaries: {boundaries}");
    assert!(asked.into_inner() > 0, "some can't tell how far they got");
}

#[test]
fn killed_anywhere_it_can_be_rolled_back_at_once() {
    at_every_boundary(1, &[("web-3", "start")], &[], "succeeded each/web-3", |dir, place| {
        let said = again(dir, "rollback", 1);
        assert!(said == "rolled back" || never_began(&said) || said == "failed", "{place}: {said}");
        assert_world(dir, &[], place);
    });
}

#[test]
fn killed_anywhere_a_host_that_can_not_be_undone_is_stuck_alone() {
    let others = ["web-1", "web-2", "web-4", "web-5"];
    let away = [("web-3", "install")];
    at_every_boundary(1, &away, &["web-3"], "stuck each/web-3", |dir, place| {
        let mut said = again(dir, "forward", 1);
        if said == "suspended" {
            said = again(dir, "decide", 1);
        }
        if never_began(&said) {
            return assert_world(dir, &[], place);
        }
        assert_eq!(said, "stuck each/web-3", "{place}");
        for host in others {
            assert_eq!(ledger(dir, host), STEPS, "{place}: {host}");
        }
        assert_eq!(ledger(dir, "web-3"), ["stop"], "{place}");
        // It is back.
        fs::remove_file(dir.join("world/web-3.gone")).unwrap();
        assert_eq!(again(dir, "forward", 1), "succeeded each/web-3", "{place}");
        assert_world(dir, &others, place);
    });
}

#[test]
fn killed_anywhere_one_failure_too_many_rolls_all_hosts_back() {
    let away = [("web-2", "start"), ("web-4", "install")];
    at_every_boundary(1, &away, &[], "rolled back", |dir, place| {
        let mut said = again(dir, "forward", 1);
        if said == "suspended" {
            said = again(dir, "decide", 1);
        }
        let over = said == "rolled back" || said.contains("was rolled back");
        assert!(over || never_began(&said), "{place}: {said}");
        assert_world(dir, &[], place);
    });
}
