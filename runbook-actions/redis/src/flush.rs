//! Deleting everything.

use deadpool_redis::redis::cmd;
use runbook_core::{Check, Context, IntoInput, Irreversible, Observer, Result, Step, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::client::Redis;
use crate::error::Error;
use crate::session::Session;

/// How many keys there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Contents {
    /// In this database.
    pub keys: u64,
    /// In all databases of the server that are not empty: their numbers and keys.
    pub databases: Vec<(u32, u64)>,
}

impl Contents {
    /// In all databases together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.databases.iter().map(|(_, keys)| keys).sum()
    }
}

impl Redis {
    /// Counts the keys.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("cache");
    /// let there = b.check(cache.contents());
    /// b.irreversible(cache.flush_database(there), "it is a cache, and is filled again");
    /// # b.build().unwrap();
    /// ```
    #[must_use]
    pub fn contents(&self) -> impl Check<Evidence = Contents> {
        contents(self)
    }

    /// Deletes all keys of this database; gives how many there were. Its title, and whoever is
    /// asked to approve it, says how many. It is refused if there are many more by then: what was
    /// counted is not what would be lost.
    pub fn flush_database(
        &self,
        there: impl IntoInput<Contents>,
    ) -> impl Step<Output = u64, Rollback = Irreversible> {
        flush_database(self, there.into_input().map(|there| there.keys))
    }

    /// Deletes all keys of all databases of the server; else as
    /// [`flush_database`](Self::flush_database).
    pub fn flush_all(
        &self,
        there: impl IntoInput<Contents>,
    ) -> impl Step<Output = u64, Rollback = Irreversible> {
        flush_all(self, there.into_input().map(Contents::total))
    }
}

/// Count the keys
#[check(title = "How many keys there are in {redis}", preview = "INFO keyspace")]
async fn contents(cx: &Observer, redis: &Redis) -> Result<Verdict<Contents>> {
    let there = count(&redis.open(cx).await?, redis).await?;
    let why = format!("{} keys, {} in all databases of the server", there.keys, there.total());
    Ok(Verdict::pass(there, why))
}

/// Delete all keys of the database
#[step(
    title = "Delete all {keys} keys of {redis}",
    irreversible,
    repeatable,
    preview = "FLUSHDB ASYNC"
)]
async fn flush_database(cx: &Context, redis: &Redis, keys: u64) -> Result<u64> {
    let session = redis.session(cx).await?.patient();
    let now = count(&session, redis).await?.keys;
    refuse_more(redis, keys, now)?;
    session.ask::<()>(cmd("FLUSHDB").arg("ASYNC")).await?;
    cx.say(format!("{now} keys deleted"));
    Ok(now)
}

/// Delete all keys of all databases
#[step(
    title = "Delete all {keys} keys of all databases of the server of {redis}",
    irreversible,
    repeatable,
    preview = "FLUSHALL ASYNC"
)]
async fn flush_all(cx: &Context, redis: &Redis, keys: u64) -> Result<u64> {
    let session = redis.session(cx).await?.patient();
    let now = count(&session, redis).await?.total();
    refuse_more(redis, keys, now)?;
    session.ask::<()>(cmd("FLUSHALL").arg("ASYNC")).await?;
    cx.say(format!("{now} keys deleted"));
    Ok(now)
}

/// A database in use grows while an operator thinks; one that has twice the keys and more is not
/// the one that was looked at.
fn refuse_more(redis: &Redis, counted: u64, now: u64) -> Result<()> {
    if now <= counted.saturating_mul(2).saturating_add(1000) {
        return Ok(());
    }
    Err(Error::Unsafe {
        place: redis.to_string(),
        why: format!("{counted} keys were counted, and now there are {now}"),
        next: "find out who writes there, then start again".into(),
    }
    .into_failure())
}

async fn count(session: &Session<'_>, redis: &Redis) -> Result<Contents> {
    let text: String = session.ask(cmd("INFO").arg("keyspace")).await?;
    let databases: Vec<(u32, u64)> = text
        .lines()
        .filter_map(|line| {
            // db0:keys=3,expires=0,avg_ttl=0
            let (number, rest) = line.trim().strip_prefix("db")?.split_once(":keys=")?;
            Some((number.parse().ok()?, rest.split(',').next()?.parse().ok()?))
        })
        .collect();
    let own = redis.config().database;
    let keys = databases.iter().find(|(number, _)| *number == own).map_or(0, |(_, keys)| *keys);
    Ok(Contents { keys, databases })
}
