//! [`FileStore`]: journals in a folder, one folder a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::{Journal, JournalError, JournalStore, Verification};
use crate::event::{Event, RunId, UnitId};
use crate::lock::LockStore;

/// Keeps journals under a folder: `RUN/journal.jsonl` and `RUN/output/`, and locks under `locks/`.
#[derive(Clone, Debug)]
pub struct FileStore {
    dir: PathBuf,
}

impl FileStore {
    /// Under `dir`, which is made when the first run starts.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

#[async_trait]
impl JournalStore for FileStore {
    async fn create(&self, _run: &RunId) -> Result<Arc<dyn Journal>, JournalError> {
        unimplemented!()
    }
    async fn open(
        &self,
        _run: &RunId,
    ) -> Result<(Arc<dyn Journal>, Vec<Arc<Event>>), JournalError> {
        unimplemented!()
    }
    async fn read(&self, _run: &RunId) -> Result<Vec<Arc<Event>>, JournalError> {
        unimplemented!()
    }
    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        unimplemented!()
    }
    async fn verify(&self, _run: &RunId) -> Result<Verification, JournalError> {
        unimplemented!()
    }
    async fn output(&self, _run: &RunId, _unit: &UnitId) -> Result<String, JournalError> {
        unimplemented!()
    }
    fn locks(&self) -> Arc<dyn LockStore> {
        unimplemented!()
    }
}
