//! [`FileJournal`]: one journal file, open for writing by this process.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::line::Chain;
use super::spool::Spool;
use super::{Journal, JournalError};
use crate::event::{Event, RunId, StreamKind, UnitId};

/// Files are made longer by up to this many bytes at once, see [`line`](super::line).
const ROOM: u64 = 64 << 10;

/// Of the line being made, so much capacity is kept for the next.
const KEPT: usize = 64 << 10;

/// A disk that syncs slower than this on average gets a thread of its own to wait on.
const SLOW: Duration = Duration::from_millis(1);

/// Append-only, with one `fdatasync` for all who wait. Holds the lock on the file while it lives.
pub(super) struct FileJournal {
    run: RunId,
    path: PathBuf,
    file: Arc<File>,
    writer: Mutex<Writer>,
    /// The latest line that was handed to the operating system.
    appended: AtomicU64,
    /// The latest line that is known to be durable.
    durable: AtomicU64,
    /// Callers of `commit` whose line is not durable yet.
    committing: AtomicUsize,
    /// Held by the one who syncs for all; with how long that takes lately.
    sync: tokio::sync::Mutex<Duration>,
    closed: AtomicBool,
    spool: Spool,
    /// Says who is at work on the run, for whoever finds it busy.
    owner: PathBuf,
}

struct Writer {
    chain: Chain,
    /// Bytes of whole lines; the file's cursor stands there.
    bytes: u64,
    /// The length of the file: room up to there.
    room: u64,
    /// The line being made; kept for its capacity.
    line: Vec<u8>,
    /// Why nothing more is taken.
    closed: Option<String>,
}

impl Writer {
    /// Writes the line that was made.
    ///
    /// One call for the whole line: a process that is killed has written all of it or nothing.
    fn write(&mut self, mut file: &File) -> io::Result<()> {
        let line = self.line.len();
        let end = self.bytes + line as u64;
        if end <= self.room {
            file.write_all(&self.line)?;
        } else {
            let room = (end / ROOM + 1) * ROOM;
            let more = usize::try_from(room - end).unwrap_or_default();
            self.line.resize(line + more, b'\n');
            let made = file.write_all(&self.line);
            self.line.truncate(line);
            self.room = room;
            if made.is_err() {
                // The line may be all that there is room for.
                file.set_len(self.bytes)?;
                file.seek(SeekFrom::Start(self.bytes))?;
                file.write_all(&self.line)?;
                self.room = end;
            }
            file.seek(SeekFrom::Start(end))?;
        }
        self.bytes = end;
        // That of a large plan would be kept for the whole run.
        self.line.clear();
        self.line.shrink_to(KEPT);
        Ok(())
    }
}

impl FileJournal {
    /// Goes on after the last line of `file`, which is locked by this process and ends at
    /// `bytes`, where its cursor stands.
    pub(super) fn new(run: RunId, path: PathBuf, file: File, chain: Chain, bytes: u64) -> Self {
        let dir = path.parent().map(Path::to_owned).unwrap_or_default();
        let seq = chain.seq();
        let writer =
            Writer { chain, bytes, room: bytes, line: Vec::with_capacity(1 << 10), closed: None };
        Self {
            run,
            path,
            file: Arc::new(file),
            writer: Mutex::new(writer),
            appended: AtomicU64::new(seq),
            durable: AtomicU64::new(seq),
            committing: AtomicUsize::new(0),
            sync: tokio::sync::Mutex::new(Duration::ZERO),
            closed: AtomicBool::new(false),
            spool: Spool::new(dir.join("output")),
            owner: dir.join(super::file::OWNER),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self, doing: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { doing, path: self.path.clone(), source }
    }

    fn closed_because(&self, why: &str) -> JournalError {
        JournalError::Closed { run: self.run.clone(), why: why.to_owned() }
    }

    fn close(&self, writer: &mut Writer, why: &io::Error) {
        writer.closed = Some(why.to_string());
        self.closed.store(true, Ordering::Release);
    }

    fn open(&self) -> Result<(), JournalError> {
        if self.closed.load(Ordering::Acquire)
            && let Some(why) = &self.writer().closed
        {
            return Err(self.closed_because(why));
        }
        Ok(())
    }

    fn is_durable(&self, seq: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= seq
    }

    /// Whether other tasks may have lines to append that could share a sync, if they got to run.
    ///
    /// On a runtime of one thread they never would: a sync blocks that thread, and without an
    /// `await` that waits this task never leaves it. (Measured with eight tasks: 8.5 syncs for
    /// eight units without the pause, 1.6 with it; it adds 1 % where there is one task.) On other
    /// threads they run anyway, and the pause costs more, so that it is made only if somebody is
    /// seen to wait as well.
    fn others_may_append(&self) -> bool {
        let one_thread = Handle::try_current()
            .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread);
        one_thread || self.committing.load(Ordering::Relaxed) > 1
    }

    /// Syncs for everybody who waits; `usual` is how long that takes lately.
    ///
    /// A good disk answers in 0.1 to 0.3 ms. Handing that to another thread and being woken again
    /// costs 20 to 60 µs on top, so it is done right here, where it blocks this thread of the
    /// runtime no longer than a busy task would. A slow disk would hold up the other tasks, and
    /// there the hand-over does not show.
    async fn sync(&self, usual: &mut Duration) -> io::Result<()> {
        let began = Instant::now();
        match Handle::try_current() {
            Ok(runtime) if *usual >= SLOW => {
                let file = Arc::clone(&self.file);
                runtime
                    .spawn_blocking(move || file.sync_data())
                    .await
                    .map_err(io::Error::other)??;
            }
            _ => self.file.sync_data()?,
        }
        *usual = (*usual * 7 + began.elapsed()) / 8;
        if is_removed(&self.file)? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed"));
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for FileJournal {
    fn append(&self, event: &Arc<Event>) -> Result<u64, JournalError> {
        // First the output: whoever reads that a unit ended finds what it said.
        self.spool.flush();
        let mut guard = self.writer();
        let writer = &mut *guard;
        if let Some(why) = &writer.closed {
            return Err(self.closed_because(why));
        }
        writer.line.clear();
        let mut chain = writer.chain.clone();
        let seq = chain
            .line(event, &mut writer.line)
            .map_err(|error| self.io("writing an event as JSON for", error.into()))?;
        if let Err(error) = writer.write(&self.file) {
            // Part of the line may be there. Without it the file is whole, so that it can be read
            // and, with room on the disk, taken up again. Opening cuts it too, if this fails.
            let _ = self.file.set_len(writer.bytes);
            self.close(writer, &error);
            return Err(self.io("writing", error));
        }
        writer.chain = chain;
        self.appended.store(seq, Ordering::Release);
        Ok(seq)
    }

    async fn commit(&self, seq: u64) -> Result<(), JournalError> {
        if self.is_durable(seq) {
            return Ok(());
        }
        let _waiting = Waiting::new(&self.committing);
        let mut usual = self.sync.lock().await;
        if self.is_durable(seq) {
            return Ok(());
        }
        self.open()?;
        if self.others_may_append() {
            tokio::task::yield_now().await;
        }
        let upto = self.appended.load(Ordering::Acquire);
        if let Err(error) = self.sync(&mut usual).await {
            // What the kernel could not write it may have dropped, and a second sync would succeed
            // without it: nothing that follows could be trusted.
            self.close(&mut self.writer(), &error);
            return Err(self.io("making durable", error));
        }
        self.durable.fetch_max(upto, Ordering::AcqRel);
        Ok(())
    }

    fn spool(&self, unit: &UnitId, stream: StreamKind, line: &str) {
        self.spool.push(unit, stream, line);
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        // Nobody has to see the room. Whoever opens the file cuts it too, if this fails.
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = self.file.set_len(writer.bytes);
        // Before the file closes and with it the lock goes.
        let _ = fs::remove_file(&self.owner);
    }
}

/// Whether a file has no name any more: what is written to it can never be read.
///
/// Linux is asked for the number of names alone. Where somebody has asked for the times of a file,
/// the next write has to note a new one, and the sync after it takes half as long again.
#[cfg(target_os = "linux")]
fn is_removed(file: &File) -> io::Result<bool> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    Ok(statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::NLINK)?.stx_nlink == 0)
}

/// Whether a file has no name any more: what is written to it can never be read.
#[cfg(all(unix, not(target_os = "linux")))]
fn is_removed(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(file.metadata()?.nlink() == 0)
}

/// Elsewhere a file that is open can't be removed.
#[cfg(not(unix))]
fn is_removed(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// Counts a caller of `commit` for as long as it is one.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
