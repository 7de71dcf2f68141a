//! A small world in memory, and steps that change it.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::type_complexity)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runbook_core::*;
use serde::{Deserialize, Serialize};

/// Keys and values, and a log of every change.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<(BTreeMap<String, String>, Vec<String>)>>);

impl World {
    pub fn get(&self, key: &str) -> Option<String> {
        self.0.lock().unwrap().0.get(key).cloned()
    }
    pub fn set(&self, key: &str, value: Option<&str>) {
        let mut world = self.0.lock().unwrap();
        match value {
            Some(value) => world.0.insert(key.into(), value.into()),
            None => world.0.remove(key),
        };
        let line = format!("{key}={}", value.unwrap_or("-"));
        world.1.push(line);
    }
    pub fn map(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap().0.clone()
    }
    pub fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().1.clone()
    }
    /// A step that sets `key`.
    pub fn put(&self, key: &str, value: impl IntoInput<String>) -> Put {
        Put { world: self.clone(), key: key.into(), value: value.into_input(), mood: Mood::Well }
    }
    /// A check that `key` has `value`.
    pub fn is(&self, key: &str, value: &str) -> Is {
        Is { world: self.clone(), key: key.into(), value: value.into() }
    }
}

/// What a step is up to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Fails without an effect.
    Fails,
    /// Has its effect and then fails.
    FailsLate,
    /// Fails so many times, then works.
    FailsFirst(usize),
    /// Never ends by itself.
    Hangs,
    Panics,
    /// Its undo fails.
    CantUndo,
    /// Its undo does nothing.
    UndoLies,
}

pub struct Put {
    pub world: World,
    pub key: String,
    pub value: Input<String>,
    pub mood: Mood,
}

impl Put {
    pub fn mood(mut self, mood: Mood) -> Self {
        self.mood = mood;
        self
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Was(pub Option<String>);

impl Step for Put {
    type Output = String;
    type Rollback = Was;
    fn about(&self) -> About {
        About::new(format!("put-{}", self.key), format!("Set {}", self.key))
            .preview(format!("{} := {}", self.key, self.value.shown()))
            .arg("value", self.value.shown())
    }
    fn inputs(&self, visit: &mut dyn Visit) {
        visit.see("value", &self.value);
    }
    async fn run(&self, cx: &Context) -> Result<String> {
        let value = self.value.get(cx)?;
        match self.mood {
            Mood::Fails => return Err(Failure::msg("no")),
            Mood::FailsFirst(n) => {
                let tried = format!("tried-{}", self.key);
                let before: usize =
                    self.world.get(&tried).and_then(|n| n.parse().ok()).unwrap_or(0);
                self.world.set(&tried, Some(&(before + 1).to_string()));
                if before < n {
                    return Err(Failure::msg("not yet"));
                }
            }
            Mood::Panics => panic!("at the disco"),
            Mood::Hangs => {
                self.world.set(&self.key, Some("half"));
                return Err(cx.stopped().await);
            }
            _ => {}
        }
        self.world.set(&self.key, Some(&value));
        cx.say(format!("{} is {value}", self.key));
        if self.mood == Mood::FailsLate {
            return Err(Failure::msg("no, but too late"));
        }
        Ok(value)
    }
}

impl Rollback<Put> for Was {
    async fn record(step: &Put, _: &Observer) -> Result<Self> {
        Ok(Was(step.world.get(&step.key)))
    }
    async fn rollback(&self, step: &Put, _: Option<&String>, _: &Context) -> Result<()> {
        match step.mood {
            Mood::CantUndo => return Err(Failure::msg("stuck in the mud")),
            Mood::UndoLies => return Ok(()),
            _ => {}
        }
        step.world.set(&step.key, self.0.as_deref());
        Ok(())
    }
}

/// Logs a word; can't be undone.
pub struct Shout(pub World, pub &'static str);

impl Step for Shout {
    type Output = ();
    type Rollback = Irreversible;
    fn about(&self) -> About {
        About::new("shout", format!("Shout {}", self.1))
    }
    async fn run(&self, _: &Context) -> Result<()> {
        self.0.set("shouted", Some(self.1));
        Ok(())
    }
}

/// Logs a word; nothing to undo.
pub struct Note(pub World, pub &'static str);

impl Step for Note {
    type Output = ();
    type Rollback = Harmless;
    fn about(&self) -> About {
        About::new("note", format!("Note {}", self.1))
    }
    async fn run(&self, _: &Context) -> Result<()> {
        self.0.set("note", Some(self.1));
        Ok(())
    }
}

pub struct Is {
    pub world: World,
    pub key: String,
    pub value: String,
}

impl Check for Is {
    type Evidence = Option<String>;
    fn about(&self) -> About {
        About::new(format!("is-{}", self.key), format!("{} is {}", self.key, self.value))
    }
    async fn check(&self, _: &Observer) -> Result<Verdict<Option<String>>> {
        let now = self.world.get(&self.key);
        let why = format!("it is {}", now.as_deref().unwrap_or("not set"));
        Ok(Verdict::pass_if(now.as_deref() == Some(&*self.value), now, why))
    }
}

/// Runs a plan and gives its outcome and all events.
pub async fn run(engine: &Engine, b: Runbook, options: RunOptions) -> (Outcome, Vec<String>) {
    let plan = b.build().unwrap();
    watch(engine.run(&plan, options)).await
}

pub async fn watch(mut handle: RunHandle) -> (Outcome, Vec<String>) {
    let mut words = Vec::new();
    while let Some(event) = handle.next().await {
        words.push(word(&event.event));
    }
    (handle.outcome().await.unwrap(), words)
}

/// An event in a few words.
pub fn word(event: &EventKind) -> String {
    use EventKind as E;
    match event {
        E::RunStarted(_) => "run".into(),
        E::RunResumed { mode, .. } => format!("resumed {mode:?}"),
        E::Resolved { unit, args, .. } => {
            let args: Vec<_> = args.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{unit} {}", args.join(" "))
        }
        E::Started { unit, .. } => format!("start {unit}"),
        E::Finished { unit, .. } => format!("done {unit}"),
        E::Failed { unit, problem } => format!("failed {unit}: {problem}"),
        E::Skipped { unit, why, .. } => format!("skipped {unit} {why:?}"),
        E::Checked { unit, role, verdict, .. } => {
            format!("checked {unit} {role:?} {}", verdict.level)
        }
        E::UndoStarted { unit } => format!("undo {unit}"),
        E::Undone { unit } => format!("undone {unit}"),
        E::UndoFailed { unit, problem } => format!("undo failed {unit}: {problem}"),
        E::Asked { unit, .. } => format!("asked {unit}"),
        E::Answered { unit, .. } => format!("answered {unit}"),
        E::Retrying { unit, attempt, .. } => format!("retrying {unit} {attempt}"),
        E::Previewed { unit, satisfied } => format!("preview {unit} {satisfied:?}"),
        E::RunFinished(end) => format!("end {}", end.status),
        E::Suspended { .. } => "suspended".into(),
        E::Output { line, .. } => format!("> {line}"),
        E::BlockFinished { block, outcome } => {
            let text = format!("{outcome:?}");
            format!("left {block} {}", text.split(' ').next().unwrap())
        }
        E::BlockStarted { block } => format!("enter {block}"),
        other => {
            let text = format!("{other:?}");
            text.split([' ', '(']).next().unwrap().to_owned()
        }
    }
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
