//! [`MemoryStore`]: journals that live as long as the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Journal, JournalError, JournalStore, Verification};
use crate::event::{Event, RunId, StreamKind, UnitId};
use crate::lock::LockStore;

/// Keeps journals in memory: for tests and for runs whose history nobody needs.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    runs: Arc<Mutex<BTreeMap<RunId, Arc<Run>>>>,
    locks: crate::lock::MemoryLocks,
}

#[derive(Debug, Default)]
struct Run {
    events: Mutex<Vec<Arc<Event>>>,
    output: Mutex<BTreeMap<UnitId, String>>,
    open: AtomicBool,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn run(&self, run: &RunId) -> Result<Arc<Run>, JournalError> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.get(run)
            .cloned()
            .ok_or_else(|| JournalError::NotFound { run: run.clone(), place: "memory".into() })
    }
}

struct MemoryJournal {
    run: Arc<Run>,
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        self.run.open.store(false, Ordering::SeqCst);
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    fn append(&self, event: &Arc<Event>) -> Result<u64, JournalError> {
        let mut events = self.run.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(Arc::clone(event));
        Ok(events.len() as u64)
    }

    async fn commit(&self, _: u64) -> Result<(), JournalError> {
        Ok(())
    }

    fn spool(&self, unit: &UnitId, _: StreamKind, line: &str) {
        const LIMIT: usize = 1 << 20;
        let mut output = self.run.output.lock().unwrap_or_else(PoisonError::into_inner);
        let text = output.entry(unit.clone()).or_default();
        if text.len() + line.len() < LIMIT {
            text.push_str(line);
            text.push('\n');
        }
    }
}

#[async_trait]
impl JournalStore for MemoryStore {
    async fn create(&self, run: &RunId) -> Result<Arc<dyn Journal>, JournalError> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.contains_key(run) {
            return Err(JournalError::Exists { run: run.clone(), place: "memory".into() });
        }
        let kept = Arc::new(Run::default());
        kept.open.store(true, Ordering::SeqCst);
        runs.insert(run.clone(), Arc::clone(&kept));
        Ok(Arc::new(MemoryJournal { run: kept }))
    }

    async fn open(&self, run: &RunId) -> Result<(Arc<dyn Journal>, Vec<Arc<Event>>), JournalError> {
        let kept = self.run(run)?;
        if kept.open.swap(true, Ordering::SeqCst) {
            return Err(JournalError::Busy { run: run.clone(), holder: "this process".into() });
        }
        let events = kept.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((Arc::new(MemoryJournal { run: kept }), events))
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Arc<Event>>, JournalError> {
        let kept = self.run(run)?;
        let events = kept.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(events)
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(runs.keys().cloned().collect())
    }

    async fn verify(&self, run: &RunId) -> Result<Verification, JournalError> {
        let good_lines = self.read(run).await?.len() as u64;
        Ok(Verification { good_lines, torn_bytes: 0, fault: None, head: String::new() })
    }

    async fn output(&self, run: &RunId, unit: &UnitId) -> Result<String, JournalError> {
        let kept = self.run(run)?;
        let output = kept.output.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(output.get(unit).cloned().unwrap_or_default())
    }

    fn locks(&self) -> Arc<dyn LockStore> {
        Arc::new(self.locks.clone())
    }
}
