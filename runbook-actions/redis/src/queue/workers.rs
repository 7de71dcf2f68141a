//! Is anybody there who works?

use deadpool_redis::redis::cmd;
use runbook_core::{Check, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::queue::Queue;
use crate::session::Session;

/// The workers that are connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Workers {
    /// Those that wait for jobs of this queue.
    pub workers: Vec<Worker>,
    /// One of them looked for stalled jobs lately; also true for a while (30 seconds, if the
    /// application does not say otherwise) after the last one is gone.
    pub looked_for_stalled: bool,
}

/// A worker, as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Worker {
    /// From where it is connected.
    pub address: String,
    /// Its name, if the application gives it one.
    pub name: Option<String>,
    /// For how many seconds it has been connected.
    pub age_seconds: u64,
}

impl Queue {
    /// A worker of the queue is connected.
    ///
    /// Workers are known by the name of their connection. A server that lets none be set (some
    /// hosted ones) shows no workers.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Queue, Redis};
    /// # let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mails = Queue::new(&redis, "mails");
    /// # let mut b = Runbook::new("mails");
    /// b.check(mails.worker_alive());
    /// ```
    #[must_use]
    pub fn worker_alive(&self) -> impl Check<Evidence = Workers> {
        worker_alive(self)
    }
}

/// A worker is connected
#[check(title = "A worker of {queue} is connected", preview = "CLIENT LIST")]
async fn worker_alive(cx: &Observer, queue: &Queue) -> Result<Verdict<Workers>> {
    let session = queue.redis.open(cx).await?;
    queue.meta(&session).await?;
    let workers = connected(&session, queue).await?;
    let key = queue.key("stalled-check");
    let looked_for_stalled = session.ask(cmd("EXISTS").arg(key)).await?;
    let why = match workers.len() {
        0 if looked_for_stalled => "none is connected; the last one has left a moment ago".into(),
        0 => "none is connected".into(),
        1 => format!("one is connected, from {}", workers[0].address),
        many => format!("{many} are connected"),
    };
    let workers = Workers { workers, looked_for_stalled };
    Ok(Verdict::pass_if(!workers.workers.is_empty(), workers, why))
}

pub(super) async fn connected(session: &Session<'_>, queue: &Queue) -> Result<Vec<Worker>> {
    let list: String = session.ask(cmd("CLIENT").arg("LIST")).await?;
    let own = queue.client_name();
    let workers = list.lines().filter_map(|line| {
        let field = |name: &str| {
            line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        // Other connections of the queue end in something else, such as `:qe`.
        let name = match field("name")?.strip_prefix(&own)? {
            "" => None,
            rest => Some(rest.strip_prefix(":w:")?.to_owned()),
        };
        Some(Worker {
            address: field("addr")?.to_owned(),
            name,
            age_seconds: field("age")?.parse().ok()?,
        })
    });
    Ok(workers.collect())
}
