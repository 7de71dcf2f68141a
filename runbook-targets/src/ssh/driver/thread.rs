//! [`Driver`]: what the thread of a connection does.

use std::any::Any;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use runbook_core::{Failure, FailureKind};
use rustix::net::{Shutdown, shutdown};

use super::command::Command;
use super::sleep::LEAST_KEEPALIVE;
use super::starting::{Opening, Refused, Starting};
use super::task::{Kind, Step, Task};
use super::wire::{Lost, Wire};
use super::{Ending, Keepalive, Ready, Refusal, Request, Shared};

/// The thread's own state. Only [`run`](Self::run) is called from outside.
pub(super) struct Driver {
    /// Dropped first: nobody waits for the rest.
    _ending: Ending,
    pub(super) name: Arc<str>,
    pub(super) wire: Wire,
    pub(super) socket: Arc<OwnedFd>,
    pub(super) tcp: bool,
    pub(super) keepalive: Keepalive,
    pub(super) idle_after: Option<Duration>,
    pub(super) shared: Arc<Shared>,
    waker: Waker,
    pub(super) queue: VecDeque<Request>,
    pub(super) opening: Option<Opening>,
    /// An open channel on which nothing was run yet. It saves the next command a round trip, and
    /// an idle connection hears its server through it: libssh2 reads only for some channel.
    pub(super) spare: Option<ssh2::Channel>,
    pub(super) starting: Option<Starting>,
    pub(super) tasks: Vec<Task>,
    /// Where the next turn begins, so that one busy channel can't keep the others waiting.
    first: usize,
    /// Whose packet is half sent: libssh2 must be called again for it before anything else.
    pub(super) half_sent: Option<Part>,
    pub(super) refused: Option<Refused>,
    pub(super) last_heard: Instant,
    pub(super) last_used: Instant,
    pub(super) next_keepalive: Instant,
    /// How long to sleep at most while something may have been overheard.
    pub(super) nap: Duration,
    /// The last sleep was short.
    pub(super) was_quick: bool,
    /// Freed last.
    _below: Option<Box<dyn Any + Send>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Opening,
    Starting,
    Task(usize),
}

impl Driver {
    pub(super) fn new(ready: Ready, shared: Arc<Shared>, ending: Ending) -> Self {
        let now = Instant::now();
        ready.session.set_timeout(0);
        ready.session.set_blocking(false);
        // The clock is ours: libssh2 is only to send when it is asked to.
        ready.session.set_keepalive(true, LEAST_KEEPALIVE);
        Self {
            _ending: ending,
            name: ready.name,
            wire: Wire::new(ready.session),
            socket: ready.socket,
            tcp: ready.tcp,
            keepalive: ready.keepalive,
            idle_after: ready.idle_after,
            waker: Waker::from(shared.bell.clone()),
            shared,
            queue: VecDeque::new(),
            opening: None,
            spare: None,
            starting: None,
            tasks: Vec::new(),
            first: 0,
            half_sent: None,
            refused: None,
            last_heard: now,
            last_used: now,
            next_keepalive: now + ready.keepalive.interval,
            nap: Self::NAP.0,
            was_quick: false,
            _below: ready.below,
        }
    }

    /// The first and the longest sleep while something may have been overheard.
    pub(super) const NAP: (Duration, Duration) =
        (Duration::from_millis(1), Duration::from_millis(256));

    pub(super) fn run(mut self) {
        let mut looked_again = false;
        let lost = loop {
            if let Some(inbox) = &mut *self.shared.inbox() {
                self.queue.append(inbox);
            }
            let progress = match self.turn() {
                Ok(progress) => progress,
                Err(lost) => break Some(lost),
            };
            let now = Instant::now();
            if progress {
                (self.last_heard, self.last_used) = (now, now);
                (looked_again, self.nap) = (false, Self::NAP.0);
                continue;
            }
            if self.is_done(now) && self.close_inbox() {
                break None;
            }
            // A channel's turn reads what comes for any channel, so what comes for one may be
            // read after its turn. The socket then says nothing of it.
            let overheard = self.half_sent.is_none() && self.tasks.iter().any(Task::has_more);
            if overheard && !looked_again {
                looked_again = true;
                continue;
            }
            looked_again = false;
            // Where libssh2 can't be asked for it, a short sleep finds it.
            let unsure = overheard
                || self.opening.is_some()
                || self.starting.is_some()
                || self.tasks.iter().any(Task::must_look_again);
            if let Err(lost) = self.sleep(now, unsure) {
                break Some(lost);
            }
        };
        self.end(lost);
    }

    /// Does what can be done without waiting; false if that was nothing.
    fn turn(&mut self) -> Result<bool, Lost> {
        let mut progress = false;
        if let Some(part) = self.half_sent.take() {
            progress |= self.part(part)?;
            if self.half_sent.is_some() {
                return Ok(progress);
            }
        }
        self.hear_spare()?;
        let count = self.tasks.len();
        let first = self.first;
        for offset in 0..count {
            let index = (first + offset) % count;
            progress |= self.part(Part::Task(index))?;
            if self.half_sent.is_some() {
                self.first = index + 1;
                return Ok(progress);
            }
        }
        self.tasks.retain(|task| !task.closed);
        for part in [Part::Opening, Part::Starting] {
            progress |= self.part(part)?;
            if self.half_sent.is_some() {
                return Ok(progress);
            }
        }
        Ok(progress)
    }

    fn part(&mut self, part: Part) -> Result<bool, Lost> {
        let step = match part {
            Part::Opening => self.step_opening()?,
            Part::Starting => self.step_starting()?,
            Part::Task(index) => self.tasks[index].step(&mut self.wire, &self.waker)?,
        };
        match step {
            Step::HalfSent => self.half_sent = Some(part),
            Step::Nothing => return Ok(false),
            Step::Progress | Step::Close | Step::Closed => return Ok(true),
        }
        Ok(false)
    }

    /// Reads what the server says while nothing runs.
    fn hear_spare(&mut self) -> Result<(), Lost> {
        let Some(mut spare) = self.spare.take() else { return Ok(()) };
        let ended = match self.tasks.is_empty() {
            true => self.wire.output_ended(&mut spare)?,
            false => spare.eof(),
        };
        if ended {
            // Some servers close what is not used for long.
            self.tasks.push(Task::closing(spare, None));
        } else {
            self.spare = Some(spare);
        }
        Ok(())
    }

    pub(super) fn start(&mut self, channel: ssh2::Channel, starting: Starting) {
        let (command, ours) = Command::new(&self.shared.bell);
        let Starting { reply, mut slot, .. } = starting;
        slot.started();
        // If who asked has gone, so have the command's streams: the next turn closes it.
        let _ = reply.send(Ok(ours));
        self.tasks.push(Task::new(channel, Kind::Command(command), Some(slot)));
    }

    /// Whether nothing is under way, and nothing new can or should come.
    fn is_done(&self, now: Instant) -> bool {
        let busy = !self.queue.is_empty()
            || self.opening.is_some()
            || self.starting.is_some()
            || self.tasks.iter().any(|task| !task.is_closing());
        if busy {
            return false;
        }
        let deaf = self.refused.as_ref().is_some_and(|refused| refused.is_deaf(now));
        self.shared.stop.load(Ordering::Acquire)
            || self.shared.ended.load(Ordering::Acquire)
            || deaf
            || self.idle_after.is_some_and(|limit| now - self.last_used >= limit)
    }

    /// From now on nothing can be asked; false if something just was.
    fn close_inbox(&mut self) -> bool {
        let mut inbox = self.shared.inbox();
        if inbox.as_ref().is_some_and(|inbox| !inbox.is_empty()) {
            return false;
        }
        *inbox = None;
        true
    }

    /// Answers all that still wait, and lets go of the session.
    fn end(mut self, lost: Option<Lost>) {
        let why: Arc<str> = match &lost {
            Some(Lost(why)) => format!("the connection to {} was lost: {why}", self.name),
            None => format!("the connection to {} has ended", self.name),
        }
        .into();
        let _ = self.shared.why.set(why.clone());
        self.shared.ended.store(true, Ordering::Release);
        if let Some(inbox) = self.shared.inbox().take() {
            self.queue.extend(inbox);
        }
        let failure = || Failure::new(FailureKind::Disconnected, &*why);
        if lost.is_none() {
            // A last courtesy; nobody waits for it.
            let _ = self.wire.session.disconnect(None, "", None);
        }
        // From here on no operation waits, so that the session can be freed.
        let _ = shutdown(&self.socket, Shutdown::Both);
        if let Some(opening) = self.opening.take() {
            opening.refuse(Refusal::NotStarted(why.clone()));
        }
        if let Some(starting) = self.starting.take() {
            starting.lost(failure(), &why);
        }
        for request in std::mem::take(&mut self.queue) {
            request.refuse(Refusal::NotStarted(why.clone()));
        }
        for task in std::mem::take(&mut self.tasks) {
            task.lost(failure);
        }
    }
}
