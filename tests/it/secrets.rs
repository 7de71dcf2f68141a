//! No secret is in anything that a run leaves or shows: journal, captured output, events, reports,
//! error text, panic text, argument lists.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use runbook::targets::Local;
use runbook::{
    About, Answer, Command, Context, Engine, EventKind, Failure, FileStore, Host, Manual, News,
    Notifier, Observer, Outcome, Result, Rollback, RunOptions, Runbook, Secret, Status, Step,
    report,
};
use serde::{Deserialize, Serialize};

/// In a form of its own for each way out, so that the leak is found by name.
const IN_ENV: &str = "env-0dd5ecr3t-\"quoted\"";
const IN_STDIN: &str = "stdin-0dd5ecr3t/with+signs=";
const IN_FAILURE: &str = "failure-0dd5ecr3t";
const IN_PANIC: &str = "panic-0dd5ecr3t";
const IN_SAYING: &str = "saying-0dd5ecr3t\nsecond-line-0dd5ecr3t";
const IN_OUTPUT: &str = "output-0dd5ecr3t";
const IN_RECORD: &str = "record-0dd5ecr3t";
const IN_ANSWER: &str = "answer-0dd5ecr3t";
const IN_REASON: &str = "reason-0dd5ecr3t";
const IN_TITLE: &str = "title-0dd5ecr3t";
const IN_NOTICE: &str = "notice-0dd5ecr3t";

const ALL: [&str; 11] = [
    IN_ENV, IN_STDIN, IN_FAILURE, IN_PANIC, IN_SAYING, IN_OUTPUT, IN_RECORD, IN_ANSWER, IN_REASON,
    IN_TITLE, IN_NOTICE,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    EnvAndStdin,
    Failure,
    Panic,
    Saying,
    Output,
    Record,
}

/// Uses a secret in one of the ways in which one gets out.
struct Careless(Way, Host);

impl Careless {
    fn secret(&self) -> Secret {
        Secret::new(match self.0 {
            Way::EnvAndStdin => IN_ENV,
            Way::Failure => IN_FAILURE,
            Way::Panic => IN_PANIC,
            Way::Saying => IN_SAYING,
            Way::Output => IN_OUTPUT,
            Way::Record => IN_RECORD,
        })
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Seen(String);

impl Step for Careless {
    type Output = String;
    type Rollback = Seen;
    fn about(&self) -> About {
        let title = Secret::new(IN_TITLE);
        About::new(format!("careless-{:?}", self.0), format!("Log in as {}", title.expose()))
            .preview(format!("login --password {}", title.expose()))
            .arg("password", title.expose())
    }
    async fn run(&self, cx: &Context) -> Result<String> {
        let secret = self.secret();
        match self.0 {
            Way::EnvAndStdin => {
                let stdin = Secret::new(IN_STDIN);
                // It says both, its own arguments, and then fails with both.
                let script = r#"read -r line; echo "$TOKEN"; echo "$line" >&2
                    tr '\0' ' ' </proc/$$/cmdline; echo "$TOKEN" | base64; exit 3"#;
                let login =
                    Command::new("sh").args(["-c", script]).env("TOKEN", &secret).stdin(&stdin);
                cx.say(format!("about to run {login}"));
                let output = cx.on(&self.1).run_unchecked(&login).await?;
                let said = output.text();
                assert!(said.contains(IN_ENV), "the command did get it: {said}");
                let arguments = said.lines().nth(1).unwrap_or_default();
                assert!(!arguments.contains("0dd5ecr3t"), "in an argument list: {arguments}");
                cx.on(&self.1).run(&login).await?;
            }
            Way::Failure => {
                let message = format!("access denied for {}", secret.expose());
                return Err(Failure::msg(&message).while_doing(&message).next(message));
            }
            Way::Panic => panic!("no idea what to do with {}", secret.expose()),
            Way::Saying => cx.say(format!("logged in with {}", secret.expose())),
            Way::Output => return Ok(format!("session of {}", secret.expose())),
            Way::Record => {}
        }
        Ok(String::new())
    }
}

impl Rollback<Careless> for Seen {
    async fn record(step: &Careless, _: &Observer) -> Result<Self> {
        let secret = step.secret();
        Ok(Seen(if step.0 == Way::Record { secret.expose().into() } else { String::new() }))
    }
    async fn rollback(&self, _: &Careless, _: Option<&String>, _: &Context) -> Result<()> {
        Ok(())
    }
}

struct Loud;

#[runbook::async_trait]
impl Notifier for Loud {
    fn to(&self) -> String {
        format!("hook with {}", Secret::new(IN_NOTICE).expose())
    }
    async fn notify(&self, _: &News) -> Result<()> {
        Err(Failure::msg(format!("{} was refused", Secret::new(IN_NOTICE).expose())))
    }
}

/// All text that a run of one careless step shows to anybody.
async fn run(way: Way, dir: &Path) -> (Outcome, String) {
    let host = Host::new(Local::new());
    let reason = Secret::new(IN_REASON);
    let mut b = Runbook::new("careless");
    b.notify(Loud);
    b.step(Careless(way, host));
    b.manual(Manual::new("Say it").ask::<String>("What is the password?"));
    let plan = b.build().unwrap();
    let engine = Engine::new(FileStore::new(dir));
    let options = RunOptions::new().reason(reason.expose());
    let mut handle = engine.run(&plan, options);
    let control = handle.control();
    let (mut shown, mut events) = (String::new(), Vec::new());
    while let Some(event) = handle.next().await {
        if let EventKind::Asked { unit, .. } = &event.event {
            let answer = Secret::new(IN_ANSWER);
            let _ = control.answer(unit, Answer::Value(answer.expose().into()), "ann");
        }
        shown.push_str(&format!("{event:?}\n"));
        shown.push_str(&serde_json::to_string(&*event).unwrap());
        events.push(event);
    }
    let outcome = handle.outcome().await.unwrap();
    shown.push_str(&format!("{outcome:?}"));
    let kept = engine.store().read(&outcome.run).await.unwrap();
    for events in [&events, &kept] {
        let timeline = report::Timeline::of(plan.outline(), events);
        shown.push_str(&report::timeline_markdown(&timeline));
        shown.push_str(&report::timeline_html(&timeline));
        shown.push_str(&report::json(&timeline));
        shown.push_str(&report::junit(&timeline));
    }
    shown.push_str(&report::page(plan.outline()));
    shown.push_str(&report::mermaid(plan.outline()));
    (outcome, shown)
}

fn files(dir: &Path) -> String {
    let mut text = String::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                text.push_str(&String::from_utf8_lossy(&fs::read(path).unwrap()));
            }
        }
    }
    text
}

/// The secret as such, in lines, and as JSON, base64 and URLs write it.
fn assert_none(text: &str, place: &str) {
    for secret in ALL {
        for line in secret.lines() {
            let json = serde_json::to_string(line).unwrap();
            for form in [line, json.trim_matches('"')] {
                let at = text.find(form);
                let around = at.map(|at| {
                    let from = text.floor_char_boundary(at.saturating_sub(120));
                    &text[from..text.ceil_char_boundary(at + form.len() + 60)]
                });
                assert!(at.is_none(), "{place} shows {form}: ..{}..", around.unwrap_or_default());
            }
        }
    }
    assert!(!text.contains("0dd5ecr3t"), "{place} shows a part of a secret");
}

#[tokio::test]
async fn no_artefact_of_a_run_shows_a_secret() {
    // What a panic prints, through the hook that the command line installs.
    let printed = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&printed);
    std::panic::set_hook(Box::new(move |info| {
        sink.lock().unwrap().push_str(&runbook::scrub(&info.to_string()));
    }));
    let mut found = Vec::new();
    for (way, status) in [
        (Way::EnvAndStdin, Status::RolledBack),
        (Way::Failure, Status::RolledBack),
        (Way::Panic, Status::RolledBack),
        (Way::Saying, Status::RolledBack),
        (Way::Output, Status::RolledBack),
        (Way::Record, Status::Failed),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (outcome, shown) = run(way, dir.path()).await;
        found.push((way, outcome.status, status, shown, files(dir.path())));
    }
    let _ = std::panic::take_hook();
    for (way, status, expected, shown, kept) in found {
        assert_eq!(status, expected, "{way:?}: {shown}");
        assert!(kept.len() > 500 && shown.len() > 5_000);
        assert!(shown.contains("***") && kept.contains("***"), "{way:?}: scrubbed, not left out");
        assert_none(&shown, &format!("what a run shows ({way:?})"));
        assert_none(&kept, &format!("what a run keeps ({way:?})"));
    }
    let printed = printed.lock().unwrap().clone();
    assert!(printed.contains("no idea what to do with ***"), "{printed}");
    assert_none(&printed, "a panic");
}
