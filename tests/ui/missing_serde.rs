//! What a step gives can't be written to the journal.

use runbook::{Result, Runbook, Verdict, check, step};

#[derive(Clone)]
struct Dump(String);

#[step(harmless)]
async fn dump() -> Result<Dump> {
    Ok(Dump("dump".into()))
}

#[check]
async fn intact() -> Result<Verdict<Dump>> {
    Ok(Verdict::pass(Dump("dump".into()), "it is"))
}

fn main() {
    let mut b = Runbook::new("dump");
    b.step(dump());
    b.check(intact());
}
