//! Do jobs get done, or does everything stand still?

use std::time::Duration;

use deadpool_redis::redis::{Value, cmd, from_redis_value};
use runbook_core::{Check, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::queue::counts::{Counts, count};
use crate::queue::workers::connected;
use crate::queue::{Queue, job};
use crate::saved::now;
use crate::session::Session;

/// Whether jobs get done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Flow {
    /// How many jobs are in which state.
    pub counts: Counts,
    /// How many workers are connected.
    pub workers: u64,
    /// How many active jobs have lost their worker.
    pub stalled: u64,
    /// The job that a worker should take next, if one waits.
    pub next: Option<String>,
    /// For how long that one has been waiting, in milliseconds.
    pub waits_ms: u64,
}

impl Queue {
    /// Jobs get done: none that a worker could take waits longer than `limit`. It says what is in
    /// the way: no worker is connected, the workers take none, or they are behind.
    ///
    /// Jobs that wait without any worker fail at once; a queue that was paused by hand is a
    /// warning.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use runbook_core::{Host, Runbook, Wait, testing::FakeTarget};
    /// # use runbook_redis::{Config, Queue, Redis};
    /// # let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mails = Queue::new(&redis, "mails");
    /// # let mut b = Runbook::new("mails");
    /// b.check(mails.flows(Duration::from_secs(60)));
    /// ```
    #[must_use]
    pub fn flows(&self, limit: Duration) -> impl Check<Evidence = Flow> {
        flows(self, &humantime::Duration::from(limit))
    }
}

/// No job waits too long
#[check(title = "No job of {queue} waits longer than {limit}")]
async fn flows(cx: &Observer, queue: &Queue, limit: &humantime::Duration) -> Result<Verdict<Flow>> {
    let session = queue.redis.open(cx).await?;
    let counts = count(&session, queue).await?;
    let workers = connected(&session, queue).await?.len() as u64;
    let stalled = job::stalled(&session, queue).await?.len() as u64;
    let now = u64::try_from(now(&session).await?).unwrap_or(0);
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let mut flow = Flow { counts, workers, stalled, next: None, waits_ms: 0 };
    if let Some((id, since)) = oldest(&session, queue, now, limit_ms).await? {
        flow.next = Some(id);
        flow.waits_ms = now.saturating_sub(since);
    }
    let ready = flow.counts.ready();
    let jobs = if ready == 1 { "1 job waits".to_owned() } else { format!("{ready} jobs wait") };
    let late = flow.waits_ms > limit_ms;
    let long = humantime::format_duration(Duration::from_secs(flow.waits_ms / 1000));
    let working = flow.counts.active.saturating_sub(stalled);
    Ok(if ready == 0 {
        let why = format!("no job waits; {working} are worked on, {workers} workers");
        Verdict::pass(flow, why)
    } else if flow.counts.paused {
        Verdict::warn(flow, format!("the queue is paused, and {jobs}"))
    } else if workers == 0 {
        Verdict::fail(flow, format!("{jobs}, and no worker is connected"))
    } else if !late {
        let why = format!("{jobs}, the next one for {long}; {working} are worked on");
        Verdict::pass(flow, why)
    } else if working == 0 {
        let why = format!("{jobs}, the next one for {long}, and {workers} workers take none");
        Verdict::fail(flow, why)
    } else {
        let why = format!(
            "{jobs}, the next one for {long}: the workers are behind ({working} are worked on)"
        );
        Verdict::fail(flow, why)
    })
}

/// The job that is to be taken next, and since when it could have been.
async fn oldest(
    session: &Session<'_>,
    queue: &Queue,
    now: u64,
    limit_ms: u64,
) -> Result<Option<(String, u64)>> {
    let mut ids: Vec<String> = Vec::new();
    for list in ["wait", "paused"] {
        // The two at the end: the last may be a marker.
        let last: Vec<String> =
            session.ask(cmd("LRANGE").arg(queue.key(list)).arg(-2).arg(-1)).await?;
        ids.extend(last.into_iter().rev().find(|id| !id.starts_with("0:")));
    }
    let first: Vec<String> =
        session.ask(cmd("ZRANGE").arg(queue.key("prioritized")).arg(0).arg(0)).await?;
    ids.extend(first);
    let mut oldest: Option<(String, u64)> = None;
    for id in ids {
        let mut ask = cmd("HMGET");
        ask.arg(queue.key(&id)).arg(&["timestamp", "delay"]);
        let (added, delay): (Option<u64>, Option<u64>) = session.ask(&ask).await?;
        let mut since = added.map_or(now, |added| added + delay.unwrap_or(0));
        // A job that was retried, or waited for something else first, was added long ago.
        if now.saturating_sub(since) > limit_ms
            && let Some(at) = made_ready(session, queue, &id).await?
        {
            since = since.max(at);
        }
        if oldest.as_ref().is_none_or(|(_, other)| since < *other) {
            oldest = Some((id, since));
        }
    }
    Ok(oldest)
}

/// When a job last began to wait, by the queue's own events, as far as these go back.
async fn made_ready(session: &Session<'_>, queue: &Queue, id: &str) -> Result<Option<u64>> {
    const EVENTS: usize = 2000;
    let mut ask = cmd("XREVRANGE");
    ask.arg(queue.key("events")).arg("+").arg("-").arg("COUNT").arg(EVENTS);
    let events: Vec<(String, Value)> = session.ask(&ask).await?;
    for (at, fields) in events {
        let Ok(fields) = from_redis_value::<Vec<String>>(fields) else { continue };
        let field = |name: &str| {
            fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str())
        };
        if field("event") == Some("waiting") && field("jobId") == Some(id) {
            return Ok(at.split('-').next().and_then(|at| at.parse().ok()));
        }
    }
    Ok(None)
}
