//! What a durable unit costs: the lines of its start and end, and one commit. The limit is one bare
//! write and fdatasync of the same bytes.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use runbook_core::{FileStore, Journal, JournalStore, RunId};

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod kit;

const ROUNDS: usize = 40;
const UNITS: usize = 50;
const TASKS: usize = 8;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let current = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    current.block_on(one_after_the_other("one thread"))?;
    let many = tokio::runtime::Runtime::new()?;
    many.block_on(async { tokio::spawn(one_after_the_other("many threads")).await? })?;
    many.block_on(async { tokio::spawn(in_parallel("many threads")).await? })?;
    current.block_on(in_parallel("one thread"))?;
    current.block_on(appending())
}

/// The time of one unit in microseconds, in memory only.
async fn appending() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (journal, _) = begin(dir.path()).await?;
    let units: Vec<_> = (0..20_000).map(|at| (kit::started(at), kit::finished(at))).collect();
    let began = Instant::now();
    for (started, finished) in &units {
        journal.append(started)?;
        journal.append(finished)?;
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / units.len() as f64;
    println!("append two lines without a commit                        {each:7.1} µs");
    Ok(())
}

async fn begin(dir: &Path) -> Result<(Arc<dyn Journal>, File)> {
    let run = RunId::new("measured");
    let journal = FileStore::new(dir).create(&run).await?;
    let first = journal.append(&kit::run_started(&run, 10))?;
    journal.commit(first).await?;
    let bare = OpenOptions::new().create(true).append(true).open(dir.join("bare"))?;
    bare.sync_all()?;
    Ok((journal, bare))
}

fn bare_unit(file: &mut File, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes)?;
    Ok(file.sync_data()?)
}

/// The bytes of the lines of one unit.
fn unit_bytes(dir: &Path) -> Result<Vec<u8>> {
    let text = std::fs::read(dir.join("runs/measured/journal.jsonl"))?;
    // An open journal ends with empty lines.
    let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.len() > 1);
    let lines: Vec<_> = lines.rev().take(2).collect();
    Ok([lines[1], lines[0]].concat())
}

async fn unit(journal: &dyn Journal, at: usize) -> Result<()> {
    let seq = journal.append(&kit::started(at))?;
    journal.commit(seq).await?;
    // The end becomes durable with the next unit's start.
    journal.append(&kit::finished(at))?;
    Ok(())
}

async fn one_after_the_other(how: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (journal, mut bare) = begin(dir.path()).await?;
    unit(&*journal, 0).await?;
    let bytes = unit_bytes(dir.path())?;
    let (mut limits, mut costs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // One of each in turn, so that both meet the same disk.
        let (mut limit, mut cost) = (0.0, 0.0);
        for at in 0..UNITS {
            let began = Instant::now();
            bare_unit(&mut bare, &bytes)?;
            limit += began.elapsed().as_secs_f64();
            let began = Instant::now();
            unit(&*journal, at).await?;
            cost += began.elapsed().as_secs_f64();
        }
        let each = 1e6 / UNITS as f64;
        limits.push(limit * each);
        costs.push(cost * each);
        ratios.push(cost / limit);
    }
    println!(
        "a unit, {how:12}  bare {:7.1} µs   journal {:7.1} µs   {:.2} times   ({} bytes)",
        kit::median(limits),
        kit::median(costs),
        kit::median(ratios),
        bytes.len()
    );
    Ok(())
}

async fn in_parallel(how: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (journal, mut bare) = begin(dir.path()).await?;
    unit(&*journal, 0).await?;
    let bytes = unit_bytes(dir.path())?;
    let (mut limits, mut costs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..UNITS {
            bare_unit(&mut bare, &bytes)?;
        }
        let limit = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let journal = Arc::clone(&journal);
                tokio::spawn(async move {
                    for at in 0..UNITS {
                        unit(&*journal, task * UNITS + at).await?;
                    }
                    Result::<()>::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        let cost = began.elapsed().as_secs_f64();
        limits.push(limit * 1e6 / UNITS as f64);
        costs.push(cost * 1e6 / (UNITS * TASKS) as f64);
        ratios.push(cost / limit);
    }
    println!(
        "{TASKS} at once, {how:12}  bare {:7.1} µs   journal {:7.1} µs a unit   {:.2} bare writes for {TASKS} units",
        kit::median(limits),
        kit::median(costs),
        kit::median(ratios)
    );
    Ok(())
}
