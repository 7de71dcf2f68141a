//! What the engine costs a durable unit, beside one bare write and fdatasync of the same bytes. The
//! two are measured in turn: see benches/README.md.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Instant;

use runbook_core::{Engine, FileStore, RunId, RunOptions};

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod kit;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(durable("one thread"))?;
    let many = tokio::runtime::Runtime::new()?;
    many.block_on(async { tokio::spawn(durable("many threads")).await? })
}

/// Runs with the journal on disk and bare writes of as many bytes, in turn.
async fn durable(how: &str) -> Result<()> {
    const UNITS: usize = 200;
    const ROUNDS: usize = 15;
    let dir = tempfile::tempdir()?;
    let engine = Engine::new(FileStore::new(dir.path()));
    let plan = kit::plan(UNITS).map_err(|failure| failure.to_string())?;
    let mut bare = OpenOptions::new().create(true).append(true).open(dir.path().join("bare"))?;
    let (mut limits, mut costs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut options = RunOptions::new();
        let run = RunId::new(format!("r{round}"));
        options.run = Some(run.clone());
        let began = Instant::now();
        engine.run(&plan, options).outcome().await?;
        let cost = began.elapsed().as_secs_f64();
        let journal = dir.path().join("runs").join(run.as_str()).join("journal.jsonl");
        let text = std::fs::read(journal)?;
        // The lines of a unit in the middle, and the head and tail once.
        let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let unit = [lines[20], lines[21]].concat();
        let began = Instant::now();
        bare.write_all(&lines[..2].concat())?;
        bare.sync_data()?;
        for _ in 0..UNITS {
            bare.write_all(&unit)?;
            bare.sync_data()?;
        }
        bare.sync_data()?;
        let limit = began.elapsed().as_secs_f64();
        costs.push(cost * 1e6 / UNITS as f64);
        limits.push(limit * 1e6 / UNITS as f64);
        ratios.push(cost / limit);
    }
    println!(
        "{UNITS} durable units, {how:12}: bare {:6.1} µs a unit, run {:6.1} µs a unit, {:.2} times",
        kit::median(limits),
        kit::median(costs),
        kit::median(ratios)
    );
    Ok(())
}
