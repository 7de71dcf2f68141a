//! Fns that give back no `Result`, or one that is not understood.

use runbook::{Result, Runbook, Verdict, check, step};

#[step(harmless)]
async fn nothing(n: u8) {
    let _ = n;
}

#[step(harmless)]
async fn number() -> u32 {
    7
}

#[check]
async fn verdict() -> Verdict<u8> {
    Verdict::pass(1, "one")
}

#[check]
async fn truth() -> Result<bool> {
    Ok(true)
}

#[step(harmless)]
async fn word() -> std::result::Result<(), &'static str> {
    Err("no")
}

fn main() {
    let mut b = Runbook::new("nothing");
    b.step(nothing(1));
}
