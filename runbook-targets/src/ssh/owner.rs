//! [`Owner`]: the one thread that a session belongs to, from its login to its end.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;

use runbook_core::{Failure, Result};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// A thread that does what it is told, one thing after the other. It ends with that once this is
/// dropped.
pub(super) struct Owner(Sender<Work>);

impl Owner {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, work) = channel::<Work>();
        Builder::new()
            .name("runbook-ssh".to_owned())
            .spawn(move || work.into_iter().for_each(|job| job()))?;
        Ok(Self(sender))
    }

    /// Does something that may block, from now on. It goes on if nobody waits for it any more.
    pub(super) fn ask<T, Job>(&self, job: Job) -> impl Future<Output = Result<T>> + use<T, Job>
    where
        T: Send + 'static,
        Job: FnOnce() -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        // Nobody may want to know.
        self.tell(move || drop(reply.send(job())));
        async { answer.await.map_err(|_| Failure::msg("the thread of the connection broke down")) }
    }

    /// Does something; nobody waits for it.
    pub(super) fn tell(&self, job: impl FnOnce() + Send + 'static) {
        // Who waits for a thread that is gone learns so.
        let _ = self.0.send(Box::new(job));
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use super::*;

    fn this_thread() -> ThreadId {
        std::thread::current().id()
    }

    #[tokio::test]
    async fn all_is_done_by_one_thread() {
        let owner = Owner::start().unwrap();
        let first = owner.ask(this_thread).await.unwrap();
        assert_ne!(first, this_thread());
        let (reply, second) = oneshot::channel();
        owner.tell(move || reply.send(this_thread()).unwrap());
        drop(owner);
        assert_eq!(second.await.unwrap(), first, "it does what it was told before it ends");
    }

    #[tokio::test]
    async fn it_begins_before_anybody_waits() {
        let owner = Owner::start().unwrap();
        let (began, begun) = oneshot::channel();
        let end = owner.ask(move || began.send(()).unwrap());
        begun.await.unwrap();
        end.await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_for_one_that_breaks_down_learns_so() {
        let owner = Owner::start().unwrap();
        let failure = owner.ask(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(failure.to_string(), "the thread of the connection broke down");
        let failure = owner.ask(|| ()).await.unwrap_err();
        assert_eq!(failure.to_string(), "the thread of the connection broke down");
    }
}
