//! [`Connection`]: one SSH session, and the one thread that owns it.
//!
//! libssh2 keeps the state of an unfinished operation in the session: two threads on one session
//! wreck it, and so does freeing a channel from outside. So requests come in by a queue, bytes
//! leave by bounded buffers, and only this thread touches the session and its channels, without
//! ever blocking in it: it sleeps in `poll` on the socket, a bell and the tunnels' local ends.

mod command;
mod sleep;
mod starting;
mod task;
mod thread;
mod wire;

use std::any::Any;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use runbook_core::{Address, Failure};
use tokio::sync::oneshot;

pub(super) use self::task::Step;
use self::thread::Driver;
pub(super) use self::wire::{Lost, Outcome, Wire};
use super::bell::Bell;
use super::owner::Owner;
use super::pool::Slot;
use super::tunnel::TunnelStream;
use crate::remote::channel::Channel;

/// The handle to a connection.
pub(super) struct Connection {
    shared: Arc<Shared>,
}

/// A session after its login, and what it needs to live.
pub(super) struct Ready {
    /// The host's name in errors.
    pub(super) name: Arc<str>,
    pub(super) session: ssh2::Session,
    /// The same that the session holds.
    pub(super) socket: Arc<OwnedFd>,
    /// It is a TCP socket, not a pair of local ones.
    pub(super) tcp: bool,
    pub(super) keepalive: Keepalive,
    /// End when nothing was asked of it for so long.
    pub(super) idle_after: Option<Duration>,
    /// What must live as long as the connection: the process of a proxy.
    pub(super) below: Option<Box<dyn Any + Send>>,
}

/// When a silent server counts as gone: after `count` intervals without one byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive {
    pub(crate) interval: Duration,
    pub(crate) count: u32,
}

impl Keepalive {
    /// The nearest to what was asked for that there can be: a server must have the time to answer,
    /// and a clock must have the time that is waited for.
    pub(crate) fn new(interval: Duration, count: u32) -> Self {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let interval = interval.clamp(Duration::from_secs(1), YEAR);
        let most = YEAR.as_secs() / interval.as_secs();
        Self { interval, count: count.clamp(1, u32::try_from(most).unwrap_or(u32::MAX)) }
    }
}

/// What is asked of a connection. Each is answered, also by a connection that ends.
pub(super) enum Request {
    /// Run a line of `sh`.
    Command { line: String, reply: Reply<Channel>, slot: Slot },
    /// Open a socket as the server sees it.
    Tunnel { address: Address, reply: Reply<TunnelStream>, slot: Slot },
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// Why a request was not met.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nothing of it reached the server: it may be asked of another connection.
    NotStarted(Arc<str>),
    /// It must not be asked again.
    Failed(Failure),
}

impl Request {
    fn refuse(self, refusal: Refusal) {
        // Who asked may have gone.
        match self {
            Self::Command { reply, .. } => drop(reply.send(Err(refusal))),
            Self::Tunnel { reply, .. } => drop(reply.send(Err(refusal))),
        }
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Command { reply, .. } => reply.is_closed(),
            Self::Tunnel { reply, .. } => reply.is_closed(),
        }
    }
}

/// What the handle and the thread share.
struct Shared {
    bell: Arc<Bell>,
    /// `None` once the connection has ended: from then on nothing can be asked of it.
    inbox: Mutex<Option<VecDeque<Request>>>,
    stop: AtomicBool,
    /// Nothing new is to be started on it.
    ended: AtomicBool,
    /// Why not, once it has ended.
    why: OnceLock<Arc<str>>,
    /// Microseconds from asking for a channel to having it.
    round_trip: AtomicU64,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Option<VecDeque<Request>>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells, when it is dropped, that a connection has ended: also if its thread breaks down, so that
/// nobody waits for what nobody does.
struct Ending {
    name: Arc<str>,
    shared: Arc<Shared>,
    ended: Box<dyn Fn() + Send>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // What ended as it should has said why.
        self.shared
            .why
            .get_or_init(|| format!("the connection to {} broke down", self.name).into());
        self.shared.ended.store(true, Ordering::Release);
        let unanswered = self.shared.inbox().take();
        drop(unanswered);
        (self.ended)();
    }
}

impl Connection {
    /// Gives a session to its thread. `ended` is called once nothing can be started on it.
    pub(super) fn start(
        owner: &Owner,
        ready: Ready,
        ended: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            bell: Bell::new()?,
            inbox: Mutex::new(Some(VecDeque::new())),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            why: OnceLock::new(),
            round_trip: AtomicU64::new(0),
        });
        let (for_owner, name) = (shared.clone(), ready.name.clone());
        let ending = Ending { name, shared: shared.clone(), ended: Box::new(ended) };
        owner.tell(move || Driver::new(ready, for_owner, ending).run());
        Ok(Self { shared })
    }

    /// Hands the request back if the connection has ended.
    pub(super) fn ask(&self, request: Request) -> Result<(), Box<Request>> {
        match &mut *self.shared.inbox() {
            Some(inbox) => inbox.push_back(request),
            None => return Err(Box::new(request)),
        }
        self.shared.bell.ring();
        Ok(())
    }

    /// Whether nothing new can be started on it.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Why it has ended, if it has.
    pub(super) fn why_ended(&self) -> Option<Arc<str>> {
        self.shared.why.get().cloned()
    }

    /// Ends it as soon as nothing runs on it.
    pub(super) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.bell.ring();
    }

    /// How long the server takes to answer; zero if that is not yet known.
    pub(super) fn round_trip(&self) -> Duration {
        Duration::from_micros(self.shared.round_trip.load(Ordering::Relaxed))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stop();
    }
}
