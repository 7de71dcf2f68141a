//! The steps and checks of the demo.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runbook::{
    About, Check, Context, Failure, Input, IntoInput, Irreversible, Observer, Result, Rollback,
    Secret, Step, Verdict, Visit,
};
use serde::{Deserialize, Serialize};

/// What a step is up to.
#[derive(Clone, Copy, PartialEq)]
pub enum Mood {
    Well,
    /// Writes, and then fails.
    Fails,
    CantUndo,
}

/// Writes a file.
pub struct Write {
    root: PathBuf,
    name: String,
    text: Input<String>,
    mood: Mood,
    lines: usize,
    pace: Duration,
    secret: Option<Secret>,
}

impl Write {
    pub fn new(root: &Path, name: &str, text: impl IntoInput<String>) -> Self {
        Self {
            root: root.into(),
            name: name.into(),
            text: text.into_input(),
            mood: Mood::Well,
            lines: 0,
            pace: Duration::ZERO,
            secret: None,
        }
    }
    pub fn mood(mut self, mood: Mood) -> Self {
        self.mood = mood;
        self
    }
    /// So many lines of output.
    pub fn says(mut self, lines: usize) -> Self {
        self.lines = lines;
        self
    }
    /// Takes so long.
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }
    /// Says the secret out loud.
    pub fn leaks(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }
    fn path(&self) -> PathBuf {
        self.root.join(&self.name)
    }
}

/// What the file held before.
#[derive(Clone, Serialize, Deserialize)]
pub struct Was(Option<String>);

impl Step for Write {
    type Output = String;
    type Rollback = Was;
    fn about(&self) -> About {
        let shown = self.text.shown();
        About::new(format!("write-{}", self.name), format!("Write {}", self.name))
            .preview(format!("echo {shown} > {}", self.name))
            .arg("text", shown)
    }
    fn inputs(&self, visit: &mut dyn Visit) {
        visit.see("text", &self.text);
    }
    async fn satisfied(&self, cx: &Observer) -> Result<Option<String>> {
        let text = self.text.get(cx)?;
        let there = std::fs::read_to_string(self.path()).ok();
        Ok(there.filter(|there| *there == text && self.mood == Mood::Well))
    }
    async fn run(&self, cx: &Context) -> Result<String> {
        let text = self.text.get(cx)?;
        for line in 1..=self.lines {
            if let Some(secret) = &self.secret {
                cx.say(format!("logged in with {}", secret.expose()));
            }
            cx.say(format!("{}: line {line} of {}", self.name, self.lines));
            cx.progress(line as u64, Some(self.lines as u64));
            tokio::time::sleep(self.pace / self.lines as u32).await;
        }
        std::fs::write(self.path(), &text)?;
        if self.mood == Mood::Fails {
            let error = std::io::Error::other("connection refused");
            return Err(Failure::from(error)
                .while_doing(format!("looking at {}", self.name))
                .next("look at the log of the service"));
        }
        Ok(text)
    }
}

impl Rollback<Write> for Was {
    async fn record(step: &Write, _: &Observer) -> Result<Self> {
        Ok(Was(std::fs::read_to_string(step.path()).ok()))
    }
    async fn rollback(&self, step: &Write, _: Option<&String>, _: &Context) -> Result<()> {
        if step.mood == Mood::CantUndo && !step.root.join("repaired").exists() {
            return Err(Failure::msg("the disk is read-only").next("mount it again"));
        }
        match &self.0 {
            Some(text) => std::fs::write(step.path(), text)?,
            None => std::fs::remove_file(step.path()).or_else(|error| {
                if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
            })?,
        }
        Ok(())
    }
}

/// Tells the customers.
pub struct Announce(pub PathBuf);

impl Step for Announce {
    type Output = ();
    type Rollback = Irreversible;
    fn about(&self) -> About {
        About::new("announce", "Tell the customers").preview("mail all customers")
    }
    async fn run(&self, _: &Context) -> Result<()> {
        Ok(std::fs::write(self.0.join("announced"), "yes")?)
    }
}

/// Says that it is there, and waits until a file called `go` is there as well.
pub struct Hold {
    pub root: PathBuf,
    pub stubborn: bool,
}

impl Hold {
    fn path(&self) -> PathBuf {
        self.root.join("hold")
    }
}

impl Step for Hold {
    type Output = ();
    type Rollback = Held;
    fn about(&self) -> About {
        About::new("hold", "Wait for the word to go on")
    }
    async fn run(&self, cx: &Context) -> Result<()> {
        std::fs::write(self.path(), "held")?;
        cx.say("waiting for the word");
        while !self.root.join("go").exists() {
            tokio::select! {
                failure = cx.stopped(), if !self.stubborn => return Err(failure),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
        Ok(())
    }
}

/// Whether it was held before.
#[derive(Clone, Serialize, Deserialize)]
pub struct Held(bool);

impl Rollback<Hold> for Held {
    async fn record(step: &Hold, _: &Observer) -> Result<Self> {
        Ok(Held(step.path().exists()))
    }
    async fn rollback(&self, step: &Hold, _: Option<&()>, _: &Context) -> Result<()> {
        if !self.0 && step.path().exists() {
            std::fs::remove_file(step.path())?;
        }
        Ok(())
    }
}

/// A file is there.
pub struct Exists(pub PathBuf);

impl Check for Exists {
    type Evidence = bool;
    fn about(&self) -> About {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy().into_owned();
        About::new(format!("exists-{name}"), format!("{name} is there"))
    }
    async fn check(&self, _: &Observer) -> Result<Verdict<bool>> {
        let there = self.0.exists();
        Ok(Verdict::pass_if(there, there, if there { "found" } else { "not found" }))
    }
}
