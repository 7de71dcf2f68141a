//! Rollback words that contradict each other, or lack one another.

use runbook::{Result, step};

#[step(harmless, rollback = Record)]
async fn both() -> Result<()> {
    Ok(())
}

#[step(before = look)]
async fn half() -> Result<()> {
    Ok(())
}

#[step(rollback = put_back)]
async fn other_half() -> Result<()> {
    Ok(())
}

fn main() {}
