//! What the engine does with a plan, seen from outside.
#![allow(missing_docs)]

mod ahead;
mod blocks;
mod questions;
mod runs;
#[path = "../support/mod.rs"]
mod support;
mod undo;
mod unit;

use runbook_core::{Engine, MemoryStore};

fn engine() -> Engine {
    Engine::new(MemoryStore::new())
}
