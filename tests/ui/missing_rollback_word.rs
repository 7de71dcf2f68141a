//! Nothing is said on how the step is undone.

use runbook::{Result, Runbook, step};

#[step(title = "Write {text}")]
async fn write(text: String) -> Result<u32> {
    Ok(text.len() as u32)
}

#[step]
async fn remove() -> Result<()> {
    Ok(())
}

fn main() {
    let mut b = Runbook::new("write");
    let length = b.step(write("a"));
    b.step(write(length.map(|length| length.to_string())));
    b.step(remove());
}
