//! A reference where an owned input was meant.

use runbook::{Context, Result, Runbook, step};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Dump(String);

#[step(harmless)]
async fn dump(_: &Context) -> Result<Dump> {
    Ok(Dump("dump".into()))
}

#[step(harmless)]
async fn compress(_: &Context, dump: &mut Dump) -> Result<()> {
    dump.0.clear();
    Ok(())
}

#[step(harmless)]
async fn shrink<'a>(dump: &'a Dump) -> Result<()> {
    let _ = dump;
    Ok(())
}

#[step(harmless)]
async fn name(name: &'static str) -> Result<()> {
    let _ = name;
    Ok(())
}

fn main() {
    let mut b = Runbook::new("compress");
    let _ = b.step(dump());
    b.step(compress(&mut Dump("by hand".into())));
}
