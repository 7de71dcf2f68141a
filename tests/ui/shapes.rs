//! Fns that no step can be made of.

use runbook::{Result, step};

#[step(harmless)]
async fn generic<T: Clone>(value: T) -> Result<()> {
    let _ = value;
    Ok(())
}

#[step(harmless)]
async fn patterns((a, b): (u8, u8), _: u8) -> Result<()> {
    let _ = (a, b);
    Ok(())
}

#[step(harmless)]
async fn implied(value: impl ToString, dynamic: &dyn ToString) -> Result<()> {
    let _ = (value.to_string(), dynamic.to_string());
    Ok(())
}

#[step(harmless)]
struct NoFn;

struct Site;

impl Site {
    #[step(harmless)]
    async fn method(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
