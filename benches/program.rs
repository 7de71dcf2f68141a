//! Whole programs: 200 durable units from process start to end, and the quickstart from process
//! start to its first unit. Beside them `/bin/true`, and as many bare writes and fdatasyncs.
//!
//! Needs the quickstart: `cargo build --release -p quickstart`.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use runbook::{
    About, Context, Engine, FileStore, Harmless, Result as UnitResult, RunOptions, Runbook, Status,
    Step, Timestamp,
};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const UNITS: usize = 200;
const ROUNDS: usize = 25;

struct Nothing(usize);

impl Step for Nothing {
    type Output = ();
    type Rollback = Harmless;
    fn about(&self) -> About {
        About::new(format!("unit-{}", self.0), "Do nothing")
    }
    async fn run(&self, _: &Context) -> UnitResult<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    if let Some(dir) = std::env::var_os("RUNBOOK_BENCH_CHILD") {
        return child(Path::new(&dir));
    }
    let dir = tempfile::tempdir_in(std::env::current_dir()?.join("target"))?;
    let (mut bare, mut empty, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let mut file = OpenOptions::new().create(true).append(true).open(dir.path().join("bare"))?;
    for round in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..UNITS {
            file.write_all(&[b'x'; 300])?;
            file.sync_data()?;
        }
        bare.push(began.elapsed());

        let began = Instant::now();
        Command::new("/bin/true").status()?;
        empty.push(began.elapsed());

        let place = dir.path().join(round.to_string());
        let began = Instant::now();
        let ended =
            Command::new(std::env::current_exe()?).env("RUNBOOK_BENCH_CHILD", &place).status()?;
        ours.push(began.elapsed());
        assert!(ended.success());
    }
    println!("{UNITS} bare writes and fdatasyncs            {}", shown(bare));
    println!("/bin/true, the whole program             {}", shown(empty));
    println!("{UNITS} durable units, the whole program     {}", shown(ours));
    startup(dir.path())
}

fn child(dir: &Path) -> Result<()> {
    let mut b = Runbook::new("measured");
    for at in 0..UNITS {
        b.step(Nothing(at));
    }
    let plan = b.build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        Engine::new(FileStore::new(dir)).run(&plan, RunOptions::new()).outcome().await
    })?;
    assert_eq!(outcome.status, Status::Succeeded);
    Ok(())
}

/// From the start of the process to the first event of a unit.
fn startup(dir: &Path) -> Result<()> {
    let quickstart = std::env::current_dir()?.join("target/release/quickstart");
    if !quickstart.exists() {
        println!("no {}: see the head of this file", quickstart.display());
        return Ok(());
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = dir.join("quickstart.toml");
    std::fs::write(&config, format!("[b]\nroot = {:?}\nport = {port}\n", dir.join("site")))?;
    let command = |words: &[&str]| {
        let mut command = Command::new(&quickstart);
        command.args(words).arg("--output=json").arg("--journal").arg(dir.join("journal"));
        command.arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    };
    let (mut durable, mut looking) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (words, times) in
            [(["run", "deploy"], &mut durable), (["check", "deploy"], &mut looking)]
        {
            let began = Timestamp::from(SystemTime::now());
            let mut child = command(&words).spawn()?;
            let stdout = child.stdout.take().ok_or("no output")?;
            let mut first = None;
            for line in BufReader::new(stdout).lines() {
                let event: serde_json::Value = serde_json::from_str(&line?)?;
                if first.is_none() && !event["event"]["checked"].is_null() {
                    first = Some(serde_json::from_value::<Timestamp>(event["at"].clone())?);
                }
            }
            child.wait()?;
            times.push(first.ok_or("no unit")?.since(began));
        }
    }
    command(&["run", "stop"]).output()?;
    println!("quickstart, start to first unit, `run`   {}", shown(durable));
    println!("quickstart, start to first unit, `check` {}", shown(looking));
    Ok(())
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let last = times.len() - 1;
    format!(
        "median {:6.2} ms ({:.2} to {:.2})",
        ms(times[times.len() / 2]),
        ms(times[0]),
        ms(times[last])
    )
}
