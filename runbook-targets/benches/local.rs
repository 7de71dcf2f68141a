//! What a command on this machine costs through a step's own way of running one, beside a bare
//! fork, exec and wait of the same program, in turn.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::process::Stdio;
use std::time::Instant;

use runbook_core::testing::context;
use runbook_core::{Command, Context, Host};
use runbook_targets::Local;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const PROGRAM: &str = "/bin/true";
const ROUNDS: usize = 2000;

fn main() -> Result<()> {
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    one.block_on(measure("one thread"))?;
    let many = tokio::runtime::Runtime::new()?;
    many.block_on(async { tokio::spawn(measure("many threads")).await? })
}

async fn measure(how: &str) -> Result<()> {
    let (cx, host) = (context(), Host::new(Local::new()));
    let (mut bare, mut piped, mut local) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(timed(bare_command)?);
        piped.push(timed(piped_command)?);
        let began = Instant::now();
        through(&cx, &host).await?;
        local.push(began.elapsed().as_secs_f64());
    }
    let (bare, piped, local) = (median(bare), median(piped), median(local));
    println!(
        "{PROGRAM}, {how}: bare {:.0} µs, bare with its output read {:.0} µs, Local {:.0} µs: \
         {:.2} times bare",
        bare * 1e6,
        piped * 1e6,
        local * 1e6,
        local / bare
    );
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

/// Fork, exec, wait: the limit.
fn bare_command() -> Result<()> {
    let mut command = std::process::Command::new(PROGRAM);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status()?.success());
    Ok(())
}

/// The same with both streams read, as whoever wants an error text must.
fn piped_command() -> Result<()> {
    assert!(std::process::Command::new(PROGRAM).output()?.status.success());
    Ok(())
}

async fn through(cx: &Context, host: &Host) -> Result<()> {
    cx.on(host).run(&Command::new(PROGRAM)).await.map_err(|failure| failure.to_string())?;
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
