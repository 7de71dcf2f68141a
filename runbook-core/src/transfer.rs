//! [`Transfer`]: how far a file on its way between here and a host has come.

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context as Poller, Poll, ready};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use crate::context::Observer;
use crate::event::{EventKind, UnitId};
use crate::fingerprint::hex;
use crate::target::{BoxRead, FileKind, Host};

/// A file on its way between here and a host, and how far it has come.
///
/// Every file that a unit writes or reads through [`Context::on`](crate::Context::on) and
/// [`Observer::on`](crate::Observer::on) is told as
/// [`EventKind::Transfer`]: a small or quick one with one event at its end, any other at its
/// beginning, four times a second, and at its end. Of a large one the journal keeps the end, with
/// its [`sha256`](Self::sha256): a report says which build went to which host.
///
/// ```
/// use runbook_core::testing::{FakeTarget, Surroundings};
/// use runbook_core::{Direction, EventKind, Host, TransferState};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let (web, around) = (Host::new(FakeTarget::new("web-1").dir("/srv")), Surroundings::new());
/// around.context().on(&web).write("/srv/motd", "welcome\n").await.unwrap();
///
/// let events = around.events();
/// let Some(EventKind::Transfer(file)) = events.last() else { panic!("{events:?}") };
/// assert_eq!((file.path.as_str(), file.host.as_str()), ("/srv/motd", "web-1"));
/// assert_eq!((file.direction, file.state), (Direction::Up, TransferState::Done));
/// assert_eq!((file.done, file.total), (8, Some(8)));
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The unit whose file it is.
    pub unit: UnitId,
    /// The host.
    pub host: String,
    /// The file's path on the host, scrubbed.
    pub path: String,
    /// Which way it goes.
    pub direction: Direction,
    /// Whether more is to come.
    pub state: TransferState,
    /// Bytes so far.
    pub done: u64,
    /// Bytes in all, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Since it began, in milliseconds.
    pub elapsed_ms: u64,
    /// The SHA-256 of what passed, in hexadecimal, once it has arrived: of an upload that is larger
    /// than 64 KiB, and of a download that is larger than 1 MiB. (Of a small file it would give away
    /// a short secret in it to whoever tries them all; and a check may read its file every second.)
    ///
    /// It tells what was sent or read here. That a host holds the same follows from the integrity
    /// of the connection and from the size, which targets compare; `Ssh::verify_uploads` of
    /// runbook-targets asks the host for its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Transfer {
    /// Bytes a second on the average, once there was time to tell.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        let rate = u128::from(self.done) * 1000 / u128::from(self.elapsed_ms.max(1));
        (self.elapsed_ms > 0).then(|| u64::try_from(rate).unwrap_or(u64::MAX))
    }

    /// Whether `other` tells of the same file, going the same way.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        (&self.host, &self.path, self.direction) == (&other.host, &other.path, other.direction)
    }

    /// The last part of its path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path.trim_end_matches('/').rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the host.
    Up,
    /// From the host.
    Down,
}

/// Whether a file is still on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// It is.
    Moving,
    /// It arrived: an upload stands in its place, a download was read to its end.
    Done,
    /// It ended before: by a failure, or because no more was wanted.
    Cut,
}

/// No more often than so.
const EVERY: Duration = Duration::from_millis(250);

/// What is no larger is told at its end only; an upload that is larger is told with its hash.
const SMALL: u64 = 64 << 10;

/// A download that is larger is worth the question how large it is in all, and told with its hash.
const LARGE: u64 = 1 << 20;

/// Counts one file and tells of it. Until it is [`finish`](Self::finish)ed it is cut.
pub(crate) struct Meter {
    cx: Observer,
    host: String,
    path: String,
    direction: Direction,
    began: Instant,
    done: AtomicU64,
    /// `UNKNOWN` until it is known.
    total: AtomicU64,
    /// When it was told last, in milliseconds since it began, and one more; 0 if never.
    told: AtomicU64,
    over: AtomicBool,
    /// Of all that passed, if that is to be told.
    sha256: OnceLock<String>,
}

const UNKNOWN: u64 = u64::MAX;

impl Meter {
    pub(crate) fn new(
        cx: &Observer,
        host: &Host,
        path: &Path,
        direction: Direction,
        total: Option<u64>,
    ) -> Arc<Self> {
        let meter = Self {
            cx: cx.clone(),
            host: host.name().to_owned(),
            path: crate::secret::scrub(&path.to_string_lossy()).into_owned(),
            direction,
            began: Instant::now(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(total.unwrap_or(UNKNOWN)),
            told: AtomicU64::new(0),
            over: AtomicBool::new(false),
            sha256: OnceLock::new(),
        };
        if total.is_some_and(|total| total > SMALL) {
            meter.tell(TransferState::Moving);
        }
        Arc::new(meter)
    }

    /// It has arrived.
    pub(crate) fn finish(&self) {
        self.end(TransferState::Done);
    }

    fn count(&self, bytes: usize) {
        let done = self.done.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let told = self.told.load(Ordering::Relaxed);
        let due = if told == 0 {
            done > SMALL || self.began.elapsed() >= EVERY
        } else {
            self.elapsed_ms() + 1 >= told + EVERY.as_millis() as u64
        };
        if due {
            self.tell(TransferState::Moving);
        }
    }

    fn end(&self, state: TransferState) {
        if !self.over.swap(true, Ordering::Relaxed) {
            self.tell(state);
        }
    }

    fn tell(&self, state: TransferState) {
        let elapsed_ms = self.elapsed_ms();
        self.told.store(elapsed_ms + 1, Ordering::Relaxed);
        let done = self.done.load(Ordering::Relaxed);
        let total = match (self.total.load(Ordering::Relaxed), state) {
            (_, TransferState::Done) => Some(done),
            // A file that grows while it is read has no total.
            (total, _) => Some(total).filter(|total| *total != UNKNOWN && *total >= done),
        };
        let sha256 = self.sha256.get().filter(|_| state == TransferState::Done).cloned();
        let event = EventKind::Transfer(Box::new(Transfer {
            unit: self.cx.unit_id().clone(),
            host: self.host.clone(),
            path: self.path.clone(),
            direction: self.direction,
            state,
            done,
            total,
            elapsed_ms,
            sha256,
        }));
        let sink = &self.cx.scope().sink;
        if event.is_durable() { sink.keep(event) } else { sink.pass(event) }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(UNKNOWN - 1)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.end(TransferState::Cut);
    }
}

/// A reader whose bytes are counted and hashed.
pub(crate) struct Metered {
    from: BoxRead,
    meter: Arc<Meter>,
    hash: Sha256,
    /// Of a download: asked how large the file is once it turns out to be large.
    measure: Option<(Host, std::path::PathBuf)>,
}

impl Metered {
    /// What is sent; its meter says when it has arrived.
    pub(crate) fn up(from: BoxRead, meter: &Arc<Meter>) -> Self {
        Self { from, meter: Arc::clone(meter), hash: Sha256::new(), measure: None }
    }

    /// What is fetched; it has arrived when it was read to its end.
    pub(crate) fn down(from: BoxRead, cx: &Observer, host: &Host, path: &Path) -> Self {
        let meter = Meter::new(cx, host, path, Direction::Down, None);
        Self { from, meter, hash: Sha256::new(), measure: Some((host.clone(), path.to_owned())) }
    }

    /// At the end of the stream: what was not read to there has no hash.
    fn hashed(&mut self) {
        let least = match self.meter.direction {
            Direction::Up => SMALL,
            Direction::Down => LARGE,
        };
        if self.meter.done.load(Ordering::Relaxed) > least {
            self.meter.sha256.get_or_init(|| hex(&std::mem::take(&mut self.hash).finalize()));
        }
    }

    /// Beside the transfer, so that it costs a small file nothing and a large one no time. Not
    /// ended with the transfer: a question that is broken off costs a host more than its answer.
    fn measure(&mut self) {
        if self.meter.done.load(Ordering::Relaxed) < LARGE {
            return;
        }
        let Some((host, path)) = self.measure.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let meter = Arc::downgrade(&self.meter);
        runtime.spawn(async move {
            let Ok(Some(file)) = host.target().stat(&path).await else { return };
            if let (FileKind::File, Some(meter)) = (file.kind, meter.upgrade()) {
                meter.total.store(file.size, Ordering::Relaxed);
            }
        });
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        ready!(Pin::new(&mut self.from).poll_read(poller, buffer))?;
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.hash.update(&buffer.filled()[before..]);
            self.meter.count(read);
            self.measure();
        } else if room > 0 {
            self.hashed();
            if self.meter.direction == Direction::Down {
                self.meter.finish();
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
