//! A borrowed argument that can't be cloned, an owned one that can't be shown or wired.

use runbook::{Host, Out, Result, Secret, check, step, Verdict};

struct Pool;

#[step(harmless)]
async fn count(pool: &Pool) -> Result<()> {
    let _ = pool;
    Ok(())
}

#[step(harmless)]
async fn restart(host: Host, times: u8) -> Result<()> {
    let _ = (host, times);
    Ok(())
}

#[check]
async fn alive(pool: Pool) -> Result<Verdict<()>> {
    let _ = pool;
    Ok(Verdict::pass((), "it is"))
}

#[step(harmless)]
async fn log_in(password: Secret, name: Out<String>) -> Result<()> {
    let _ = (password, name);
    Ok(())
}

fn main() {}
