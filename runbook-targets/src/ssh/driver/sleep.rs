//! How a driver sleeps, and how it finds out that its server is gone.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::task::{Kind, Task};
use super::thread::Driver;
use super::wire::Lost;

/// The shortest pause between two keepalives that libssh2 allows, in seconds.
pub(super) const LEAST_KEEPALIVE: u32 = 2;

/// What ended a sleep.
struct Woken {
    socket: PollFlags,
    /// A caller or a tunnel wants something.
    others: bool,
}

impl Driver {
    /// Sleeps until the server, a tunnel or a caller wants something, or a clock says so; not for
    /// long if it is `unsure` whether the server already said something.
    pub(super) fn sleep(&mut self, mut now: Instant, unsure: bool) -> Result<(), Lost> {
        loop {
            if self.tcp {
                // The kernel forgets it again and again. Without it the server waits 40 ms for an
                // acknowledgement.
                let _ = sockopt::set_tcp_quickack(&self.socket, true);
            }
            let keepalive_due = now >= self.next_keepalive;
            let wanted = match (&self.half_sent, keepalive_due) {
                // Nothing is read before the rest is sent: readable bytes would keep us awake.
                (Some(_), _) => PollFlags::OUT,
                (None, true) => PollFlags::IN | PollFlags::OUT,
                (None, false) => PollFlags::IN,
            };
            let mut timeout = self.until(now).saturating_duration_since(now);
            if unsure {
                timeout = timeout.min(self.nap);
            }
            let woken = self.poll(wanted, timeout)?;
            now = Instant::now();
            self.nap = match woken.others || !woken.socket.is_empty() {
                true => Self::NAP.0,
                false => (self.nap * 2).min(Self::NAP.1),
            };
            let room = woken.socket.contains(PollFlags::OUT);
            if woken.socket.contains(PollFlags::IN) || (self.half_sent.is_some() && room) {
                self.last_heard = now;
                return Ok(());
            }
            if woken.socket.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return Err(Lost("the server closed it".into()));
            }
            let silent_for = self.keepalive.interval * self.keepalive.count;
            if now - self.last_heard >= silent_for {
                let seconds = silent_for.as_secs();
                return Err(Lost(format!("the server said nothing for {seconds} s").into()));
            }
            if !self.keep_alive(now, room)? || woken.others {
                return Ok(());
            }
            // The answer must be waited for here: a turn that hears it keeps it to itself.
        }
    }

    /// Sends a keepalive if one is due and there is room for it; true if it was sent.
    fn keep_alive(&mut self, now: Instant, room: bool) -> Result<bool, Lost> {
        if now < self.next_keepalive {
            return Ok(false);
        }
        if now - self.last_heard < self.keepalive.interval {
            self.next_keepalive = self.last_heard + self.keepalive.interval;
            return Ok(false);
        }
        // With room for all of it, it is never half sent.
        if self.half_sent.is_some() || !room {
            return Ok(false);
        }
        let sent = self.wire.session.keepalive_send();
        let next = sent.map_err(|error| Lost(error.message().into()))?;
        // libssh2 has a clock of its own, and may find that it is too early.
        let sent = next >= LEAST_KEEPALIVE;
        let pause = if sent { self.keepalive.interval } else { Duration::from_millis(20) };
        self.next_keepalive = now + pause;
        Ok(sent)
    }

    /// When to wake up if nobody wants anything.
    fn until(&self, now: Instant) -> Instant {
        let silence = self.last_heard + self.keepalive.interval * self.keepalive.count;
        // What is due waits for room, and not for a time.
        let keepalive = Some(self.next_keepalive).filter(|due| *due > now);
        let idle = self.idle_after.map(|limit| self.last_used + limit).filter(|due| *due > now);
        [keepalive, idle, self.retry_at(now)].into_iter().flatten().fold(silence, Instant::min)
    }

    /// How long a tunnel is waited for awake.
    const QUICK: Duration = Duration::from_micros(200);

    fn poll(&mut self, wanted: PollFlags, timeout: Duration) -> Result<Woken, Lost> {
        let mut fds = Vec::with_capacity(2 + self.tasks.len());
        fds.push(PollFd::new(&self.socket, wanted));
        fds.push(PollFd::from_borrowed_fd(self.shared.bell.as_fd(), PollFlags::IN));
        let mut tunnels = Vec::new();
        for (index, task) in self.tasks.iter().enumerate() {
            if self.half_sent.is_none()
                && let Kind::Tunnel(tunnel) = &task.kind
                && let Some((local, flags)) = tunnel.interest()
            {
                tunnels.push(index);
                fds.push(PollFd::new(local, flags));
            }
        }
        // To be woken takes as long as a query to a server nearby: where the last answer came so
        // soon, the next one is waited for awake.
        let began = Instant::now();
        let mut answered = false;
        while self.was_quick && !tunnels.is_empty() && !answered && began.elapsed() < Self::QUICK {
            answered = wait(&mut fds, Duration::ZERO)?;
            if !answered {
                // It may be this processor that who is to answer waits for.
                std::thread::yield_now();
            }
        }
        if !answered {
            // Rounded up: to wake a moment too early means to wake twice.
            wait(&mut fds, timeout + Duration::from_micros(500))?;
        }
        self.was_quick = began.elapsed() < Self::QUICK;
        let heard: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if !heard[1].is_empty() {
            self.shared.bell.heard();
        }
        for (index, flags) in tunnels.into_iter().zip(&heard[2..]) {
            if flags.intersects(PollFlags::HUP | PollFlags::ERR)
                && let Some(Task { kind: Kind::Tunnel(tunnel), .. }) = self.tasks.get_mut(index)
            {
                tunnel.hung_up();
            }
        }
        let others = heard[1..].iter().any(|flags| !flags.is_empty());
        Ok(Woken { socket: heard[0], others })
    }
}

/// Whether something happened, or a signal came.
fn wait(fds: &mut [PollFd<'_>], timeout: Duration) -> Result<bool, Lost> {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match poll(fds, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(Lost(format!("waiting for it: {error}").into())),
    }
}
