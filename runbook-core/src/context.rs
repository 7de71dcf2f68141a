//! [`Observer`] and [`Context`]: the capability a check gets (reads only) and the one a step gets
//! (reads and changes).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::{Failure, FailureKind};
use crate::event::{EventKind, RunId, StreamKind, UnitId};
use crate::exec::Sweep;
use crate::host::{HostAccess, HostView};
use crate::input::Outputs;
use crate::target::Host;

/// What a check, a preview, a record or a `satisfied` gets: it can look, and change nothing.
///
/// It has no method that changes anything; a command must be [`ReadOnly`](crate::ReadOnly).
///
/// ```
/// use runbook_core::{Command, Host, Observer, Result};
/// async fn free_megabytes(cx: &Observer, host: &Host) -> Result<u64> {
///     let df = Command::new("df").args(["-Pm", "/"]).read_only();
///     let text = cx.on(host).output(&df).await?.text();
///     let line = text.lines().last().unwrap_or_default();
///     Ok(line.split_whitespace().nth(3).unwrap_or("0").parse()?)
/// }
/// ```
#[derive(Clone)]
pub struct Observer {
    scope: Arc<Scope>,
}

/// What a step and a rollback get: all that an [`Observer`] can, and changes.
///
/// ```
/// use runbook_core::{Command, Context, Host, Result};
/// async fn restart(cx: &Context, web: &Host) -> Result<()> {
///     cx.on(web).run(&Command::new("systemctl").args(["restart", "shop"])).await?;
///     cx.say("restarted");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Context {
    observer: Observer,
}

/// Where events of units go; the engine's recorder, or a test's.
pub(crate) trait Sink: Send + Sync {
    /// Streams a passing event.
    fn pass(&self, event: EventKind);
    /// Journals an event.
    fn keep(&self, event: EventKind);
    /// Keeps captured output beside the journal.
    fn spool(&self, unit: &UnitId, stream: StreamKind, line: &str);
}

/// One unit's surroundings.
pub(crate) struct Scope {
    pub(crate) run: RunId,
    pub(crate) unit: UnitId,
    pub(crate) outputs: Arc<Outputs>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) stop: Stop,
    /// The process that ran this unit before was killed: leftovers are ended before it goes on.
    pub(crate) sweep: Sweep,
    /// How long a cancelled command gets between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
}

impl Observer {
    pub(crate) fn new(scope: Arc<Scope>) -> Self {
        Self { scope }
    }

    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    pub(crate) fn outputs(&self) -> &Outputs {
        &self.scope.outputs
    }

    /// The reading side of `host`.
    #[must_use]
    pub fn on<'a>(&'a self, host: &'a Host) -> HostView<'a> {
        HostView::new(self, host)
    }

    /// The run.
    #[must_use]
    pub fn run_id(&self) -> &RunId {
        &self.scope.run
    }

    /// The unit.
    #[must_use]
    pub fn unit_id(&self) -> &UnitId {
        &self.scope.unit
    }

    /// Says something to whoever watches; kept with the captured output.
    pub fn say(&self, text: impl fmt::Display) {
        let text = text.to_string();
        for line in crate::secret::scrub(&text).lines() {
            self.emit_line(StreamKind::Note, line);
        }
    }

    pub(crate) fn emit_line(&self, stream: StreamKind, line: &str) {
        self.scope.sink.spool(&self.scope.unit, stream, line);
        self.scope.sink.pass(EventKind::Output {
            unit: self.scope.unit.clone(),
            stream,
            line: line.to_owned(),
        });
    }

    /// Says how far it has come, in units of its own.
    pub fn progress(&self, done: u64, total: Option<u64>) {
        let unit = self.scope.unit.clone();
        self.scope.sink.pass(EventKind::Progress { unit, done, total });
    }

    /// Waits until the unit is to stop: cancelled, or out of time. Commands stop by themselves;
    /// long waits of other kinds may want to select on this, to end in order.
    pub async fn stopped(&self) -> Failure {
        self.scope.stop.wait().await
    }
}

impl Context {
    pub(crate) fn new(observer: Observer) -> Self {
        Self { observer }
    }

    /// The reading and changing side of `host`.
    #[must_use]
    pub fn on<'a>(&'a self, host: &'a Host) -> HostAccess<'a> {
        HostAccess::new(self, host)
    }

    /// The same without the means to change anything.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.observer
    }
}

impl Deref for Context {
    type Target = Observer;
    fn deref(&self) -> &Observer {
        &self.observer
    }
}

/// The word to stop, for one unit.
#[derive(Default)]
pub(crate) struct Stop {
    /// 0: go on; else the reason.
    why: AtomicU8,
    notify: Notify,
}

impl Stop {
    const TIMED_OUT: u8 = 1;
    const CANCELLED: u8 = 2;

    /// Tells the unit to stop; `kind` is `TimedOut` or `Cancelled`.
    pub(crate) fn stop(&self, kind: FailureKind) {
        let why = if kind == FailureKind::TimedOut { Self::TIMED_OUT } else { Self::CANCELLED };
        let _ = self.why.compare_exchange(0, why, Ordering::SeqCst, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Forgets the word, for the next attempt.
    pub(crate) fn reset(&self) {
        self.why.store(0, Ordering::SeqCst);
    }

    pub(crate) fn reason(&self) -> Option<Failure> {
        match self.why.load(Ordering::SeqCst) {
            0 => None,
            Self::TIMED_OUT => Some(Failure::new(FailureKind::TimedOut, "out of time")),
            _ => Some(Failure::new(FailureKind::Cancelled, "cancelled")),
        }
    }

    pub(crate) async fn wait(&self) -> Failure {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(failure) = self.reason() {
                return failure;
            }
            notified.await;
        }
    }
}
