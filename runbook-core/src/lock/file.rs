//! [`FileLocks`]: locks in a folder, for all processes of a machine.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{LockStore, in_the_way, renewed};
use crate::error::{During as _, Failure};
use crate::event::{LockHolder, RunId};
use crate::journal::names::file_name;

const GUARD: &str = ".guard";
const SUFFIX: &str = ".json";

/// Nobody holds the guard for more than a few file operations, unless the process is stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps locks in a folder: one JSON file a resource, which says who holds it and until when.
///
/// Every change is made under an advisory lock on one guard file, which the operating system takes
/// away from a process that dies: changes never interleave, and nothing stays stuck.
///
/// ```
/// use runbook_core::{FileLocks, LockStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> runbook_core::Result<()> {
/// let locks = FileLocks::new("/var/lib/example/does-not-exist-yet");
/// assert!(locks.list().await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FileLocks {
    dir: PathBuf,
}

/// A lock file.
#[derive(Serialize, Deserialize)]
struct Entry {
    resource: String,
    holder: LockHolder,
}

impl FileLocks {
    /// Under `dir`, which is made when the first lock is taken.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn path(&self, resource: &str) -> PathBuf {
        self.dir.join(file_name(resource) + SUFFIX)
    }

    /// Waits until this task alone may read and change the locks.
    async fn guard(&self) -> Result<File, Failure> {
        let path = self.dir.join(GUARD);
        let doing = || format!("guarding the locks with {}", path.display());
        fs::create_dir_all(&self.dir)
            .during(format_args!("making the folder of locks {}", self.dir.display()))?;
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path).during(doing())?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error).during(doing()),
                Err(TryLockError::WouldBlock) if began.elapsed() > PATIENCE => {
                    return Err(Failure::msg("another process has held it for 10 s")
                        .while_doing(doing())
                        .next("look for a stopped process that has this file open, and end it"));
                }
                Err(TryLockError::WouldBlock) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
    }

    /// Who holds the lock, by its file.
    fn held(&self, resource: &str) -> Result<Option<LockHolder>, Failure> {
        Ok(read(&self.path(resource))?.map(|entry| entry.holder))
    }

    /// Replaces the lock file whole, so that nobody ever reads half of one.
    fn write(&self, resource: &str, holder: &LockHolder) -> Result<(), Failure> {
        let path = self.path(resource);
        let entry = Entry { resource: resource.to_owned(), holder: holder.clone() };
        let text = serde_json::to_vec(&entry)?;
        let draft = self.dir.join(".draft");
        File::create(&draft)
            .and_then(|mut file| {
                file.write_all(&text)?;
                // Else a power cut may leave the name without the content.
                file.sync_data()
            })
            .and_then(|()| fs::rename(&draft, &path))
            .during(format_args!("writing the lock file {}", path.display()))
    }

    fn remove(&self, resource: &str) -> Result<(), Failure> {
        let path = self.path(resource);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).during(format_args!("removing the lock file {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl LockStore for FileLocks {
    async fn acquire(
        &self,
        resource: &str,
        holder: &LockHolder,
    ) -> Result<Result<(), LockHolder>, Failure> {
        let _guard = self.guard().await?;
        let held = self.held(resource)?;
        if let Some(other) = in_the_way(held.as_ref(), holder) {
            return Ok(Err(other.clone()));
        }
        self.write(resource, holder)?;
        Ok(Ok(()))
    }

    async fn renew(&self, resource: &str, holder: &LockHolder) -> Result<(), Failure> {
        let _guard = self.guard().await?;
        let renewed = renewed(resource, self.held(resource)?.as_ref(), holder)?;
        self.write(resource, &renewed)
    }

    async fn release(&self, resource: &str, run: &RunId) -> Result<(), Failure> {
        let _guard = self.guard().await?;
        match self.held(resource)? {
            Some(held) if held.run == *run => self.remove(resource),
            _ => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<(String, LockHolder)>, Failure> {
        let doing = || format!("listing the locks in {}", self.dir.display());
        // No guard: it only looks, and each file is replaced whole.
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.during(doing())?,
        };
        let mut locks = Vec::new();
        for file in entries {
            let path = file.during(doing())?.path();
            if path.to_string_lossy().ends_with(SUFFIX)
                && let Some(entry) = read(&path)?
            {
                locks.push((entry.resource, entry.holder));
            }
        }
        locks.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(locks)
    }

    async fn break_lock(&self, resource: &str) -> Result<Option<LockHolder>, Failure> {
        let _guard = self.guard().await?;
        // This is the way out when the file can't be read as well.
        let held = self.held(resource).ok().flatten();
        self.remove(resource)?;
        Ok(held)
    }
}

fn read(path: &Path) -> Result<Option<Entry>, Failure> {
    let doing = || format!("reading the lock file {}", path.display());
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.during(doing())?,
    };
    let entry = std::str::from_utf8(&text)
        .map_err(io::Error::other)
        .and_then(|text| Ok(serde_json::from_str(text)?))
        .during(doing())
        .or_next("it is damaged; if no run is at work on the resource, `unlock` it")?;
    Ok(Some(entry))
}
