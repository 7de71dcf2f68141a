//! Titles and previews that name what is not there.

use runbook::{Result, step};

#[step(harmless, title = "Dump {databse}", preview = "pg_dump {", preview = "} {password}")]
async fn dump(database: &str) -> Result<()> {
    let _ = database;
    Ok(())
}

fn main() {}
