//! The journal: the append-only record of a run. Resume, history, audit and reports read it.

mod file;
mod line;
mod memory;
pub(crate) mod names;
mod spool;
mod state;
mod unit_state;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::file::FileStore;
pub use self::memory::MemoryStore;
pub use self::state::{IllegalEvent, Phase, RunState};
pub use self::unit_state::{Stage, UnitState};
use crate::event::{Event, RunId, StreamKind, UnitId};
use crate::lock::LockStore;

/// The journal of one run, open for writing by one process.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Hands a line to the operating system: a killed process loses nothing, a power cut may.
    /// Gives the line's sequence number.
    ///
    /// # Errors
    /// It could not be written whole (disk full, file gone). The journal takes nothing after that.
    fn append(&self, event: &Arc<Event>) -> Result<u64, JournalError>;

    /// Makes every line up to `seq` durable. Lines of several callers share one write.
    ///
    /// # Errors
    /// The disk said no. The journal takes nothing after that.
    async fn commit(&self, seq: u64) -> Result<(), JournalError>;

    /// Keeps a line of captured output beside the journal, up to a bound; never fails the run.
    fn spool(&self, unit: &UnitId, stream: StreamKind, line: &str);
}

/// Where journals are kept: a folder ([`FileStore`]) or memory ([`MemoryStore`]).
#[async_trait]
pub trait JournalStore: fmt::Debug + Send + Sync {
    /// Starts the journal of a new run.
    ///
    /// # Errors
    /// The run exists, or nothing can be written there.
    async fn create(&self, run: &RunId) -> Result<Arc<dyn Journal>, JournalError>;

    /// Takes up the journal of a run for writing, and gives what it holds; a torn last line is cut
    /// off.
    ///
    /// # Errors
    /// No such run; another process has it ([`JournalError::Busy`]); it was changed; its format
    /// version is not known.
    async fn open(&self, run: &RunId) -> Result<(Arc<dyn Journal>, Vec<Arc<Event>>), JournalError>;

    /// Reads a run, whoever is writing it. Changes nothing.
    ///
    /// # Errors
    /// No such run, it was changed, or its format version is not known.
    async fn read(&self, run: &RunId) -> Result<Vec<Arc<Event>>, JournalError>;

    /// All runs, oldest first.
    ///
    /// # Errors
    /// The place can't be read.
    async fn list(&self) -> Result<Vec<RunId>, JournalError>;

    /// Checks every line and the chain of hashes.
    ///
    /// # Errors
    /// No such run, or it can't be read. What is wrong with its content is in the answer.
    async fn verify(&self, run: &RunId) -> Result<Verification, JournalError>;

    /// The captured output of a unit, as far as it was kept; empty if there was none.
    ///
    /// # Errors
    /// It can't be read.
    async fn output(&self, run: &RunId, unit: &UnitId) -> Result<String, JournalError>;

    /// The locks that belong to this store.
    fn locks(&self) -> Arc<dyn LockStore>;

    /// The run that an operator means by `words`: its id, the beginning or the end of one, or
    /// `last`.
    ///
    /// ```
    /// use runbook_core::{JournalStore, MemoryStore, RunId};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), runbook_core::JournalError> {
    /// let store = MemoryStore::new();
    /// store.create(&RunId::new("20260314-150926-k7xq")).await?;
    /// assert_eq!(store.find("k7xq").await?.as_str(), "20260314-150926-k7xq");
    /// assert_eq!(store.find("last").await?.as_str(), "20260314-150926-k7xq");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// No run fits, or several do ([`JournalError::Ambiguous`]).
    async fn find(&self, words: &str) -> Result<RunId, JournalError> {
        let mut runs = self.list().await?;
        if let Some(at) = runs.iter().position(|run| run.as_str() == words) {
            return Ok(runs.swap_remove(at));
        }
        if matches!(words, "last" | "latest")
            && let Some(run) = runs.pop()
        {
            return Ok(run);
        }
        runs.retain(|run| {
            !words.is_empty() && (run.as_str().starts_with(words) || run.as_str().ends_with(words))
        });
        if runs.len() > 1 {
            return Err(JournalError::Ambiguous { words: words.to_owned(), runs });
        }
        match runs.pop() {
            Some(run) => Ok(run),
            // The store itself says best where it looked.
            None => {
                let run = RunId::new(words);
                self.verify(&run).await.map(|_| run)
            }
        }
    }
}

/// What [`JournalStore::verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// Whole lines that are as they were written, header included.
    pub good_lines: u64,
    /// Bytes of a last line that was cut short by a crash; no fault.
    pub torn_bytes: u64,
    /// What was changed, if anything: line number (from 1) and how.
    pub fault: Option<(u64, String)>,
    /// The hash of the last good line: write it down elsewhere to be sure that none was cut off.
    pub head: String,
}

/// Why a journal could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// There is no such run.
    #[error("there is no run `{run}` in {place}")]
    NotFound {
        /// The run asked for.
        run: RunId,
        /// Where it was looked for.
        place: String,
    },
    /// A run of that name exists.
    #[error("run `{run}` exists already in {place}")]
    Exists {
        /// The run.
        run: RunId,
        /// Where.
        place: String,
    },
    /// Another process is at work on the run.
    #[error("run `{run}` is being worked on by another process ({holder}); wait for it or end it")]
    Busy {
        /// The run.
        run: RunId,
        /// Who has it, as far as known.
        holder: String,
    },
    /// Several runs fit what was asked for.
    #[error("`{words}` fits {} runs: {}; give more of the id", .runs.len(), some_of(.runs))]
    Ambiguous {
        /// What was asked for.
        words: String,
        /// The runs that fit, oldest first.
        runs: Vec<RunId>,
    },
    /// The id can't name a run.
    #[error("`{run}` can't be the id of a run: {why}")]
    BadRunId {
        /// The id.
        run: RunId,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A line is not what was written.
    #[error(
        "line {line} of {} was changed or is missing: {how}; nothing was written; put the file back \
         from a copy, or look at what the run did and start a new one", .path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What does not fit.
        how: String,
    },
    /// It was written by another version of the program.
    #[error(
        "{} has journal format {found}, this program reads {known}: use the version of the program \
         that wrote it", .path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: String,
        /// What can be read.
        known: String,
    },
    /// An event does not follow from the ones before it.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// The operating system said no.
    #[error("{doing} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What came back.
        source: std::io::Error,
    },
    /// An earlier write failed, so that nothing more is taken.
    #[error("the journal of run `{run}` takes nothing more: an earlier write failed ({why})")]
    Closed {
        /// The run.
        run: RunId,
        /// The earlier failure.
        why: String,
    },
}

/// The latest few of `runs`, in words.
fn some_of(runs: &[RunId]) -> String {
    const SHOWN: usize = 8;
    let hidden = runs.len().saturating_sub(SHOWN);
    let shown: Vec<_> = runs[hidden..].iter().map(|run| format!("`{run}`")).collect();
    let more = if hidden > 0 { format!(" and {hidden} older ones") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
