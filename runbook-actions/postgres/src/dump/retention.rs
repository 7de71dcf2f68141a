//! [`Retention`]: which dumps are kept.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use runbook_core::{Context, Observer, Result, Timestamp, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use super::find::{DumpFile, dumps_in};
use super::verify::{checksum, recorded, sidecar};
use crate::client::Postgres;
use crate::error::Error;

/// Which dumps are kept: all of so many days, and always the last ones.
///
/// ```
/// use runbook_postgres::Retention;
/// // All of the last 14 days; of older ones, those among the last 3.
/// let rule = Retention::days(14).keep_last(3);
/// assert_eq!(rule.to_string(), "all of the last 14 days, and always the last 3");
/// assert_eq!(Retention::count(5).to_string(), "the last 5");
/// // The last one always stays.
/// assert_eq!(Retention::count(0), Retention::count(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    days: Option<u32>,
    keep: usize,
}

impl Retention {
    /// All of the last `days` days, and the last one however old it is.
    #[must_use]
    pub fn days(days: u32) -> Self {
        Self { days: Some(days), keep: 1 }
    }

    /// The last `count`, at least one.
    #[must_use]
    pub fn count(count: usize) -> Self {
        Self { days: None, keep: count.max(1) }
    }

    /// However old they are, the last `count` stay, at least one.
    #[must_use]
    pub fn keep_last(mut self, count: usize) -> Self {
        self.keep = count.max(1);
        self
    }

    /// What goes and what stays of `dumps`, which are sorted by age, oldest first.
    fn split(self, mut dumps: Vec<DumpFile>, now: Timestamp) -> (Vec<DumpFile>, Vec<DumpFile>) {
        let kept = dumps.split_off(dumps.len().saturating_sub(self.keep));
        let Some(days) = self.days else { return (dumps, kept) };
        let limit = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        let (gone, young): (Vec<_>, Vec<_>) =
            dumps.into_iter().partition(|dump| now.since(dump.modified) > limit);
        (gone, young.into_iter().chain(kept).collect())
    }
}

impl std::fmt::Display for Retention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.days {
            Some(days) => {
                write!(f, "all of the last {days} days, and always the last {}", self.keep)
            }
            None => write!(f, "the last {}", self.keep),
        }
    }
}

/// Look which dumps are older than they are kept
#[check(title = "List the dumps in {folder} that are not kept", preview = "keep {retention}")]
pub(crate) async fn expired_dumps(
    cx: &Observer,
    db: &Postgres,
    folder: &Path,
    retention: &Retention,
) -> Result<Verdict<Vec<PathBuf>>> {
    let (gone, kept) = split(cx, db, folder, *retention).await?;
    let names: Vec<_> = gone.iter().map(|path| super::name_of(path)).collect();
    let why = match names.as_slice() {
        [] => format!("none; {} are kept", kept.len()),
        names => format!("{}; {} are kept: {}", names.len(), kept.len(), names.join(", ")),
    };
    Ok(Verdict::pass(gone, why))
}

/// Remove dumps that are older than they are kept
///
/// Only those that were listed, and that retention still lets go; and only if a dump whose
/// checksum is right is left.
#[step(
    title = "Remove the dumps in {folder} that are not kept",
    irreversible,
    repeatable,
    preview = "keep {retention}"
)]
pub(crate) async fn remove_dumps(
    cx: &Context,
    db: &Postgres,
    folder: &Path,
    retention: &Retention,
    expired: Vec<PathBuf>,
) -> Result<Vec<PathBuf>> {
    let (mut gone, kept) = split(cx, db, folder, *retention).await?;
    gone.retain(|path| expired.contains(path));
    if gone.is_empty() {
        return Ok(gone);
    }
    if !any_good(cx, db, &kept).await? {
        return Err(Error::Unsafe {
            place: db.to_string(),
            why: format!(
                "of the {} dumps that would be left in {}, none has a right checksum",
                kept.len(),
                folder.display()
            ),
            next: "take a new dump first; nothing was removed".into(),
        }
        .into_failure());
    }
    for path in &gone {
        cx.say(format!("removing {}", path.display()));
        // The checksum goes last: a dump is never there without one.
        cx.on(db.host()).remove(path).await?;
        cx.on(db.host()).remove(sidecar(path)).await?;
    }
    Ok(gone)
}

async fn split(
    cx: &Observer,
    db: &Postgres,
    folder: &Path,
    retention: Retention,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let mut dumps = dumps_in(cx, db, folder).await?;
    // One without rows is no backup: it is not counted, and stays.
    dumps.retain(|dump| !dump.schema_only);
    let (gone, kept) = retention.split(dumps, SystemTime::now().into());
    let paths = |dumps: Vec<DumpFile>| dumps.into_iter().map(|dump| dump.path).collect();
    Ok((paths(gone), paths(kept)))
}

/// Whether one of these is as it was written; the latest is looked at first.
async fn any_good(cx: &Observer, db: &Postgres, dumps: &[PathBuf]) -> Result<bool> {
    for path in dumps.iter().rev() {
        let Ok(sum) = recorded(cx, db, path).await else { continue };
        if checksum(cx, db, path).await? == sum {
            return Ok(true);
        }
    }
    Ok(false)
}
