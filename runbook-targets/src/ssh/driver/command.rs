//! [`Command`]: one running line of `sh`, as the driver sees it.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use runbook_core::{Exit, Failure, Result};
use tokio::sync::oneshot;

use super::task::Step;
use super::wire::{Lost, Outcome, Wire};
use crate::remote::channel::Channel;
use crate::ssh::bell::Bell;
use crate::ssh::stream::{self, Input, Output};

/// Its streams and its end.
pub(super) struct Command {
    stdin: Input,
    /// Taken from `stdin`, and sent up to `sent`. libssh2 wants a retry to bring the same bytes.
    sending: Vec<u8>,
    sent: usize,
    pace: Pace,
    /// There is no more to send.
    stdin_ended: bool,
    /// The server was told so, or takes no more.
    stdin_closed: bool,
    stdout: Heard,
    stderr: Heard,
    exit: Option<oneshot::Sender<Result<Exit>>>,
}

/// One stream of what the program says.
struct Heard {
    stream: i32,
    output: Output,
    ended: bool,
}

/// How much is sent before the program has read what came before.
///
/// OpenSSH's server copies all that a program has yet to read whenever more comes. With its whole
/// window of 2 MiB on the way, that takes as long as all else that it does. So less is on the way,
/// unless the answer is long in coming: then the window grows with each, up to the server's own.
/// Other servers answer only when half of their window was used, and so never to less: it grows
/// without an answer as well.
struct Pace {
    /// The most that the server ever took at once.
    window: u32,
    limit: u32,
    /// Since when no more may be sent.
    full_since: Option<Instant>,
    /// The last answer was long in coming.
    was_long: bool,
}

/// In the order in which a step does them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Op {
    Write,
    Eof,
    Stdout,
    Stderr,
}

enum Done {
    Progress,
    Nothing,
    HalfSent,
}

impl Command {
    /// How many packets one stream may bring before the others have their turn.
    const FAIR: usize = 16;

    pub(super) fn new(bell: &std::sync::Arc<Bell>) -> (Self, Channel) {
        let (stdout, stdout_reader) = stream::output(bell);
        let (stderr, stderr_reader) = stream::output(bell);
        let (stdin_writer, stdin) = stream::input(bell);
        let (exit, exit_receiver) = oneshot::channel();
        let command = Self {
            stdin,
            sending: Vec::new(),
            sent: 0,
            pace: Pace::new(),
            stdin_ended: false,
            stdin_closed: false,
            stdout: Heard { stream: 0, output: stdout, ended: false },
            stderr: Heard { stream: 1, output: stderr, ended: false },
            exit: Some(exit),
        };
        let channel = Channel {
            stdin: Box::new(stdin_writer),
            stdout: Box::new(stdout_reader),
            stderr: Box::new(stderr_reader),
            exit: exit_receiver,
        };
        (command, channel)
    }

    pub(super) fn step(
        &mut self,
        channel: &mut ssh2::Channel,
        half_sent: &mut Option<Op>,
        wire: &mut Wire,
        waker: &Waker,
    ) -> Result<Step, Lost> {
        let resumed = half_sent.take();
        if resumed.is_none() && self.abandoned(waker) {
            return Ok(Step::Close);
        }
        let mut progress = false;
        for op in [Op::Write, Op::Eof, Op::Stdout, Op::Stderr] {
            if resumed.is_some_and(|resumed| op < resumed) {
                continue;
            }
            match self.perform(op, channel, wire)? {
                Done::Progress => progress = true,
                Done::Nothing => {}
                Done::HalfSent => {
                    *half_sent = Some(op);
                    return Ok(Step::HalfSent);
                }
            }
        }
        // What is not read may hide the end.
        if (self.outputs_ended() || self.is_stalled()) && wire.closed(channel)? {
            progress |= self.exited(channel);
            let heard = |heard: &Heard| heard.ended || heard.output.reader_gone();
            if heard(&self.stdout) && heard(&self.stderr) {
                return Ok(Step::Close);
            }
        }
        Ok(if progress { Step::Progress } else { Step::Nothing })
    }

    /// Whether something for this channel was read along with what was for another, after its own
    /// turn. Asks only what libssh2 already has.
    pub(super) fn has_more(&self, channel: &ssh2::Channel) -> bool {
        let wants = |heard: &Heard| !heard.ended && heard.output.room() > 0;
        let wants_output = wants(&self.stdout) || wants(&self.stderr);
        let unsent = !self.stdin_closed && self.sent < self.sending.len();
        (wants_output && (channel.eof() || channel.read_window().available > 0))
            || (unsent && self.pace.has_room(channel.write_window().remaining))
    }

    /// Whether it waits for what can't be asked for without reading from the server, or for no
    /// answer much longer.
    pub(super) fn must_look_again(&self) -> bool {
        let is_paced = !self.stdin_closed && self.pace.waits();
        is_paced || self.exit.is_some() && (self.outputs_ended() || self.is_stalled())
    }

    fn outputs_ended(&self) -> bool {
        self.stdout.ended && self.stderr.ended
    }

    fn is_stalled(&self) -> bool {
        let stalled = |heard: &Heard| !heard.ended && heard.output.room() == 0;
        stalled(&self.stdout) || stalled(&self.stderr)
    }

    /// Whether nobody can learn any more what it does. The bell rings when that may have changed.
    fn abandoned(&mut self, waker: &Waker) -> bool {
        let mut cx = Context::from_waker(waker);
        self.exit.as_mut().is_none_or(|exit| exit.poll_closed(&mut cx) != Poll::Pending)
            && self.stdout.output.reader_gone()
            && self.stderr.output.reader_gone()
            && self.stdin.writer_gone()
    }

    fn perform(
        &mut self,
        op: Op,
        channel: &mut ssh2::Channel,
        wire: &mut Wire,
    ) -> Result<Done, Lost> {
        match op {
            Op::Write => self.write(channel, wire),
            Op::Eof => self.send_eof(channel, wire),
            Op::Stdout => self.stdout.hear(channel, wire),
            // The first has read all that there was for both.
            Op::Stderr if channel.read_window().available == 0 && !channel.eof() => {
                Ok(Done::Nothing)
            }
            Op::Stderr => self.stderr.hear(channel, wire),
        }
    }

    fn write(&mut self, channel: &ssh2::Channel, wire: &Wire) -> Result<Done, Lost> {
        let mut done = Done::Nothing;
        for _ in 0..Self::FAIR {
            if self.stdin_closed {
                break;
            }
            if self.sent == self.sending.len() {
                self.sending.clear();
                self.sent = 0;
                let ended = self.stdin.take(&mut self.sending);
                if self.sending.is_empty() {
                    self.stdin_ended = ended;
                    break;
                }
            }
            // What is half sent had room, and has it still.
            if !self.pace.may_send(channel.write_window().remaining) {
                break;
            }
            match wire.write(channel, &self.sending[self.sent..])? {
                Outcome::Done(0) | Outcome::Waits => break,
                Outcome::Done(sent) => {
                    self.sent += sent;
                    done = Done::Progress;
                }
                Outcome::HalfSent => return Ok(Done::HalfSent),
                Outcome::Refused(_) => {
                    self.stdin_closed = true;
                    self.stdin.refuse(None);
                }
            }
        }
        Ok(done)
    }

    fn send_eof(&mut self, channel: &mut ssh2::Channel, wire: &Wire) -> Result<Done, Lost> {
        if !self.stdin_ended || self.stdin_closed {
            return Ok(Done::Nothing);
        }
        match wire.outcome(channel.send_eof())? {
            Outcome::Done(()) | Outcome::Refused(_) => {
                self.stdin_closed = true;
                Ok(Done::Progress)
            }
            Outcome::Waits => Ok(Done::Nothing),
            Outcome::HalfSent => Ok(Done::HalfSent),
        }
    }

    /// Says how it ended; true if that was news.
    fn exited(&mut self, channel: &ssh2::Channel) -> bool {
        let Some(exit) = self.exit.take() else { return false };
        self.stdin_closed = true;
        self.stdin.refuse(None);
        let signal = channel.exit_signal().ok().and_then(|signal| signal.exit_signal);
        // Nobody may want to know.
        let _ = exit.send(Ok(match signal {
            Some(name) => Exit::Signal(signal_number(&name)),
            None => Exit::Code(channel.exit_status().unwrap_or(-1)),
        }));
        true
    }

    /// The connection was lost: all that still wait for it learn so.
    pub(super) fn lost(mut self, failure: impl Fn() -> Failure) {
        let why: std::sync::Arc<str> = failure().to_string().into();
        self.stdin.refuse(Some(why.clone()));
        // The end comes first: a reader that sees its stream break asks for it next.
        if let Some(exit) = self.exit.take() {
            let _ = exit.send(Err(failure()));
        }
        self.stdout.output.end(Err(why.clone()));
        self.stderr.output.end(Err(why));
    }
}

impl Pace {
    /// At first. A link of 1 Gbit/s brings no more in [`LONG`](Self::LONG).
    const LIMIT: u32 = 512 << 10;
    /// Answers that take longer are worth a larger window. One alone may be a busy server's.
    const LONG: Duration = Duration::from_millis(4);
    /// And no answer is waited for longer.
    const PATIENCE: Duration = Duration::from_millis(50);

    const fn new() -> Self {
        Self { window: 0, limit: Self::LIMIT, full_since: None, was_long: false }
    }

    /// `left`: what the server would still take.
    fn may_send(&mut self, left: u32) -> bool {
        self.window = self.window.max(left);
        if self.window - left >= self.limit {
            let since = *self.full_since.get_or_insert_with(Instant::now);
            if since.elapsed() < Self::PATIENCE {
                return false;
            }
            self.limit = self.limit.saturating_mul(2);
            self.full_since = None;
            return self.window - left < self.limit;
        }
        if let Some(since) = self.full_since.take() {
            let is_long = since.elapsed() > Self::LONG;
            if is_long && self.was_long {
                self.limit = self.limit.saturating_mul(2);
            }
            self.was_long = is_long;
        }
        true
    }

    /// Whether it has to be asked again, also if no answer comes.
    fn waits(&self) -> bool {
        self.full_since.is_some() && self.limit < self.window
    }

    fn has_room(&self, left: u32) -> bool {
        left > 0 && self.window.max(left) - left < self.limit
    }
}

impl Heard {
    fn hear(&mut self, channel: &mut ssh2::Channel, wire: &mut Wire) -> Result<Done, Lost> {
        let mut done = Done::Nothing;
        for _ in 0..Command::FAIR {
            if self.ended {
                break;
            }
            let room = self.output.room();
            if room == 0 {
                break;
            }
            match wire.read(channel, self.stream, room)? {
                Outcome::Done(0) => {
                    if wire.output_ended(channel)? {
                        self.ended = true;
                        self.output.end(Ok(()));
                        done = Done::Progress;
                    }
                    break;
                }
                Outcome::Done(read) => {
                    self.output.push(&wire.scratch[..read]);
                    done = Done::Progress;
                }
                Outcome::Waits | Outcome::Refused(_) => break,
                Outcome::HalfSent => return Ok(Done::HalfSent),
            }
        }
        Ok(done)
    }
}

/// The number of a signal that the protocol names (RFC 4254, 6.10); 0 for one that it can't name.
fn signal_number(name: &str) -> i32 {
    match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "ABRT" => 6,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What OpenSSH grants.
    const WINDOW: u32 = 2 << 20;

    fn pace() -> Pace {
        let mut pace = Pace::new();
        assert!(pace.may_send(WINDOW));
        pace
    }

    #[test]
    fn no_more_is_on_the_way_than_a_quick_server_needs() {
        let mut pace = pace();
        assert!(pace.may_send(WINDOW - Pace::LIMIT + 1));
        assert!(!pace.has_room(WINDOW - Pace::LIMIT));
        assert!(!pace.may_send(WINDOW - Pace::LIMIT));
        assert!(pace.may_send(WINDOW), "the answer came");
        assert!(!pace.may_send(WINDOW - Pace::LIMIT), "and came soon");
    }

    /// All that may be on the way is, and the answer takes long.
    fn wait_long(pace: &mut Pace) {
        assert!(!pace.may_send(WINDOW.saturating_sub(pace.limit)));
        pace.full_since = Instant::now().checked_sub(Pace::LONG * 2);
        assert!(pace.may_send(WINDOW));
    }

    #[test]
    fn a_server_that_is_far_away_gets_all_of_its_window() {
        let mut pace = pace();
        while pace.limit <= WINDOW {
            let limit = pace.limit;
            wait_long(&mut pace);
            wait_long(&mut pace);
            assert!(pace.limit > limit);
        }
        assert!(pace.may_send(0), "libssh2 itself waits for more");
    }

    #[test]
    fn a_server_that_answers_only_to_half_of_its_window_gets_that() {
        let mut pace = pace();
        for left in [WINDOW - Pace::LIMIT, WINDOW - 2 * Pace::LIMIT] {
            assert!(!pace.may_send(left) && pace.waits());
            pace.full_since = Instant::now().checked_sub(Pace::PATIENCE);
            assert!(pace.may_send(left), "no answer came");
        }
        assert!(pace.may_send(0) || !pace.waits(), "what is left is libssh2's to wait for");
    }

    #[test]
    fn a_server_that_was_busy_for_a_moment_is_none_that_is_far_away() {
        let mut pace = pace();
        for _ in 0..3 {
            wait_long(&mut pace);
            assert!(!pace.may_send(WINDOW - Pace::LIMIT));
            assert!(pace.may_send(WINDOW));
        }
        assert_eq!(pace.limit, Pace::LIMIT);
    }

    #[test]
    fn a_server_that_takes_little_at_once_is_left_to_itself() {
        let mut pace = Pace::new();
        for left in [0, 24 << 10, 1, 0] {
            assert!(pace.may_send(left));
            assert_eq!(pace.has_room(left), left > 0);
        }
    }
}
