//! A body that can't move between threads.

use std::rc::Rc;

use runbook::{Result, step};

async fn pause() {}

#[step(harmless)]
async fn count() -> Result<()> {
    let counter = Rc::new(1);
    pause().await;
    drop(counter);
    Ok(())
}

fn main() {}
