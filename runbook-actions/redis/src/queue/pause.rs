//! Pausing a queue, and letting it go on.

use runbook_core::{Context, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::queue::Queue;

/// Whether a queue was paused: how [`Queue::pause`] and [`Queue::resume`] are undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedBefore {
    paused: bool,
}

impl Queue {
    /// Pauses the queue for all workers: what they work on is done, and no job is taken after
    /// that. A rollback lets it go on, if it was not paused before.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Queue, Redis};
    /// # let redis = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mails = Queue::new(&redis, "mails");
    /// # let mut b = Runbook::new("mails");
    /// b.step(mails.pause());
    /// // What must not run at the same time.
    /// b.step(mails.resume());
    /// # b.build().unwrap();
    /// ```
    #[must_use]
    pub fn pause(&self) -> impl Step<Output = (), Rollback = PausedBefore> {
        pause(self)
    }

    /// Lets a paused queue go on. A rollback pauses it, if it was.
    #[must_use]
    pub fn resume(&self) -> impl Step<Output = (), Rollback = PausedBefore> {
        resume(self)
    }

    async fn set_paused(&self, cx: &Context, paused: bool) -> Result<()> {
        let session = self.redis.session(cx).await?;
        let layout = self.layout(&session).await?;
        let state = if paused { "paused" } else { "resumed" };
        loop {
            let mut script = self.script(include_str!("pause.lua"));
            if session.ask::<u64>(script.arg(layout.word()).arg(state)).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn is_paused(&self, cx: &Observer) -> Result<bool> {
        Ok(self.meta(&self.redis.open(cx).await?).await?.paused)
    }
}

/// Pause the queue
#[step(title = "Pause {queue}", rollback = PausedBefore, satisfied = is_paused, repeatable)]
async fn pause(cx: &Context, queue: &Queue) -> Result<()> {
    queue.set_paused(cx, true).await
}

/// Let the queue go on
#[step(title = "Let {queue} go on", rollback = PausedBefore, satisfied = goes_on, repeatable)]
async fn resume(cx: &Context, queue: &Queue) -> Result<()> {
    queue.set_paused(cx, false).await
}

async fn is_paused(cx: &Observer, queue: &Queue) -> Result<Option<()>> {
    Ok(queue.is_paused(cx).await?.then_some(()))
}

async fn goes_on(cx: &Observer, queue: &Queue) -> Result<Option<()>> {
    Ok((!queue.is_paused(cx).await?).then_some(()))
}

impl Rollback<pause> for PausedBefore {
    async fn record(step: &pause, cx: &Observer) -> Result<Self> {
        Ok(Self { paused: step.queue.is_paused(cx).await? })
    }

    async fn rollback(&self, step: &pause, _: Option<&()>, cx: &Context) -> Result<()> {
        step.queue.set_paused(cx, self.paused).await
    }
}

impl Rollback<resume> for PausedBefore {
    async fn record(step: &resume, cx: &Observer) -> Result<Self> {
        Ok(Self { paused: step.queue.is_paused(cx).await? })
    }

    async fn rollback(&self, step: &resume, _: Option<&()>, cx: &Context) -> Result<()> {
        step.queue.set_paused(cx, self.paused).await
    }
}
