//! [`Side`]: one output stream of a shell, cut into what commands say and what the shell says of
//! them.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use memchr::memmem::Finder;
use runbook_core::{BoxRead, Failure, Problem};
use tokio::io::{AsyncRead, ReadBuf};

/// What is kept for a reader that does not read: as much as a pipe holds.
const ROOM: usize = 64 << 10;

/// What is read at once.
const PIECE: usize = 16 << 10;

/// The longest thing that a shell says of a command.
const MARK: usize = 64;

/// One output stream, while a command runs. The reader of the command's output and whoever waits
/// for the command's end both drive it, so no task stands between.
pub(super) struct Side {
    half: Mutex<Half>,
    wakers: Arc<Wakers>,
}

struct Half {
    source: Option<BoxRead>,
    scan: Scanner,
    /// Output that nobody has taken yet, from `taken` on.
    ready: Vec<u8>,
    taken: usize,
    /// Nobody will take it.
    unread: bool,
    /// What comes after the command's end is still its output: it left a process behind.
    lingers: bool,
    ended: Option<Ended>,
}

/// How the output of a command came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The shell said so, with these words.
    Said(String),
    /// The channel ended before.
    Cut,
    /// It could not be read.
    Failed(io::ErrorKind, Problem),
}

/// Who drives a side.
#[derive(Clone, Copy)]
enum Who {
    Reader = 0,
    Waiter = 1,
}

impl Side {
    pub(super) fn new(source: BoxRead, scan: Scanner) -> Arc<Self> {
        Arc::new(Self {
            half: Mutex::new(Half {
                source: Some(source),
                scan,
                ready: Vec::new(),
                taken: 0,
                unread: false,
                lingers: false,
                ended: None,
            }),
            wakers: Arc::default(),
        })
    }

    fn half(&self) -> MutexGuard<'_, Half> {
        self.half.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The output, to be read once.
    pub(super) fn reader(self: &Arc<Self>) -> BoxRead {
        Box::new(Reader(Arc::clone(self)))
    }

    /// Nobody will read it.
    pub(super) fn discard(&self) {
        let mut half = self.half();
        half.unread = true;
        half.ready = Vec::new();
        half.taken = 0;
        drop(half);
        self.wakers.nudge(Who::Waiter);
    }

    /// Waits until the command's output has ended.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.wakers.register(Who::Waiter, cx.waker());
        let mut half = self.half();
        loop {
            if let Some(ended) = &half.ended {
                return Poll::Ready(ended.clone());
            }
            let empty = half.ready.len() == half.taken;
            if half.poll_fill(&self.wakers).is_pending() {
                return Poll::Pending;
            }
            if empty {
                self.wakers.nudge(Who::Reader);
            }
        }
    }

    /// Everything that was said of the command beside its end.
    pub(super) fn remarks(&self) -> Vec<String> {
        self.half().scan.remarks.clone()
    }

    /// The last bytes of the output, taken or not.
    pub(super) fn tail(&self) -> Vec<u8> {
        self.half().scan.tail.clone()
    }

    /// The stream, for the next command, if nothing came after the end of this one.
    pub(super) fn take_source(&self) -> Option<(BoxRead, Scanner)> {
        let mut half = self.half();
        if !half.scan.held.is_empty() {
            return None;
        }
        let source = half.source.take()?;
        Some((source, half.scan.again()))
    }
}

impl Half {
    fn room(&self) -> usize {
        ROOM.saturating_sub(self.ready.len() - self.taken)
    }

    /// Reads one piece, if there is room.
    fn poll_fill(&mut self, wakers: &Arc<Wakers>) -> Poll<()> {
        let over = self.ended.is_some() && !self.lingers;
        if over || (!self.unread && self.room() == 0) {
            return Poll::Pending;
        }
        let Some(source) = &mut self.source else { return Poll::Pending };
        let waker = Waker::from(Arc::clone(wakers));
        let mut piece = [const { MaybeUninit::uninit() }; PIECE];
        let mut buffer = ReadBuf::uninit(&mut piece);
        let read = Pin::new(source).poll_read(&mut Context::from_waker(&waker), &mut buffer);
        let read = match read {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(read) => read,
        };
        if self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
        }
        let before = self.ready.len();
        match read {
            Err(error) => {
                let kind = error.kind();
                self.end(Ended::Failed(kind, Failure::from(error).to_problem()));
            }
            Ok(()) if buffer.filled().is_empty() => self.end(Ended::Cut),
            Ok(()) if self.lingers => self.ready.extend_from_slice(buffer.filled()),
            Ok(()) => {
                if let Some(said) = self.scan.push(buffer.filled(), &mut self.ready) {
                    // Its last word: whether a process that it left behind is heard on.
                    self.lingers = matches!(said.rsplit([' ', '=']).next(), Some("1"));
                    self.ended = Some(Ended::Said(said));
                    if self.lingers {
                        let rest = self.scan.rest();
                        self.ready.extend_from_slice(&rest);
                    }
                }
            }
        }
        if self.unread {
            self.ready.truncate(before);
        }
        Poll::Ready(())
    }

    fn end(&mut self, how: Ended) {
        let rest = self.scan.rest();
        self.ready.extend_from_slice(&rest);
        self.ended.get_or_insert(how);
        self.lingers = false;
        self.source = None;
    }
}

struct Reader(Arc<Side>);

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let side = &self.0;
        side.wakers.register(Who::Reader, cx.waker());
        let mut half = side.half();
        loop {
            let waiting = &half.ready[half.taken..];
            if !waiting.is_empty() {
                let full = waiting.len() >= ROOM;
                let taken = waiting.len().min(buffer.remaining());
                buffer.put_slice(&waiting[..taken]);
                half.taken += taken;
                if full {
                    side.wakers.nudge(Who::Waiter);
                }
                return Poll::Ready(Ok(()));
            }
            if let Some(ended) = &half.ended
                && !half.lingers
            {
                return Poll::Ready(match ended {
                    Ended::Failed(kind, error) => Err(io::Error::new(*kind, error.clone())),
                    Ended::Said(_) | Ended::Cut => Ok(()),
                });
            }
            if half.poll_fill(&side.wakers).is_pending() {
                return Poll::Pending;
            }
            if half.ended.is_some() {
                side.wakers.nudge(Who::Waiter);
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.discard();
    }
}

/// Wakes whoever drives a side: a source knows only one of them.
#[derive(Default)]
struct Wakers(Mutex<[Option<Waker>; 2]>);

impl Wakers {
    fn slots(&self) -> MutexGuard<'_, [Option<Waker>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, who: Who, waker: &Waker) {
        let mut slots = self.slots();
        match &mut slots[who as usize] {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn nudge(&self, who: Who) {
        let waker = self.slots()[who as usize].clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        let [reader, waiter] = self.slots().clone();
        // Most often both are one task, which looks at both.
        let apart = |waiter: &Waker| !reader.as_ref().is_some_and(|it| it.will_wake(waiter));
        waiter.filter(apart).into_iter().chain(reader).for_each(Waker::wake);
    }
}

/// Finds what a shell says between what commands say: its word, a sign, and the rest of a line.
/// `+` before the first command, `!` about the command that runs, `=` at its end.
pub(super) struct Scanner {
    word: Arc<Finder<'static>>,
    /// Before the first word: what the login shell's own files say is no output.
    greeted: bool,
    /// The begin of what may be a word, or what comes after the end of a command.
    held: Vec<u8>,
    /// The shell says here which signal ended a command, see [`note`].
    notes: bool,
    pub(super) remarks: Vec<String>,
    tail: Vec<u8>,
}

impl Scanner {
    pub(super) fn new(word: &[u8]) -> Self {
        Self {
            word: Arc::new(Finder::new(word).into_owned()),
            greeted: false,
            held: Vec::new(),
            notes: false,
            remarks: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// The same for a channel that greets nobody.
    #[cfg(test)]
    pub(super) fn greeted(mut self) -> Self {
        self.greeted = true;
        self
    }

    /// Whether the shell is ready.
    pub(super) fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// For the next command of the same shell.
    fn again(&mut self) -> Self {
        Self {
            word: Arc::clone(&self.word),
            greeted: true,
            held: Vec::new(),
            notes: false,
            remarks: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// Takes a shell's note of a signal out of what its command says, if `notes`.
    pub(super) fn noting(self, notes: bool) -> Self {
        Self { notes, ..self }
    }

    /// What is left when the stream ends.
    fn rest(&mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.held);
        if self.greeted { rest } else { Vec::new() }
    }

    fn say(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        const TAIL: usize = 256;
        if !self.greeted || bytes.is_empty() {
            return;
        }
        out.extend_from_slice(bytes);
        let last = &bytes[bytes.len().saturating_sub(TAIL)..];
        self.tail.extend_from_slice(last);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
    }

    /// Says what comes before `at`, and holds the rest: with what may be a note.
    fn say_until(&mut self, at: usize, bytes: &[u8], out: &mut Vec<u8>) {
        let note = if self.notes { note(&bytes[..at], None) } else { 0 };
        let (said, held) = bytes.split_at(at - note);
        self.say(said, out);
        self.held = held.to_vec();
    }

    /// Appends the output that is in `bytes` to `out`; gives the words at the command's end if
    /// they are there. What comes after them is held.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<String> {
        let word = Arc::clone(&self.word);
        let length = word.needle().len();
        let joined;
        let mut bytes = if self.held.is_empty() {
            bytes
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            joined = held;
            joined.as_slice()
        };
        loop {
            let Some(at) = word.find(bytes) else {
                self.say_until(bytes.len() - kept(word.needle(), bytes), bytes, out);
                return None;
            };
            let line = &bytes[at + length..];
            let Some(end) = line.iter().take(MARK).position(|byte| *byte == b'\n') else {
                if line.len() < MARK {
                    self.say_until(at, bytes, out);
                    return None;
                }
                // Not what the shell says: a program found out the word, and means no good.
                self.say(&bytes[..at + length], out);
                bytes = line;
                continue;
            };
            let said = String::from_utf8_lossy(&line[..end]).into_owned();
            let before = &bytes[..at];
            let note = if self.notes { note(before, signal_of(&said)) } else { 0 };
            self.say(&before[..at - note], out);
            bytes = &line[end + 1..];
            match said.as_bytes().first() {
                Some(b'+') => {
                    self.greeted = true;
                    self.remarks.push(said);
                }
                Some(b'=') => {
                    self.held = bytes.to_vec();
                    return Some(said);
                }
                _ => self.remarks.push(said),
            }
        }
    }
}

/// The signal that ended a command, from what its shell says of its end.
fn signal_of(said: &str) -> Option<i32> {
    let code: i32 = said.strip_prefix('=')?.split(' ').next()?.parse().ok()?;
    Some(code - 128)
}

/// How many of the last bytes are a shell's note that a signal, this one if it is known, ended its
/// command. It stands on the command's own error output where no subshell was between them: a line
/// with nothing but the signal's name.
fn note(said: &[u8], signal: Option<i32>) -> usize {
    /// As the C libraries name them (`strsignal`). Shells say nothing of SIGINT and SIGPIPE.
    const NAMES: &[(i32, &str)] = &[
        (1, "Hangup"),
        (3, "Quit"),
        (4, "Illegal instruction"),
        (5, "Trace/breakpoint trap"),
        (5, "Trace/BPT trap"),
        (6, "Aborted"),
        (6, "Abort trap"),
        (7, "Bus error"),
        (8, "Floating point exception"),
        (8, "Arithmetic exception"),
        (9, "Killed"),
        (10, "User defined signal 1"),
        (11, "Segmentation fault"),
        (12, "User defined signal 2"),
        (14, "Alarm clock"),
        (15, "Terminated"),
        (16, "Stack fault"),
        (24, "CPU time limit exceeded"),
        (25, "File size limit exceeded"),
        (26, "Virtual timer expired"),
        (27, "Profiling timer expired"),
        (29, "I/O possible"),
        (30, "Power failure"),
        (31, "Bad system call"),
    ];
    let Some(line) = said.strip_suffix(b"\n") else { return 0 };
    let (line, core) = match line.strip_suffix(b" (core dumped)") {
        Some(line) => (line, " (core dumped)".len()),
        None => (line, 0),
    };
    let named = NAMES
        .iter()
        .find(|(of, name)| signal.is_none_or(|it| it == *of) && line.ends_with(name.as_bytes()));
    named.map_or(0, |(_, name)| name.len() + core + 1)
}

/// How many of the last bytes may be the begin of a word.
fn kept(word: &[u8], bytes: &[u8]) -> usize {
    let most = bytes.len().min(word.len() - 1);
    let from = bytes.len() - most;
    let Some(first) = word.first().and_then(|first| memchr::memchr(*first, &bytes[from..])) else {
        return 0;
    };
    (1..=most - first).rev().find(|kept| bytes.ends_with(&word[..*kept])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORD: &[u8] = b"\x1eword";

    /// Output and end, fed in pieces of `size`.
    fn scan(bytes: &[u8], size: usize) -> (Vec<u8>, Option<String>, Vec<u8>) {
        let mut scanner = Scanner::new(WORD).greeted();
        let (mut out, mut end) = (Vec::new(), None);
        for piece in bytes.chunks(size) {
            if end.is_some() {
                scanner.held.extend_from_slice(piece);
            } else {
                end = scanner.push(piece, &mut out);
            }
        }
        (out, end, scanner.rest())
    }

    proptest! {
        #[test]
        fn output_is_told_from_its_end_however_it_is_cut(
            output in proptest::collection::vec(
                prop_oneof![Just(0x1e_u8), Just(b'w'), Just(b'o'), Just(b'\n'), any::<u8>()], 0..300),
            size in 1_usize..40,
        ) {
            prop_assume!(memchr::memmem::find(&output, WORD).is_none());
            let mut bytes = output.clone();
            bytes.extend_from_slice(b"\x1eword=0 0\nstray");
            let (out, end, rest) = scan(&bytes, size);
            prop_assert_eq!(out, output);
            prop_assert_eq!(end.as_deref(), Some("=0 0"));
            prop_assert_eq!(rest, b"stray");
        }
    }

    #[test]
    fn a_shells_note_of_a_signal_is_no_output() {
        let scan = |bytes: &[u8], size: usize| {
            let mut scanner = Scanner::new(WORD).greeted().noting(true);
            let (mut out, mut end) = (Vec::new(), None);
            for piece in bytes.chunks(size) {
                end = end.or(scanner.push(piece, &mut out));
            }
            (String::from_utf8(out).unwrap(), end.is_some())
        };
        for (said, left) in [
            ("dying Killed\n\x1eword=137 0\n", "dying "),
            ("Segmentation fault (core dumped)\n\x1eword=139 0\n", ""),
            ("Killed\nKilled\n\x1eword=137 0\n", "Killed\n"),
            ("Killed\nonce\n\x1eword=137 0\n", "Killed\nonce\n"),
            ("Killed\n\x1eword=1 0\n", "Killed\n"),
            ("Terminated\n\x1eword=137 0\n", "Terminated\n"),
            ("Killed\x1eword=137 0\n", "Killed"),
        ] {
            // As large as what a shell writes at once.
            for size in [1000, said.find('\x1e').unwrap()] {
                assert_eq!(scan(said.as_bytes(), size), (left.to_owned(), true), "{said:?}");
            }
        }
    }

    #[test]
    fn what_login_files_say_is_no_output() {
        let mut scanner = Scanner::new(WORD);
        let mut out = Vec::new();
        let end = scanner.push(b"Welcome!\n\x1eword+42\nhello\x1eword=3 0\n", &mut out);
        assert_eq!((out, end.as_deref()), (b"hello".to_vec(), Some("=3 0")));
        assert_eq!(scanner.remarks, ["+42"]);
    }

    #[test]
    fn a_program_that_found_out_the_word_holds_nothing_up() {
        let mut bytes = b"\x1eword=".to_vec();
        bytes.extend_from_slice(&[b'x'; 2 * MARK]);
        bytes.extend_from_slice(b"\n\x1eword=0 0\n");
        let (out, end, _) = scan(&bytes, 7);
        assert_eq!(out.len(), WORD.len() + 1 + 2 * MARK + 1);
        assert_eq!(end.as_deref(), Some("=0 0"));
    }
}
