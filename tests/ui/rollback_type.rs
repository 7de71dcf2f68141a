//! The type named in the attribute is no rollback record of the step.

use runbook::{Result, Runbook, step};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Was(bool);

#[step(rollback = Was)]
async fn write() -> Result<()> {
    Ok(())
}

fn main() {
    let mut b = Runbook::new("write");
    b.step(write());
}
