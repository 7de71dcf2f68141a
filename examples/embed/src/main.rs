//! The engine as a library, as a service or a desktop tool would use it: no terminal, no command
//! line. Runs a plan and follows its events, answers an approval, cancels another run, and runs a
//! hundred at once.
//!
//! ```sh
//! cargo run -p embed
//! ```
#![allow(clippy::print_stdout, reason = "an example that shows what it does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runbook::{
    Context, Engine, EventKind, MemoryStore, Observer, Result, RunOptions, Runbook, Status, Step,
    step,
};

/// Something to change: how many seats are taken.
#[derive(Clone, Default)]
struct Hall(Arc<AtomicUsize>);

/// How many were taken before
async fn taken(_: &Observer, hall: &Hall, _: &usize) -> Result<usize> {
    Ok(hall.0.load(Ordering::SeqCst))
}

/// Gives the seats back
async fn free(
    _: &Context,
    before: &usize,
    _: Option<&usize>,
    hall: &Hall,
    _: &usize,
) -> Result<()> {
    hall.0.store(*before, Ordering::SeqCst);
    Ok(())
}

/// Take seats
#[step(title = "Take {seats} seats", before = taken, rollback = free)]
async fn take(cx: &Context, hall: &Hall, seats: usize) -> Result<usize> {
    let now = hall.0.fetch_add(seats, Ordering::SeqCst) + seats;
    cx.say(format!("{now} seats are taken"));
    Ok(now)
}

/// Wait for a guest who never comes
#[step(harmless)]
async fn wait_for_guest(cx: &Context) -> Result<()> {
    Err(cx.stopped().await)
}

#[tokio::main]
async fn main() -> std::result::Result<(), runbook::Error> {
    let engine = Engine::new(MemoryStore::new());

    // One run: follow its events, answer its question.
    let hall = Hall::default();
    let mut b = Runbook::new("seats");
    b.step(take(&hall, 2));
    b.step(take(&hall, 3).confirm("Three more?"));
    let plan = b.build()?;
    let mut run = engine.run(&plan, RunOptions::new().reason("the example"));
    let control = run.control();
    while let Some(event) = run.next().await {
        match &event.event {
            EventKind::Asked { unit, question } => {
                println!("{unit} asks: {}", question.text);
                control.approve(unit, "the example")?;
            }
            EventKind::Output { unit, line, .. } => println!("{unit}: {line}"),
            _ => {}
        }
    }
    let outcome = run.outcome().await?;
    println!("{}: {} seats taken", outcome.status, hall.0.load(Ordering::SeqCst));

    // Another: cancelled as soon as it waits. What it had done is undone.
    let hall = Hall::default();
    let mut b = Runbook::new("cancelled");
    b.step(take(&hall, 7));
    b.step(wait_for_guest());
    let plan = b.build()?;
    let mut run = engine.run(&plan, RunOptions::new());
    let control = run.control();
    while let Some(event) = run.next().await {
        if matches!(&event.event, EventKind::Started { unit, .. } if unit.as_str() == "wait-for-guest")
        {
            control.cancel("the example");
        }
    }
    let outcome = run.outcome().await?;
    println!("{}: {} seats taken", outcome.status, hall.0.load(Ordering::SeqCst));

    // A hundred at once, every third of which fails: none disturbs another.
    let mut runs = Vec::new();
    for n in 0..100 {
        let hall = Hall::default();
        let mut b = Runbook::new("one-of-many");
        b.step(take(&hall, n));
        if n % 3 == 0 {
            b.step(fail());
        }
        let plan = b.build()?;
        runs.push((n, hall, engine.run(&plan, RunOptions::new())));
    }
    let (mut succeeded, mut rolled_back) = (0, 0);
    for (n, hall, run) in runs {
        let seats = hall.0.load(Ordering::SeqCst);
        match run.outcome().await?.status {
            Status::Succeeded => succeeded += usize::from(hall.0.load(Ordering::SeqCst) == n),
            Status::RolledBack => rolled_back += usize::from(hall.0.load(Ordering::SeqCst) == 0),
            status => println!("run {n} with {seats} seats: {status}"),
        }
    }
    println!("of 100 runs {succeeded} succeeded and {rolled_back} were rolled back");
    Ok(())
}

/// Fail
#[step(harmless)]
async fn fail(_: &Context) -> Result<()> {
    Err(runbook::Failure::msg("there was no room"))
}
