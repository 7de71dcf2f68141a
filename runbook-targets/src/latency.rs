//! [`Latency`]: any target, farther away.

mod delayed;

use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{BoxRead, BoxStream, BoxWrite, Exit, Host, Process, Result};
use tokio::time::sleep;

use self::delayed::{Delayed, DelayedSocket, delayed_write};
use crate::Operation;
use crate::around::{Around, Passage, around};

/// A target that is farther away: each operation takes a given delay longer, and so does every byte
/// of a stream, in each direction.
///
/// For tests: it shows what a runbook costs on a host in another part of the world, and which
/// timeouts are too tight. Throughput is not limited, but for the 256 KiB that are under way at
/// once.
///
/// ```
/// use std::time::Duration;
/// use runbook_core::{Host, testing};
/// use runbook_core::testing::FakeTarget;
/// use runbook_targets::Latency;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let web = FakeTarget::new("web-1").file("/etc/motd", "hello");
/// let far = Host::new(Latency::new(Host::new(web), Duration::from_millis(20)));
/// // 20 ms to open it, and 20 ms for its bytes.
/// assert_eq!(testing::observer().on(&far).read_text("/etc/motd").await.unwrap(), "hello");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Latency {
    inner: Host,
    delay: Duration,
}

impl Latency {
    /// `inner`, with `delay` more each way.
    #[must_use]
    pub fn new(inner: Host, delay: Duration) -> Self {
        Self { inner, delay }
    }
}

impl Around for Latency {
    type Passage = Delay;

    fn inner(&self) -> &Host {
        &self.inner
    }

    async fn admit(&self, _: Operation) -> Result<Delay> {
        sleep(self.delay).await;
        Ok(Delay(self.delay))
    }
}
around!(Latency);

#[derive(Clone, Copy)]
pub(crate) struct Delay(Duration);

impl Passage for Delay {
    fn process(self, inner: Box<dyn Process>) -> Box<dyn Process> {
        Box::new(DelayedProcess { inner, delay: self.0 })
    }

    fn reading(self, from: BoxRead) -> BoxRead {
        Box::new(Delayed::new(from, self.0))
    }

    fn content(&self, from: BoxRead) -> BoxRead {
        Box::new(Delayed::new(from, self.0))
    }

    fn socket(self, stream: BoxStream) -> BoxStream {
        Box::new(DelayedSocket::new(stream, self.0))
    }
}

struct DelayedProcess {
    inner: Box<dyn Process>,
    delay: Duration,
}

#[async_trait]
impl Process for DelayedProcess {
    fn stdin(&mut self) -> Option<BoxWrite> {
        Some(Box::new(delayed_write(self.inner.stdin()?, self.delay)))
    }

    fn stdout(&mut self) -> Option<BoxRead> {
        Some(Box::new(Delayed::new(self.inner.stdout()?, self.delay)))
    }

    fn stderr(&mut self) -> Option<BoxRead> {
        Some(Box::new(Delayed::new(self.inner.stderr()?, self.delay)))
    }

    async fn wait(&mut self) -> Result<Exit> {
        let exit = self.inner.wait().await?;
        sleep(self.delay).await;
        Ok(exit)
    }

    async fn kill(&mut self, grace: Duration) -> Result<()> {
        sleep(self.delay).await;
        self.inner.kill(grace).await
    }
}
