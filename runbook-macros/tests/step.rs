//! What `#[step]` makes of a fn.

extern crate runbook_core as runbook;

use std::path::{Path, PathBuf};

use runbook_core::{
    Context, Engine, Failure, IntoInput, MemoryStore, Observer, Out, Result, RunOptions, Runbook,
    Secret, Status, Step, UndoKind, UnitOutline,
};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Dump {
    path: PathBuf,
    bytes: u64,
}

/// Something that can be cloned and not shown.
#[derive(Clone)]
struct Pool(#[allow(dead_code)] u8);

/// Dumps the database
/// to a file.
///
/// Takes about a minute.
///
/// It locks nothing.
#[step(harmless, preview = "pg_dump -Fc {db}", preview = ["ls {dir}", "true {{}}"])]
async fn dump(_cx: &Context, dir: &Path, pool: &Pool, db: String, level: u8) -> Result<Dump> {
    let _ = (pool, level);
    Ok(Dump { path: dir.join(db), bytes: 7 })
}

#[step(irreversible, title = "Upload {dump} to {bucket}", id = "put-1.0")]
async fn upload(bucket: &str, password: &Secret, dump: Dump) -> Result<u64> {
    let _ = (bucket, password.expose());
    Ok(dump.bytes)
}

#[step(harmless, repeatable)]
async fn switch_release(
    r#type: &str,
    hosts: &[String],
    mut count: u64,
) -> Result<(), std::io::Error> {
    count += hosts.len() as u64;
    assert!(r#type == "blue" || count > 0);
    Ok(())
}

mod elsewhere {
    use runbook_core::Result;

    #[super::step(harmless)]
    #[allow(clippy::unused_async)]
    pub(crate) async fn nothing() -> Result<()> {
        Ok(())
    }
}

fn units(fill: impl FnOnce(&mut Runbook)) -> Vec<UnitOutline> {
    let mut b = Runbook::new("test");
    fill(&mut b);
    b.build().expect("it is wired rightly").outline().units().cloned().collect()
}

fn pool() -> Pool {
    Pool(1)
}

#[test]
fn a_doc_comment_gives_title_and_documentation() {
    let units = units(|b| {
        b.step(dump(Path::new("/tmp"), &pool(), "shop", 3));
    });
    assert_eq!(units[0].title, "Dumps the database to a file");
    assert_eq!(units[0].doc, "Takes about a minute.\n\nIt locks nothing.");
    assert_eq!(units[0].id.as_str(), "dump");
    assert_eq!(units[0].undo, UndoKind::Harmless);
}

#[test]
fn without_a_doc_comment_the_name_in_words_is_the_title() {
    let about = switch_release("blue", &[], 1u64).about();
    assert_eq!(about.title(), "Switch release");
    assert_eq!(about.id(), "switch-release");
}

#[test]
fn title_and_preview_are_templates_over_the_arguments() {
    let units = units(|b| {
        let dumped = b.step(dump(Path::new("/srv"), &pool(), "shop", 3));
        b.irreversible(upload("backups", &Secret::new("a long password"), dumped), "it is a copy");
    });
    assert_eq!(units[0].preview, ["pg_dump -Fc shop", "ls /srv", "true {}"]);
    assert_eq!(units[1].title, "Upload ‹dump› to backups");
    assert_eq!(units[1].id.as_str(), "put-1.0");
}

#[test]
fn arguments_are_shown_if_they_can_be_and_secrets_never_are() {
    let units = units(|b| {
        let dumped = b.step(dump(Path::new("/srv"), &pool(), "shop", 3));
        b.irreversible(upload("backups", &Secret::new("a long password"), dumped), "it is a copy");
        b.step(switch_release("blue", &["web-1".into(), "web-2".into()], 2u64));
    });
    let args = |i: usize| -> Vec<(&str, &str)> {
        units[i].args.iter().map(|(name, value)| (&**name, &**value)).collect()
    };
    assert_eq!(args(0), [("dir", "/srv"), ("db", "shop"), ("level", "3")]);
    assert_eq!(args(1), [("bucket", "backups"), ("dump", "‹known after the run›")]);
    assert_eq!(args(2), [("type", "blue"), ("hosts", "web-1, web-2"), ("count", "2")]);
}

#[test]
fn an_owned_argument_wired_from_an_output_needs_that_unit() {
    let units = units(|b| {
        let name: Out<()> = b.step(elsewhere::nothing());
        let level = name.map(|()| 4u8);
        let dumped = b.step(dump(Path::new("/srv"), &pool(), "shop", level));
        b.irreversible(upload("backups", &Secret::new("a long password"), dumped), "it is a copy");
        b.step(switch_release("blue", &[], dumped.map(|dump| dump.bytes)));
    });
    let needs = |i: usize| -> Vec<&str> { units[i].needs.iter().map(|id| id.as_str()).collect() };
    assert_eq!(needs(0), [""; 0]);
    assert_eq!(needs(1), ["nothing"]);
    assert_eq!(needs(2), ["dump"]);
    assert_eq!(needs(3), ["dump"]);
}

#[test]
fn the_step_type_can_be_named() {
    fn made(step: dump) -> <dump as Step>::Output {
        let _ = step;
        Dump { path: "/x".into(), bytes: 0 }
    }
    assert_eq!(made(dump(Path::new("/"), &pool(), "shop".into_input(), 1)).bytes, 0);
}

#[tokio::test]
async fn the_body_can_be_called_on_its_own() {
    let password = Secret::new("a long password");
    let sent = upload::call("backups", &password, Dump { path: "/x".into(), bytes: 9 }).await;
    assert_eq!(sent.expect("it does nothing"), 9);
}

#[tokio::test]
async fn a_run_hands_the_values_from_step_to_step() {
    let mut b = Runbook::new("test");
    let dumped = b.step(dump(Path::new("/srv"), &pool(), "shop", 3));
    let sent = b.irreversible(upload("b", &Secret::new("a long password"), dumped), "a copy");
    let [counted, other] = [b.step(double(sent)), b.step(double(4u64))];
    b.step(expect(vec![counted, other], vec![14, 8]));
    let outcome = run(b).await;
    assert_eq!(outcome.status, Status::Succeeded);
}

#[step(harmless)]
async fn double(n: u64) -> Result<u64> {
    Ok(n * 2)
}

#[step(harmless)]
async fn expect(got: Vec<u64>, want: Vec<u64>) -> Result<()> {
    if got == want { Ok(()) } else { Err(Failure::msg(format!("{got:?}, not {want:?}"))) }
}

async fn run(b: Runbook) -> runbook_core::Outcome {
    let plan = b.build().expect("it is wired rightly");
    let engine = Engine::new(MemoryStore::new());
    engine.run(&plan, RunOptions::new()).outcome().await.expect("it runs")
}

/// What a rollback by two fns does, on a folder that stands for the world.
mod undone {
    use super::*;

    #[derive(Clone, Serialize, Deserialize)]
    struct Was {
        text: Option<String>,
    }

    async fn look(_: &Observer, file: &Path, _text: &str) -> Result<Was> {
        Ok(Was { text: std::fs::read_to_string(file).ok() })
    }

    async fn put_back(
        _: &Context,
        was: &Was,
        done: Option<&u64>,
        file: &Path,
        text: &str,
    ) -> Result<()> {
        assert_eq!(done, Some(&(text.len() as u64)));
        match &was.text {
            Some(text) => std::fs::write(file, text)?,
            None => std::fs::remove_file(file)?,
        }
        Ok(())
    }

    async fn is_there(_: &Observer, file: &Path, text: &str) -> Result<Option<u64>> {
        let same = std::fs::read_to_string(file).is_ok_and(|now| now == text);
        Ok(same.then_some(text.len() as u64))
    }

    #[step(before = look, rollback = put_back, satisfied = is_there)]
    async fn write(file: &Path, text: String) -> Result<u64> {
        std::fs::write(file, &text)?;
        Ok(text.len() as u64)
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Made(bool);

    impl runbook_core::Rollback<make> for Made {
        async fn record(step: &make, _: &Observer) -> Result<Self> {
            Ok(Made(step.dir.exists()))
        }
        async fn rollback(&self, step: &make, _: Option<&()>, _: &Context) -> Result<()> {
            if !self.0 {
                std::fs::remove_dir(&step.dir)?;
            }
            Ok(())
        }
    }

    #[step(rollback = Made)]
    async fn make(dir: &Path) -> Result<()> {
        Ok(std::fs::create_dir_all(dir)?)
    }

    #[step(harmless)]
    async fn fail() -> Result<()> {
        Err(Failure::msg("no"))
    }

    #[tokio::test]
    async fn a_failed_run_is_put_back_from_what_before_noted() {
        let dir = tempfile::tempdir().expect("a folder");
        let (old, new, sub) =
            (dir.path().join("old"), dir.path().join("new"), dir.path().join("sub"));
        std::fs::write(&old, "as it was").expect("a file");
        let mut b = Runbook::new("test");
        b.step(make(&sub));
        b.step(write(&old, "changed"));
        b.step(write(&new, "fresh"));
        b.step(fail());
        let outcome = run(b).await;
        assert_eq!(outcome.status, Status::RolledBack);
        assert_eq!(std::fs::read_to_string(&old).expect("it is there"), "as it was");
        assert!(!new.exists() && !sub.exists());
    }

    #[tokio::test]
    async fn a_satisfied_step_is_skipped_and_gives_its_output() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("file");
        std::fs::write(&file, "fresh").expect("a file");
        let before = std::fs::metadata(&file).and_then(|meta| meta.modified()).expect("a time");
        let mut b = Runbook::new("test");
        let length = b.step(write(&file, "fresh"));
        b.step(expect(vec![length], vec![5]));
        let outcome = run(b).await;
        assert_eq!(outcome.status, Status::Succeeded);
        let after = std::fs::metadata(&file).and_then(|meta| meta.modified()).expect("a time");
        assert_eq!(before, after);
    }
}
