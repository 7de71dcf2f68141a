//! Streams whose bytes take longer.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use runbook_core::BoxStream;
use tokio::io::{
    AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, copy, duplex, split,
};
use tokio::time::{Instant, Sleep, sleep};

/// How many bytes are under way at most.
const WINDOW: usize = 256 << 10;

/// A source whose bytes, end and error come later.
pub(super) struct Delayed<R> {
    from: R,
    delay: Duration,
    scratch: Box<[u8]>,
    /// What is under way, with when it is due.
    line: VecDeque<(Instant, Vec<u8>)>,
    held: usize,
    end: Option<(Instant, io::Result<()>)>,
    due: Pin<Box<Sleep>>,
}

impl<R: AsyncRead + Unpin> Delayed<R> {
    pub(super) fn new(from: R, delay: Duration) -> Self {
        Self {
            from,
            delay,
            scratch: vec![0; 16 << 10].into(),
            line: VecDeque::new(),
            held: 0,
            end: None,
            due: Box::pin(sleep(Duration::ZERO)),
        }
    }

    /// Notes what has come, and when it is due.
    fn take_in(&mut self, cx: &mut Context<'_>) {
        while self.end.is_none() && self.held < WINDOW {
            let mut chunk = ReadBuf::new(&mut self.scratch);
            let Poll::Ready(read) = Pin::new(&mut self.from).poll_read(cx, &mut chunk) else {
                break;
            };
            let due = Instant::now() + self.delay;
            match read {
                Ok(()) if chunk.filled().is_empty() => self.end = Some((due, Ok(()))),
                Ok(()) => {
                    self.held += chunk.filled().len();
                    self.line.push_back((due, chunk.filled().to_vec()));
                }
                Err(error) => self.end = Some((due, Err(error))),
            }
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Delayed<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.take_in(cx);
        let first = this.line.front().map(|(due, _)| *due);
        let Some(due) = first.or(this.end.as_ref().map(|(due, _)| *due)) else {
            return Poll::Pending;
        };
        if due > Instant::now() {
            this.due.as_mut().reset(due);
            ready!(this.due.as_mut().poll(cx));
        }
        match this.line.front_mut() {
            Some((_, bytes)) => {
                let now = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes[..now]);
                this.held -= now;
                if now == bytes.len() {
                    this.line.pop_front();
                } else {
                    bytes.drain(..now);
                }
                Poll::Ready(Ok(()))
            }
            None => match &mut this.end {
                // An error is told once; then it is the end.
                Some((_, end)) => Poll::Ready(std::mem::replace(end, Ok(()))),
                None => Poll::Pending,
            },
        }
    }
}

/// A sink that bytes and end reach later. An error there is a broken pipe here.
pub(super) fn delayed_write(
    mut to: impl AsyncWrite + Send + Unpin + 'static,
    delay: Duration,
) -> DuplexStream {
    let (near, far) = duplex(WINDOW);
    tokio::spawn(async move {
        let mut far = Delayed::new(far, delay);
        if copy(&mut far, &mut to).await.is_ok() {
            let _ = to.shutdown().await;
        }
    });
    near
}

/// A socket with both.
pub(super) struct DelayedSocket {
    read: Delayed<ReadHalf<BoxStream>>,
    write: DuplexStream,
}

impl DelayedSocket {
    pub(super) fn new(stream: BoxStream, delay: Duration) -> Self {
        let (read, write) = split(stream);
        Self { read: Delayed::new(read, delay), write: delayed_write(write, delay) }
    }
}

impl AsyncRead for DelayedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buffer)
    }
}

impl AsyncWrite for DelayedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}
