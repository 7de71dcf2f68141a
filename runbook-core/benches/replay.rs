//! Reading a journal of 100,000 lines: every hash, every event, the state of the run. The limit is
//! reading the same bytes and hashing them.

use std::path::PathBuf;
use std::sync::LazyLock;

use divan::Bencher;
use runbook_core::{FileStore, JournalStore, RunId, RunState};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod kit;

const LINES: usize = 100_000;

fn main() {
    divan::main();
    // Nothing runs the destructors of statics.
    let _ = std::fs::remove_dir_all(JOURNAL.dir.path());
}

struct Journal {
    dir: TempDir,
    store: FileStore,
    run: RunId,
    path: PathBuf,
}

static JOURNAL: LazyLock<Journal> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    let store = FileStore::new(dir.path());
    let run = RunId::new("replayed");
    let journal = kit::runtime().block_on(store.create(&run)).expect("a journal");
    let units = LINES / 2;
    journal.append(&kit::run_started(&run, units)).expect("a line");
    for at in 0..units {
        journal.append(&kit::started(at)).expect("a line");
        journal.append(&kit::finished(at)).expect("a line");
    }
    drop(journal);
    let path = dir.path().join("runs").join(run.as_str()).join("journal.jsonl");
    Journal { dir, store, run, path }
});

#[divan::bench(sample_count = 11)]
fn limit_read_and_hash_the_bytes(bencher: Bencher<'_, '_>) {
    let path = &JOURNAL.path;
    bencher.bench(|| Sha256::digest(std::fs::read(path).expect("the journal")));
}

#[divan::bench(sample_count = 11)]
fn read_check_and_fold(bencher: Bencher<'_, '_>) {
    let (journal, runtime) = (&*JOURNAL, kit::runtime());
    bencher.bench(|| {
        let events = runtime.block_on(journal.store.read(&journal.run)).expect("events");
        let state = RunState::fold(&events).expect("a legal journal");
        assert_eq!(state.start_order().len(), LINES / 2);
    });
}

#[divan::bench(sample_count = 11)]
fn open_for_a_resume(bencher: Bencher<'_, '_>) {
    let (journal, runtime) = (&*JOURNAL, kit::runtime());
    bencher.bench(|| runtime.block_on(journal.store.open(&journal.run)).map(drop).expect("open"));
}
