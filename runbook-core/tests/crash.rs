//! Crash safety, proven: a run of units of all kinds is killed with SIGKILL at every boundary of
//! its journal and in the middle of every step's effect, in a process of its own, and resumed.
//!
//! The world is a folder. Each step appends a line to a ledger and writes a file, in two writes
//! between which it can be killed; a line that stands twice is an effect that happened twice.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use runbook_core::testing::{CrashStore, Faults};
use runbook_core::*;
use serde::{Deserialize, Serialize};

/// A step that is not safe to repeat: it appends to the ledger, then writes its file.
struct Effect {
    world: PathBuf,
    name: &'static str,
    /// Whether it can tell that it is done.
    knows: bool,
    /// Whether it may be repeated: it leaves alone what is there.
    idempotent: bool,
    input: Input<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Before {
    ledger: Vec<String>,
    file: Option<String>,
}

fn ledger(world: &Path) -> Vec<String> {
    let text = fs::read_to_string(world.join("ledger")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

impl Effect {
    fn file(&self) -> PathBuf {
        self.world.join(format!("{}.file", self.name))
    }
    fn mine(&self) -> Vec<String> {
        ledger(&self.world).into_iter().filter(|line| line == self.name).collect()
    }
}

fn die() -> ! {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
    loop {
        std::thread::park();
    }
}

impl Step for Effect {
    type Output = String;
    type Rollback = Before;
    fn about(&self) -> About {
        About::new(self.name, format!("Do {}", self.name))
    }
    fn inputs(&self, visit: &mut dyn Visit) {
        visit.see("input", &self.input);
    }
    async fn satisfied(&self, cx: &Observer) -> Result<Option<String>> {
        let done = self.knows && self.file().exists();
        if done { Ok(Some(format!("{}+{}", self.input.get(cx)?, self.name))) } else { Ok(None) }
    }
    async fn run(&self, cx: &Context) -> Result<String> {
        use std::io::Write;
        let path = self.world.join("ledger");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        if !(self.idempotent && self.mine().len() == 1) {
            file.write_all(format!("{}\n", self.name).as_bytes())?;
        }
        if std::env::var("CRASH_IN").is_ok_and(|unit| unit == self.name) {
            die();
        }
        let output = format!("{}+{}", self.input.get(cx)?, self.name);
        fs::write(self.file(), &output)?;
        Ok(output)
    }
}

impl Rollback<Effect> for Before {
    async fn record(step: &Effect, _: &Observer) -> Result<Self> {
        Ok(Before { ledger: step.mine(), file: fs::read_to_string(step.file()).ok() })
    }
    async fn rollback(&self, step: &Effect, _: Option<&String>, _: &Context) -> Result<()> {
        let lines: Vec<_> = ledger(&step.world)
            .into_iter()
            .filter(|line| line != step.name)
            .chain(self.ledger.iter().cloned())
            .map(|line| line + "\n")
            .collect();
        let new = step.world.join("ledger.new");
        fs::write(&new, lines.concat())?;
        fs::rename(new, step.world.join("ledger"))?;
        match &self.file {
            Some(text) => fs::write(step.file(), text)?,
            None if step.file().exists() => fs::remove_file(step.file())?,
            None => {}
        }
        Ok(())
    }
}

macro_rules! effect_without_record {
    ($($name:ident: $rollback:ty),*) => {$(
        struct $name(Effect);

        impl Step for $name {
            type Output = String;
            type Rollback = $rollback;
            fn about(&self) -> About {
                self.0.about()
            }
            async fn satisfied(&self, cx: &Observer) -> Result<Option<String>> {
                self.0.satisfied(cx).await
            }
            async fn run(&self, cx: &Context) -> Result<String> {
                self.0.run(cx).await
            }
        }
    )*};
}
effect_without_record!(HarmlessEffect: Harmless, LastingEffect: Irreversible);

struct Exists(PathBuf);

impl Check for Exists {
    type Evidence = bool;
    fn about(&self) -> About {
        About::new("exists", format!("{} is there", self.0.file_name().unwrap().display()))
    }
    async fn check(&self, _: &Observer) -> Result<Verdict<bool>> {
        let there = self.0.exists();
        Ok(Verdict::pass_if(there, there, format!("{there}")))
    }
}

/// Nineteen units of every kind, in every kind of block.
fn plan(world: &Path) -> Plan {
    let effect = |name, knows, input| Effect {
        world: world.into(),
        name,
        knows,
        idempotent: name == "m",
        input,
    };
    let text = |text: &str| text.to_owned().into_input();
    let there = |name: &str| Exists(world.join(format!("{name}.file")));
    let mut b = Runbook::new("crash");
    b.lock(Lock::on("world").lease(std::time::Duration::from_millis(1)));
    let a = b.step(effect("a", true, text("in")));
    b.check(there("a"));
    let c = b.group("group", |b| {
        let c = b.step(effect("c", false, a.into_input()));
        b.step(effect("d", true, c.into_input()).verify(there("d")));
        c
    });
    let seen = b.observe(there("c"));
    b.when("seen", seen.passed(), |b| {
        b.step(effect("e", false, c.into_input()));
    });
    b.parallel("beside", |b| {
        b.step(effect("f", true, text("f")));
        b.group("branch", |b| {
            b.step(effect("g", true, a.into_input()));
            b.step(effect("h", false, text("h")));
        });
    });
    b.each(["one", "two"], Rolling::default(), |host, b| {
        b.step(effect(if *host == "one" { "i" } else { "j" }, true, text(host)));
    });
    b.ladder("ladder", there("k"), |ladder| {
        ladder.remedy("first", |b| {
            b.step(effect("l", true, text("l")));
        });
        ladder.remedy("second", |b| {
            b.step(effect("k", false, text("k")));
        });
    });
    b.wait_until(there("k"), Wait::at_most(std::time::Duration::from_secs(5)));
    let word = b.manual(Manual::new("Ask").ask::<String>("Which word?"));
    b.step(effect("m", false, word.into_input()).retry(1));
    b.step(HarmlessEffect(effect("n", true, text("n"))));
    b.irreversible(LastingEffect(effect("o", true, text("o"))), "it is the last");
    b.finally(|b| {
        b.step(effect("z", true, text("z")));
    });
    b.build().unwrap()
}

const ALL: [&str; 15] = ["a", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "z"];

/// What stays when a run is rolled back: what has nothing to undo, what can't be undone, and what
/// is done at the end come what may.
const STAYS: [&str; 3] = ["n", "o", "z"];

/// What the child does: runs or resumes in `CRASH_DIR`, killed where it is told to be.
#[test]
fn child() {
    let Ok(dir) = std::env::var("CRASH_DIR") else { return };
    let dir = PathBuf::from(dir);
    let word = |name: &str| std::env::var(name).ok();
    let at = word("CRASH_AT").map_or(u64::MAX, |at| at.parse().unwrap());
    let store = CrashStore::new(FileStore::new(dir.join("journal")), at, || die());
    let engine = Engine::new(store);
    let plan = plan(&dir.join("world"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let mut options = RunOptions::new().unattended();
        if let Some(n) = word("CRASH_FAIL") {
            options = options.faults(Faults::fail_unit_after(&*n));
        }
        let id = RunId::new("run");
        match word("CRASH_RESUME").as_deref() {
            None => {
                options.run = Some(id);
                engine.run(&plan, options).outcome().await
            }
            Some("skip") => {
                let skip = ResumeOptions::forward(options).interrupted(Decision::Skip);
                engine.resume(&id, &plan, skip).outcome().await
            }
            Some("answer") => {
                let word = Answer::Value("word".into());
                engine.answer(&id, &"ask".into(), word, "ann").await?;
                engine.resume(&id, &plan, ResumeOptions::forward(options)).outcome().await
            }
            Some("rollback") => {
                engine.resume(&id, &plan, ResumeOptions::rollback(options)).outcome().await
            }
            Some(_) => engine.resume(&id, &plan, ResumeOptions::forward(options)).outcome().await,
        }
    });
    let said = match outcome {
        Ok(outcome) if outcome.state.waiting().iter().any(|w| w.unit.as_str() == "ask") => {
            "asks".into()
        }
        Ok(outcome) => outcome.status.to_string(),
        Err(error) => format!("error: {error}"),
    };
    fs::write(dir.join("said"), said).unwrap();
}

/// One child; what it said, or nothing if it was killed.
fn spawn(dir: &Path, words: &[(&str, String)]) -> Option<String> {
    let _ = fs::remove_file(dir.join("said"));
    let output = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env("CRASH_DIR", dir)
        .envs(words.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    if output.status.signal() == Some(9) {
        assert!(!dir.join("said").exists());
        return None;
    }
    let said = fs::read_to_string(dir.join("said"));
    Some(said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

fn world() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("world")).unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}

/// How often each effect stands in the ledger, and whether its file is there.
fn effects(dir: &Path) -> BTreeMap<String, (usize, bool)> {
    let world = dir.join("world");
    let lines = ledger(&world);
    ALL.iter()
        .map(|name| {
            let times = lines.iter().filter(|line| line == name).count();
            ((*name).to_owned(), (times, world.join(format!("{name}.file")).exists()))
        })
        .filter(|(_, (times, file))| *times > 0 || *file)
        .collect()
}

fn assert_all_once(dir: &Path, place: &str) {
    let found = effects(dir);
    for name in ALL {
        assert_eq!(found.get(name), Some(&(1, true)), "{place}: {name} of {found:?}");
    }
}

/// Nothing is left but what stays, once.
fn assert_nothing_left(dir: &Path, place: &str) {
    let found = effects(dir);
    let stays = |(name, (times, _)): (&String, &(usize, bool))| {
        STAYS.contains(&name.as_str()) && *times == 1
    };
    assert!(found.iter().all(stays), "{place}: {found:?}");
}

/// The operator gives up: all is undone. What is done at the end come what may is not; cut off in
/// its middle it asks the operator as well, who then says to leave it.
fn roll_back(dir: &Path, place: &str) {
    let mut said = spawn(dir, &[("CRASH_RESUME", "rollback".into())]).unwrap();
    let in_finally = said == "suspended";
    if in_finally {
        said = spawn(dir, &[("CRASH_RESUME", "skip".into())]).unwrap();
    }
    assert_eq!(said, "rolled back", "{place}");
    assert_nothing_left(dir, place);
}

/// Resumes until the run ends; checks that the end is true.
fn bring_to_end(dir: &Path, place: &str) -> String {
    let mut said = spawn(dir, &[("CRASH_RESUME", "forward".into())]).unwrap();
    if said == "asks" {
        said = spawn(dir, &[("CRASH_RESUME", "answer".into())]).unwrap();
    }
    match said.as_str() {
        "succeeded" => assert_all_once(dir, place),
        "rolled back" => assert_nothing_left(dir, place),
        // A unit that can't tell how far it got is reported, and left for the operator.
        "suspended" => {
            let before = effects(dir);
            assert!(before.values().all(|(times, _)| *times <= 1), "{place}: {before:?}");
            roll_back(dir, place);
        }
        "failed" => assert_nothing_left(dir, place),
        _ if said.contains("has succeeded") => assert_all_once(dir, place),
        _ if said.contains("was rolled back") => assert_nothing_left(dir, place),
        // Killed before the first line was written: there is no run, and nothing was done.
        _ if said.contains("there is no run") || said.contains("never started") => {
            assert!(effects(dir).is_empty(), "{place}");
        }
        _ => panic!("{place}: {said}"),
    }
    said
}

fn on_all_cores(places: impl Iterator<Item = u64> + Send, test: impl Fn(u64) -> bool + Sync) {
    let places = std::sync::Mutex::new(places);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get()) {
            threads.spawn(|| {
                loop {
                    let Some(place) = places.lock().unwrap().next() else { return };
                    if over.load(std::sync::atomic::Ordering::SeqCst) {
                        return;
                    }
                    if !test(place) {
                        over.store(true, std::sync::atomic::Ordering::SeqCst);
                    }
                }
            });
        }
    });
}

/// One leg of the run: up to the question, or from its answer on.
fn leg(dir: &Path, second: bool, at: Option<u64>, more: &[(&str, String)]) -> Option<String> {
    let mut words = more.to_vec();
    if second {
        assert_eq!(spawn(dir, more).unwrap(), "asks");
        words.push(("CRASH_RESUME", "answer".into()));
    }
    words.extend(at.map(|at| ("CRASH_AT", at.to_string())));
    spawn(dir, &words)
}

#[test]
fn killed_at_every_boundary_each_effect_is_there_once_or_undone_or_reported() {
    let suspended = std::sync::atomic::AtomicUsize::new(0);
    let boundaries = std::sync::atomic::AtomicUsize::new(0);
    for second in [false, true] {
        on_all_cores(1.., |at| {
            let (_keep, dir) = world();
            let place = format!("killed at boundary {at}, second leg: {second}");
            match leg(&dir, second, Some(at), &[]) {
                Some(said) => {
                    assert_eq!(said, if second { "succeeded" } else { "asks" }, "{place}");
                    return false;
                }
                None => {
                    if bring_to_end(&dir, &place) == "suspended" {
                        suspended.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    }
                    boundaries.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            }
            true
        });
    }
    let boundaries = boundaries.into_inner();
    assert!(boundaries > 140, "a run of 19 units has many boundaries: {boundaries}");
    assert!(suspended.into_inner() > 0, "some can't tell how far they got");
}

#[test]
fn killed_in_the_middle_of_any_effect_it_is_reported_or_undone() {
    for name in ALL {
        let (_keep, dir) = world();
        let second = ["m", "n", "o", "z"].contains(&name);
        assert_eq!(leg(&dir, second, None, &[("CRASH_IN", name.into())]), None);
        let half = effects(&dir);
        assert_eq!(half[name], (1, false), "the effect of {name} is half there");
        // It is safe to repeat only for those that say so; `m` does, by its retry.
        let said = spawn(&dir, &[("CRASH_RESUME", "forward".into())]).unwrap();
        if name == "m" {
            assert_eq!(said, "succeeded");
            assert_all_once(&dir, "safe to repeat, so repeated");
            continue;
        }
        assert_eq!(said, "suspended", "{name}");
        assert_eq!(effects(&dir)[name], (1, false), "{name}: not touched before a decision");
        roll_back(&dir, name);
    }
}

#[test]
fn killed_anywhere_on_the_way_back_the_rollback_is_brought_to_its_end() {
    on_all_cores(1.., |at| {
        let (_keep, dir) = world();
        let fail = [("CRASH_FAIL", "m".to_owned())];
        match leg(&dir, true, Some(at), &fail) {
            Some(said) => {
                assert_eq!(said, "rolled back");
                assert_nothing_left(&dir, "never killed");
                return false;
            }
            None => {
                bring_to_end(&dir, &format!("killed at boundary {at} of a failing run"));
            }
        }
        true
    });
}

#[test]
fn killed_twice_it_still_ends_well() {
    on_all_cores((5..160).step_by(11), |first| {
        for second in (3..60).step_by(9) {
            let (_keep, dir) = world();
            if spawn(&dir, &[("CRASH_AT", first.to_string())]).is_some() {
                return true;
            }
            let again =
                [("CRASH_AT", u64::to_string(&second)), ("CRASH_RESUME", "forward".to_owned())];
            let place = format!("killed at {first}, then at {second}");
            match spawn(&dir, &again).as_deref() {
                None => {
                    bring_to_end(&dir, &place);
                }
                Some("asks") => {
                    bring_to_end(&dir, &place);
                }
                Some("suspended") => roll_back(&dir, &place),
                Some("succeeded") => assert_all_once(&dir, &place),
                Some(said) if said.contains("has succeeded") => assert_all_once(&dir, &place),
                Some(said) => panic!("{place}: {said}"),
            }
        }
        true
    });
}
