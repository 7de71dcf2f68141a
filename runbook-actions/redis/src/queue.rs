//! [`Queue`]: a BullMQ queue, and the keys under which it lives.

mod counts;
mod flow;
mod job;
mod pause;
mod remove;
mod retry;
mod workers;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deadpool_redis::redis::{Cmd, cmd};
use runbook_core::Result;

use crate::client::Redis;
use crate::error::Error;
use crate::session::Session;

pub use self::counts::Counts;
pub use self::flow::Flow;
pub use self::job::{FailedJobs, Job};
pub use self::pause::PausedBefore;
pub use self::remove::RemovedJob;
pub use self::retry::Retried;
pub use self::workers::{Worker, Workers};

/// A BullMQ queue.
///
/// It is a handle, as [`Redis`] is: its methods make steps and checks. It reads and writes the keys
/// as BullMQ does, with scripts of its own that do atomically what BullMQ's do, so that workers go
/// on with what was changed here; nothing of Node is needed on the host.
///
/// ```
/// use std::time::Duration;
///
/// use runbook_core::{Host, Runbook, testing::FakeTarget};
/// use runbook_redis::{Config, Queue, Redis};
///
/// let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
/// let mails = Queue::new(&redis, "mails");
/// assert_eq!(mails.to_string(), "the queue mails in redis on cache-1");
///
/// let mut b = Runbook::new("mails");
/// b.check(mails.worker_alive());
/// b.irreversible(mails.retry_failed(500), "a mail may be sent twice; none must be missing");
/// b.check(mails.flows(Duration::from_secs(60)));
/// # b.build().unwrap();
/// ```
#[derive(Clone)]
pub struct Queue {
    redis: Redis,
    prefix: String,
    name: String,
}

impl Queue {
    /// The queue of that name, under BullMQ's own prefix: `bull`.
    #[must_use]
    pub fn new(redis: &Redis, name: impl Into<String>) -> Self {
        Self { redis: redis.clone(), prefix: "bull".into(), name: name.into() }
    }

    /// Under another prefix, if the application gives one (the option `prefix`).
    ///
    /// ```
    /// # use runbook_core::{Host, testing::FakeTarget};
    /// # use runbook_redis::{Config, Queue, Redis};
    /// # let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// let mails = Queue::new(&redis, "mails").prefix("{shop}");
    /// ```
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The database.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// One of its keys; that of `""` is what all others begin with.
    fn key(&self, part: &str) -> String {
        format!("{}:{}:{part}", self.prefix, self.name)
    }

    /// How its workers call themselves in `CLIENT LIST`.
    fn client_name(&self) -> String {
        format!("{}:{}", self.prefix, STANDARD.encode(&self.name))
    }

    /// What BullMQ notes about the queue itself. The error is that there is no such queue: a name
    /// that is mistyped would look like a queue where all is well.
    async fn meta(&self, session: &Session<'_>) -> Result<Meta> {
        let mut ask = cmd("HMGET");
        ask.arg(self.key("meta")).arg(&["paused", "version"]);
        let (paused, version): (Option<String>, Option<String>) = session.ask(&ask).await?;
        if paused.is_none()
            && version.is_none()
            && !session.ask::<bool>(cmd("EXISTS").arg(self.key("meta"))).await?
        {
            let (place, queue) = (self.redis.to_string(), self.name.clone());
            return Err(Error::NoQueue { place, queue, key: self.key("meta") }.into_failure());
        }
        Ok(Meta { paused: paused.is_some(), version })
    }

    /// How changes have to be written.
    async fn layout(&self, session: &Session<'_>) -> Result<Layout> {
        let version = self.meta(session).await?.version;
        Layout::of(version.as_deref()).ok_or_else(|| {
            Error::Unsafe {
                place: self.to_string(),
                why: format!(
                    "it is written by {}, whose layout is not known here",
                    version.as_deref().unwrap_or_default()
                ),
                next: "do it with the application's own library".into(),
            }
            .into_failure()
        })
    }

    /// A script of ours: its keys are found by the queue's, the first of its arguments.
    fn script(&self, text: &str) -> Cmd {
        let mut eval = cmd("EVAL");
        // One key for the server's access control and clusters: all others lie beside it.
        eval.arg(text).arg(1).arg(self.key("meta")).arg(self.key(""));
        eval
    }
}

/// What BullMQ notes about a queue itself.
struct Meta {
    paused: bool,
    /// `library:version` of the application that last opened it; older ones note nothing.
    version: Option<String>,
}

/// Where versions of BullMQ differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Up to 5: while a queue is paused its jobs wait in a list of their own, and a job that is
    /// retried goes to the end of the waiting ones, whatever its priority.
    PausedList,
    /// From 6 on: jobs wait where they are, and a retried job keeps its priority.
    PausedFlag,
}

impl Layout {
    /// `None` for a library that is not known.
    fn of(version: Option<&str>) -> Option<Self> {
        let Some(version) = version else { return Some(Self::PausedList) };
        let major: u32 = version.strip_prefix("bullmq:")?.split('.').next()?.parse().ok()?;
        Some(if major >= 6 { Self::PausedFlag } else { Self::PausedList })
    }

    /// As the scripts are told.
    fn word(self) -> &'static str {
        match self {
            Self::PausedList => "list",
            Self::PausedFlag => "flag",
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the queue {} in {}", self.name, self.redis)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({self}, under {})", self.key(""))
    }
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[test]
    fn the_layout_is_told_by_the_version() {
        assert_eq!(Layout::of(None), Some(Layout::PausedList));
        assert_eq!(Layout::of(Some("bullmq:5.81.5")), Some(Layout::PausedList));
        assert_eq!(Layout::of(Some("bullmq:6.7.0")), Some(Layout::PausedFlag));
        assert_eq!(Layout::of(Some("bullmq:10.0.0")), Some(Layout::PausedFlag));
        assert_eq!(Layout::of(Some("bullmq-pro:7.1.0")), None);
    }
}
