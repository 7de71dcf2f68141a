//! Removing a job.

use deadpool_redis::redis::cmd;
use runbook_core::{Context, IntoInput, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::key::Key;
use crate::queue::Queue;
use crate::saved::SavedKeys;
use crate::session::Session;

/// A job as it was: how [`Queue::remove`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedJob {
    keys: SavedKeys,
    /// `None` if there was no such job.
    place: Option<Place>,
}

/// Where a job was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    state: String,
    /// Its place in a state that is sorted, as the server writes it.
    score: Option<String>,
    /// It was to be taken next.
    next: bool,
}

impl Queue {
    /// Removes a job with its data; gives whether it was there. A rollback puts it back into the
    /// state that it was in: one that waited at the end of the line, unless it was the next.
    ///
    /// Refused are a job that is worked on, the next run of a job scheduler, a parent or a child of
    /// other jobs, and one whose data is too big for the journal ([`SavedKeys::MAX_BYTES`]).
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Queue, Redis};
    /// # let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mails = Queue::new(&redis, "mails");
    /// # let mut b = Runbook::new("mails");
    /// b.step(mails.remove("4711"));
    /// ```
    pub fn remove(
        &self,
        id: impl IntoInput<String>,
    ) -> impl Step<Output = bool, Rollback = RemovedJob> {
        remove(self, id)
    }

    /// What may belong to a job.
    async fn keys_of(&self, session: &Session<'_>, id: &str) -> Result<Vec<Key>> {
        let job = self.key(id);
        let mut keys = vec![Key::from(job.clone()), Key::from(format!("{job}:logs"))];
        let once: Option<String> = session.ask(cmd("HGET").arg(&job).arg("deid")).await?;
        if let Some(once) = once {
            let key = self.key(&format!("de:{once}"));
            let owner: Option<String> = session.ask(cmd("GET").arg(&key)).await?;
            if owner.as_deref() == Some(id) {
                keys.extend([Key::from(key), Key::from(self.key(&format!("dn:{once}")))]);
            }
        }
        Ok(keys)
    }

    async fn place_of(&self, session: &Session<'_>, id: &str) -> Result<Option<Place>> {
        for state in ["completed", "waiting-children", "delayed", "failed", "prioritized"] {
            let score = session.ask(cmd("ZSCORE").arg(self.key(state)).arg(id)).await?;
            if let Some(score) = score {
                let state = state.to_owned();
                return Ok(Some(Place { state, score: Some(score), next: false }));
            }
        }
        for state in ["wait", "paused", "active"] {
            let ids: Vec<String> =
                session.ask(cmd("LRANGE").arg(self.key(state)).arg(0).arg(-1)).await?;
            if ids.iter().any(|one| one == id) {
                let next = ids.last().is_some_and(|last| last == id);
                return Ok(Some(Place { state: state.to_owned(), score: None, next }));
            }
        }
        Ok(None)
    }
}

/// Remove a job
#[step(title = "Remove the job {id} of {queue}", rollback = RemovedJob, repeatable)]
async fn remove(cx: &Context, queue: &Queue, id: String) -> Result<bool> {
    let session = queue.redis.session(cx).await?;
    queue.layout(&session).await?;
    let mut script = queue.script(include_str!("remove.lua"));
    let (why, next) = match session.ask::<String>(script.arg(&id)).await?.as_str() {
        "removed" => return Ok(true),
        "gone" => return Ok(false),
        "locked" => ("a worker works on it", "wait until it is done, or stop its worker first"),
        "scheduled" => (
            "it is the next run of a job scheduler",
            "remove the scheduler in the application, or pause the queue",
        ),
        _ => (
            "it is a parent or a child of other jobs",
            "remove it with the application's own library, which finds the others as well",
        ),
    };
    Err(Error::Unsafe {
        place: queue.to_string(),
        why: format!("the job {id} is not removed: {why}"),
        next: next.into(),
    }
    .into_failure())
}

impl Rollback<remove> for RemovedJob {
    async fn record(step: &remove, cx: &Observer) -> Result<Self> {
        let (queue, id) = (&step.queue, step.id.get(cx)?);
        let session = queue.redis.open(cx).await?;
        queue.meta(&session).await?;
        let keys = queue.keys_of(&session, &id).await?;
        let keys = SavedKeys::of(&queue.redis, &session, &keys).await?;
        Ok(Self { keys, place: queue.place_of(&session, &id).await? })
    }

    async fn rollback(&self, step: &remove, _: Option<&bool>, cx: &Context) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let (queue, id) = (&step.queue, step.id.get(cx.observer())?);
        let session = queue.redis.session(cx).await?;
        self.keys.put_back(&session, cx).await?;
        let mut script = queue.script(include_str!("restore.lua"));
        script.arg(&id).arg(&place.state).arg(place.score.as_deref().unwrap_or_default());
        script.arg(if place.next { "next" } else { "" });
        session.ask::<i64>(&script).await.map(drop)
    }

    /// One that waits may be taken, done and gone by now: that it ran is what it was put back for.
    fn restored(&self, now: &Self) -> bool {
        let Some(place) = &self.place else { return true };
        let waited = ["wait", "paused", "prioritized", "delayed", "active"];
        waited.contains(&place.state.as_str()) || now.place.is_some()
    }
}
