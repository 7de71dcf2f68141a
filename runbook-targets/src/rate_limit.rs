//! [`RateLimit`]: any target, asked no more often than it can bear.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runbook_core::{Host, Result};
use tokio::time::{Instant, sleep_until};

use crate::Operation;
use crate::around::{Around, around};

/// A target that begins at most so many operations within any period of a given length; what comes
/// too early waits its turn, in order, and never fails for it.
///
/// An operation is one command that is started, one file that is read or changed, one socket that
/// is opened. Clones share the limit. Ending a command never waits. A wait counts towards the time
/// that a unit may take.
///
/// ```
/// use std::time::Duration;
/// use runbook_core::{Host, testing};
/// use runbook_core::testing::FakeTarget;
/// use runbook_targets::RateLimit;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let gateway = FakeTarget::new("gateway-1").file("/etc/motd", "hello");
/// let gateway = Host::new(RateLimit::new(Host::new(gateway), 5, Duration::from_secs(1)));
/// let cx = testing::observer();
/// assert_eq!(cx.on(&gateway).read_text("/etc/motd").await.unwrap(), "hello");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct RateLimit {
    inner: Host,
    at_most: usize,
    period: Duration,
    /// When the last `at_most` operations began or will begin, oldest first.
    turns: Arc<Mutex<VecDeque<Instant>>>,
}

impl RateLimit {
    /// `inner`, with at most `at_most` operations in any `period`.
    ///
    /// # Panics
    /// `at_most` is 0: nothing could ever be done.
    #[must_use]
    #[track_caller]
    pub fn new(inner: Host, at_most: usize, period: Duration) -> Self {
        assert!(at_most > 0, "a rate limit of 0 operations lets nothing through");
        Self { inner, at_most, period, turns: Arc::default() }
    }

    /// Takes the next turn. One that is given up while it waits stays taken, so that the limit holds.
    fn next_turn(&self) -> Instant {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let turn = match turns.front() {
            Some(&oldest) if turns.len() == self.at_most => {
                turns.pop_front();
                now.max(oldest + self.period)
            }
            _ => now,
        };
        turns.push_back(turn);
        turn
    }
}

impl Around for RateLimit {
    type Passage = ();

    fn inner(&self) -> &Host {
        &self.inner
    }

    async fn admit(&self, _: Operation) -> Result<()> {
        let turn = self.next_turn();
        if turn > Instant::now() {
            sleep_until(turn).await;
        }
        Ok(())
    }
}
around!(RateLimit);
