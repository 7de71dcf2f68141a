//! Trying failed jobs again.

use deadpool_redis::redis::cmd;
use runbook_core::{Context, IntoInput, Irreversible, Result, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::queue::Queue;

/// How many jobs one script moves: all others wait for it.
const BATCH: usize = 100;

/// Jobs that wait again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Retried {
    /// How many.
    pub jobs: u64,
    /// How many failed ones are left: more than were asked for, or failed again meanwhile.
    pub left: u64,
}

impl Queue {
    /// Makes one failed job wait again, as BullMQ's own `job.retry()`: its attempts stay counted.
    /// Whether it then does harm when it runs twice, only the application knows.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Queue, Redis};
    /// # let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mails = Queue::new(&redis, "mails");
    /// # let mut b = Runbook::new("mails");
    /// b.irreversible(mails.retry("4711"), "mail 4711 was not sent");
    /// ```
    pub fn retry(
        &self,
        id: impl IntoInput<String>,
    ) -> impl Step<Output = (), Rollback = Irreversible> {
        retry(self, id)
    }

    /// Makes failed jobs wait again, the oldest first, at most `at_most`; each as
    /// [`retry`](Self::retry) does. Those that fail while it runs are not tried once more.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Queue, Redis};
    /// # let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mails = Queue::new(&redis, "mails");
    /// # let mut b = Runbook::new("mails");
    /// b.irreversible(mails.retry_failed(1000), "a mail may be sent twice");
    /// ```
    #[must_use]
    pub fn retry_failed(
        &self,
        at_most: u32,
    ) -> impl Step<Output = Retried, Rollback = Irreversible> {
        retry_failed(self, &at_most)
    }
}

/// Retry a failed job
#[step(title = "Retry the failed job {id} of {queue}", irreversible)]
async fn retry(cx: &Context, queue: &Queue, id: String) -> Result<()> {
    let session = queue.redis.session(cx).await?;
    let layout = queue.layout(&session).await?;
    let mut script = queue.script(include_str!("retry.lua"));
    let retried: Vec<String> = session.ask(script.arg(layout.word()).arg(&id)).await?;
    if retried.is_empty() {
        return Err(Error::Unsafe {
            place: queue.to_string(),
            why: format!("there is no failed job {id}"),
            next: "look which jobs have failed: it may have been retried or removed".into(),
        }
        .into_failure());
    }
    Ok(())
}

/// Retry failed jobs
#[step(title = "Retry at most {at_most} failed jobs of {queue}", irreversible)]
async fn retry_failed(cx: &Context, queue: &Queue, at_most: &u32) -> Result<Retried> {
    let session = queue.redis.session(cx).await?;
    let layout = queue.layout(&session).await?;
    let failed = queue.key("failed");
    // All at the beginning: one that fails again at once is not to go round and round.
    let last = i64::from(*at_most) - 1;
    let ids: Vec<String> = if last < 0 {
        Vec::new()
    } else {
        session.ask(cmd("ZRANGE").arg(&failed).arg(0).arg(last)).await?
    };
    let mut jobs = 0;
    for batch in ids.chunks(BATCH) {
        let mut script = queue.script(include_str!("retry.lua"));
        let retried: Vec<String> = session.ask(script.arg(layout.word()).arg(batch)).await?;
        jobs += retried.len() as u64;
        cx.progress(jobs, Some(ids.len() as u64));
    }
    let left = session.ask(cmd("ZCARD").arg(&failed)).await?;
    cx.say(format!("{jobs} jobs wait again, {left} failed ones are left"));
    Ok(Retried { jobs, left })
}
