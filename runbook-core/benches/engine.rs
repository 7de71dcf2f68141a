//! What planning and the engine cost in memory, by the number of units.

use divan::Bencher;
use divan::counter::ItemsCount;
use runbook_core::{Engine, MemoryStore, RunOptions, Status};

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod kit;

const UNITS: [usize; 4] = [200, 1_000, 10_000, 100_000];

fn main() {
    divan::main();
}

#[divan::bench(args = UNITS, max_time = 3)]
fn plan(bencher: Bencher<'_, '_>, units: usize) {
    bencher.counter(ItemsCount::new(units)).bench(|| kit::plan(units).map(drop));
}

#[divan::bench(args = UNITS, max_time = 3)]
fn run(bencher: Bencher<'_, '_>, units: usize) {
    let runtime = kit::runtime();
    let plan = kit::plan(units).expect("a plan");
    bencher
        .counter(ItemsCount::new(units))
        .with_inputs(|| Engine::new(MemoryStore::new()))
        .bench_values(|engine| {
            let ran = async { engine.run(&plan, RunOptions::new()).outcome().await };
            let outcome = runtime.block_on(ran).expect("an outcome");
            assert_eq!(outcome.status, Status::Succeeded);
            engine
        });
}
