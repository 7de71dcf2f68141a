//! [`Wire`]: the session's operations, with their outcomes told apart.

use std::io;
use std::sync::Arc;

use ssh2::{BlockDirections, ErrorCode};

/// What became of an operation that never blocks.
pub(in crate::ssh) enum Outcome<T> {
    Done(T),
    /// It waits for the server. Other operations may go on.
    Waits,
    /// Its packet is half sent: it must be called again, with the same bytes, before any other.
    HalfSent,
    /// The server, or the state of the channel, says no. The connection itself is well.
    Refused(ssh2::Error),
}

/// The connection is lost, and why.
#[derive(Clone, Debug)]
pub(in crate::ssh) struct Lost(pub(in crate::ssh) Arc<str>);

/// libssh2's number for a server that let a request wait for a minute.
const TIMED_OUT: i32 = -9;
const AGAIN: i32 = -37;
const NOT_SENT: i32 = -7;
/// Errors of one channel: out of order, failure, denied, unknown, exceeded (2), closed, after its
/// end; wrong state; window full.
const OF_CHANNEL: [i32; 10] = [-20, -21, -22, -23, -24, -25, -26, -27, -34, -47];

/// The session and a buffer to read into.
pub(in crate::ssh) struct Wire {
    pub(in crate::ssh) session: ssh2::Session,
    pub(in crate::ssh) scratch: Vec<u8>,
    /// The last read filled it: the next one gets a larger one.
    filled: bool,
}

impl Wire {
    /// The buffer at first: most commands say little, and a fleet has many connections.
    const SCRATCH: usize = 2 << 10;
    const MOST: usize = 64 << 10;

    pub(super) fn new(session: ssh2::Session) -> Self {
        Self { session, scratch: vec![0; Self::SCRATCH], filled: false }
    }

    /// Reads from a channel into the scratch buffer, at most `room` bytes.
    pub(in crate::ssh) fn read(
        &mut self,
        channel: &ssh2::Channel,
        stream: i32,
        room: usize,
    ) -> Result<Outcome<usize>, Lost> {
        if self.filled && self.scratch.len() < Self::MOST {
            self.scratch = vec![0; self.scratch.len() * 2];
        }
        let room = room.min(self.scratch.len());
        let read = io::Read::read(&mut channel.stream(stream), &mut self.scratch[..room]);
        self.filled = read.as_ref().is_ok_and(|read| *read == self.scratch.len());
        self.io_outcome(read)
    }

    pub(in crate::ssh) fn write(
        &self,
        channel: &ssh2::Channel,
        bytes: &[u8],
    ) -> Result<Outcome<usize>, Lost> {
        self.io_outcome(io::Write::write(&mut channel.stream(0), bytes))
    }

    /// Hears the server, and says whether it ended this channel's output (what it said before
    /// may still lie unread).
    pub(in crate::ssh) fn output_ended(&self, channel: &mut ssh2::Channel) -> Result<bool, Lost> {
        // Unlike a read of nothing, this never answers with a packet.
        Ok(matches!(self.outcome(channel.wait_eof())?, Outcome::Done(())))
    }

    /// Hears the server, and says whether it closed this channel.
    pub(in crate::ssh) fn closed(&self, channel: &mut ssh2::Channel) -> Result<bool, Lost> {
        Ok(self.output_ended(channel)?
            && matches!(self.outcome(channel.wait_close())?, Outcome::Done(())))
    }

    pub(in crate::ssh) fn outcome<T>(
        &self,
        result: Result<T, ssh2::Error>,
    ) -> Result<Outcome<T>, Lost> {
        let error = match result {
            Ok(done) => return Ok(Outcome::Done(done)),
            Err(error) => error,
        };
        match error.code() {
            ErrorCode::Session(AGAIN) => Ok(match self.session.block_directions() {
                BlockDirections::Outbound | BlockDirections::Both => Outcome::HalfSent,
                BlockDirections::Inbound | BlockDirections::None => Outcome::Waits,
            }),
            ErrorCode::Session(code) if OF_CHANNEL.contains(&code) => Ok(Outcome::Refused(error)),
            _ => Err(Lost(error.message().into())),
        }
    }

    fn io_outcome(&self, result: io::Result<usize>) -> Result<Outcome<usize>, Lost> {
        let result = result.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => ssh2::Error::from_errno(ErrorCode::Session(AGAIN)),
            // The code did not survive the conversion.
            _ => {
                ssh2::Error::last_session_error(&self.session).unwrap_or_else(ssh2::Error::unknown)
            }
        });
        self.outcome(result)
    }
}

/// Whether a channel was not opened because the server let it wait for too long.
pub(super) fn timed_out(error: &ssh2::Error) -> bool {
    error.code() == ErrorCode::Session(TIMED_OUT)
}

/// Whether the kernel took nothing of what was to be sent.
pub(super) fn unsent(error: &ssh2::Error) -> bool {
    error.code() == ErrorCode::Session(NOT_SENT)
}
