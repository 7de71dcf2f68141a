//! A step that can't be undone is added as if it could, and the other way round.

use runbook::{Result, Runbook, Step, step};

#[step(irreversible)]
async fn drop_table() -> Result<()> {
    Ok(())
}

#[step(harmless)]
async fn look() -> Result<()> {
    Ok(())
}

fn main() {
    let mut b = Runbook::new("drop");
    b.step(drop_table());
    b.step(drop_table().retry(3));
    b.irreversible(look(), "it is only a look");
}
