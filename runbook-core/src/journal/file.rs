//! [`FileStore`]: journals in a folder, one folder a run.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::runtime::Handle;

use super::line::{self, Chain, FORMAT, Fault, Replay};
use super::names::bad_run_id;
use super::spool;
use super::writer::FileJournal;
use super::{Journal, JournalError, JournalStore, RunState, Verification};
use crate::event::{Actor, Event, RunId, Timestamp, UnitId};
use crate::lock::{FileLocks, LockStore};

const JOURNAL: &str = "journal.jsonl";
const TORN: &str = "journal.torn";
pub(super) const OWNER: &str = "owner";
const OUTPUT: &str = "output";

/// Keeps journals in a folder.
///
/// ```text
/// DIR/runs/RUN/journal.jsonl      what happened, one JSON object a line, each with the hash of
///                                 the line before it; empty lines at its end while it is written
/// DIR/runs/RUN/output/short.txt   captured output: of each unit the first lines
/// DIR/runs/RUN/output/UNIT.log    what is longer, bounded
/// DIR/runs/RUN/journal.torn       what a crash left of a last line, cut off by a resume
/// DIR/runs/RUN/owner              who is at work on it, while somebody is
/// DIR/locks/RESOURCE.json         who holds a lock
/// ```
///
/// ```
/// use runbook_core::{FileStore, JournalStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), runbook_core::JournalError> {
/// let store = FileStore::new("/var/lib/example/does-not-exist-yet");
/// assert!(store.list().await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FileStore {
    dir: PathBuf,
}

impl FileStore {
    /// Under `dir`, which is made when the first run starts.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of all runs.
    fn runs(&self) -> PathBuf {
        self.dir.join("runs")
    }

    /// The folder of one run.
    fn folder(&self, run: &RunId) -> Result<PathBuf, JournalError> {
        match bad_run_id(run.as_str()) {
            Some(why) => Err(JournalError::BadRunId { run: run.clone(), why }),
            None => Ok(self.runs().join(run.as_str())),
        }
    }

    fn not_found(&self, run: &RunId) -> JournalError {
        JournalError::NotFound { run: run.clone(), place: self.runs().display().to_string() }
    }

    fn create_now(&self, run: &RunId) -> Result<FileJournal, JournalError> {
        let (runs, folder) = (self.runs(), self.folder(run)?);
        let exists =
            || JournalError::Exists { run: run.clone(), place: runs.display().to_string() };
        if folder.exists() {
            return Err(exists());
        }
        make_folders(&runs)?;
        // The folder gets its name when all is in it: nobody ever sees a journal without a header.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let draft = runs.join(format!(".{run}.{}.{unique}", std::process::id()));
        let made = Self::draft(run, &draft).and_then(|(file, chain, bytes)| {
            fs::rename(&draft, &folder).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => exists(),
                _ => io_error("naming", &folder)(error),
            })?;
            sync_folder(&runs)?;
            Ok((file, chain, bytes))
        });
        let (file, chain, bytes) = made.inspect_err(|_| {
            let _ = fs::remove_dir_all(&draft);
        })?;
        Ok(FileJournal::new(run.clone(), folder.join(JOURNAL), file, chain, bytes))
    }

    /// Makes a folder with a locked and durable journal that has a header and no events.
    fn draft(run: &RunId, folder: &Path) -> Result<(File, Chain, u64), JournalError> {
        fs::create_dir(folder).map_err(io_error("making", folder))?;
        let path = folder.join(JOURNAL);
        let doing = io_error("creating", &path);
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(&path).map_err(&doing)?;
        file.try_lock().map_err(|error| doing(error.into()))?;
        let (chain, header) =
            line::lines(run, Timestamp::now(), &[]).map_err(|error| doing(error.into()))?;
        file.write_all(&header).and_then(|()| file.sync_data()).map_err(&doing)?;
        write_owner(folder);
        sync_folder(folder)?;
        Ok((file, chain, header.len() as u64))
    }

    fn open_now(&self, run: &RunId) -> Result<(FileJournal, Vec<Arc<Event>>), JournalError> {
        let folder = self.folder(run)?;
        let path = folder.join(JOURNAL);
        let doing = io_error("opening", &path);
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.not_found(run));
            }
            Err(error) => return Err(doing(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(folder.join(OWNER)).unwrap_or_default();
                let holder = if holder.is_empty() { "not known which" } else { holder.trim() };
                return Err(JournalError::Busy { run: run.clone(), holder: holder.into() });
            }
            Err(TryLockError::Error(error)) => return Err(io_error("locking", &path)(error)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io_error("reading", &path))?;
        let replay = Replay::of(&bytes, run);
        if let Some(fault) = replay.fault {
            return Err(fault.at(&path));
        }
        if let Some(illegal) = fold_fault(&replay.events) {
            return Err(illegal.at(&path));
        }
        let good = replay.good_bytes;
        if replay.torn_bytes > 0 {
            keep_torn(&folder, &bytes[good..good + replay.torn_bytes])?;
        }
        if bytes.len() > good {
            file.set_len(good as u64).map_err(io_error("cutting what is torn off", &path))?;
        }
        file.seek(SeekFrom::Start(good as u64)).map_err(io_error("opening", &path))?;
        // A process that was killed may have left lines that are not durable yet, and this one is
        // about to act on them.
        file.sync_data().map_err(io_error("making durable", &path))?;
        write_owner(&folder);
        let Some(chain) = replay.chain else { return Err(self.not_found(run)) };
        let journal = FileJournal::new(run.clone(), path, file, chain, good as u64);
        Ok((journal, replay.events))
    }

    /// What the journal file of a run holds.
    fn replay(&self, run: &RunId) -> Result<(PathBuf, Replay), JournalError> {
        let path = self.folder(run)?.join(JOURNAL);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.not_found(run),
            _ => io_error("reading", &path)(error),
        })?;
        Ok((path, Replay::of(&bytes, run)))
    }

    fn verify_now(&self, run: &RunId) -> Result<Verification, JournalError> {
        let (path, replay) = self.replay(run)?;
        let good_lines = replay.good_lines();
        let fault = match replay.fault {
            None => fold_fault(&replay.events),
            fault => fault,
        };
        let fault = match fault {
            None => None,
            Some(Fault::Changed { line, how }) => Some((line, how)),
            Some(fault) => return Err(fault.at(&path)),
        };
        Ok(Verification {
            good_lines,
            torn_bytes: replay.torn_bytes as u64,
            fault,
            head: replay.chain.map(|chain| chain.head()).unwrap_or_default(),
        })
    }

    fn list_now(&self) -> Result<Vec<RunId>, JournalError> {
        let runs = self.runs();
        let doing = io_error("listing", &runs);
        let entries = match fs::read_dir(&runs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(doing(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(&doing)?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| bad_run_id(name).is_none()) else {
                continue;
            };
            if let Some(begun) = begun(&entry.path().join(JOURNAL)) {
                found.push((begun, RunId::new(name)));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, run)| run).collect())
    }

    /// Runs `work` where blocking does no harm.
    async fn blocking<T: Send + 'static>(
        &self,
        run: &RunId,
        work: impl FnOnce(&Self, &RunId) -> T + Send + 'static,
    ) -> T {
        let Ok(runtime) = Handle::try_current() else { return work(self, run) };
        let (store, run) = (self.clone(), run.clone());
        // As one type of task for all: each costs the compiler a copy of the runtime's machinery.
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let work: Box<dyn FnOnce() + Send> = Box::new(move || {
            let result = work(&store, &run);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
        if let Err(error) = runtime.spawn_blocking(work).await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        let result = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match result {
            Some(result) => result,
            // The runtime is going down, and with it whoever awaits this.
            None => std::future::pending().await,
        }
    }
}

#[async_trait]
impl JournalStore for FileStore {
    async fn create(&self, run: &RunId) -> Result<Arc<dyn Journal>, JournalError> {
        let journal = self.blocking(run, Self::create_now).await?;
        Ok(Arc::new(journal))
    }

    async fn open(&self, run: &RunId) -> Result<(Arc<dyn Journal>, Vec<Arc<Event>>), JournalError> {
        let (journal, events) = self.blocking(run, Self::open_now).await?;
        Ok((Arc::new(journal), events))
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Arc<Event>>, JournalError> {
        let (path, replay) = self.blocking(run, Self::replay).await?;
        match replay.fault {
            Some(fault) => Err(fault.at(&path)),
            None => Ok(replay.events),
        }
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        self.blocking(&RunId::new(""), |store, _| store.list_now()).await
    }

    async fn verify(&self, run: &RunId) -> Result<Verification, JournalError> {
        self.blocking(run, Self::verify_now).await
    }

    async fn output(&self, run: &RunId, unit: &UnitId) -> Result<String, JournalError> {
        let unit = unit.clone();
        self.blocking(run, move |store, run| {
            let folder = store.folder(run)?;
            if !folder.join(JOURNAL).exists() {
                return Err(store.not_found(run));
            }
            spool::kept_output(&folder.join(OUTPUT), &unit)
                .map_err(|(path, error)| io_error("reading", &path)(error))
        })
        .await
    }

    fn locks(&self) -> Arc<dyn LockStore> {
        Arc::new(FileLocks::new(self.dir.join("locks")))
    }
}

impl Fault {
    fn at(self, path: &Path) -> JournalError {
        let path = path.to_owned();
        match self {
            Self::Changed { line, how } => JournalError::Changed { path, line, how },
            Self::Format { found } => {
                JournalError::Format { path, found, known: FORMAT.to_string() }
            }
        }
    }
}

/// What is wrong with the order of events, whose lines are good each by itself.
fn fold_fault(events: &[Arc<Event>]) -> Option<Fault> {
    let illegal = RunState::fold(events).err()?;
    // Event 1 stands on line 2, below the header.
    Some(Fault::Changed { line: illegal.at + 1, how: illegal.why })
}

fn io_error(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError + use<> {
    let path = path.to_owned();
    move |source| JournalError::Io { doing, path: path.clone(), source }
}

/// Puts what is torn beside the journal, before it is cut off: nothing is lost.
fn keep_torn(folder: &Path, torn: &[u8]) -> Result<(), JournalError> {
    let path = folder.join(TORN);
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut keep| {
            keep.write_all(torn)?;
            keep.write_all(b"\n")?;
            keep.sync_data()
        })
        .map_err(io_error("keeping the torn end of the journal in", &path))
}

/// Tells others who is at work here. Only a help to them, so that a failure does not matter.
fn write_owner(folder: &Path) {
    let _ = fs::write(folder.join(OWNER), Actor::this_process().to_string());
}

/// When the run was begun, if that is a journal. One whose header is damaged counts from the last
/// change: it has to be listed to be found.
fn begun(journal: &Path) -> Option<Timestamp> {
    let file = File::open(journal).ok()?;
    let modified = file.metadata().ok()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let mut header = String::new();
    // No header is that long; what is no journal at all may be.
    let _ = BufReader::with_capacity(1 << 10, file).take(1 << 12).read_line(&mut header);
    Some(line::begun(&header).unwrap_or_else(|| Timestamp::from(modified)))
}

/// Makes a folder and those above it, and makes their names durable.
fn make_folders(folder: &Path) -> Result<(), JournalError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folders(above)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => {
            Err(io_error("making", folder)(error))
        }
        _ => folder.parent().map_or(Ok(()), sync_folder),
    }
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> Result<(), JournalError> {
    // Only Unix opens folders as files.
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("making durable", folder))
}
