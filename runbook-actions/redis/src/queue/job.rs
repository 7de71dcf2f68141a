//! Jobs that failed, and jobs whose worker was lost.

use deadpool_redis::redis::cmd;
use runbook_core::{Check, Observer, Result, Verdict, scrub};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::queue::Queue;
use crate::session::Session;

/// How many jobs are read at most: they are for a person to look at.
const LISTED: usize = 50;

/// A job, without its data: that may be anybody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How often it was tried and has failed or succeeded.
    pub attempts: u64,
    /// How often its worker was lost.
    pub stalled: u64,
    /// Why it failed last; the beginning of it.
    pub reason: Option<String>,
    /// When it was added, in milliseconds since 1970.
    pub added: u64,
    /// When a worker last took it.
    pub started: Option<u64>,
    /// When it ended.
    pub finished: Option<u64>,
}

/// Jobs that have failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailedJobs {
    /// How many there are.
    pub total: u64,
    /// The last 50, latest first.
    pub last: Vec<Job>,
}

impl FailedJobs {
    /// Why the last ones failed, and how many each, the most frequent first.
    #[must_use]
    pub fn reasons(&self) -> Vec<(&str, usize)> {
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for job in &self.last {
            let reason = job.reason.as_deref().unwrap_or("no reason is noted");
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, times)) => *times += 1,
                None => reasons.push((reason, 1)),
            }
        }
        reasons.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        reasons
    }
}

impl Queue {
    /// At most `at_most` jobs have failed for good; the last of them, and why, are the evidence.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Queue, Redis};
    /// # let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mails = Queue::new(&redis, "mails");
    /// # let mut b = Runbook::new("mails");
    /// let failed = b.observe(mails.failed(0));
    /// b.when("Jobs have failed", failed.failed(), |b| {
    ///     b.irreversible(mails.retry_failed(500), "a mail may be sent twice");
    /// });
    /// # b.build().unwrap();
    /// ```
    #[must_use]
    pub fn failed(&self, at_most: u64) -> impl Check<Evidence = FailedJobs> {
        failed(self, &at_most)
    }

    /// No job lost its worker: none is active that nobody works on. BullMQ gives such a job to
    /// another worker after a while, as long as there is one; the evidence are at most 50 of them.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Queue, Redis};
    /// # let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mails = Queue::new(&redis, "mails");
    /// # let mut b = Runbook::new("mails");
    /// b.check(mails.none_stalled());
    /// ```
    #[must_use]
    pub fn none_stalled(&self) -> impl Check<Evidence = Vec<Job>> {
        none_stalled(self)
    }
}

/// Few jobs have failed
#[check(title = "At most {at_most} jobs of {queue} have failed")]
async fn failed(cx: &Observer, queue: &Queue, at_most: &u64) -> Result<Verdict<FailedJobs>> {
    let session = queue.redis.open(cx).await?;
    queue.meta(&session).await?;
    let total: u64 = session.ask(cmd("ZCARD").arg(queue.key("failed"))).await?;
    let mut range = cmd("ZREVRANGE");
    let ids: Vec<String> =
        session.ask(range.arg(queue.key("failed")).arg(0).arg(LISTED - 1)).await?;
    let mut last = Vec::with_capacity(ids.len());
    for id in &ids {
        last.extend(read(&session, queue, id).await?);
    }
    let failed = FailedJobs { total, last };
    let mut why = format!("{total} have failed");
    if let Some((reason, times)) = failed.reasons().first() {
        let line = reason.lines().next().unwrap_or_default();
        why = format!("{why}; {times} of the last {}: {line}", failed.last.len());
    }
    Ok(Verdict::pass_if(total <= *at_most, failed, why))
}

/// No job lost its worker
#[check(title = "No job of {queue} lost its worker")]
async fn none_stalled(cx: &Observer, queue: &Queue) -> Result<Verdict<Vec<Job>>> {
    let session = queue.redis.open(cx).await?;
    queue.meta(&session).await?;
    let mut jobs = Vec::new();
    for id in stalled(&session, queue).await? {
        jobs.extend(read(&session, queue, &id).await?);
    }
    let why = match jobs.as_slice() {
        [] => "each active job is worked on".to_owned(),
        [one] => format!("nobody works on job {}, which is active", one.id),
        many => format!("nobody works on {} jobs that are active", many.len()),
    };
    Ok(Verdict::pass_if(jobs.is_empty(), jobs, why))
}

/// Those that are active without a worker who holds a lock on them.
pub(super) async fn stalled(session: &Session<'_>, queue: &Queue) -> Result<Vec<String>> {
    let active = queue.key("active");
    let ids: Vec<String> = session.ask(cmd("LRANGE").arg(&active).arg(0).arg(LISTED - 1)).await?;
    let mut stalled = Vec::new();
    for id in ids {
        let lock = queue.key(&format!("{id}:lock"));
        if session.ask::<bool>(cmd("EXISTS").arg(lock)).await? {
            continue;
        }
        // It has none as well if it ended since it was listed.
        let again: Vec<String> = session.ask(cmd("LRANGE").arg(&active).arg(0).arg(-1)).await?;
        if again.contains(&id) {
            stalled.push(id);
        }
    }
    Ok(stalled)
}

/// A job; `None` if it is gone.
pub(super) async fn read(session: &Session<'_>, queue: &Queue, id: &str) -> Result<Option<Job>> {
    type Fields = (
        Option<String>,
        Option<u64>,
        Option<u64>,
        Option<u64>,
        Option<String>,
        Option<u64>,
        Option<u64>,
        Option<u64>,
    );
    let mut ask = cmd("HMGET");
    ask.arg(queue.key(id)).arg(&[
        "name",
        "atm",
        "attemptsMade",
        "stc",
        "failedReason",
        "timestamp",
        "processedOn",
        "finishedOn",
    ]);
    let (name, attempts, attempts_before_5, stalled, reason, added, started, finished): Fields =
        session.ask(&ask).await?;
    let Some(name) = name else { return Ok(None) };
    Ok(Some(Job {
        id: id.to_owned(),
        name,
        attempts: attempts.or(attempts_before_5).unwrap_or(0),
        stalled: stalled.unwrap_or(0),
        reason: reason.map(|reason| beginning(&scrub(&reason))),
        added: added.unwrap_or(0),
        started,
        finished,
    }))
}

fn beginning(text: &str) -> String {
    const CHARACTERS: usize = 300;
    if text.chars().count() <= CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(CHARACTERS).chain("..".chars()).collect()
}
