//! How a channel is opened and a command is started on it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use runbook_core::{Address, Failure, FailureKind};

use super::task::{Kind, Step, Task};
use super::thread::Driver;
use super::wire::{Lost, Outcome};
use super::{Refusal, Reply, Request};
use crate::remote::channel::Channel;
use crate::ssh::pool::Slot;
use crate::ssh::tunnel::{self, Tunnel, TunnelStream};

/// A channel that the server was asked to open.
pub(super) struct Opening {
    since: Instant,
    tunnel: Option<OpeningTunnel>,
}

struct OpeningTunnel {
    address: Address,
    reply: Reply<TunnelStream>,
    slot: Slot,
}

/// A command whose request is about to be sent, or was. There is never more than one: a libssh2
/// that waits for two answers confuses them.
pub(super) struct Starting {
    /// Given away once the command runs.
    channel: Option<ssh2::Channel>,
    line: String,
    pub(super) reply: Reply<Channel>,
    pub(super) slot: Slot,
    /// Some of it may have reached the server.
    sent: bool,
}

/// The server refused a further channel for commands: nothing ran, and it may be asked again.
pub(super) struct Refused {
    since: Instant,
    pause: Duration,
    retry: Instant,
    /// No channel of ours was open.
    alone: bool,
}

impl Refused {
    /// The server never gives a channel, so there is nothing to hear it by.
    pub(super) fn is_deaf(&self, now: Instant) -> bool {
        self.alone && now - self.since > Duration::from_secs(1)
    }
}

impl Opening {
    pub(super) fn refuse(self, refusal: Refusal) {
        if let Some(tunnel) = self.tunnel {
            // Who asked may have gone.
            let _ = tunnel.reply.send(Err(refusal));
        }
    }
}

impl Starting {
    pub(super) fn lost(self, failure: Failure, not_started: &Arc<str>) {
        let refusal = match self.sent {
            true => Refusal::Failed(failure),
            false => Refusal::NotStarted(not_started.clone()),
        };
        // Who asked may have gone.
        let _ = self.reply.send(Err(refusal));
    }
}

impl Driver {
    /// The first and the longest pause before asking again for a channel.
    const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(256));
    /// How long a command waits for a channel that the server does not grant.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Opens a channel for the first in the queue, or for the command that comes next.
    pub(super) fn step_opening(&mut self) -> Result<Step, Lost> {
        if self.opening.is_none() && !self.begin_to_open() {
            return Ok(Step::Nothing);
        }
        let Some(opening) = &self.opening else { return Ok(Step::Nothing) };
        let session = &self.wire.session;
        let opened = match opening.tunnel.as_ref().map(|tunnel| &tunnel.address) {
            None => session.channel_session(),
            Some(Address::Tcp(host, port)) => session.channel_direct_tcpip(host, *port, None),
            Some(Address::Unix(path)) => {
                session.channel_direct_streamlocal(&path.to_string_lossy(), None)
            }
        };
        let opened = match opened {
            Err(error) if super::wire::timed_out(&error) => {
                self.never_answered();
                return Ok(Step::Progress);
            }
            opened => self.wire.outcome(opened)?,
        };
        match opened {
            Outcome::Waits => return Ok(Step::Nothing),
            Outcome::HalfSent => return Ok(Step::HalfSent),
            Outcome::Done(channel) => self.opened(channel),
            Outcome::Refused(error) => self.not_opened(&error),
        }
        Ok(Step::Progress)
    }

    fn begin_to_open(&mut self) -> bool {
        while self.queue.front().is_some_and(Request::is_abandoned) {
            self.queue.pop_front();
        }
        let ended = self.shared.ended.load(Ordering::Acquire);
        let tunnel = match self.queue.pop_front() {
            Some(Request::Tunnel { address, reply, slot }) => {
                Some(OpeningTunnel { address, reply, slot })
            }
            Some(command) => {
                self.queue.push_front(command);
                if self.spare.is_some() || self.must_pause() {
                    return false;
                }
                None
            }
            None => {
                let stop = self.shared.stop.load(Ordering::Acquire);
                if ended || stop || !self.wants_spare() || self.must_pause() {
                    return false;
                }
                None
            }
        };
        self.opening = Some(Opening { since: Instant::now(), tunnel });
        true
    }

    fn opened(&mut self, channel: ssh2::Channel) {
        let Some(Opening { since, tunnel }) = self.opening.take() else { return };
        let Some(OpeningTunnel { address, reply, mut slot }) = tunnel else {
            let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.shared.round_trip.store(micros.max(1), Ordering::Relaxed);
            self.refused = None;
            self.spare = Some(channel);
            return;
        };
        slot.started();
        match Tunnel::new() {
            Ok((tunnel, stream)) => {
                // If who asked has gone, so has the other end: the next turn closes it.
                let _ = reply.send(Ok(stream));
                self.tasks.push(Task::new(channel, Kind::Tunnel(tunnel), Some(slot)));
            }
            Err(error) => {
                let doing = format!("connecting to {address} through {}", self.name);
                let failure = Failure::from(error).while_doing(doing);
                let _ = reply.send(Err(Refusal::Failed(failure)));
                self.tasks.push(Task::closing(channel, Some(slot)));
            }
        }
    }

    fn not_opened(&mut self, error: &ssh2::Error) {
        let Some(opening) = self.opening.take() else { return };
        if let Some(OpeningTunnel { address, reply, .. }) = opening.tunnel {
            let failure = tunnel::refused(&self.name, &address, error);
            // Who asked may have gone.
            let _ = reply.send(Err(Refusal::Failed(failure)));
            return;
        }
        let now = Instant::now();
        let (first, longest) = Self::PAUSE;
        let (since, pause) = match &self.refused {
            // It was asked again without a break.
            Some(refused) if now - refused.retry < Self::PAUSE.1 => {
                (refused.since, (refused.pause * 2).min(longest))
            }
            _ => (now, first),
        };
        let alone = self.tasks.is_empty();
        self.refused = Some(Refused { since, pause, retry: now + pause, alone });
        let out_of_patience = now - since > Self::PATIENCE;
        if out_of_patience && let Some(Request::Command { reply, .. }) = self.queue.pop_front() {
            let failure = Failure::msg(format!(
                "starting a command on {}: the server opens no more sessions: {}",
                self.name,
                error.message()
            ))
            .next(
                "raise `MaxSessions` in its sshd_config, or end what still runs there: commands \
                 that were left running keep their session",
            );
            let _ = reply.send(Err(Refusal::Failed(failure)));
        }
    }

    /// The number of the channel is free again for libssh2, but an answer may still come for it:
    /// nothing must be opened on this connection any more.
    fn never_answered(&mut self) {
        let why: Arc<str> =
            format!("{} did not answer within a minute when asked for a channel", self.name).into();
        self.shared.ended.store(true, Ordering::Release);
        if let Some(OpeningTunnel { address, reply, .. }) =
            self.opening.take().and_then(|opening| opening.tunnel)
        {
            let failure = Failure::msg(why.clone())
                .while_doing(format!("connecting to {address} through {}", self.name))
                .next("see whether the server can reach that address");
            let _ = reply.send(Err(Refusal::Failed(failure)));
        }
        for request in std::mem::take(&mut self.queue) {
            request.refuse(Refusal::NotStarted(why.clone()));
        }
        if let Some(inbox) = self.shared.inbox().take() {
            for request in inbox {
                request.refuse(Refusal::NotStarted(why.clone()));
            }
        }
    }

    /// Whether to open a channel in reserve. Not beside others if the server refused one: only
    /// when nothing else is left to hear it by.
    fn wants_spare(&self) -> bool {
        self.spare.is_none() && (self.refused.is_none() || self.tasks.is_empty())
    }

    fn must_pause(&self) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.retry > Instant::now())
    }

    /// When to ask again for a channel that was refused, if that is to come.
    pub(super) fn retry_at(&self, now: Instant) -> Option<Instant> {
        let wanted =
            matches!(self.queue.front(), Some(Request::Command { .. })) || self.wants_spare();
        let retry = self.refused.as_ref().map(|refused| refused.retry)?;
        (wanted && self.opening.is_none() && retry > now).then_some(retry)
    }

    /// Runs the first command of the queue on the spare channel.
    pub(super) fn step_starting(&mut self) -> Result<Step, Lost> {
        if self.starting.is_none() && self.begin_to_start()? {
            return Ok(Step::Progress);
        }
        let Some(starting) = &mut self.starting else { return Ok(Step::Nothing) };
        let Some(channel) = &mut starting.channel else { return Ok(Step::Nothing) };
        let asked = channel.exec(&starting.line);
        // libssh2 hands a request to the kernel in one piece: if the very first attempt to send
        // it fails, none of it has left.
        let unsent = matches!(&asked, Err(error) if super::wire::unsent(error));
        starting.sent |= !unsent;
        let outcome = self.wire.outcome(asked)?;
        let refused = match outcome {
            Outcome::Waits => return Ok(Step::Nothing),
            Outcome::HalfSent => return Ok(Step::HalfSent),
            Outcome::Done(()) => None,
            Outcome::Refused(error) => Some(error),
        };
        let Some(mut starting) = self.starting.take() else { return Ok(Step::Nothing) };
        let Some(channel) = starting.channel.take() else { return Ok(Step::Nothing) };
        match refused {
            None => self.start(channel, starting),
            Some(error) => {
                // It may run all the same.
                let failure = Failure::new(
                    FailureKind::Disconnected,
                    format!(
                        "starting a command on {}: the server did not say that it runs: {}",
                        self.name,
                        error.message()
                    ),
                )
                .next("see on the host whether it ran");
                let _ = starting.reply.send(Err(Refusal::Failed(failure)));
                self.tasks.push(Task::closing(channel, Some(starting.slot)));
            }
        }
        Ok(Step::Progress)
    }

    /// True if the channel in reserve turned out to be closed.
    fn begin_to_start(&mut self) -> Result<bool, Lost> {
        while self.queue.front().is_some_and(Request::is_abandoned) {
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            return Ok(false);
        }
        let Some(spare) = &mut self.spare else { return Ok(false) };
        // Nothing is to be started on a connection that is known to be lost.
        if self.wire.output_ended(spare)? {
            // The server closed it; another is opened.
            let spare = self.spare.take();
            self.tasks.extend(spare.map(|spare| Task::closing(spare, None)));
            return Ok(true);
        }
        match self.queue.pop_front() {
            Some(Request::Command { line, reply, slot }) => {
                let channel = self.spare.take();
                self.starting = Some(Starting { channel, line, reply, slot, sent: false });
            }
            Some(tunnel) => self.queue.push_front(tunnel),
            None => {}
        }
        Ok(false)
    }
}
