//! Options that there are not, or not in this form: all are told at once.

use runbook::{Observer, Result, Runbook, Verdict, check, step};

#[step(harmless, titel = "Write", timeout = 5, preview = 7, id = "Not An Id", id = "twice")]
async fn write() -> Result<()> {
    Ok(())
}

#[step(harmless = true, irreversible)]
async fn remove() -> Result<()> {
    Ok(())
}

#[check(harmless)]
async fn answers(_: &Observer) -> Result<Verdict<()>> {
    Ok(Verdict::pass((), "it does"))
}

#[runbook::runbook(title = "Deploy", name = "Deploy It")]
fn deploy(b: &mut Runbook, #[param(default = vec![1], short = 'k')] keep: u32) {
    let _ = (b, keep);
}

fn main() {
    let mut b = Runbook::new("write");
    b.step(write());
    b.check(answers());
    runbook::Catalog::<()>::new("shop").book::<deploy>();
}
