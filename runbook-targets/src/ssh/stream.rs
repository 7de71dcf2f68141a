//! The bounded buffers between a driver thread and those who read and write a channel.
//!
//! A reader is woken by the driver itself and copies straight out of the buffer: no task and no
//! queue lies between.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use runbook_core::{FailureKind, Problem};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bell::Bell;

/// How many bytes a buffer holds before the other side has to wait.
pub(super) const LIMIT: usize = 256 << 10;

/// What the remote program says: the driver [`push`](Output::push)es, a [`OutputReader`] reads.
pub(super) struct Output(Arc<Mutex<OutputState>>);

/// Reads what the remote program says.
pub(super) struct OutputReader {
    state: Arc<Mutex<OutputState>>,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct OutputState {
    bytes: VecDeque<u8>,
    reader: Option<Waker>,
    /// The driver left bytes with the server, for want of room.
    full: bool,
    end: Option<Result<(), Arc<str>>>,
    reader_gone: bool,
}

/// A stream from the driver to a reader.
pub(super) fn output(bell: &Arc<Bell>) -> (Output, OutputReader) {
    let state = Arc::new(Mutex::new(OutputState::default()));
    (Output(state.clone()), OutputReader { state, bell: bell.clone() })
}

impl Output {
    /// How many bytes may be pushed. Once it is none, the bell rings when half of it is read.
    pub(super) fn room(&self) -> usize {
        let mut state = lock(&self.0);
        if state.reader_gone {
            return usize::MAX;
        }
        let room = LIMIT.saturating_sub(state.bytes.len());
        // Few and large reads, not many small ones.
        if room < LIMIT / 4 {
            state.full = true;
            return 0;
        }
        room
    }

    pub(super) fn push(&self, bytes: &[u8]) {
        let mut state = lock(&self.0);
        if !state.reader_gone {
            state.bytes.extend(bytes);
            wake(state);
        }
    }

    /// No more comes: the program closed it, or the connection was lost.
    pub(super) fn end(&self, end: Result<(), Arc<str>>) {
        let mut state = lock(&self.0);
        if state.end.is_none() {
            state.end = Some(end);
            wake(state);
        }
    }

    pub(super) fn reader_gone(&self) -> bool {
        lock(&self.0).reader_gone
    }
}

fn wake(mut state: MutexGuard<'_, OutputState>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl AsyncRead for OutputReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = lock(&self.state);
        if state.bytes.is_empty() {
            return match &state.end {
                Some(Ok(())) => Poll::Ready(Ok(())),
                Some(Err(why)) => Poll::Ready(Err(lost(why))),
                None => {
                    remember(&mut state.reader, cx);
                    Poll::Pending
                }
            };
        }
        while buf.remaining() > 0 && !state.bytes.is_empty() {
            let (front, _) = state.bytes.as_slices();
            let taken = front.len().min(buf.remaining());
            buf.put_slice(&front[..taken]);
            state.bytes.drain(..taken);
        }
        let roomy = state.full && state.bytes.len() <= LIMIT / 2;
        if roomy {
            state.full = false;
        }
        drop(state);
        if roomy {
            self.bell.ring();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for OutputReader {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.reader_gone = true;
        state.bytes = VecDeque::new();
        drop(state);
        self.bell.ring();
    }
}

/// What the remote program is told: an [`InputWriter`] writes, the driver [`take`](Input::take)s.
pub(super) struct Input(Arc<Mutex<InputState>>);

/// Writes to the remote program.
pub(super) struct InputWriter {
    state: Arc<Mutex<InputState>>,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct InputState {
    bytes: Vec<u8>,
    writer: Option<Waker>,
    /// The writer said that there is no more, or is gone.
    ended: bool,
    writer_gone: bool,
    /// Why nobody takes it any more.
    refused: Option<Refused>,
}

#[derive(Clone)]
enum Refused {
    Ended,
    Lost(Arc<str>),
}

/// A stream from a writer to the driver.
pub(super) fn input(bell: &Arc<Bell>) -> (InputWriter, Input) {
    let state = Arc::new(Mutex::new(InputState::default()));
    (InputWriter { state: state.clone(), bell: bell.clone() }, Input(state))
}

impl Input {
    /// What a buffer may keep while nothing is sent: the first words of a shell are its longest, and
    /// a fleet has many. (One that is filled to its limit will be again.)
    const LITTLE: usize = 1 << 10;

    /// Fills the empty `bytes` with what was written. True if no more will come.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> bool {
        debug_assert!(bytes.is_empty());
        let mut state = lock(&self.0);
        std::mem::swap(&mut state.bytes, bytes);
        if bytes.is_empty() && (Self::LITTLE..LIMIT).contains(&state.bytes.capacity()) {
            state.bytes = Vec::new();
        }
        let ended = state.ended;
        let writer = if bytes.is_empty() { None } else { state.writer.take() };
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        ended
    }

    /// The program ended, or the connection was lost: writes fail from now on.
    pub(super) fn refuse(&self, lost: Option<Arc<str>>) {
        let mut state = lock(&self.0);
        state.refused.get_or_insert(lost.map_or(Refused::Ended, Refused::Lost));
        state.bytes = Vec::new();
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    pub(super) fn writer_gone(&self) -> bool {
        lock(&self.0).writer_gone
    }
}

impl AsyncWrite for InputWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.state);
        match &state.refused {
            Some(Refused::Lost(why)) => return Poll::Ready(Err(lost(why))),
            Some(Refused::Ended) => return Poll::Ready(Err(ended())),
            None if state.ended => return Poll::Ready(Err(ended())),
            None => {}
        }
        let room = LIMIT.saturating_sub(state.bytes.len());
        if room == 0 {
            remember(&mut state.writer, cx);
            return Poll::Pending;
        }
        let taken = room.min(buf.len());
        state.bytes.extend_from_slice(&buf[..taken]);
        drop(state);
        self.bell.ring();
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The driver was told, and needs no more telling.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.state).ended = true;
        self.bell.ring();
        Poll::Ready(Ok(()))
    }
}

impl Drop for InputWriter {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.ended = true;
        state.writer_gone = true;
        drop(state);
        self.bell.ring();
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the remote program takes no more input")
}

/// Says of what kind it is, also to those who only see an [`io::Error`].
fn lost(why: &Arc<str>) -> io::Error {
    let problem = Problem {
        kind: FailureKind::Disconnected,
        message: why.to_string(),
        causes: Vec::new(),
        next: None,
    };
    io::Error::new(io::ErrorKind::ConnectionReset, problem)
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// The room that is kept after so much was written, taken, and nothing more is there.
    async fn kept(size: usize) -> usize {
        let (mut writer, input) = input(&Bell::new().unwrap());
        writer.write_all(&vec![7; size]).await.unwrap();
        let mut bytes = Vec::new();
        assert!(!input.take(&mut bytes));
        assert_eq!(bytes.len(), size);
        bytes.clear();
        assert!(!input.take(&mut bytes));
        assert!(bytes.is_empty());
        bytes.capacity() + lock(&input.0).bytes.capacity()
    }

    #[tokio::test]
    async fn only_little_or_much_room_is_kept() {
        assert!((1..=Input::LITTLE).contains(&kept(100).await));
        assert_eq!(kept(8 << 10).await, 0);
        assert!(kept(LIMIT).await >= LIMIT);
    }
}
