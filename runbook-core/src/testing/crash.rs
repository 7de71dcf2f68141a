//! [`CrashStore`]: ends the process, or freezes the journal, at a chosen boundary of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::event::{Event, RunId, StreamKind, UnitId};
use crate::journal::{Journal, JournalError, JournalStore, Verification};
use crate::lock::LockStore;

/// A store whose journal reaches a chosen boundary and goes no further.
///
/// There is a boundary before and after each line is handed over, and before and after each line
/// is made durable; they are counted from 1 over all journals of the store. At the chosen one
/// `crash` is called: to kill the process, or, if it returns, to leave the journal as it is and
/// refuse everything after, which an engine takes as a failed disk.
///
/// ```
/// use runbook_core::MemoryStore;
/// use runbook_core::testing::CrashStore;
/// let store = CrashStore::new(MemoryStore::new(), 17, || {});
/// assert_eq!(store.passed(), 0);
/// ```
#[derive(Clone)]
pub struct CrashStore {
    inner: Arc<dyn JournalStore>,
    point: Arc<Point>,
}

struct Point {
    at: u64,
    passed: AtomicU64,
    lines: AtomicU64,
    /// Called at each boundary, with its number and how many lines there are.
    each: Box<dyn Fn(u64, u64) + Send + Sync>,
}

impl Point {
    fn pass(&self, run: &RunId) -> Result<(), JournalError> {
        let n = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        (self.each)(n, self.lines.load(Ordering::SeqCst));
        if n >= self.at {
            return Err(JournalError::Closed { run: run.clone(), why: "crash on purpose".into() });
        }
        Ok(())
    }
}

impl CrashStore {
    /// Over `inner`, calling `crash` at boundary `at`.
    pub fn new(
        inner: impl JournalStore + 'static,
        at: u64,
        crash: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self::with(inner, at, move |n, _| {
            if n == at {
                crash();
            }
        })
    }

    /// Over `inner`, without a crash: calls `each` at each boundary, with its number and how many
    /// lines the journals have by then. To find out at which of them a crash can make a
    /// difference.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    /// use runbook_core::testing::{CrashStore, FakeTarget};
    /// use runbook_core::{Engine, MemoryStore, RunOptions, Runbook};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let most = Arc::new(AtomicU64::new(0));
    /// let seen = Arc::clone(&most);
    /// let store = CrashStore::watching(MemoryStore::new(), move |_, lines| {
    ///     seen.fetch_max(lines, SeqCst);
    /// });
    /// let plan = Runbook::new("nothing").build().unwrap();
    /// Engine::new(store.clone()).run(&plan, RunOptions::new()).outcome().await.unwrap();
    /// assert!(most.load(SeqCst) >= 2 && store.passed() > 2 * most.load(SeqCst));
    /// # });
    /// ```
    pub fn watching(
        inner: impl JournalStore + 'static,
        each: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Self {
        Self::with(inner, u64::MAX, each)
    }

    fn with(
        inner: impl JournalStore + 'static,
        at: u64,
        each: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Self {
        let (passed, lines) = (AtomicU64::new(0), AtomicU64::new(0));
        let point = Point { at, passed, lines, each: Box::new(each) };
        Self { inner: Arc::new(inner), point: Arc::new(point) }
    }

    /// How many boundaries were passed.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.point.passed.load(Ordering::SeqCst)
    }

    fn wrap(&self, run: &RunId, inner: Arc<dyn Journal>) -> Arc<dyn Journal> {
        Arc::new(CrashJournal { run: run.clone(), inner, point: Arc::clone(&self.point) })
    }
}

impl fmt::Debug for CrashStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrashStore({:?}, at {})", self.inner, self.point.at)
    }
}

struct CrashJournal {
    run: RunId,
    inner: Arc<dyn Journal>,
    point: Arc<Point>,
}

#[async_trait]
impl Journal for CrashJournal {
    fn append(&self, event: &Arc<Event>) -> Result<u64, JournalError> {
        self.point.pass(&self.run)?;
        let seq = self.inner.append(event)?;
        self.point.lines.fetch_add(1, Ordering::SeqCst);
        self.point.pass(&self.run)?;
        Ok(seq)
    }

    async fn commit(&self, seq: u64) -> Result<(), JournalError> {
        self.point.pass(&self.run)?;
        self.inner.commit(seq).await?;
        self.point.pass(&self.run)
    }

    fn spool(&self, unit: &UnitId, stream: StreamKind, line: &str) {
        self.inner.spool(unit, stream, line);
    }
}

#[async_trait]
impl JournalStore for CrashStore {
    async fn create(&self, run: &RunId) -> Result<Arc<dyn Journal>, JournalError> {
        Ok(self.wrap(run, self.inner.create(run).await?))
    }

    async fn open(&self, run: &RunId) -> Result<(Arc<dyn Journal>, Vec<Arc<Event>>), JournalError> {
        let (journal, events) = self.inner.open(run).await?;
        Ok((self.wrap(run, journal), events))
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Arc<Event>>, JournalError> {
        self.inner.read(run).await
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        self.inner.list().await
    }

    async fn verify(&self, run: &RunId) -> Result<Verification, JournalError> {
        self.inner.verify(run).await
    }

    async fn output(&self, run: &RunId, unit: &UnitId) -> Result<String, JournalError> {
        self.inner.output(run, unit).await
    }

    fn locks(&self) -> Arc<dyn LockStore> {
        self.inner.locks()
    }
}
