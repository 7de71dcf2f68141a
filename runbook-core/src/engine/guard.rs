//! Runs the code of a unit: catches its panics, ends it when it is out of time or cancelled.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use super::Run;
use crate::context::Scope;
use crate::error::{Failure, FailureKind, Result};

/// Runs `work` to its end. When the run is cancelled or `limit` is over, tells the unit to stop,
/// gives it the grace time, then drops it.
pub(super) async fn guarded<T>(
    run: &Run,
    scope: &Scope,
    limit: Option<Duration>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let heed_cancel = !run.undoing();
    guard(run, scope, limit, heed_cancel, work).await
}

/// The same on the way back, which a cancel does not stop.
pub(super) async fn guarded_undo<T>(
    run: &Run,
    scope: &Scope,
    limit: Option<Duration>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    guard(run, scope, limit, false, work).await
}

async fn guard<T>(
    run: &Run,
    scope: &Scope,
    limit: Option<Duration>,
    heed_cancel: bool,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::pin!(work);
    let mut work = CatchUnwind(work);
    let out_of_time = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let kind = tokio::select! {
        biased;
        result = &mut work => return result,
        () = out_of_time => FailureKind::TimedOut,
        () = run.shared.cancel.cancelled(), if heed_cancel => FailureKind::Cancelled,
    };
    if kind == FailureKind::Cancelled {
        // A journal that can't be written to says so at the next line that must be kept.
        let _ = run.note_cancel();
    }
    scope.stop.stop(kind);
    let why = match (kind, limit) {
        (FailureKind::TimedOut, Some(limit)) => {
            format!("out of time after {}", humantime::format_duration(limit))
        }
        _ => format!("cancelled by {}", run.shared.cancel.by().unwrap_or("somebody")),
    };
    match tokio::time::timeout(run.options.grace, &mut work).await {
        // It came to its end after all.
        Ok(Ok(value)) => Ok(value),
        Ok(Err(failure)) if failure.kind().outcome_unknown() => Err(failure),
        Ok(Err(failure)) => Err(Failure::new(kind, failure).while_doing(why)),
        Err(_) => Err(Failure::new(
            kind,
            format!(
                "{why}; it did not stop within {} and was dropped",
                humantime::format_duration(run.options.grace)
            ),
        )),
    }
}

/// Turns a panic into a failure.
struct CatchUnwind<F>(F);

impl<T, F: Future<Output = Result<T>>> Future for CatchUnwind<Pin<&mut F>> {
    type Output = Result<T>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Result<T>> {
        let work = self.0.as_mut();
        match catch_unwind(AssertUnwindSafe(|| work.poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    Failure::new(FailureKind::Panicked, format!("its code panicked: {words}"))
        .next("this is a bug in the step; how far it got is not known")
}
