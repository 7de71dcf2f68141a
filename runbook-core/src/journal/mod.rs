//! The journal: the append-only record of a run. Resume, history, audit and reports read it.

mod file;
mod memory;
mod state;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::file::FileStore;
pub use self::memory::MemoryStore;
pub use self::state::{IllegalEvent, Phase, RunState, Stage, UnitState};
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
    /// A line is not what was written.
    #[error("line {line} of {} was changed or is missing: {how}; nothing was written", .path.display())]
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
