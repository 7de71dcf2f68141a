//! Leased locks on resources, so that two runs never work on the same thing at once.

mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

pub use self::file::FileLocks;
use crate::error::Failure;
use crate::event::{LockHolder, RunId, Timestamp};

/// A lock that a run takes on a resource and holds to its end, rollback included.
///
/// ```
/// use std::time::Duration;
/// use runbook_core::{Lock, Runbook};
/// let mut b = Runbook::new("deploy");
/// b.lock("database:shop");
/// b.lock(Lock::on("site:shop").wait(Duration::from_secs(60)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub(crate) resource: String,
    pub(crate) wait: Duration,
    pub(crate) lease: Duration,
}

impl Lock {
    /// On `resource`, named as everybody names it: `database:shop`. Fails at once if another run
    /// holds it; the lease is 60 s and is renewed while the run is alive.
    #[must_use]
    pub fn on(resource: impl Into<String>) -> Self {
        Self { resource: resource.into(), wait: Duration::ZERO, lease: Duration::from_secs(60) }
    }

    /// Waits so long for another run to give it back.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How long the lock outlives a run that died without giving it back.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }
}

impl From<&str> for Lock {
    fn from(resource: &str) -> Self {
        Self::on(resource)
    }
}

impl From<String> for Lock {
    fn from(resource: String) -> Self {
        Self::on(resource)
    }
}

/// Where locks are kept. Taking a lock that the same run holds already succeeds (re-entrance).
#[async_trait]
pub trait LockStore: fmt::Debug + Send + Sync {
    /// Takes the lock, or says who holds it. A lock whose lease has expired is free.
    ///
    /// # Errors
    /// The store could not be read or written.
    async fn acquire(
        &self,
        resource: &str,
        holder: &LockHolder,
    ) -> Result<Result<(), LockHolder>, Failure>;

    /// Moves the end of the lease of a lock held by `holder.run` to `holder.expires`.
    ///
    /// # Errors
    /// The lock is not held by that run any more: expired and taken, or broken.
    async fn renew(&self, resource: &str, holder: &LockHolder) -> Result<(), Failure>;

    /// Gives the lock back if `run` holds it.
    ///
    /// # Errors
    /// The store could not be written.
    async fn release(&self, resource: &str, run: &RunId) -> Result<(), Failure>;

    /// All locks that are held, with their resources, sorted by resource; expired ones too.
    ///
    /// # Errors
    /// The store could not be read.
    async fn list(&self) -> Result<Vec<(String, LockHolder)>, Failure>;

    /// Takes a lock away from whoever holds it; says who that was.
    ///
    /// # Errors
    /// The store could not be written.
    async fn break_lock(&self, resource: &str) -> Result<Option<LockHolder>, Failure>;
}

/// Locks that live as long as the process.
#[derive(Clone, Debug, Default)]
pub struct MemoryLocks(Arc<Mutex<BTreeMap<String, LockHolder>>>);

impl MemoryLocks {
    fn map(&self) -> MutexGuard<'_, BTreeMap<String, LockHolder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LockStore for MemoryLocks {
    async fn acquire(
        &self,
        resource: &str,
        holder: &LockHolder,
    ) -> Result<Result<(), LockHolder>, Failure> {
        let mut map = self.map();
        if let Some(other) = in_the_way(map.get(resource), holder) {
            return Ok(Err(other.clone()));
        }
        map.insert(resource.to_owned(), holder.clone());
        Ok(Ok(()))
    }

    async fn renew(&self, resource: &str, holder: &LockHolder) -> Result<(), Failure> {
        let mut map = self.map();
        let renewed = renewed(resource, map.get(resource), holder)?;
        map.insert(resource.to_owned(), renewed);
        Ok(())
    }

    async fn release(&self, resource: &str, run: &RunId) -> Result<(), Failure> {
        let mut map = self.map();
        if map.get(resource).is_some_and(|held| held.run == *run) {
            map.remove(resource);
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<(String, LockHolder)>, Failure> {
        Ok(self.map().iter().map(|(resource, held)| (resource.clone(), held.clone())).collect())
    }

    async fn break_lock(&self, resource: &str) -> Result<Option<LockHolder>, Failure> {
        Ok(self.map().remove(resource))
    }
}

/// Who keeps `wanted` from the lock that `held` has, if anybody.
fn in_the_way<'a>(held: Option<&'a LockHolder>, wanted: &LockHolder) -> Option<&'a LockHolder> {
    held.filter(|held| held.run != wanted.run && held.expires > Timestamp::now())
}

/// What `held` becomes when `holder` renews it.
fn renewed(
    resource: &str,
    held: Option<&LockHolder>,
    holder: &LockHolder,
) -> Result<LockHolder, Failure> {
    match held {
        Some(held) if held.run == holder.run => {
            Ok(LockHolder { expires: holder.expires, ..held.clone() })
        }
        Some(taker) => Err(Failure::msg(format!(
            "the lock on `{resource}` was lost: its lease had run out or it was broken, and now \
             {taker} has it"
        ))),
        None => Err(Failure::msg(format!(
            "the lock on `{resource}` was lost: it was broken, and nobody has it now"
        ))),
    }
}
