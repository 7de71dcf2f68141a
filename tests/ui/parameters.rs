//! Parameters that can't be typed on a command line.

use runbook::{Catalog, Result, Runbook, runbook};

struct Env;

struct Release;

#[runbook]
fn deploy(b: &mut Runbook, env: &Env, release: Release, #[param(default = "many")] keep: u32) {
    let _ = (b, env, release, keep);
}

#[runbook]
fn restore(b: &mut Runbook, name: &str, env: &Env, keep: u8) {
    let _ = (b, name, env, keep);
}

#[runbook]
fn prune(b: &mut Runbook, #[param(default = 300)] keep: u8) {
    let _ = (b, keep);
}

#[runbook]
fn nothing() -> Result<()> {
    Ok(())
}

#[runbook]
fn count(b: &mut Runbook) -> u32 {
    let _ = b;
    7
}

fn main() {
    let _ = Catalog::<Env>::new("shop").book::<deploy>().book::<restore>();
}
