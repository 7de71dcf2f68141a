//! Keys by pattern, and deleting them.

use std::collections::BTreeSet;

use deadpool_redis::redis::{Cmd, cmd};
use runbook_core::{
    Check, Context, IntoInput, Irreversible, Observer, Result, Rollback, Step, Verdict,
};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::client::Redis;
use crate::error::Error;
use crate::key::Key;
use crate::saved::SavedKeys;
use crate::session::Session;

/// How many keys one command looks through, or deletes.
const BATCH: usize = 1000;

/// Keys that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Keys {
    /// The pattern.
    pub pattern: String,
    /// Those that were found, sorted.
    pub keys: Vec<Key>,
    /// There are more than were asked for.
    pub more: bool,
}

impl Redis {
    /// At most `at_most` keys match `pattern` (`*`, `?`, `[a-z]`; a backslash before a special
    /// character takes its meaning): these are the evidence.
    ///
    /// It goes through the database bit by bit (`SCAN`) while all others are served; what comes
    /// and goes meanwhile may be in it or not.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("cache");
    /// let old = b.check(cache.keys("session:v1:*", 500));
    /// b.step(cache.delete(old));
    /// # b.build().unwrap();
    /// ```
    pub fn keys(&self, pattern: impl Into<String>, at_most: usize) -> impl Check<Evidence = Keys> {
        keys(self, &pattern.into(), &at_most)
    }

    /// Deletes one key; gives whether it was there. A rollback puts it back, with its value and
    /// time to live.
    ///
    /// The value is in the journal then. It is refused if it is too big for that:
    /// [`SavedKeys::MAX_BYTES`].
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("cache");
    /// b.step(cache.delete_key("shop:front-page"));
    /// ```
    pub fn delete_key(
        &self,
        key: impl Into<Key>,
    ) -> impl Step<Output = bool, Rollback = SavedKeys> {
        delete_key(self, &key.into())
    }

    /// Deletes the keys that [`keys`](Self::keys) found, and no others; gives how many were still
    /// there. A rollback puts them back, with their values and times to live. What is there again
    /// by then is left alone.
    ///
    /// The values are in the journal then. It is refused if there are too many for that, or they
    /// are too big: [`SavedKeys::MAX_KEYS`], [`SavedKeys::MAX_BYTES`].
    pub fn delete(
        &self,
        keys: impl IntoInput<Keys>,
    ) -> impl Step<Output = u64, Rollback = SavedKeys> {
        delete(self, keys)
    }

    /// Deletes all keys that match a pattern when it runs, however many; gives how many. They are
    /// gone: where a thousand will do, use [`delete`](Self::delete).
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("cache");
    /// b.irreversible(cache.delete_matching("page:*"), "pages are rendered again when asked for");
    /// ```
    pub fn delete_matching(
        &self,
        pattern: impl Into<String>,
    ) -> impl Step<Output = u64, Rollback = Irreversible> {
        delete_matching(self, &pattern.into())
    }
}

/// Few keys match the pattern
#[check(
    title = "At most {at_most} keys of {redis} match {pattern}",
    preview = "SCAN .. MATCH {pattern}"
)]
async fn keys(
    cx: &Observer,
    redis: &Redis,
    pattern: &str,
    at_most: &usize,
) -> Result<Verdict<Keys>> {
    let session = redis.open(cx).await?;
    let mut found = BTreeSet::new();
    let mut cursor = Cursor::new(pattern);
    while let Some(batch) = cursor.next(&session).await? {
        found.extend(batch);
        if found.len() > *at_most {
            break;
        }
        cx.progress(found.len() as u64, None);
    }
    let more = found.len() > *at_most;
    let keys: Vec<Key> = found.into_iter().take(*at_most).collect();
    let why = if more { format!("more than {at_most} keys match") } else { counted(keys.len()) };
    Ok(Verdict::pass_if(!more, Keys { pattern: pattern.to_owned(), keys, more }, why))
}

fn counted(keys: usize) -> String {
    match keys {
        0 => "no key matches".to_owned(),
        1 => "1 key matches".to_owned(),
        many => format!("{many} keys match"),
    }
}

/// Delete a key
#[step(title = "Delete the key {key} of {redis}", rollback = SavedKeys, repeatable, preview = "UNLINK {key}")]
async fn delete_key(cx: &Context, redis: &Redis, key: &Key) -> Result<bool> {
    let session = redis.session(cx).await?;
    Ok(unlink(&session, std::slice::from_ref(key)).await? == 1)
}

/// Delete keys that were found
#[step(title = "Delete keys of {redis}", rollback = SavedKeys, repeatable, preview = "UNLINK ..")]
async fn delete(cx: &Context, redis: &Redis, keys: Keys) -> Result<u64> {
    let session = redis.session(cx).await?;
    let mut deleted = 0;
    for batch in keys.keys.chunks(BATCH) {
        deleted += unlink(&session, batch).await?;
        cx.progress(deleted, Some(keys.keys.len() as u64));
    }
    cx.say(format!("{deleted} keys deleted"));
    Ok(deleted)
}

/// Delete all keys that match a pattern
#[step(
    title = "Delete all keys of {redis} that match {pattern}",
    irreversible,
    repeatable,
    preview = ["SCAN .. MATCH {pattern}", "UNLINK .."]
)]
async fn delete_matching(cx: &Context, redis: &Redis, pattern: &str) -> Result<u64> {
    if pattern.chars().all(|one| one == '*') {
        return Err(Error::Unsafe {
            place: redis.to_string(),
            why: format!("the pattern `{pattern}` matches every key"),
            next: "to delete all, say so: `flush_database`".into(),
        }
        .into_failure());
    }
    let session = redis.session(cx).await?;
    let mut deleted = 0;
    let mut cursor = Cursor::new(pattern);
    while let Some(batch) = cursor.next(&session).await? {
        if !batch.is_empty() {
            deleted += unlink(&session, &batch).await?;
        }
        cx.progress(deleted, None);
    }
    cx.say(format!("{deleted} keys deleted"));
    Ok(deleted)
}

impl Rollback<delete_key> for SavedKeys {
    async fn record(step: &delete_key, cx: &Observer) -> Result<Self> {
        Self::of(&step.redis, &step.redis.open(cx).await?, std::slice::from_ref(&step.key)).await
    }

    async fn rollback(&self, step: &delete_key, _: Option<&bool>, cx: &Context) -> Result<()> {
        self.put_back(&step.redis.session(cx).await?, cx).await
    }

    fn restored(&self, now: &Self) -> bool {
        self.is_back(now)
    }
}

impl Rollback<delete> for SavedKeys {
    async fn record(step: &delete, cx: &Observer) -> Result<Self> {
        Self::of(&step.redis, &step.redis.open(cx).await?, &step.keys.get(cx)?.keys).await
    }

    async fn rollback(&self, step: &delete, _: Option<&u64>, cx: &Context) -> Result<()> {
        self.put_back(&step.redis.session(cx).await?, cx).await
    }

    fn restored(&self, now: &Self) -> bool {
        self.is_back(now)
    }
}

async fn unlink(session: &Session<'_>, keys: &[Key]) -> Result<u64> {
    let mut command = cmd("UNLINK");
    for key in keys {
        command.arg(key.as_bytes());
    }
    session.ask(&command).await
}

/// A walk through the keys of a database.
struct Cursor {
    pattern: String,
    /// Where it goes on; `None` at the end.
    at: Option<u64>,
}

impl Cursor {
    fn new(pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), at: Some(0) }
    }

    async fn next(&mut self, session: &Session<'_>) -> Result<Option<Vec<Key>>> {
        let Some(at) = self.at else { return Ok(None) };
        let mut scan: Cmd = cmd("SCAN");
        scan.arg(at).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(BATCH);
        let (next, batch): (u64, Vec<Vec<u8>>) = session.ask(&scan).await?;
        self.at = (next != 0).then_some(next);
        Ok(Some(batch.into_iter().map(Key::from).collect()))
    }
}
