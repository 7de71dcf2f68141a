//! How many jobs are in which state.

use deadpool_redis::redis::cmd;
use runbook_core::{Check, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::queue::Queue;
use crate::session::Session;

/// How many jobs of a queue are in which state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counts {
    /// Wait for a worker; also those that wait while the queue is paused.
    pub waiting: u64,
    /// Wait for a worker, with a priority.
    pub prioritized: u64,
    /// Wait for their time.
    pub delayed: u64,
    /// Wait for their children.
    pub waiting_children: u64,
    /// Are worked on, or were when their worker was lost.
    pub active: u64,
    /// Are done.
    pub completed: u64,
    /// Have failed for good.
    pub failed: u64,
    /// The whole queue is paused.
    pub paused: bool,
}

impl Counts {
    /// Those that a worker could take now.
    #[must_use]
    pub fn ready(&self) -> u64 {
        self.waiting + self.prioritized
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} waiting", self.waiting)?;
        let others = [
            (self.prioritized, "prioritized"),
            (self.delayed, "delayed"),
            (self.waiting_children, "waiting for children"),
        ];
        for (jobs, state) in others.iter().filter(|(jobs, _)| *jobs > 0) {
            write!(f, ", {jobs} {state}")?;
        }
        write!(f, ", {} active, {} failed", self.active, self.failed)?;
        if self.paused { f.write_str("; paused") } else { Ok(()) }
    }
}

impl Queue {
    /// How many jobs are in which state.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Queue, Redis};
    /// # let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mails = Queue::new(&redis, "mails");
    /// # let mut b = Runbook::new("mails");
    /// let counts = b.check(mails.counts());
    /// let many_failed = counts.map(|counts| counts.failed > 100);
    /// ```
    #[must_use]
    pub fn counts(&self) -> impl Check<Evidence = Counts> {
        counts(self)
    }
}

/// How many jobs are in which state
#[check(title = "The jobs of {queue}")]
async fn counts(cx: &Observer, queue: &Queue) -> Result<Verdict<Counts>> {
    let session = queue.redis.open(cx).await?;
    let counts = count(&session, queue).await?;
    let why = counts.to_string();
    Ok(Verdict::pass(counts, why))
}

/// Counts; that there is such a queue is seen as well.
pub(super) async fn count(session: &Session<'_>, queue: &Queue) -> Result<Counts> {
    let meta = queue.meta(session).await?;
    let list = async |part| session.ask::<u64>(cmd("LLEN").arg(queue.key(part))).await;
    let set = async |part| session.ask::<u64>(cmd("ZCARD").arg(queue.key(part))).await;
    let mut waiting = list("wait").await? + list("paused").await?;
    // Up to version 4 a marker may be among them, to wake workers up.
    let last: Option<String> = session.ask(cmd("LINDEX").arg(queue.key("wait")).arg(-1)).await?;
    if last.is_some_and(|last| last.starts_with("0:")) {
        waiting -= 1;
    }
    Ok(Counts {
        waiting,
        prioritized: set("prioritized").await?,
        delayed: set("delayed").await?,
        waiting_children: set("waiting-children").await?,
        active: list("active").await?,
        completed: set("completed").await?,
        failed: set("failed").await?,
        paused: meta.paused,
    })
}
