//! Plans and events to write journals with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runbook_core::{
    Actor, BlockKind, BlockOutline, Event, EventKind, FailureKind, FileStore, JournalStore, Json,
    Mode, Outline, OutlineNode, Problem, RunFinished, RunId, RunStarted, Status, UndoKind, UnitId,
    UnitKind, UnitOutline,
};

pub(crate) fn unit(id: &str, kind: UnitKind, undo: UndoKind) -> OutlineNode {
    OutlineNode::Unit(UnitOutline {
        id: UnitId::new(id),
        kind,
        title: format!("Do {id}"),
        doc: String::new(),
        preview: Vec::new(),
        args: Vec::new(),
        hosts: Vec::new(),
        undo,
        irreversible_because: None,
        needs: Vec::new(),
        requires: Vec::new(),
        verify: Vec::new(),
        question: None,
        attempts: None,
        timeout_ms: None,
        fingerprint: "0123456789abcdef".into(),
    })
}

pub(crate) fn block(id: &str, kind: BlockKind, children: Vec<OutlineNode>) -> OutlineNode {
    let id = UnitId::new(id);
    OutlineNode::Block(BlockOutline { id, kind, title: String::new(), children })
}

pub(crate) fn outline(nodes: Vec<OutlineNode>, finally: Vec<OutlineNode>) -> Arc<Outline> {
    Arc::new(Outline {
        book: "deploy".into(),
        title: "Deploy the shop".into(),
        doc: String::new(),
        params: Vec::new(),
        severity: None,
        escalation: None,
        nodes,
        finally,
        fingerprint: "f".repeat(64),
    })
}

/// Units of all sorts: `dump` (recorded), `switch` (recorded), `note` (harmless), `mail`
/// (irreversible), `healthy` (a check), `look` (a manual), and `tidy` in `finally`.
pub(crate) fn shop() -> Arc<Outline> {
    use UndoKind::{Harmless, Irreversible, ReadOnly, Recorded};
    outline(
        vec![
            unit("dump", UnitKind::Step, Recorded),
            block("web", BlockKind::Group, vec![unit("switch", UnitKind::Step, Recorded)]),
            unit("note", UnitKind::Step, Harmless),
            unit("mail", UnitKind::Step, Irreversible),
            unit("healthy", UnitKind::Check, ReadOnly),
            unit("look", UnitKind::Manual, ReadOnly),
        ],
        vec![unit("tidy", UnitKind::Step, Harmless)],
    )
}

pub(crate) fn started_run(run: &str, plan: Arc<Outline>) -> EventKind {
    EventKind::RunStarted(Box::new(RunStarted {
        run: RunId::new(run),
        mode: Mode::Run,
        by: actor(),
        reason: Some("a test".into()),
        began: None,
        env: None,
        version: None,
        plan,
    }))
}

pub(crate) fn actor() -> Actor {
    Actor { name: "ada".into(), machine: "box".into(), pid: 7 }
}

pub(crate) fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn id(id: &str) -> UnitId {
    UnitId::new(id)
}

/// The start of a step that is undone by a record.
pub(crate) fn start(unit: &str) -> EventKind {
    EventKind::Started { unit: id(unit), record: Some(json(r#"{"was":"1"}"#)) }
}

/// The start of a step that leaves nothing to undo.
pub(crate) fn start_plain(unit: &str) -> EventKind {
    EventKind::Started { unit: id(unit), record: None }
}

pub(crate) fn finish(unit: &str) -> EventKind {
    EventKind::Finished { unit: id(unit), output: Some(json("42")) }
}

pub(crate) fn problem() -> Problem {
    Problem {
        kind: FailureKind::Failed,
        message: "no space left".into(),
        causes: Vec::new(),
        next: None,
    }
}

pub(crate) fn fail(unit: &str) -> EventKind {
    EventKind::Failed { unit: id(unit), problem: problem() }
}

pub(crate) fn undo(unit: &str) -> EventKind {
    EventKind::UndoStarted { unit: id(unit) }
}

pub(crate) fn undone(unit: &str) -> EventKind {
    EventKind::Undone { unit: id(unit) }
}

pub(crate) fn undo_failed(unit: &str) -> EventKind {
    EventKind::UndoFailed { unit: id(unit), problem: problem() }
}

pub(crate) fn end(status: Status) -> EventKind {
    EventKind::RunFinished(Box::new(RunFinished {
        status,
        problem: None,
        unit: None,
        undone: Vec::new(),
        not_restored: Vec::new(),
        kept: Vec::new(),
        without: Vec::new(),
        call: Vec::new(),
        next: Vec::new(),
    }))
}

pub(crate) fn now(event: EventKind) -> Arc<Event> {
    Arc::new(Event::now(event))
}

/// A whole, successful run of [`shop`].
pub(crate) fn good_run(run: &str) -> Vec<Arc<Event>> {
    [
        started_run(run, shop()),
        start("dump"),
        finish("dump"),
        start("switch"),
        finish("switch"),
        start_plain("note"),
        finish("note"),
        end(Status::Succeeded),
    ]
    .into_iter()
    .map(now)
    .collect()
}

/// A folder with a store that has a [`good_run`] called `run`.
pub(crate) async fn written(run: &str) -> (tempfile::TempDir, FileStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path());
    let journal = store.create(&RunId::new(run)).await.unwrap();
    let mut last = 0;
    for event in good_run(run) {
        last = journal.append(&event).unwrap();
    }
    journal.commit(last).await.unwrap();
    (dir, store)
}

pub(crate) fn journal_path(dir: &Path, run: &str) -> PathBuf {
    dir.join("runs").join(run).join("journal.jsonl")
}

/// Events as text, to compare them.
pub(crate) fn text(events: &[Arc<Event>]) -> Vec<String> {
    events.iter().map(|event| serde_json::to_string(event).unwrap()).collect()
}

/// An error text with the folder replaced, for snapshots.
pub(crate) fn said(error: impl std::fmt::Display, dir: &Path) -> String {
    error.to_string().replace(&dir.display().to_string(), "DIR")
}
