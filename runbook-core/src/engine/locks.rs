//! The locks that a run holds: taken where the plan says so, renewed while it lives, given back at
//! its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Flow, Halt, Run};
use crate::error::{Error, Failure, FailureKind};
use crate::event::{EventKind, LockHolder, Timestamp};
use crate::lock::Lock;

/// Resources held, with their leases; and those that were lost.
#[derive(Default)]
pub(super) struct Held {
    leases: Mutex<HashMap<String, Lease>>,
    lost: Mutex<Vec<Lock>>,
}

/// A lock that is held.
struct Lease {
    lock: Lock,
    /// Its end, in microseconds since 1970, by the clock of the wall: that goes on while this
    /// process is stopped or its machine sleeps.
    expires: Arc<AtomicU64>,
    /// The task that renews it.
    renewal: AbortHandle,
}

impl Held {
    fn with<T>(&self, use_it: impl FnOnce(&mut HashMap<String, Lease>) -> T) -> T {
        use_it(&mut self.leases.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lost(&self) -> MutexGuard<'_, Vec<Lock>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops renewing, so that the leases run out.
    pub(super) fn abandon(&self) {
        self.with(|held| held.drain().for_each(|(_, lease)| lease.renewal.abort()));
    }

    /// Gives everything back.
    pub(super) async fn release(&self, run: &Run) {
        let held: Vec<_> = self.with(|held| held.drain().collect());
        let store = run.store.locks();
        for (resource, lease) in held {
            lease.renewal.abort();
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
    let began = Instant::now();
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
        let left = lock.wait.saturating_sub(began.elapsed());
        if left.is_zero() {
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
        let pause = Duration::from_millis(200).min(left);
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
    let expires = Arc::new(AtomicU64::new(holder(run, lock).expires.as_micros()));
    let renewal = renew(Arc::downgrade(run), lock.clone(), Arc::clone(&expires));
    let renewal = tokio::spawn(renewal).abort_handle();
    let lease = Lease { lock: lock.clone(), expires, renewal };
    // Two branches may have come here at once, each with a right to it: one renewal is enough.
    if let Some(other) = run.locks.with(|held| held.insert(lock.resource.clone(), lease)) {
        other.renewal.abort();
    }
    Ok(())
}

/// Whether all locks are still held, asked before anything is changed. A process that was stopped,
/// or whose machine slept, for longer than a lease finds out here, not when the next renewal is due.
pub(super) async fn still_held(run: &Arc<Run>) -> Flow {
    let now = Timestamp::now().as_micros();
    let over = run.locks.with(|held| {
        let over = held.values().filter(|lease| lease.expires.load(Ordering::Relaxed) <= now);
        over.map(|lease| (lease.lock.clone(), Arc::clone(&lease.expires))).collect::<Vec<_>>()
    });
    for (lock, expires) in over {
        if let Err(failure) = renew_once(run, &lock, &expires).await {
            lose(run, &lock, &failure);
        }
    }
    let lost = run.locks.lost();
    let Some(lock) = lost.first() else { return Ok(()) };
    let text = format!("the lock on {} was lost", lock.resource);
    Err(Halt::Cancelled(None, Failure::new(FailureKind::Cancelled, text).to_problem()))
}

/// Refuses to undo anything once a lock was lost: what another run, or whoever broke the lock, has
/// done since then may rest on what would be undone.
pub(super) async fn may_undo(run: &Arc<Run>) -> Result<(), Error> {
    // What it says is in `lost` as well.
    let _ = still_held(run).await;
    let lost = run.locks.lost();
    let Some(lock) = lost.first() else { return Ok(()) };
    Err(Error::state(format!(
        "the lock on {} was lost: nothing more was done, and nothing undone; see what was done by \
         others meanwhile (`runs`), then go on with `resume {run}` or go back with `rollback {run}`",
        lock.resource,
        run = run.shared.run
    )))
}

/// Takes every lock of the plan, in order: before a rollback by itself.
pub(super) async fn take_all(run: &Arc<Run>) -> Flow {
    for lock in &run.plan().locks {
        take(run, lock).await?;
    }
    Ok(())
}

/// Renews a lease three times in its length; a lost one cancels the run.
async fn renew(run: Weak<Run>, lock: Lock, expires: Arc<AtomicU64>) {
    loop {
        tokio::time::sleep(lock.lease / 3).await;
        let Some(run) = run.upgrade() else { return };
        if let Err(failure) = renew_once(&run, &lock, &expires).await {
            lose(&run, &lock, &failure);
            return;
        }
    }
}

async fn renew_once(run: &Run, lock: &Lock, expires: &AtomicU64) -> Result<(), Failure> {
    let holder = holder(run, lock);
    run.store.locks().renew(&lock.resource, &holder).await?;
    expires.store(holder.expires.as_micros(), Ordering::Relaxed);
    Ok(())
}

fn lose(run: &Run, lock: &Lock, failure: &Failure) {
    let Some(lease) = run.locks.with(|held| held.remove(&lock.resource)) else { return };
    run.locks.lost().push(lock.clone());
    let (why, resource) = (failure.to_problem().message, lock.resource.clone());
    let _ = run.record(EventKind::LockLost { resource, why: why.clone() });
    run.shared.cancel.cancel(format!("the loss of the lock on {}: {why}", lock.resource));
    // This may be that task itself: nothing comes after it.
    lease.renewal.abort();
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
