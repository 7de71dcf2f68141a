//! Reading a journal of 100,000 lines: every hash, every event, the state of the run. The limit is
//! reading the same bytes and hashing them.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::time::Instant;

use runbook_core::{FileStore, JournalStore, RunId, RunState};
use sha2::{Digest, Sha256};

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod kit;

const LINES: usize = 100_000;
const ROUNDS: usize = 11;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = FileStore::new(dir.path());
    let run = RunId::new("replayed");
    let journal = store.create(&run).await?;
    let units = LINES / 2;
    journal.append(&kit::run_started(&run, units))?;
    for at in 0..units {
        journal.append(&kit::started(at))?;
        journal.append(&kit::finished(at))?;
    }
    drop(journal);
    let path = dir.path().join("runs").join(run.as_str()).join("journal.jsonl");

    let (mut limit, mut read, mut opened) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let file = std::fs::read(&path)?;
        bytes = file.len();
        std::hint::black_box(Sha256::digest(&file));
        limit.push(began.elapsed().as_secs_f64() * 1e3);

        let began = Instant::now();
        let events = store.read(&run).await?;
        let state = RunState::fold(&events)?;
        read.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(state.start_order().len(), units);

        let began = Instant::now();
        let taken_up = store.open(&run).await?;
        opened.push(began.elapsed().as_secs_f64() * 1e3);
        drop(taken_up);
    }
    // The best of each: what else the machine does only ever adds.
    let (limit, read, opened) = (kit::least(&limit), kit::least(&read), kit::least(&opened));
    println!("{LINES} lines, {:.1} MB", bytes as f64 / 1e6);
    println!("read and hash the bytes      {limit:8.1} ms");
    println!("read, check and fold them    {read:8.1} ms   {:.2} times", read / limit);
    println!("open the run for a resume    {opened:8.1} ms   {:.2} times", opened / limit);
    Ok(())
}
