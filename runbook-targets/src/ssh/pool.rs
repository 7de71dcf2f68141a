//! [`Connections`]: the SSH connections to one host.
//!
//! One connection carries a few commands at a time; another is opened when it is full, or when
//! what waits in its line takes longer than to connect once more. Bulk transfers and tunnels have
//! connections of their own. A connection that was lost is replaced when something is opened next,
//! never for what ran on it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use runbook_core::{Address, BoxStream, Failure, FailureKind, Problem, Result};
use tokio::sync::{Semaphore, oneshot};

use super::background;
use super::connect::{Dialer, Route};
use super::driver::{Connection, Keepalive, Refusal, Reply, Request};
use super::login::Login;
use super::tunnel::TunnelStream;
use crate::remote::channel::{Channel, Channels, Purpose};

/// The connections to one host. Dropping it ends them, each as soon as nothing runs on it.
pub(crate) struct Connections(Arc<Pool>);

/// What a pool and its connections may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections for commands.
    pub(crate) connections: usize,
    /// Channels of one connection. OpenSSH allows 10 unless told otherwise.
    pub(crate) channels: usize,
    /// Connections that log in at the same time. OpenSSH begins to refuse at 10.
    pub(crate) handshakes: usize,
    /// Until a TCP connection is made.
    pub(crate) connect: Duration,
    /// Until both sides have agreed on keys, from the connection on; no longer than `login`.
    pub(crate) handshake: Duration,
    /// Until the server knows us, from the connection on.
    pub(crate) login: Duration,
    pub(crate) keepalive: Keepalive,
    /// After which a connection beyond the first is closed.
    pub(crate) idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4,
            channels: 6,
            handshakes: 4,
            connect: Duration::from_secs(15),
            handshake: Duration::from_secs(30),
            login: Duration::from_secs(30),
            keepalive: Keepalive { interval: Duration::from_secs(15), count: 3 },
            idle: Duration::from_secs(30),
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Commands,
    Bulk,
    Tunnels,
}

struct Pool {
    dialer: Arc<Dialer>,
    limits: Limits,
    handshakes: Arc<Semaphore>,
    /// Microseconds that the last connection took to be made.
    connect_time: AtomicU64,
    lines: Mutex<[Line; 3]>,
}

/// The connections of one class, and who waits for one.
#[derive(Default)]
struct Line {
    members: Vec<Arc<Member>>,
    connecting: usize,
    waiting: VecDeque<oneshot::Sender<Result<Slot, Problem>>>,
    /// One of those being made was begun before anybody asked.
    ahead: bool,
    /// Why that one failed, if nobody waited for it yet.
    untold: Option<(Instant, Problem)>,
}

type Waiter = oneshot::Receiver<Result<Slot, Problem>>;

struct Member {
    connection: Connection,
    taken: AtomicUsize,
    /// Those of the taken that wait for their start.
    starting: AtomicUsize,
}

/// A place on a connection; free again when dropped.
pub(super) struct Slot {
    pool: Weak<Pool>,
    class: Class,
    member: Arc<Member>,
    started: bool,
}

impl Connections {
    pub(crate) fn new(
        name: impl Into<Arc<str>>,
        route: Route,
        login: Arc<dyn Login>,
        limits: Limits,
    ) -> Self {
        let dialer = Arc::new(Dialer::new(name.into(), route, login, limits));
        Self(Arc::new(Pool {
            dialer,
            limits,
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            connect_time: AtomicU64::new(0),
            lines: Mutex::default(),
        }))
    }

    /// Makes the first connection for commands, unless there is one or will be.
    pub(crate) fn prepare(&self) {
        let pool = &self.0;
        let line = &mut pool.lines()[Class::Commands as usize];
        line.members.retain(|member| !member.connection.has_ended());
        if line.members.is_empty() && line.connecting == 0 && line.told().is_none() {
            line.ahead = true;
            pool.connect(Class::Commands, line);
        }
    }

    /// Opens a socket as the host sees it.
    ///
    /// # Errors
    /// The host can't be reached; nothing listens there, or the host forbids it.
    pub(crate) async fn connect(&self, address: &Address) -> Result<BoxStream> {
        Ok(Box::new(self.tunnel(address).await?.into_stream()?))
    }

    pub(super) async fn tunnel(&self, address: &Address) -> Result<TunnelStream> {
        let ask = |reply, slot| Request::Tunnel { address: address.clone(), reply, slot };
        self.0.ask(Class::Tunnels, &format!("connecting to {address}"), ask).await
    }
}

#[async_trait]
impl Channels for Connections {
    fn name(&self) -> &str {
        self.0.dialer.name()
    }

    async fn open(&self, line: &str, purpose: Purpose) -> Result<Channel> {
        let class = match purpose {
            Purpose::Shell | Purpose::Command => Class::Commands,
            Purpose::Bulk => Class::Bulk,
        };
        let name = self.name();
        if line.contains('\0') {
            return Err(Failure::msg(format!(
                "starting a command on {name}: a command line can't hold a zero byte"
            )));
        }
        if line.len() > Self::LINE {
            return Err(Failure::msg(format!(
                "starting a command on {name}: its line has {} bytes, and one packet takes {}",
                line.len(),
                Self::LINE
            ))
            .next("give it what is long by its standard input"));
        }
        let ask = |reply, slot| Request::Command { line: line.to_owned(), reply, slot };
        self.0.ask(class, "starting a command", ask).await
    }
}

impl Connections {
    /// What libssh2 sends in one packet.
    const LINE: usize = 32 << 10;
}

impl Drop for Connections {
    fn drop(&mut self) {
        for line in &mut *self.0.lines() {
            // A channel that the server has yet to close still holds on to its connection.
            line.members.drain(..).for_each(|member| member.connection.stop());
            line.waiting.clear();
        }
    }
}

impl Pool {
    /// How many connections may be lost before a command is started on one.
    const ATTEMPTS: usize = 3;

    async fn ask<T>(
        self: &Arc<Self>,
        class: Class,
        doing: &str,
        request: impl Fn(Reply<T>, Slot) -> Request,
    ) -> Result<T> {
        let name = self.dialer.name();
        let mut why = None;
        for _ in 0..Self::ATTEMPTS {
            let slot = self.slot(class).await?;
            let member = slot.member.clone();
            let (reply, answer) = oneshot::channel();
            if member.connection.ask(request(reply, slot)).is_err() {
                // It ended in this moment: the next is another.
                why = member.connection.why_ended().or(why);
                continue;
            }
            match answer.await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(Refusal::NotStarted(reason))) => why = Some(reason),
                Ok(Err(Refusal::Failed(failure))) => return Err(failure),
                Err(_) => {
                    let message = format!("{doing} on {name}: its connection broke down");
                    return Err(Failure::new(FailureKind::Disconnected, message));
                }
            }
        }
        let why = why.as_deref().unwrap_or("each connection ended at once").to_owned();
        Err(Failure::msg(format!("{doing} on {name}: nothing was started: {why}")))
    }

    /// A place on a connection, when there is one.
    async fn slot(self: &Arc<Self>, class: Class) -> Result<Slot> {
        loop {
            let waiter = match self.slot_now(class)? {
                Ok(slot) => return Ok(slot),
                Err(waiter) => waiter,
            };
            // The connection that was waited for may end: then another is made.
            if let Ok(slot) = waiter.await {
                return Ok(slot?);
            }
        }
    }

    /// A place on a connection that has one, or where to wait for one. Fails if a connection that
    /// was made ahead has just failed.
    fn slot_now(self: &Arc<Self>, class: Class) -> Result<Result<Slot, Waiter>, Problem> {
        let mut lines = self.lines();
        let line = &mut lines[class as usize];
        line.members.retain(|member| !member.connection.has_ended());
        line.waiting.retain(|waiter| !waiter.is_closed());
        let more = line.connecting + line.members.len() < self.most(class);
        if let Some(best) = line.best(self.limits.channels)
            // A tunnel to where nothing answers would keep the next waiting for a minute.
            && (class != Class::Tunnels || best.is_quick() || !more)
        {
            let crowded = best.queue_time() > self.connect_time();
            let slot = Slot::take(self, class, &best);
            if crowded && more && line.connecting == 0 {
                self.connect(class, line);
            }
            return Ok(Ok(slot));
        }
        if let Some(why) = line.told() {
            return Err(why);
        }
        let (sender, waiter) = oneshot::channel();
        line.waiting.push_back(sender);
        if more && line.connecting * self.limits.channels < line.waiting.len() {
            self.connect(class, line);
        }
        Ok(Err(waiter))
    }

    /// Connections of a class at most.
    fn most(&self, class: Class) -> usize {
        match class {
            Class::Commands | Class::Tunnels => self.limits.connections,
            Class::Bulk => 1.max(self.limits.connections / 2),
        }
    }

    fn connect_time(&self) -> Duration {
        match self.connect_time.load(Ordering::Relaxed) {
            0 => Duration::MAX,
            micros => Duration::from_micros(micros),
        }
    }

    /// Makes one more connection, in the background: a place may come free before it is there, and
    /// others than the caller may wait for it.
    fn connect(self: &Arc<Self>, class: Class, line: &mut Line) {
        line.connecting += 1;
        let pool = Arc::downgrade(self);
        let dialer = self.dialer.clone();
        let handshakes = self.handshakes.clone();
        let first = class == Class::Commands && line.members.is_empty() && line.connecting == 1;
        let idle_after = (!first).then_some(self.limits.idle);
        let attempt = Attempt { pool: pool.clone(), class, done: false };
        background::spawn(async move {
            // It is never closed.
            let _permit = handshakes.acquire_owned().await;
            let since = Instant::now();
            let ready = dialer.connect(idle_after).await;
            let outcome = ready.and_then(|(owner, ready)| {
                let ended = move || {
                    if let Some(pool) = pool.upgrade() {
                        pool.ended(class);
                    }
                };
                Ok(Connection::start(&owner, ready, ended)?)
            });
            attempt.finish(outcome, since.elapsed());
        });
    }

    fn connected(self: &Arc<Self>, class: Class, outcome: Result<Connection>, took: Duration) {
        let mut lines = self.lines();
        let line = &mut lines[class as usize];
        line.connecting -= 1;
        let ahead = std::mem::take(&mut line.ahead);
        let mut unsent = Vec::new();
        match outcome {
            Ok(connection) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.connect_time.store(micros.max(1), Ordering::Relaxed);
                let (taken, starting) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let member = Arc::new(Member { connection, taken, starting });
                if !member.connection.has_ended() {
                    line.members.push(member);
                } else if line.members.is_empty() && line.connecting == 0 {
                    // A server may close right after the login, and its end be told before it was
                    // known here: whoever asks it learns why, and asks another.
                    unsent = self.hand_out(class, line, |_| Some(member.clone()));
                }
            }
            Err(failure) if line.members.is_empty() && line.connecting == 0 => {
                let problem = failure.to_problem();
                line.waiting.retain(|waiter| !waiter.is_closed());
                if ahead && line.waiting.is_empty() {
                    line.untold = Some((Instant::now(), problem.clone()));
                }
                for waiter in line.waiting.drain(..) {
                    // It may have gone.
                    let _ = waiter.send(Err(problem.clone()));
                }
            }
            // The others serve those who wait.
            Err(_) => {}
        }
        unsent.append(&mut self.serve(class, line));
        drop(lines);
        drop(unsent);
    }

    /// A connection ended: those who wait may need another.
    fn ended(self: &Arc<Self>, class: Class) {
        let mut lines = self.lines();
        let line = &mut lines[class as usize];
        let gone: Vec<_> =
            line.members.extract_if(.., |member| member.connection.has_ended()).collect();
        line.waiting.retain(|waiter| !waiter.is_closed());
        let helpless = line.members.is_empty() && line.connecting == 0;
        if helpless && !line.waiting.is_empty() {
            // This is a thread of its own, outside of any runtime: those who wait ask again.
            line.waiting.clear();
        }
        drop(lines);
        drop(gone);
    }

    /// Gives free places to those who wait.
    fn serve(self: &Arc<Self>, class: Class, line: &mut Line) -> Vec<Slot> {
        self.hand_out(class, line, |line| line.best(self.limits.channels))
    }

    /// Gives places to those who wait, each on what `next` says. A place that nobody took is given
    /// back, to be dropped once the lock is released.
    fn hand_out(
        self: &Arc<Self>,
        class: Class,
        line: &mut Line,
        next: impl Fn(&Line) -> Option<Arc<Member>>,
    ) -> Vec<Slot> {
        let mut unsent = Vec::new();
        while !line.waiting.is_empty()
            && let Some(member) = next(line)
            && let Some(waiter) = line.waiting.pop_front()
        {
            if let Err(Ok(slot)) = waiter.send(Ok(Slot::take(self, class, &member))) {
                unsent.push(slot);
            }
        }
        unsent
    }

    /// No code panics while it holds this lock.
    fn lines(&self) -> MutexGuard<'_, [Line; 3]> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// For how long what a connection that was made ahead failed of is taken for what another one
    /// would fail of: it was made for those who ask now, and the host saw one attempt.
    const TOLD: Duration = Duration::from_secs(1);

    /// Why there is no connection, if that was found out just now and nobody was told yet.
    fn told(&mut self) -> Option<Problem> {
        let (since, why) = self.untold.as_ref()?;
        if since.elapsed() < Self::TOLD {
            return Some(why.clone());
        }
        self.untold = None;
        None
    }

    /// The connection with a free place that will start a command soonest.
    fn best(&self, channels: usize) -> Option<Arc<Member>> {
        self.members
            .iter()
            .filter(|member| !member.connection.has_ended())
            .filter(|member| member.taken.load(Ordering::Relaxed) < channels)
            .min_by_key(|member| member.starting.load(Ordering::Relaxed))
            .cloned()
    }
}

impl Member {
    fn is_quick(&self) -> bool {
        self.starting.load(Ordering::Relaxed) == 0
    }

    /// How long those take that wait for their start: to open a channel, and to run on it.
    fn queue_time(&self) -> Duration {
        let starting = u32::try_from(self.starting.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        self.connection.round_trip().saturating_mul(2).saturating_mul(starting)
    }
}

impl Slot {
    fn take(pool: &Arc<Pool>, class: Class, member: &Arc<Member>) -> Self {
        member.taken.fetch_add(1, Ordering::Relaxed);
        member.starting.fetch_add(1, Ordering::Relaxed);
        Self { pool: Arc::downgrade(pool), class, member: member.clone(), started: false }
    }

    /// What it was taken for runs.
    pub(super) fn started(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            self.member.starting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.started();
        self.member.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(pool) = self.pool.upgrade() {
            let unsent = pool.serve(self.class, &mut pool.lines()[self.class as usize]);
            // Only now, since each takes the lock when it is dropped.
            drop(unsent);
        }
    }
}

/// A connection being made. It counts as failed if its task is dropped, with its runtime.
struct Attempt {
    pool: Weak<Pool>,
    class: Class,
    done: bool,
}

impl Attempt {
    fn finish(mut self, outcome: Result<Connection>, took: Duration) {
        self.done = true;
        if let Some(pool) = self.pool.upgrade() {
            pool.connected(self.class, outcome, took);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.done
            && let Some(pool) = self.pool.upgrade()
        {
            let failure = Failure::msg("connecting was given up: its runtime has ended");
            pool.connected(self.class, Err(failure), Duration::ZERO);
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.0.dialer).finish()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("class", &self.class).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
