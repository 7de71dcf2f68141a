//! [`Recorder`]: the one way by which anything that happened becomes state, journal and stream,
//! in that order and under one lock, so that all three agree.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use crate::context::Sink;
use crate::error::Error;
use crate::event::{Event, EventKind, StreamKind, UnitId};
use crate::journal::{Journal, JournalError, RunState};

/// Passing events beyond so many that nobody took are dropped.
const BACKLOG: usize = 8192;

pub(crate) struct Recorder {
    state: Mutex<RunState>,
    /// None in modes that keep nothing.
    journal: Option<Arc<dyn Journal>>,
    stream: UnboundedSender<Arc<Event>>,
    /// Events sent and not taken yet.
    pub(crate) backlog: Arc<AtomicUsize>,
}

impl Recorder {
    pub(crate) fn new(
        state: RunState,
        journal: Option<Arc<dyn Journal>>,
        stream: UnboundedSender<Arc<Event>>,
        backlog: Arc<AtomicUsize>,
    ) -> Self {
        Self { state: Mutex::new(state), journal, stream, backlog }
    }

    /// Takes an event; a killed process loses nothing from here on. Gives its line.
    pub(crate) fn record(&self, event: EventKind) -> Result<u64, Error> {
        let event = Arc::new(Event::now(event));
        let mut state = self.state();
        state.apply(&event).map_err(JournalError::from)?;
        let line = match &self.journal {
            Some(journal) => journal.append(&event)?,
            None => 0,
        };
        self.send(event);
        Ok(line)
    }

    /// Takes an event and makes it durable, with all before it.
    pub(crate) async fn record_durable(&self, event: EventKind) -> Result<(), Error> {
        self.record_durable_while(event, || {}).await
    }

    /// The same, with something to begin once it is part of the state and before it is durable.
    pub(crate) async fn record_durable_while(
        &self,
        event: EventKind,
        begin: impl FnOnce(),
    ) -> Result<(), Error> {
        let line = self.record(event)?;
        begin();
        if let Some(journal) = &self.journal {
            journal.commit(line).await?;
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, event: Arc<Event>) {
        if self.stream.send(event).is_ok() {
            self.backlog.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Sink for Recorder {
    fn pass(&self, event: EventKind) {
        if self.backlog.load(Ordering::Relaxed) < BACKLOG {
            self.send(Arc::new(Event::now(event)));
        }
    }

    fn keep(&self, event: EventKind) {
        // A failed write closes the journal, so that the next event that must be kept stops the
        // run; here there is nobody to tell.
        let _ = self.record(event);
    }

    fn spool(&self, unit: &UnitId, stream: StreamKind, line: &str) {
        if let Some(journal) = &self.journal {
            journal.spool(unit, stream, line);
        }
    }
}
