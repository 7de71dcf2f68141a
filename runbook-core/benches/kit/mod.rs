//! Runs of harmless and recorded units, to write and to read.

use std::sync::Arc;

use runbook_core::{
    Actor, Event, EventKind, Json, Mode, Outline, OutlineNode, RunId, RunStarted, UndoKind, UnitId,
    UnitKind, UnitOutline,
};

/// The start of a run of `units` recorded steps.
pub(crate) fn run_started(run: &RunId, units: usize) -> Arc<Event> {
    let unit = |at| {
        OutlineNode::Unit(UnitOutline {
            id: unit_id(at),
            kind: UnitKind::Step,
            title: format!("Point number {at} at the new release"),
            doc: String::new(),
            preview: vec![format!("ln -sfn releases/{at} current")],
            args: Vec::new(),
            undo: UndoKind::Recorded,
            irreversible_because: None,
            needs: Vec::new(),
            requires: Vec::new(),
            verify: Vec::new(),
            question: None,
            attempts: None,
            timeout_ms: None,
            fingerprint: "0123456789abcdef".into(),
        })
    };
    Arc::new(Event::now(EventKind::RunStarted(Box::new(RunStarted {
        run: run.clone(),
        mode: Mode::Run,
        by: Actor { name: "ada".into(), machine: "box".into(), pid: 7 },
        reason: None,
        env: None,
        version: None,
        plan: Arc::new(Outline {
            book: "deploy".into(),
            title: "Deploy".into(),
            doc: String::new(),
            params: Vec::new(),
            nodes: (0..units).map(unit).collect(),
            finally: Vec::new(),
            fingerprint: "f".repeat(64),
        }),
    }))))
}

fn unit_id(at: usize) -> UnitId {
    UnitId::new(format!("switch/point-{at}-at-release"))
}

/// The start of unit `at`, with what its rollback needs.
pub(crate) fn started(at: usize) -> Arc<Event> {
    let record = json(r#"{"target":"releases/20260314","mode":493}"#);
    Arc::new(Event::now(EventKind::Started { unit: unit_id(at), record: Some(record) }))
}

/// Its end.
pub(crate) fn finished(at: usize) -> Arc<Event> {
    let output = json(r#"{"path":"/srv/shop/current","changed":true}"#);
    Arc::new(Event::now(EventKind::Finished { unit: unit_id(at), output: Some(output) }))
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).expect("it is JSON")
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The least one.
pub(crate) fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}
