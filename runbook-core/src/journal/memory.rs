//! [`MemoryStore`]: journals that live as long as the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::names::bad_run_id;
use super::spool::{HEAD, TAIL, kept_line, left_out};
use super::{Journal, JournalError, JournalStore, RunState, Verification, line};
use crate::event::{Event, RunId, StreamKind, Timestamp, UnitId};
use crate::lock::{LockStore, MemoryLocks};

/// Keeps journals in memory: for tests and for runs whose history nobody needs.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    /// Oldest first.
    runs: Arc<Mutex<Vec<Arc<Run>>>>,
    locks: MemoryLocks,
}

#[derive(Debug)]
struct Run {
    id: RunId,
    begun: Timestamp,
    events: Mutex<Vec<Arc<Event>>>,
    output: Mutex<BTreeMap<UnitId, Output>>,
    open: AtomicBool,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn run(&self, run: &RunId) -> Result<Arc<Run>, JournalError> {
        checked(run)?;
        let found = locked(&self.runs).iter().find(|kept| kept.id == *run).cloned();
        found.ok_or_else(|| JournalError::NotFound { run: run.clone(), place: "memory".into() })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn checked(run: &RunId) -> Result<(), JournalError> {
    match bad_run_id(run.as_str()) {
        Some(why) => Err(JournalError::BadRunId { run: run.clone(), why }),
        None => Ok(()),
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
        let mut events = locked(&self.run.events);
        events.push(Arc::clone(event));
        Ok(events.len() as u64)
    }

    async fn commit(&self, _: u64) -> Result<(), JournalError> {
        Ok(())
    }

    fn spool(&self, unit: &UnitId, stream: StreamKind, line: &str) {
        let mut output = locked(&self.run.output);
        output.entry(unit.clone()).or_default().push(kept_line(stream, line));
    }
}

#[async_trait]
impl JournalStore for MemoryStore {
    async fn create(&self, run: &RunId) -> Result<Arc<dyn Journal>, JournalError> {
        checked(run)?;
        let mut runs = locked(&self.runs);
        if runs.iter().any(|kept| kept.id == *run) {
            return Err(JournalError::Exists { run: run.clone(), place: "memory".into() });
        }
        let kept = Arc::new(Run {
            id: run.clone(),
            begun: Timestamp::now(),
            events: Mutex::default(),
            output: Mutex::default(),
            open: AtomicBool::new(true),
        });
        runs.push(Arc::clone(&kept));
        Ok(Arc::new(MemoryJournal { run: kept }))
    }

    async fn open(&self, run: &RunId) -> Result<(Arc<dyn Journal>, Vec<Arc<Event>>), JournalError> {
        let kept = self.run(run)?;
        if kept.open.swap(true, Ordering::SeqCst) {
            return Err(JournalError::Busy { run: run.clone(), holder: "this one".into() });
        }
        let journal = MemoryJournal { run: Arc::clone(&kept) };
        let events = locked(&kept.events).clone();
        RunState::fold(&events)?;
        Ok((Arc::new(journal), events))
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Arc<Event>>, JournalError> {
        let kept = self.run(run)?;
        let events = locked(&kept.events).clone();
        Ok(events)
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        Ok(locked(&self.runs).iter().map(|kept| kept.id.clone()).collect())
    }

    async fn verify(&self, run: &RunId) -> Result<Verification, JournalError> {
        let kept = self.run(run)?;
        let events = locked(&kept.events).clone();
        // The lines that a file would have, so that the answer means the same.
        let (chain, _) =
            line::lines(run, kept.begun, &events).map_err(|error| JournalError::Io {
                doing: "writing as JSON the journal of",
                path: run.as_str().into(),
                source: error.into(),
            })?;
        Ok(Verification {
            good_lines: chain.seq() + 1,
            torn_bytes: 0,
            fault: RunState::fold(&events).err().map(|illegal| (illegal.at + 1, illegal.why)),
            head: chain.head(),
        })
    }

    async fn output(&self, run: &RunId, unit: &UnitId) -> Result<String, JournalError> {
        let kept = self.run(run)?;
        let output = locked(&kept.output);
        Ok(output.get(unit).map(Output::text).unwrap_or_default())
    }

    fn locks(&self) -> Arc<dyn LockStore> {
        Arc::new(self.locks.clone())
    }
}

/// The beginning and the end of what a unit said.
#[derive(Debug, Default)]
struct Output {
    head: String,
    tail: VecDeque<String>,
    tail_bytes: usize,
    left_out: u64,
}

impl Output {
    fn push(&mut self, line: String) {
        if self.tail.is_empty() && self.head.len() + line.len() <= HEAD {
            self.head.push_str(&line);
            return;
        }
        self.tail_bytes += line.len();
        self.tail.push_back(line);
        while self.tail_bytes > 2 * TAIL
            && let Some(line) = self.tail.pop_front()
        {
            self.tail_bytes -= line.len();
            self.left_out += 1;
        }
    }

    fn text(&self) -> String {
        let mut text = self.head.clone();
        if self.left_out > 0 {
            text.push_str(&left_out(self.left_out));
        }
        for line in &self.tail {
            text.push_str(line);
        }
        text
    }
}
