//! Titles and previews that name what can't be shown.

use runbook::{Result, Secret, step};

#[derive(Clone)]
struct Pool;

#[step(harmless, title = "Log in with {password}", preview = "count {pool}")]
async fn log_in(password: &Secret, pool: &Pool) -> Result<()> {
    let _ = (password, pool);
    Ok(())
}

fn main() {}
