//! Surroundings for one step or check, without an engine.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::context::{Context, Observer, Scope, Sink, Stop};
use crate::event::{EventKind, RunId, StreamKind, UnitId};
use crate::exec::Sweep;
use crate::input::Outputs;

/// What a check gets, to test one without an engine. Its events go nowhere.
///
/// ```
/// use runbook_core::testing::{self, FakeTarget, Reply};
/// use runbook_core::{Command, Host, Observer, Result, Verdict};
///
/// async fn database_answers(cx: &Observer, db: &Host) -> Result<Verdict<bool>> {
///     let ready = cx.on(db).status(&Command::new("pg_isready").read_only()).await?;
///     let ready = ready.exit.success();
///     Ok(Verdict::pass_if(ready, ready, if ready { "it answers" } else { "it does not" }))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let db = FakeTarget::new("db-1");
/// db.on("pg_isready").reply(Reply::exit(2));
/// let verdict = database_answers(&testing::observer(), &Host::new(db.clone())).await.unwrap();
/// assert!(!verdict.passed());
/// assert!(db.changes().is_empty());
/// # });
/// ```
#[must_use]
pub fn observer() -> Observer {
    Observer::new(Arc::new(scope(Sweep::new(false), Arc::new(Nowhere))))
}

/// What a step gets, to test one without an engine. Its events go nowhere.
#[must_use]
pub fn context() -> Context {
    Context::new(observer())
}

/// Surroundings of one step or check that collect what it says.
///
/// ```
/// use runbook_core::testing::{FakeTarget, Reply, Surroundings};
/// use runbook_core::{Command, Host};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let web = FakeTarget::new("web-1");
/// web.on("nginx -t").reply(Reply::ok().stderr("syntax is ok\n"));
///
/// let around = Surroundings::new();
/// let cx = around.context();
/// cx.on(&Host::new(web)).run(&Command::new("nginx").arg("-t")).await.unwrap();
/// cx.say("configuration checked");
/// assert_eq!(around.lines(), ["syntax is ok", "configuration checked"]);
/// # });
/// ```
#[derive(Clone)]
pub struct Surroundings {
    scope: Arc<Scope>,
    collected: Arc<Collected>,
}

impl Surroundings {
    /// Of a unit `unit` of a run `test`, whose commands get a second between SIGTERM and SIGKILL.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Sweep::new(false))
    }

    pub(crate) fn with(sweep: Sweep) -> Self {
        let collected = Arc::new(Collected::default());
        let sink = Arc::clone(&collected);
        Self { scope: Arc::new(scope(sweep, sink)), collected }
    }

    /// For a check.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer::new(Arc::clone(&self.scope))
    }

    /// For a step.
    #[must_use]
    pub fn context(&self) -> Context {
        Context::new(self.observer())
    }

    /// Cancels it, as an operator's Ctrl-C would.
    pub fn cancel(&self) {
        self.scope.stop.stop(crate::error::FailureKind::Cancelled);
    }

    /// The lines said so far: by commands on either stream, and by the unit itself.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |event| match event {
            EventKind::Output { line, .. } => Some(line),
            _ => None,
        };
        self.events().into_iter().filter_map(line).collect()
    }

    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Vec<EventKind> {
        self.collected.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Default for Surroundings {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Surroundings({})", self.scope.unit)
    }
}

fn scope(sweep: Sweep, sink: Arc<dyn Sink>) -> Scope {
    Scope {
        run: RunId::new("test"),
        unit: UnitId::new("unit"),
        outputs: Arc::new(Outputs::new(0)),
        sink,
        stop: Stop::default(),
        sweep,
        grace: Duration::from_secs(1),
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn pass(&self, _: EventKind) {}
    fn keep(&self, _: EventKind) {}
    fn spool(&self, _: &UnitId, _: StreamKind, _: &str) {}
}

#[derive(Default)]
struct Collected(Mutex<Vec<EventKind>>);

impl Sink for Collected {
    fn pass(&self, event: EventKind) {
        self.keep(event);
    }
    fn keep(&self, event: EventKind) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
    fn spool(&self, _: &UnitId, _: StreamKind, _: &str) {}
}
