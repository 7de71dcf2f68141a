//! Runs of harmless and recorded units, to write and to read.

use std::sync::Arc;

use runbook_core::{
    About, Actor, Context, Event, EventKind, Harmless, Json, Mode, Outline, OutlineNode, Plan,
    Result, RunId, RunStarted, Runbook, Step, UndoKind, UnitId, UnitKind, UnitOutline,
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
            hosts: Vec::new(),
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
        began: None,
        env: None,
        version: None,
        plan: Arc::new(Outline {
            book: "deploy".into(),
            title: "Deploy".into(),
            doc: String::new(),
            params: Vec::new(),
            severity: None,
            escalation: None,
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

/// A runtime of one thread.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A plan of that many units that do nothing.
pub(crate) fn plan(units: usize) -> Result<Plan> {
    let mut b = Runbook::new("measured");
    for at in 0..units {
        b.step(Step::named(Nothing, format!("unit {at}")));
    }
    Ok(b.build()?)
}

struct Nothing;

impl Step for Nothing {
    type Output = ();
    type Rollback = Harmless;
    fn about(&self) -> About {
        About::new("nothing", "Do nothing")
    }
    async fn run(&self, _: &Context) -> Result<()> {
        Ok(())
    }
}
