//! The output of one step is wired into an input of another type.

use runbook::{Result, Runbook, step};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Dump(String);

#[derive(Clone, Serialize, Deserialize)]
struct Url(String);

#[step(harmless)]
async fn find() -> Result<Url> {
    Ok(Url("https://example.org".into()))
}

#[step(harmless)]
async fn restore(dump: Dump) -> Result<()> {
    drop(dump);
    Ok(())
}

fn main() {
    let mut b = Runbook::new("restore");
    let url = b.step(find());
    b.step(restore(url));
    b.step(restore("a dump"));
}
