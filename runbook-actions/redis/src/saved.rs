//! [`SavedKeys`]: what deleted keys held.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deadpool_redis::redis::cmd;
use runbook_core::{Context, Failure, Result};
use serde::{Deserialize, Serialize};

use crate::client::Redis;
use crate::error::Error;
use crate::info::mebibytes;
use crate::key::Key;
use crate::session::Session;

/// What keys held before they were deleted: how [`Redis::delete`] and [`Redis::delete_key`] are
/// undone.
///
/// It is in the journal, values included, and therefore bounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedKeys {
    /// When, in milliseconds since 1970 by the server's clock.
    at: i64,
    keys: Vec<SavedKey>,
}

/// One key that was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedKey {
    key: Key,
    /// In milliseconds since 1970; `None` if it stays.
    expires: Option<i64>,
    /// The value as the server writes it down, with a checksum of its own; base64.
    dump: String,
}

impl SavedKeys {
    /// How many keys can be put back. More can only be deleted for good
    /// ([`Redis::delete_matching`]).
    pub const MAX_KEYS: usize = 1000;
    /// How big all that is put back may be, in bytes.
    pub const MAX_BYTES: u64 = 8 * 1024 * 1024;

    /// Those of `keys` that are there.
    pub(crate) async fn of(redis: &Redis, session: &Session<'_>, keys: &[Key]) -> Result<Self> {
        if keys.len() > Self::MAX_KEYS {
            let why = format!("{} keys are too many to be put back", keys.len());
            return Err(too_much(redis, why));
        }
        let at = now(session).await?;
        let mut saved = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for key in keys {
            let name = key.as_bytes();
            // An estimate, but one that does not copy the value.
            let about: Option<u64> = session.ask(cmd("MEMORY").arg("USAGE").arg(name)).await?;
            let Some(about) = about else { continue };
            if bytes + about > Self::MAX_BYTES * 2 {
                return Err(too_big(redis, key, about));
            }
            let time_to_live: i64 = session.ask(cmd("PTTL").arg(name)).await?;
            let dump: Option<Vec<u8>> = session.ask(cmd("DUMP").arg(name)).await?;
            // Gone meanwhile.
            let Some(dump) = dump else { continue };
            bytes += dump.len() as u64;
            if bytes > Self::MAX_BYTES {
                return Err(too_big(redis, key, dump.len() as u64));
            }
            let expires = (time_to_live >= 0).then_some(at + time_to_live);
            saved.push(SavedKey { key: key.clone(), expires, dump: STANDARD.encode(dump) });
        }
        Ok(Self { at, keys: saved })
    }

    /// Puts those back that are not there, and whose time is not over.
    pub(crate) async fn put_back(&self, session: &Session<'_>, cx: &Context) -> Result<()> {
        let mut again = 0;
        for SavedKey { key, expires, dump, .. } in &self.keys {
            let dump = STANDARD.decode(dump)?;
            let mut restore = cmd("RESTORE");
            restore.arg(key.as_bytes()).arg(expires.unwrap_or(0)).arg(dump);
            if expires.is_some() {
                restore.arg("ABSTTL");
            }
            match session.ask::<()>(&restore).await {
                Ok(()) => {}
                Err(failure) if failure.to_string().contains("BUSYKEY") => again += 1,
                Err(failure) => return Err(failure),
            }
        }
        if again > 0 {
            cx.say(format!("{again} keys are there again, and were left alone"));
        }
        Ok(())
    }

    /// Whether each is there again in `now`. What it holds is not compared: the application may
    /// write to it again at once, and a value that is put back is checked by the server itself.
    pub(crate) fn is_back(&self, now: &Self) -> bool {
        self.keys.iter().all(|saved| {
            let over = saved.expires.is_some_and(|expires| expires <= now.at);
            over || now.keys.iter().any(|now| now.key == saved.key)
        })
    }
}

/// The server's clock, in milliseconds since 1970.
pub(crate) async fn now(session: &Session<'_>) -> Result<i64> {
    let (seconds, micros): (i64, i64) = session.ask(&cmd("TIME")).await?;
    Ok(seconds * 1000 + micros / 1000)
}

fn too_big(redis: &Redis, key: &Key, bytes: u64) -> Failure {
    let (of, most) = (mebibytes(bytes), mebibytes(SavedKeys::MAX_BYTES));
    too_much(
        redis,
        format!("with {key} ({of}) the values are more than {most}, too much to be put back"),
    )
}

fn too_much(redis: &Redis, why: String) -> Failure {
    Error::Unsafe {
        place: redis.to_string(),
        why,
        next: "delete fewer at a time, or for good: `delete_matching`, an irreversible step".into(),
    }
    .into_failure()
}
