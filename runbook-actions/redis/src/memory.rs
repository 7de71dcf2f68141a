//! Giving memory back, and the limit of it.

use deadpool_redis::redis::cmd;
use runbook_core::{Context, Harmless, IntoInput, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::client::Redis;
use crate::error::Error;
use crate::info::{mebibytes, read};
use crate::session::Session;

/// What `MEMORY PURGE` gave back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Purged {
    /// What the process took from the host before, in bytes.
    pub resident_before: u64,
    /// And after.
    pub resident_after: u64,
}

/// The limit that a server had: how [`Redis::set_max_memory`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxMemoryBefore {
    bytes: u64,
}

impl Redis {
    /// Gives memory that is free inside of the process back to the host (`MEMORY PURGE`).
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("cache");
    /// b.step(cache.purge_memory());
    /// ```
    #[must_use]
    pub fn purge_memory(&self) -> impl Step<Output = Purged, Rollback = Harmless> {
        purge_memory(self)
    }

    /// Sets `maxmemory`, in bytes; 0 takes the limit away. It holds until the server is started
    /// again. A rollback sets what was there before.
    ///
    /// Refuses a limit below what is used, if the server would then drop keys: they would be lost
    /// at once.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("cache");
    /// b.step(cache.set_max_memory(512 * 1024 * 1024));
    /// ```
    pub fn set_max_memory(
        &self,
        bytes: impl IntoInput<u64>,
    ) -> impl Step<Output = (), Rollback = MaxMemoryBefore> {
        set_max_memory(self, bytes)
    }
}

/// Give free memory back to the host
#[step(title = "Give free memory of {redis} back", harmless, repeatable, preview = "MEMORY PURGE")]
async fn purge_memory(cx: &Context, redis: &Redis) -> Result<Purged> {
    let session = redis.session(cx).await?.patient();
    let resident_before = read(&session, redis).await?.memory.resident;
    session.ask::<()>(cmd("MEMORY").arg("PURGE")).await?;
    let resident_after = read(&session, redis).await?.memory.resident;
    cx.say(format!("{} before, {} after", mebibytes(resident_before), mebibytes(resident_after)));
    Ok(Purged { resident_before, resident_after })
}

/// Set the limit of its memory
#[step(
    title = "Let {redis} use {bytes} bytes of memory",
    rollback = MaxMemoryBefore,
    satisfied = is_set,
    repeatable,
    preview = "CONFIG SET maxmemory {bytes}"
)]
async fn set_max_memory(cx: &Context, redis: &Redis, bytes: u64) -> Result<()> {
    let session = redis.session(cx).await?;
    let memory = read(&session, redis).await?.memory;
    if bytes > 0 && bytes < memory.used && memory.policy != "noeviction" {
        return Err(Error::Unsafe {
            place: redis.to_string(),
            why: format!(
                "{} are used: with a limit of {} and the policy {} keys would be lost at once",
                mebibytes(memory.used),
                mebibytes(bytes),
                memory.policy
            ),
            next: "choose a higher limit, or delete keys first".into(),
        }
        .into_failure());
    }
    set(&session, bytes).await
}

async fn is_set(cx: &Observer, redis: &Redis, bytes: &u64) -> Result<Option<()>> {
    let now = get(&redis.open(cx).await?, redis).await?;
    Ok((now == *bytes).then_some(()))
}

impl Rollback<set_max_memory> for MaxMemoryBefore {
    async fn record(step: &set_max_memory, cx: &Observer) -> Result<Self> {
        let session = step.redis.open(cx).await?;
        Ok(Self { bytes: get(&session, &step.redis).await? })
    }

    async fn rollback(&self, step: &set_max_memory, _: Option<&()>, cx: &Context) -> Result<()> {
        set(&step.redis.session(cx).await?, self.bytes).await
    }
}

async fn get(session: &Session<'_>, redis: &Redis) -> Result<u64> {
    Ok(read(session, redis).await?.memory.max.unwrap_or(0))
}

async fn set(session: &Session<'_>, bytes: u64) -> Result<()> {
    session.ask(cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes)).await
}
