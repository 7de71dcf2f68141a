//! The locks that a run holds: taken where the plan says so, renewed while it lives, given back at
//! its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Flow, Halt, Run};
use crate::error::{Failure, FailureKind};
use crate::event::{EventKind, LockHolder, Timestamp};
use crate::lock::Lock;

/// Resources held, with the task that renews each lease.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<String, AbortHandle>>);

impl Held {
    fn with<T>(&self, use_it: impl FnOnce(&mut HashMap<String, AbortHandle>) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops renewing, so that the leases run out.
    pub(super) fn abandon(&self) {
        self.with(|held| held.drain().for_each(|(_, renewal)| renewal.abort()));
    }

    /// Gives everything back.
    pub(super) async fn release(&self, run: &Run) {
        let held: Vec<_> = self.with(|held| held.drain().collect());
        let store = run.store.locks();
        for (resource, renewal) in held {
            renewal.abort();
            // A lock that can't be given back runs out by itself.
            if store.release(&resource, &run.shared.run).await.is_ok() {
                let _ = run.record(EventKind::LockReleased { resource });
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Takes a lock, waiting for it as long as the plan allows.
pub(super) async fn take(run: &Arc<Run>, lock: &Lock) -> Flow {
    if run.locks.with(|held| held.contains_key(&lock.resource)) {
        return Ok(());
    }
    let store = run.store.locks();
    let deadline = Instant::now() + lock.wait;
    let mut told = None;
    loop {
        let holder = holder(run, lock);
        let failed = |failure: Failure| {
            let doing = format!("locking {}", lock.resource);
            Halt::Failed(None, failure.while_doing(doing).to_problem())
        };
        let other = match store.acquire(&lock.resource, &holder).await.map_err(failed)? {
            Ok(()) => break,
            Err(other) => other,
        };
        if Instant::now() >= deadline {
            let failure = Failure::new(
                FailureKind::Refused,
                format!("{} is locked by {other}", lock.resource),
            )
            .next(format!(
                "wait for that run to end; if it is dead its lease ends at {}, or break it with \
                 `unlock {}`",
                other.expires, lock.resource
            ));
            return Err(Halt::Failed(None, failure.to_problem()));
        }
        if told.as_ref() != Some(&other.run) {
            told = Some(other.run.clone());
            let resource = lock.resource.clone();
            run.record(EventKind::LockWaiting { resource, holder: other })?;
        }
        let pause = Duration::from_millis(200).min(deadline - Instant::now());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = run.shared.cancel.cancelled(), if !run.undoing() => {
                let by = run.shared.cancel.by().unwrap_or("somebody");
                let failure = Failure::new(FailureKind::Cancelled, format!("cancelled by {by}"));
                return Err(Halt::Cancelled(None, failure.to_problem()));
            }
        }
    }
    run.record(EventKind::LockAcquired { resource: lock.resource.clone() })?;
    let renewal = tokio::spawn(renew(Arc::downgrade(run), lock.clone())).abort_handle();
    // Two branches may have come here at once, each with a right to it: one renewal is enough.
    if let Some(other) = run.locks.with(|held| held.insert(lock.resource.clone(), renewal)) {
        other.abort();
    }
    Ok(())
}

/// Takes every lock of the plan, in order: before a rollback by itself.
pub(super) async fn take_all(run: &Arc<Run>) -> Flow {
    for lock in &run.plan().locks {
        take(run, lock).await?;
    }
    Ok(())
}

/// Renews a lease three times in its length; a lost one cancels the run.
async fn renew(run: std::sync::Weak<Run>, lock: Lock) {
    loop {
        tokio::time::sleep(lock.lease / 3).await;
        let Some(run) = run.upgrade() else { return };
        let holder = holder(&run, &lock);
        if let Err(failure) = run.store.locks().renew(&lock.resource, &holder).await {
            let why = failure.to_problem().message;
            let resource = lock.resource.clone();
            let _ = run.record(EventKind::LockLost { resource, why: why.clone() });
            run.shared.cancel.cancel(format!("the loss of the lock on {}: {why}", lock.resource));
            return;
        }
    }
}

fn holder(run: &Run, lock: &Lock) -> LockHolder {
    let now = Timestamp::now();
    LockHolder {
        run: run.shared.run.clone(),
        book: run.plan().outline.book.clone(),
        by: run.options.by.clone(),
        reason: run.options.reason.clone(),
        since: now,
        expires: Timestamp::from_micros(
            now.as_micros() + u64::try_from(lock.lease.as_micros()).unwrap_or(u64::MAX / 2),
        ),
    }
}
