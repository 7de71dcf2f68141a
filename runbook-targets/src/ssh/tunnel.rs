//! Sockets as the server sees them: [`Tunnel`], the driver's side, and [`TunnelStream`], ours.
//!
//! Between the two lies a pair of local sockets, so that a tunnel can also be the socket of the
//! next session: a jump host.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use runbook_core::{Address, Failure, Problem};
use rustix::event::PollFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::driver::{Lost, Outcome, Step, Wire};

/// One open tunnel.
pub(super) struct Tunnel {
    local: UnixStream,
    up: Buffer,
    down: Buffer,
    local_ended: bool,
    eof_sent: bool,
    remote_ended: bool,
    /// What the server said was passed on to the end.
    shut: bool,
    /// Both directions of the local end are gone.
    hung_up: bool,
    /// The window's packet is half sent: go on with reading.
    half_heard: bool,
    lost: Arc<OnceLock<Problem>>,
}

/// Bytes under way in one direction.
struct Buffer {
    bytes: Box<[u8]>,
    from: usize,
    to: usize,
}

impl Buffer {
    fn new() -> Self {
        Self { bytes: vec![0; 64 << 10].into(), from: 0, to: 0 }
    }

    fn is_empty(&self) -> bool {
        self.from == self.to
    }
}

enum Pass {
    Progress,
    Nothing,
    HalfSent,
    Broken,
}

impl Tunnel {
    pub(super) fn new() -> io::Result<(Self, TunnelStream)> {
        let (local, ours) = UnixStream::pair()?;
        local.set_nonblocking(true)?;
        ours.set_nonblocking(true)?;
        let lost = Arc::new(OnceLock::new());
        let tunnel = Self {
            local,
            up: Buffer::new(),
            down: Buffer::new(),
            local_ended: false,
            eof_sent: false,
            remote_ended: false,
            shut: false,
            hung_up: false,
            half_heard: false,
            lost: lost.clone(),
        };
        Ok((tunnel, TunnelStream { stream: ours, lost }))
    }

    pub(super) fn step(
        &mut self,
        channel: &mut ssh2::Channel,
        wire: &mut Wire,
    ) -> Result<Step, Lost> {
        let resumed = std::mem::take(&mut self.half_heard);
        let up = if resumed { Pass::Nothing } else { self.pass_up(channel, wire)? };
        match up {
            Pass::HalfSent => return Ok(Step::HalfSent),
            Pass::Broken => return Ok(Step::Close),
            _ => {}
        }
        let down = self.pass_down(channel, wire)?;
        match down {
            Pass::HalfSent => {
                self.half_heard = true;
                return Ok(Step::HalfSent);
            }
            Pass::Broken => return Ok(Step::Close),
            _ => {}
        }
        let nobody_listens = self.hung_up && self.eof_sent;
        if (self.shut && self.eof_sent) || nobody_listens {
            return Ok(Step::Close);
        }
        // Also hears the server when there is no room to read.
        if wire.closed(channel)? && self.shut {
            return Ok(Step::Close);
        }
        Ok(match (up, down) {
            (Pass::Nothing, Pass::Nothing) => Step::Nothing,
            _ => Step::Progress,
        })
    }

    /// Whether something for it was read along with what was for another, after its own turn.
    pub(super) fn has_more(&self, channel: &ssh2::Channel) -> bool {
        let wants = self.down.is_empty() && !self.remote_ended;
        (wants && (channel.eof() || channel.read_window().available > 0))
            || (!self.up.is_empty() && channel.write_window().remaining > 0)
    }

    /// From the local end to the server.
    fn pass_up(&mut self, channel: &mut ssh2::Channel, wire: &Wire) -> Result<Pass, Lost> {
        let mut pass = Pass::Nothing;
        if self.up.is_empty() && !self.local_ended {
            match self.local.read(&mut self.up.bytes) {
                Ok(0) => self.local_ended = true,
                Ok(read) => (self.up.from, self.up.to) = (0, read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(pass),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(Pass::Broken),
            }
            pass = Pass::Progress;
        }
        while !self.up.is_empty() {
            match wire.write(channel, &self.up.bytes[self.up.from..self.up.to])? {
                Outcome::Done(0) | Outcome::Waits => return Ok(pass),
                Outcome::Done(sent) => self.up.from += sent,
                Outcome::HalfSent => return Ok(Pass::HalfSent),
                Outcome::Refused(_) => return Ok(Pass::Broken),
            }
            pass = Pass::Progress;
        }
        if self.local_ended && !self.eof_sent {
            match wire.outcome(channel.send_eof())? {
                Outcome::Done(()) | Outcome::Refused(_) => self.eof_sent = true,
                Outcome::Waits => return Ok(pass),
                Outcome::HalfSent => return Ok(Pass::HalfSent),
            }
            pass = Pass::Progress;
        }
        Ok(pass)
    }

    /// From the server to the local end.
    fn pass_down(&mut self, channel: &mut ssh2::Channel, wire: &mut Wire) -> Result<Pass, Lost> {
        let mut pass = Pass::Nothing;
        if self.down.is_empty() && !self.remote_ended {
            let room = self.down.bytes.len();
            match wire.read(channel, 0, room)? {
                Outcome::Done(0) => {
                    if !wire.output_ended(channel)? {
                        return Ok(pass);
                    }
                    self.remote_ended = true;
                }
                Outcome::Done(read) => {
                    self.down.bytes[..read].copy_from_slice(&wire.scratch[..read]);
                    (self.down.from, self.down.to) = (0, read);
                }
                Outcome::Waits => return Ok(pass),
                Outcome::HalfSent => return Ok(Pass::HalfSent),
                Outcome::Refused(_) => return Ok(Pass::Broken),
            }
            pass = Pass::Progress;
        }
        while !self.down.is_empty() {
            match self.local.write(&self.down.bytes[self.down.from..self.down.to]) {
                Ok(written) => self.down.from += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(pass),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(Pass::Broken),
            }
            pass = Pass::Progress;
        }
        if self.remote_ended && !self.shut {
            // It may be gone already.
            let _ = self.local.shutdown(Shutdown::Write);
            self.shut = true;
            pass = Pass::Progress;
        }
        Ok(pass)
    }

    /// The local end, and what is to be waited for there.
    pub(super) fn interest(&self) -> Option<(&UnixStream, PollFlags)> {
        let mut flags = PollFlags::empty();
        if self.up.is_empty() && !self.local_ended {
            flags |= PollFlags::IN;
        }
        if !self.down.is_empty() {
            flags |= PollFlags::OUT;
        }
        // A hang-up is told even if it is not asked for, and again and again.
        (!self.hung_up).then_some((&self.local, flags))
    }

    pub(super) fn hung_up(&mut self) {
        self.hung_up = true;
    }

    pub(super) fn lost(self, failure: &Failure) {
        // Nobody else sets it.
        let _ = self.lost.set(failure.to_problem());
    }
}

/// Why the server did not open a tunnel, in words for the operator.
pub(super) fn refused(name: &str, address: &Address, error: &ssh2::Error) -> Failure {
    let doing = format!("connecting to {address} through {name}");
    let option = match address {
        Address::Tcp(..) => "`AllowTcpForwarding` and `PermitOpen`",
        Address::Unix(_) => "`AllowStreamLocalForwarding`",
    };
    let message = error.message();
    let failure = Failure::msg(format!("the server answered: {message}")).while_doing(doing);
    if message.contains("prohibited") {
        failure.next(format!("let the server forward it: {option} in its sshd_config"))
    } else if message.contains("unknown channel type") {
        failure.next("the server can't forward to this kind of address")
    } else if let Address::Unix(path) = address {
        // OpenSSH gives the same answer to both.
        failure.next(format!(
            "see whether something listens there (`test -S {}`) and the login may open it, and \
             whether {option} in the server's sshd_config allows it",
            path.display()
        ))
    } else {
        failure.next("see whether something listens there, as seen from the server")
    }
}

/// Our end of a tunnel, not yet in any runtime.
#[derive(Debug)]
pub(super) struct TunnelStream {
    stream: UnixStream,
    lost: Arc<OnceLock<Problem>>,
}

impl TunnelStream {
    /// The bare socket, for the next session.
    pub(super) fn into_socket(self) -> UnixStream {
        self.stream
    }

    /// As a stream of the runtime that this is called in.
    pub(super) fn into_stream(self) -> io::Result<TunnelSocket> {
        let stream = tokio::net::UnixStream::from_std(self.stream)?;
        Ok(TunnelSocket { stream, lost: self.lost })
    }
}

/// An asynchronous stream through a tunnel. A lost connection is an error, not an end.
pub(super) struct TunnelSocket {
    stream: tokio::net::UnixStream,
    lost: Arc<OnceLock<Problem>>,
}

impl TunnelSocket {
    fn told(&self, error: io::Error) -> io::Error {
        match self.lost.get() {
            Some(problem) => io::Error::new(io::ErrorKind::ConnectionReset, problem.clone()),
            None => error,
        }
    }
}

impl AsyncRead for TunnelSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        let ended = read.is_ok() && buf.filled().len() == before && buf.remaining() > 0;
        if ended && self.lost.get().is_some() {
            return Poll::Ready(Err(self.told(io::ErrorKind::ConnectionReset.into())));
        }
        Poll::Ready(read.map_err(|error| self.told(error)))
    }
}

impl AsyncWrite for TunnelSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(written.map_err(|error| self.told(error)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
