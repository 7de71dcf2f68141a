//! The output of a step is given to an argument that is borrowed.

use runbook::{Result, Runbook, step};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Dump(String);

#[step(harmless)]
async fn dump() -> Result<Dump> {
    Ok(Dump("dump".into()))
}

#[step(harmless)]
async fn restore(dump: &Dump) -> Result<()> {
    let _ = dump;
    Ok(())
}

fn main() {
    let mut b = Runbook::new("restore");
    let dump = b.step(dump());
    b.step(restore(&dump));
}
