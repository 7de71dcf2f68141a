//! [`FakeRedis`]: a server that lives in the test.

mod commands;
mod scripts;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runbook_core::testing::FakeTarget;
use tokio::io::DuplexStream;

use crate::config::Config;
use crate::reply::Reply;

/// A server that lives in the test: it speaks Redis' protocol on an address of a [`FakeTarget`], and
/// keeps strings, hashes, lists, sets, sorted sets and streams. Clones are the same server.
///
/// It knows the commands that the steps and checks of this crate send, and the ordinary ones by
/// which a test fills it; what it does not know is an error, never a wrong answer.
/// [`on`](Self::on) adds to it. Keys don't expire, and all databases are one. Its clock stands
/// still, so that the same run ends the same each time.
///
/// ```
/// use runbook_core::testing::{FakeTarget, context, observer};
/// use runbook_core::{Check, Host, Step};
/// use runbook_redis::testing::FakeRedis;
/// use runbook_redis::{Config, Queue, Redis};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let server = FakeRedis::new().password("correct horse");
/// server.queue("mails").waiting("1").failed("2", "no such address");
///
/// let target = FakeTarget::new("cache-1");
/// let config = Config::new().password("correct horse");
/// server.listen(&target, &config);
/// let mails = Queue::new(&Redis::new(&Host::new(target), config), "mails");
///
/// assert!(!mails.worker_alive().check(&observer()).await.unwrap().passed());
/// server.queue("mails").worker(true);
/// assert!(mails.worker_alive().check(&observer()).await.unwrap().passed());
///
/// let retried = mails.retry_failed(100).run(&context()).await.unwrap();
/// assert_eq!(retried.jobs, 1);
/// assert_eq!(server.command(["LLEN", "bull:mails:wait"]).unwrap().integer(), Some(2));
/// # });
/// ```
#[derive(Clone)]
pub struct FakeRedis(Arc<Mutex<World>>);

type Hook = Arc<dyn Fn(&[String]) -> Result<Reply, String> + Send + Sync>;

struct World {
    runs: bool,
    password: Option<String>,
    keys: BTreeMap<String, Kept>,
    max_memory: u64,
    used_memory: u64,
    policy: String,
    /// Names of connections that are not ours, as `CLIENT LIST` shows them.
    clients: BTreeSet<String>,
    hooks: Vec<(String, Hook)>,
}

/// What a key holds.
#[derive(Clone, Debug)]
enum Kept {
    Text(String),
    Hash(BTreeMap<String, String>),
    List(VecDeque<String>),
    Set(BTreeSet<String>),
    Sorted(BTreeMap<String, f64>),
    Stream(Vec<Vec<String>>),
}

/// When it always is, in milliseconds since 1970.
const NOW_MS: u64 = 1_767_225_600_000;

impl FakeRedis {
    /// Empty, running, without a password; it uses 1 MiB and may use as much as it wants.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(World {
            runs: true,
            password: None,
            keys: BTreeMap::new(),
            max_memory: 0,
            used_memory: 1 << 20,
            policy: "noeviction".into(),
            clients: BTreeSet::new(),
            hooks: Vec::new(),
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, with a password.
    #[must_use]
    pub fn password(self, password: impl Into<String>) -> Self {
        self.world().password = Some(password.into());
        self
    }

    /// Listens where `config` says, on `target`.
    pub fn listen(&self, target: &FakeTarget, config: &Config) {
        let (open, server) = (self.clone(), self.clone());
        target.listen_when(
            &config.address(),
            move || open.is_running(),
            move |stream| server.serve(stream),
        );
    }

    /// Answers on one connection until its other end is gone, or the server is stopped.
    pub fn serve(&self, stream: DuplexStream) {
        tokio::spawn(wire::talk(self.clone(), stream));
    }

    /// Stops it: connections are refused, and those that are open end with their next command. What
    /// it holds stays.
    pub fn stop(&self) {
        self.world().runs = false;
    }

    /// Starts it again.
    pub fn start(&self) {
        self.world().runs = true;
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.world().runs
    }

    /// How much memory it uses, and may use (0: as much as it wants), in bytes. It does not count
    /// what is in it.
    pub fn memory(&self, used: u64, max: u64) {
        let mut world = self.world();
        (world.used_memory, world.max_memory) = (used, max);
    }

    /// Runs a command, as a client would that is let in.
    ///
    /// # Errors
    /// What the server says: the beginning of it in capitals, as in `WRONGTYPE ..`.
    pub fn command<S: Into<String>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Reply, String> {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        self.answer(&words)
    }

    /// What is answered to a command (`JSON.GET`, `EVALSHA`), in place of what it would say itself;
    /// the closure is given all its words.
    ///
    /// ```
    /// use runbook_redis::Reply;
    /// use runbook_redis::testing::FakeRedis;
    /// let server = FakeRedis::new();
    /// server.on("SLOWLOG", |words| match words[1].as_str() {
    ///     "LEN" => Ok(Reply::Integer(3)),
    ///     other => Err(format!("ERR nothing is scripted for SLOWLOG {other}")),
    /// });
    /// assert_eq!(server.command(["SLOWLOG", "LEN"]), Ok(Reply::Integer(3)));
    /// ```
    pub fn on(
        &self,
        command: impl Into<String>,
        answer: impl Fn(&[String]) -> Result<Reply, String> + Send + Sync + 'static,
    ) {
        self.world().hooks.push((command.into().to_uppercase(), Arc::new(answer)));
    }

    /// A BullMQ queue, as BullMQ 5 writes it; made if there is none.
    #[must_use]
    pub fn queue(&self, name: impl Into<String>) -> FakeQueue {
        let queue = FakeQueue { server: self.clone(), name: name.into() };
        queue.ask(["HSETNX", &queue.key("meta"), "version", "bullmq:5.80.0"]);
        queue
    }

    /// Everything that it holds and that is set, a line each, to be compared. Streams are left out:
    /// they are logs of what happened.
    #[must_use]
    pub fn contents(&self) -> String {
        let world = self.world();
        let mut lines = vec![format!("maxmemory {}", world.max_memory)];
        let told = world.keys.iter().filter(|(_, kept)| !matches!(kept, Kept::Stream(_)));
        lines.extend(told.map(|(key, kept)| format!("{key} {kept:?}")));
        lines.join("\n")
    }

    fn answer(&self, words: &[String]) -> Result<Reply, String> {
        let name = words.first().map(|word| word.to_uppercase()).unwrap_or_default();
        let hook = {
            let world = self.world();
            let found = world.hooks.iter().rev().find(|(of, _)| *of == name);
            found.map(|(_, hook)| Arc::clone(hook))
        };
        match hook {
            // It may ask this very server.
            Some(hook) => hook(words),
            None => commands::run(&mut self.world(), &name, words.get(1..).unwrap_or_default()),
        }
    }
}

impl Default for FakeRedis {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeRedis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world();
        write!(
            f,
            "FakeRedis({} keys{})",
            world.keys.len(),
            if world.runs { "" } else { ", stopped" }
        )
    }
}

/// A BullMQ queue of a [`FakeRedis`]; from [`FakeRedis::queue`].
#[derive(Clone, Debug)]
pub struct FakeQueue {
    server: FakeRedis,
    name: String,
}

impl FakeQueue {
    /// A job that waits, since a minute.
    pub fn waiting(&self, id: impl Into<String>) -> &Self {
        let id = id.into();
        self.job(&id);
        self.ask(["LPUSH", &self.key("wait"), &id]);
        self
    }

    /// A job that has failed for good.
    pub fn failed(&self, id: impl Into<String>, reason: impl Into<String>) -> &Self {
        let (id, reason, now) = (id.into(), reason.into(), NOW_MS.to_string());
        self.job(&id);
        self.ask(["HSET", &self.key(&id), "failedReason", &reason, "finishedOn", &now, "atm", "1"]);
        self.ask(["ZADD", &self.key("failed"), &now, &id]);
        self
    }

    /// Nothing is taken from it, as after BullMQ's `queue.pause()`: jobs wait in another list.
    pub fn paused(&self) -> &Self {
        self.ask(["EVAL", scripts::PAUSE, "1", &self.key("meta"), &self.key(""), "list", "paused"]);
        self
    }

    /// Whether a worker is connected. It takes no jobs by itself: [`work`](Self::work) does.
    pub fn worker(&self, connected: bool) -> &Self {
        let name = format!("bull:{}", STANDARD.encode(&self.name));
        let mut world = self.server.world();
        if connected {
            world.clients.insert(name);
        } else {
            world.clients.remove(&name);
        }
        drop(world);
        self
    }

    /// A worker does all jobs that wait, unless the queue is paused or none is connected.
    pub fn work(&self) -> &Self {
        let name = format!("bull:{}", STANDARD.encode(&self.name));
        let paused = self.ask(["HEXISTS", &self.key("meta"), "paused"]) == Reply::Integer(1);
        if paused || !self.server.world().clients.contains(&name) {
            return self;
        }
        while let Some(id) = self.ask(["RPOP", &self.key("wait")]).text() {
            self.ask(["ZADD", &self.key("completed"), &NOW_MS.to_string(), id]);
        }
        self
    }

    fn job(&self, id: &str) {
        let added = (NOW_MS - 60_000).to_string();
        self.ask(["HSET", &self.key(id), "name", "job", "timestamp", &added, "delay", "0"]);
    }

    fn key(&self, part: &str) -> String {
        format!("bull:{}:{part}", self.name)
    }

    /// # Panics
    /// A key of the queue was given another kind of value by hand.
    fn ask<const N: usize>(&self, words: [&str; N]) -> Reply {
        let answer = self.server.command(words);
        answer.unwrap_or_else(|why| panic!("the fake queue {}: {why}", self.name))
    }
}
