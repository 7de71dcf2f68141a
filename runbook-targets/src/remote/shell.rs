//! [`Shell`]: a `sh` over there that takes one framed command after another; [`Pool`], those that
//! wait for one.
//!
//! A frame is one compound command of `sh`, so a frame that is cut off is a syntax error and no
//! part of it runs. After it the shell says on both streams that it ended, and how, by a word that
//! no program knows.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use runbook_core::{BoxRead, BoxWrite, Exit, Result, Spawn};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::channel::{Channel, Channels, Purpose};
use super::fuse;
use super::lifeline::{Lifeline, Noise, WORD, Whom, not_ready};
use super::stream::Scanner;
use super::target::{Inner, Limits};
use super::words::{compact, push};

pub(super) static PROLOGUE: LazyLock<String> = LazyLock::new(|| compact(include_str!("shell.sh")));

/// Reads the number of lines of a script, then these, and becomes it. Not one byte more is read,
/// so what follows is the script's own standard input. (In another locale bash would
/// take a line end for the rest of a character.)
pub(super) const BOOT: &str = "'_l=${IFS#??};_s=;IFS= read -r _n;while [ $_n -gt 0 ];do LC_ALL=C \
     IFS= read -r _r;_s=$_s$_r$_l;_n=$((_n-1));done;eval \"$_s\"'";

/// A script for [`BOOT`].
pub(super) fn framed(script: &[u8]) -> Vec<u8> {
    let lines = memchr::memchr_iter(b'\n', script).count() + 1;
    let mut framed = format!("{lines}\n").into_bytes();
    framed.extend_from_slice(script);
    framed.push(b'\n');
    framed
}

/// Sixteen digits that nobody guesses.
pub(super) fn nonce() -> String {
    format!("{:016x}", std::hash::RandomState::new().build_hasher().finish())
}

/// The word by which a shell speaks to this side. Its first byte is one that programs don't say,
/// so that no output waits for the next byte to be told from it.
pub(super) fn word() -> String {
    format!("\x1e{}", nonce())
}

/// A shell that runs nothing.
pub(super) struct Shell {
    pub(super) stdin: BoxWrite,
    pub(super) stdout: (BoxRead, Scanner),
    pub(super) stderr: (BoxRead, Scanner),
    pub(super) about: About,
}

/// What is known of a shell, also while it runs something.
pub(super) struct About {
    pub(super) exit: Option<oneshot::Receiver<Result<Exit>>>,
    pub(super) lifeline: Arc<Lifeline>,
    /// By what the lifeline knows it, and the command that it runs.
    pub(super) whom: Whom,
    /// The functions that it was given.
    pub(super) knows: BTreeSet<&'static str>,
    /// What is still to be said to it before its first frame.
    pub(super) prologue: Vec<u8>,
    /// It has a fuse, which has to be told from a lifeline.
    pub(super) fuse: bool,
    /// When it looked for processes last.
    pub(super) looked: Option<Instant>,
}

impl About {
    /// Whether few processes can have been born since it looked: to begin where it ended costs less
    /// than to ask where that is now.
    pub(super) fn is_fresh(&self) -> bool {
        const FEW: Duration = Duration::from_millis(1);
        self.looked.is_some_and(|looked| looked.elapsed() < FEW)
    }
}

impl Shell {
    /// Opens one, and beside it the lifeline if that is not open and may not come later.
    pub(super) async fn open<C: Channels>(
        inner: &Arc<Inner<C>>,
        lifeline: Arc<Lifeline>,
    ) -> Result<Self> {
        let (channels, limits) = (&inner.channels, &inner.limits);
        let mark = format!("{}.{}", lifeline.id, lifeline.number());
        let line = line(&mark, limits);
        let shell = channels.open(&line, Purpose::Shell);
        let fuse = limits.later.is_some() && !lifeline.is_open();
        let channel = if fuse {
            shell.await?
        } else {
            // Both to their end: others wait for the lifeline too.
            let (opened, channel) = tokio::join!(lifeline.open(channels, limits), shell);
            opened.and(channel)?
        };
        let Channel { stdin, stdout, stderr, exit } = channel;
        let word = word();
        let this = Spawn::this_process();
        let mut prologue = format!("unset _n _p _w;_n='{word}' _p={this}").into_bytes();
        if fuse {
            prologue
                .extend_from_slice(format!(" _beat={} _w=", limits.beat.as_secs_f32()).as_bytes());
            push(&mut prologue, fuse::script(&lifeline, &mark, limits).as_bytes());
        }
        prologue.push(b'\n');
        prologue.extend_from_slice(PROLOGUE.as_bytes());
        let shell = Self {
            stdin,
            stdout: (stdout, Scanner::new(word.as_bytes())),
            stderr: (stderr, Scanner::new(word.as_bytes())),
            about: About {
                exit: Some(exit),
                lifeline,
                whom: Whom::new("", mark),
                knows: BTreeSet::new(),
                prologue,
                looked: None,
                fuse,
            },
        };
        // A lifeline would have said why nothing works there.
        if fuse { shell.greeted(inner).await } else { Ok(shell) }
    }

    /// Tells it who it is. It need not be ready yet.
    async fn begun(mut self) -> Result<Self> {
        self.stdin.write_all(&std::mem::take(&mut self.about.prologue)).await?;
        self.stdin.flush().await?;
        Ok(self)
    }

    /// Waits until it says that it is ready, past all that its login files say.
    async fn greeted<C: Channels>(mut self, inner: &Inner<C>) -> Result<Self> {
        let limit = inner.limits.greeting;
        let noise = Noise::default();
        let greeting = async {
            let said = std::mem::take(&mut self.about.prologue);
            // If it takes nothing, it says why.
            let _ = self.stdin.write_all(&said).await;
            let _ = self.stdin.flush().await;
            tokio::join!(hear(&mut self.stdout, &noise), hear(&mut self.stderr, &noise))
        };
        let why = match timeout(limit, greeting).await {
            Ok((true, true)) => {
                self.about.whom.greeted(&self.stdout.1.remarks);
                return Ok(self);
            }
            Ok(_) => {
                if let Some(exit) = self.about.exit.take()
                    && let Ok(Ok(Err(failure))) = timeout(WORD, exit).await
                {
                    return Err(failure);
                }
                "there is no `sh` that works".to_owned()
            }
            Err(_) => format!("`sh` is not ready after {} s", limit.as_secs_f32()),
        };
        Err(not_ready(&why, inner.name(), &noise, &line(&self.about.whom.mark, &inner.limits)))
    }

    /// Whether it is still there, and silent as it should be once it is ready.
    fn waits(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        for (from, scanner) in [&mut self.stdout, &mut self.stderr] {
            let (mut bytes, mut heard) = ([0; 1 << 10], 0);
            let mut buffer = ReadBuf::new(&mut bytes);
            while Pin::new(&mut *from).poll_read(&mut cx, &mut buffer).is_ready() {
                heard += buffer.filled().len();
                if buffer.filled().is_empty() || scanner.is_greeted() || heard > LONG {
                    return false;
                }
                scanner.push(buffer.filled(), &mut Vec::new());
                buffer.clear();
            }
        }
        self.about.whom.greeted(&self.stdout.1.remarks);
        self.about.lifeline.lives()
    }
}

/// No greeting is so long.
const LONG: usize = 1 << 20;

/// Whether the shell said on this stream that it is ready.
async fn hear((from, scanner): &mut (BoxRead, Scanner), noise: &Noise) -> bool {
    let (mut buffer, mut heard) = ([0; 4096], 0);
    while !scanner.is_greeted() {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return false };
        heard += read;
        if heard > LONG {
            return false;
        }
        noise.hear(&buffer[..read]);
        scanner.push(&buffer[..read], &mut Vec::new());
    }
    true
}

/// The line that becomes the shell with this mark.
fn line(mark: &str, limits: &Limits) -> String {
    format!("RUNBOOK_LIFE={mark} exec {} -s runbook", limits.sh)
}

/// One shell that has run nothing yet, opened while others run: whoever needs a new one need not
/// wait for a channel.
#[derive(Default)]
pub(super) struct Spare(Mutex<Option<Opening>>);

/// The lifeline of a shell, and the shell once it is open.
type Opening = (Arc<Lifeline>, JoinHandle<Result<Shell>>);

impl Spare {
    fn slot(&self) -> MutexGuard<'_, Option<Opening>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one of this lifeline that there is, also if it is only about to be.
    pub(super) async fn take(&self, lifeline: &Arc<Lifeline>) -> Option<Shell> {
        let (_, opening) = self.slot().take_if(|(of, _)| Arc::ptr_eq(of, lifeline))?;
        // Why it could not be opened is seen by whoever opens another now.
        let mut shell = opening.await.ok()?.ok()?;
        shell.waits().then_some(shell)
    }

    /// Opens one, unless there is one.
    pub(super) fn open<C: Channels>(&self, inner: &Arc<Inner<C>>) {
        let lifeline = inner.lifeline();
        let mut slot = self.slot();
        if slot.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, &lifeline)) {
            let (inner, of) = (Arc::clone(inner), Arc::clone(&lifeline));
            let opening =
                tokio::spawn(async move { Shell::open(&inner, lifeline).await?.begun().await });
            *slot = Some((of, opening));
        }
    }
}

/// The shells that wait for a command.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Shell>>);

impl Pool {
    /// The one of this lifeline that was used last: its memory is warm, and the others may be let
    /// go one day.
    pub(super) fn take(&self, lifeline: &Arc<Lifeline>) -> Option<Shell> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let of = |shell: &Shell| Arc::ptr_eq(&shell.about.lifeline, lifeline);
            let at = idle.iter().rposition(of)?;
            let mut shell = idle.remove(at);
            if shell.waits() {
                return Some(shell);
            }
        }
    }

    pub(super) fn give(&self, shell: Shell, limits: &Limits) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|shell| shell.about.lifeline.lives());
        if idle.len() < limits.idle {
            idle.push(shell);
        }
    }
}
