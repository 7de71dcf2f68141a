//! A return type that is no `Result` under any of its names.

use runbook::{Result, step};

struct Release;

#[step(harmless)]
async fn release() -> Release {
    Release
}

type Fallible<T> = Result<T>;

/// This one is fine.
#[step(harmless)]
async fn fine() -> Fallible<u8> {
    Ok(1)
}

fn main() {}
