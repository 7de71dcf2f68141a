//! A step and a check that are plain fns, a runbook that is not.

use runbook::{Result, Runbook, Verdict, check, step};

#[step(harmless)]
fn write(text: String) -> Result<()> {
    drop(text);
    Ok(())
}

#[check]
fn answers() -> Result<Verdict<()>> {
    Ok(Verdict::pass((), "it does"))
}

#[runbook::runbook]
async fn deploy(b: &mut Runbook) {
    let _ = b;
}

fn main() {
    let mut b = Runbook::new("write");
    b.step(write("text"));
    b.check(answers());
}
