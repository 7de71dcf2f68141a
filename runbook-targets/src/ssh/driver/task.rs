//! [`Task`]: one open channel, whatever it is for.

use std::task::Waker;

use runbook_core::Failure;

use super::command::{Command, Op};
use super::wire::{Lost, Outcome, Wire};
use crate::ssh::pool::Slot;
use crate::ssh::tunnel::Tunnel;

/// A channel, what it is for, and the place in the pool that it takes until it is closed.
pub(super) struct Task {
    pub(super) channel: ssh2::Channel,
    pub(super) kind: Kind,
    /// The operation of a command whose packet is half sent.
    half_sent: Option<Op>,
    /// The server closed it too: it may be freed.
    pub(super) closed: bool,
    _slot: Option<Slot>,
}

pub(super) enum Kind {
    Command(Command),
    Tunnel(Tunnel),
    /// To be closed. libssh2 gives the number of a channel that it freed to the next: one that the
    /// server did not close yet must not be freed, or its last words go to another.
    Closing {
        said: bool,
    },
}

/// What came of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ssh) enum Step {
    Progress,
    Nothing,
    /// It must be called again before anything else.
    HalfSent,
    /// It is to be closed.
    Close,
    /// It is closed.
    Closed,
}

impl Task {
    pub(super) fn new(channel: ssh2::Channel, kind: Kind, slot: Option<Slot>) -> Self {
        Self { channel, kind, half_sent: None, closed: false, _slot: slot }
    }

    pub(super) fn closing(channel: ssh2::Channel, slot: Option<Slot>) -> Self {
        Self::new(channel, Kind::Closing { said: false }, slot)
    }

    pub(super) fn step(&mut self, wire: &mut Wire, waker: &Waker) -> Result<Step, Lost> {
        let channel = &mut self.channel;
        let step = match &mut self.kind {
            Kind::Command(command) => command.step(channel, &mut self.half_sent, wire, waker)?,
            Kind::Tunnel(tunnel) => tunnel.step(channel, wire)?,
            Kind::Closing { said } => {
                if !*said {
                    match wire.outcome(channel.close())? {
                        Outcome::Done(()) | Outcome::Refused(_) => *said = true,
                        Outcome::Waits => return Ok(Step::Nothing),
                        Outcome::HalfSent => return Ok(Step::HalfSent),
                    }
                }
                match wire.closed(channel)? {
                    true => Step::Closed,
                    false => Step::Nothing,
                }
            }
        };
        match step {
            Step::Close => self.kind = Kind::Closing { said: false },
            Step::Closed => self.closed = true,
            _ => {}
        }
        Ok(step)
    }

    /// Whether something for it was read along with what was for another, after its own turn.
    pub(super) fn has_more(&self) -> bool {
        match &self.kind {
            Kind::Command(command) => command.has_more(&self.channel),
            Kind::Tunnel(tunnel) => tunnel.has_more(&self.channel),
            Kind::Closing { .. } => false,
        }
    }

    /// Whether it waits for what can't be asked for without reading from the server, or for no answer
    /// much longer.
    pub(super) fn must_look_again(&self) -> bool {
        matches!(&self.kind, Kind::Command(command) if command.must_look_again())
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.kind, Kind::Closing { .. })
    }

    pub(super) fn lost(self, failure: impl Fn() -> Failure) {
        match self.kind {
            Kind::Command(command) => command.lost(failure),
            Kind::Tunnel(tunnel) => tunnel.lost(&failure()),
            Kind::Closing { .. } => {}
        }
    }
}
