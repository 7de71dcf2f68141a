//! [`Driver`]: what the thread of a connection does.

use std::any::Any;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use runbook_core::{Failure, FailureKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown, sockopt};

use super::command::Command;
use super::starting::{Opening, Refused, Starting};
use super::task::{Kind, Step, Task};
use super::wire::{Lost, Wire};
use super::{Keepalive, Ready, Refusal, Request, Shared};

/// The thread's own state. Only [`run`](Self::run) is called from outside.
pub(super) struct Driver {
    pub(super) name: Arc<str>,
    pub(super) wire: Wire,
    socket: Arc<OwnedFd>,
    tcp: bool,
    keepalive: Keepalive,
    idle_after: Option<Duration>,
    pub(super) shared: Arc<Shared>,
    ended: Box<dyn Fn() + Send>,
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
    half_sent: Option<Part>,
    pub(super) refused: Option<Refused>,
    last_heard: Instant,
    last_used: Instant,
    next_keepalive: Instant,
    /// Freed last.
    _below: Option<Box<dyn Any + Send>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Opening,
    Starting,
    Task(usize),
}

impl Driver {
    pub(super) fn new(ready: Ready, shared: Arc<Shared>, ended: Box<dyn Fn() + Send>) -> Self {
        let now = Instant::now();
        ready.session.set_timeout(0);
        ready.session.set_blocking(false);
        // The clock is ours: libssh2 is only to send when it is asked to.
        ready.session.set_keepalive(true, 1);
        Self {
            name: ready.name,
            wire: Wire::new(ready.session),
            socket: ready.socket,
            tcp: ready.tcp,
            keepalive: ready.keepalive,
            idle_after: ready.idle_after,
            waker: Waker::from(shared.bell.clone()),
            shared,
            ended,
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
            _below: ready.below,
        }
    }

    pub(super) fn run(mut self) {
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
                continue;
            }
            if self.is_done(now) && self.close_inbox() {
                break None;
            }
            if let Err(lost) = self.sleep(now) {
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
        // First, so that nothing is started on a connection that is known to be lost.
        self.hear_spare()?;
        for part in [Part::Starting, Part::Opening] {
            progress |= self.part(part)?;
            if self.half_sent.is_some() {
                return Ok(progress);
            }
        }
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
        if self.wire.output_ended(&mut spare)? {
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

    /// Sleeps until the server, a tunnel or a caller wants something, or a clock says so.
    fn sleep(&mut self, now: Instant) -> Result<(), Lost> {
        let silent_for = self.keepalive.interval * self.keepalive.count;
        let keepalive_due = now >= self.next_keepalive;
        let mut until = self.last_heard + silent_for;
        if !keepalive_due {
            until = until.min(self.next_keepalive);
        }
        if let Some(retry) = self.retry_at() {
            until = until.min(retry);
        }
        if let Some(limit) = self.idle_after {
            let idle = self.last_used + limit;
            if idle > now {
                until = until.min(idle);
            }
        }
        if self.tcp {
            // The kernel forgets it again and again. Without it the server waits 40 ms for an
            // acknowledgement.
            let _ = sockopt::set_tcp_quickack(&self.socket, true);
        }
        let mut wanted = PollFlags::IN;
        if self.half_sent.is_some() {
            // Nothing is read before the rest is sent, so readable bytes would only keep us awake.
            wanted = PollFlags::OUT;
        } else if keepalive_due {
            wanted |= PollFlags::OUT;
        }
        let heard = self.poll(wanted, until.saturating_duration_since(now))?;
        let now = Instant::now();
        if heard.contains(PollFlags::IN)
            || (self.half_sent.is_some() && heard.contains(PollFlags::OUT))
        {
            self.last_heard = now;
        } else if heard.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Err(Lost("the server closed it".into()));
        }
        if now - self.last_heard >= silent_for {
            let seconds = silent_for.as_secs();
            return Err(Lost(format!("the server said nothing for {seconds} s").into()));
        }
        if now >= self.next_keepalive {
            if now - self.last_heard < self.keepalive.interval {
                // It lives: ask when it has been silent for an interval.
                self.next_keepalive = self.last_heard + self.keepalive.interval;
            } else if self.half_sent.is_none() && heard.contains(PollFlags::OUT) {
                // A keepalive is never half sent: there is room for it.
                self.wire.session.keepalive_send().map_err(|error| Lost(error.message().into()))?;
                self.next_keepalive = now + self.keepalive.interval;
            }
        }
        Ok(())
    }

    fn poll(&mut self, wanted: PollFlags, timeout: Duration) -> Result<PollFlags, Lost> {
        let mut heard = PollFlags::empty();
        let mut tunnels = Vec::new();
        {
            let mut fds = Vec::with_capacity(2 + self.tasks.len());
            fds.push(PollFd::new(&self.socket, wanted));
            fds.push(PollFd::from_borrowed_fd(self.shared.bell.as_fd(), PollFlags::IN));
            if self.half_sent.is_none() {
                for (index, task) in self.tasks.iter().enumerate() {
                    if let Kind::Tunnel(tunnel) = &task.kind
                        && let Some((local, flags)) = tunnel.interest()
                    {
                        tunnels.push(index);
                        fds.push(PollFd::new(local, flags));
                    }
                }
            }
            // Rounded up: to wake a moment too early means to wake twice.
            let timeout = timeout + Duration::from_micros(500);
            let timeout = Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            };
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Lost(format!("waiting for it: {error}").into())),
            }
            heard |= fds[0].revents();
            if !fds[1].revents().is_empty() {
                self.shared.bell.heard();
            }
            for (index, fd) in tunnels.iter_mut().zip(&fds[2..]) {
                // Told below, once nothing is borrowed.
                if !fd.revents().intersects(PollFlags::HUP | PollFlags::ERR) {
                    *index = usize::MAX;
                }
            }
        }
        for index in tunnels {
            if let Some(Task { kind: Kind::Tunnel(tunnel), .. }) = self.tasks.get_mut(index) {
                tunnel.hung_up();
            }
        }
        Ok(heard)
    }

    /// Answers all that still wait, and lets go of the session.
    fn end(mut self, lost: Option<Lost>) {
        self.shared.ended.store(true, Ordering::Release);
        if let Some(inbox) = self.shared.inbox().take() {
            self.queue.extend(inbox);
        }
        let why = match &lost {
            Some(Lost(why)) => format!("the connection to {} was lost: {why}", self.name),
            None => format!("the connection to {} has ended", self.name),
        };
        let failure = || Failure::new(FailureKind::Disconnected, &why);
        if lost.is_none() {
            // A last courtesy; nobody waits for it.
            let _ = self.wire.session.disconnect(None, "", None);
        }
        // From here on no operation waits, so that the session can be freed.
        let _ = shutdown(&self.socket, Shutdown::Both);
        let not_started: Arc<str> = why.as_str().into();
        if let Some(opening) = self.opening.take() {
            opening.refuse(Refusal::NotStarted(not_started.clone()));
        }
        if let Some(starting) = self.starting.take() {
            starting.lost(failure(), &not_started);
        }
        for request in std::mem::take(&mut self.queue) {
            request.refuse(Refusal::NotStarted(not_started.clone()));
        }
        for task in std::mem::take(&mut self.tasks) {
            task.lost(failure);
        }
        (self.ended)();
    }
}
