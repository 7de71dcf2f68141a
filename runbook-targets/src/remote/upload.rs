//! Large content, on channels of its own.

use std::future::{Future, ready};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll};

use runbook_core::{BoxRead, Exit, Failure, Process, Result, Spawn, WriteOptions};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::channel::{Channel, Channels, Purpose};
use super::files::{Temp, all, arguments, beside, call, error, folder, scripts};
use super::process::Alone;
use super::target::Inner;
use super::words::{plain, push_next};
use crate::refused::Doing;

/// What is read and sent at once.
const PIECE: usize = 256 << 10;

/// A script that runs `text` with `$1` and so on set.
fn script(text: &str, words: &[&std::ffi::OsStr]) -> Vec<u8> {
    let mut script = b"set --".to_vec();
    words.iter().for_each(|word| push_next(&mut script, word));
    script.extend_from_slice(text.as_bytes());
    script
}

/// A name for a script of ours.
fn name() -> String {
    Spawn::new(String::new()).command
}

/// Sends the content to a temporary file, then puts that at its place when it is complete.
pub(super) async fn upload<C: Channels>(
    inner: &Arc<Inner<C>>,
    path: &Path,
    content: BoxRead,
    options: &WriteOptions,
) -> Result<()> {
    let doing = Doing { verb: "writing", path, host: inner.name() };
    let temp = beside(path).map_err(|error| doing.failed(&error))?;
    // The channel has a connection of its own: both are made at once.
    let command = name();
    let opened = Alone::open(inner, &command, Purpose::Bulk);
    let (temp, opened) = tokio::join!(Temp::new(inner, temp), opened);
    let mut temp = temp.map_err(|failure| failure.while_doing(&doing))?;
    let done = match fill(inner, &mut temp, &command, opened, content, &doing).await {
        Ok(()) => put(inner, temp.path(), path, options, &doing).await,
        failed => failed,
    };
    match done {
        Ok(()) => temp.placed(),
        Err(_) => temp.remove().await,
    }
    done
}

async fn fill<C: Channels>(
    inner: &Arc<Inner<C>>,
    temp: &mut Temp<C>,
    command: &str,
    opened: Result<Channel>,
    mut content: BoxRead,
    doing: &Doing<'_>,
) -> Result<()> {
    let verify = if inner.limits.verify { "yes" } else { "" };
    let folder = folder(doing.path);
    let script = script(scripts::FILL, &[&temp.path(), verify.as_ref(), &folder]);
    let process = Alone::start(inner, &script, command, ready(opened), None).await;
    let process = process.map_err(|failure| failure.while_doing(doing))?;
    let process = temp.process.insert(process);
    let (stdin, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
    let send = async {
        let Some(mut stdin) = stdin else { return Ok((0, Sha256::new())) };
        let (mut sent, mut hash) = (0_u64, Sha256::new());
        let mut piece = vec![0; PIECE];
        loop {
            let read = content.read(&mut piece).await?;
            // It says itself why it does not take more.
            if read == 0 || stdin.write_all(&piece[..read]).await.is_err() {
                break;
            }
            if inner.limits.verify {
                hash.update(&piece[..read]);
            }
            sent += read as u64;
        }
        let _ = stdin.shutdown().await;
        io::Result::Ok((sent, hash))
    };
    let hear = async { tokio::join!(all(stdout), all(stderr), process.wait()) };
    let ((sent, hash), (out, err, exit)) = {
        let mut hear = std::pin::pin!(hear);
        let mut send = std::pin::pin!(send);
        // Content that never comes must not hide that the other side gave up.
        tokio::select! {
            sent = &mut send => (sent.map_err(|error| doing.source_failed(&error))?, hear.await),
            heard = &mut hear => ((0, Sha256::new()), heard),
        }
    };
    let failed = |failure: Failure| failure.while_doing(doing);
    let (exit, out, err) = (exit.map_err(failed)?, out.map_err(failed)?, err.map_err(failed)?);
    if exit != Exit::Code(0) {
        return Err(doing.failed(&error(exit, &err)));
    }
    let said = String::from_utf8_lossy(&out);
    let mut said = said.split_ascii_whitespace();
    let size = said.next().and_then(|size| size.parse::<u64>().ok());
    if size != Some(sent) {
        let error = match err.trim_ascii() {
            b"" => io::Error::other(format!(
                "{sent} bytes were sent, and {} arrived",
                size.unwrap_or_default()
            )),
            said => error(exit, said),
        };
        return Err(doing.failed(&error));
    }
    if let Some(theirs) = said.next() {
        let ours: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if ours != theirs {
            let why = format!("its content arrived changed: sha256 {theirs} instead of {ours}");
            return Err(Failure::msg(why)
                .while_doing(doing)
                .next(format!("look at the disks and the memory of {}", inner.name())));
        }
    }
    Ok(())
}

async fn put<C: Channels>(
    inner: &Arc<Inner<C>>,
    temp: std::ffi::OsString,
    path: &Path,
    options: &WriteOptions,
    doing: &Doing<'_>,
) -> Result<()> {
    let said = call(inner, &scripts::PUT, arguments(temp, path, options)).await;
    let said = said.map_err(|failure| failure.while_doing(doing))?;
    said.ok().map(drop).map_err(|error| doing.failed(&error))
}

/// The content of a file, however long.
pub(super) async fn download<C: Channels>(inner: &Arc<Inner<C>>, path: &Path) -> Result<BoxRead> {
    let doing = Doing { verb: "reading", path, host: inner.name() };
    let script = script(scripts::DOWNLOAD, &[&plain(path)]);
    let command = name();
    let opened = Alone::open(inner, &command, Purpose::Bulk);
    let process = Alone::start(inner, &script, &command, opened, None).await;
    let mut process = process.map_err(|failure| failure.while_doing(&doing))?;
    drop(process.stdin());
    let (Some(mut stdout), stderr) = (process.stdout(), process.stderr()) else {
        return Err(Failure::msg("it has no output").while_doing(&doing));
    };
    let opened = stdout.read_u8().await.is_ok();
    let end = async move {
        let said = all(stderr).await?;
        Ok::<_, Failure>((process.wait().await?, said))
    };
    if !opened {
        let (exit, said) = end.await.map_err(|failure| failure.while_doing(&doing))?;
        return Err(doing.failed(&error(exit, &said)));
    }
    let end = async move {
        match end.await {
            Ok((Exit::Code(0), _)) => Ok(()),
            Ok((exit, said)) => Err(error(exit, &said)),
            Err(failure) => Err(io::Error::other(failure.to_problem())),
        }
    };
    Ok(Box::new(Reading { from: stdout, end: Some(Box::pin(end)) }))
}

/// The content, and at its end whether that was all.
struct Reading {
    from: BoxRead,
    end: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
}

impl AsyncRead for Reading {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        // All that is there: whoever waits for a disk between two reads waits less often.
        let mut filled = before;
        loop {
            match Pin::new(&mut self.from).poll_read(cx, buffer) {
                // What came before is said first; an error or the end is said again.
                Poll::Pending | Poll::Ready(Err(_)) if filled > before => break,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if buffer.filled().len() == filled => break,
                Poll::Ready(Ok(())) => filled = buffer.filled().len(),
            }
        }
        if filled == before
            && buffer.remaining() > 0
            && let Some(end) = &mut self.end
        {
            let ended = task::ready!(end.as_mut().poll(cx));
            self.end = None;
            ended?;
        }
        Poll::Ready(Ok(()))
    }
}
