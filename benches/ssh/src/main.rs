//! A compiled runbook, its durable journal on, that does what other tools are measured by:
//!
//! ```text
//! bench-ssh w    LAB COMMANDS SMALL N   on every host: the commands, a small file there and back
//! bench-ssh w2   LAB COMMANDS BIG N     a large file to one host
//! bench-ssh down LAB COMMANDS BIG N     a large file from there, into the folder for uploads
//! bench-ssh w3   LAB COMMANDS SMALL N   N commands on one host, one after the other
//! ```
//!
//! `LAB` is a JSON file with the hosts, `COMMANDS` one with a list of commands. `-isolated` after
//! the first word gives each command a channel of its own. `far.py` runs it as if the hosts were far
//! away. The journals stay, in `~/.local/state/bench-ssh`.
#![expect(clippy::print_stderr, reason = "it says why it failed")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use runbook::targets::{Auth, Ssh};
use runbook::{
    Command, Context, Engine, Failure, FileStore, Host, Result, Rolling, RunOptions, Runbook,
    Status, WriteOptions, step,
};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

#[derive(Deserialize)]
struct Lab {
    key: PathBuf,
    known_hosts: PathBuf,
    hosts: Vec<Server>,
}

#[derive(Clone, Deserialize)]
struct Server {
    name: String,
    addr: String,
    port: u16,
    user: String,
    dir: PathBuf,
}

impl Lab {
    fn host(&self, server: &Server, isolated: bool) -> Host {
        let ssh = Ssh::at(&server.addr)
            .named(&server.name)
            .port(server.port)
            .user(&server.user)
            .known_hosts(&self.known_hosts)
            .auth(Auth::new().key_file(&self.key).without_agent());
        Host::new(if isolated { ssh.isolated() } else { ssh })
    }
}

/// Run a command
#[step(harmless, title = "{line}")]
async fn run(cx: &Context, host: &Host, line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let command = Command::new(words.next().unwrap_or_default()).args(words);
    cx.on(host).run(&command).await.map(drop)
}

/// Put the file there
#[step(harmless)]
async fn put(cx: &Context, host: &Host, from: &Path, to: &Path) -> Result<()> {
    let content = tokio::fs::File::open(from).await?;
    cx.on(host).write_from(to, Box::new(content), &WriteOptions::default()).await
}

/// Read it back
#[step(harmless)]
async fn read_back(cx: &Context, host: &Host, from: &Path, to: &Path) -> Result<()> {
    let there = cx.on(host).read(to).await?;
    if there == fs::read(from)? { Ok(()) } else { Err(Failure::msg("it is not the same")) }
}

/// Get the file from there
#[step(harmless)]
async fn get(cx: &Context, host: &Host, from: &Path, to: &Path) -> Result<()> {
    let mut there = cx.on(host).open(from).await?;
    let mut here = fs::File::create(to)?;
    let mut piece = Vec::with_capacity(1 << 20);
    while there.read_buf(&mut piece).await? > 0 {
        // Not by another thread: it goes no further than to the page cache.
        here.write_all(&piece)?;
        piece.clear();
    }
    here.sync_all()?;
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(bench(&words)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure:?}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(words: &[String]) -> Result<()> {
    let [kind, lab, commands, file, n] = words else {
        return Err(Failure::msg("bench-ssh KIND LAB COMMANDS FILE N"));
    };
    let lab: Lab = serde_json::from_slice(&fs::read(lab)?)?;
    let commands: Vec<String> = serde_json::from_slice(&fs::read(commands)?)?;
    let (kind, isolated) = match kind.strip_suffix("-isolated") {
        Some(kind) => (kind, true),
        None => (kind.as_str(), false),
    };
    let file = Path::new(file);
    let one = || lab.hosts.first().ok_or_else(|| Failure::msg("the lab has no hosts"));
    let mut b = Runbook::new("bench");
    match kind {
        "w" => {
            let rolling = Rolling { at_once: lab.hosts.len(), ..Rolling::default() };
            let hosts: Vec<_> = lab.hosts.iter().map(|s| lab.host(s, isolated)).collect();
            b.each(&hosts, rolling, |host, b| {
                for line in &commands {
                    b.step(run(host, line));
                }
                let server = lab.hosts.iter().find(|server| server.name == host.name());
                let up = server.map(|server| server.dir.join("up.bin")).unwrap_or_default();
                b.step(put(host, file, &up));
                b.step(read_back(host, file, &up));
            });
        }
        "w2" => {
            let server = one()?;
            b.step(put(&lab.host(server, isolated), file, &server.dir.join("big.bin")));
        }
        "down" => {
            let server = one()?;
            let to = server.dir.join("big.bin");
            b.step(get(&lab.host(server, isolated), file, &to));
        }
        "w3" => {
            let host = lab.host(one()?, isolated);
            for line in commands.iter().cycle().take(n.parse()?) {
                b.step(run(&host, line));
            }
        }
        other => return Err(Failure::msg(format!("no workload is called {other:?}"))),
    }
    let plan = b.build().map_err(|error| Failure::msg(error.to_string()))?;
    let home = std::env::home_dir().ok_or_else(|| Failure::msg("there is no home folder"))?;
    let journals = home.join(".local/state/bench-ssh");
    fs::create_dir_all(&journals)?;
    let engine = Engine::new(FileStore::new(journals));
    let outcome = engine.run(&plan, RunOptions::new()).outcome().await;
    let outcome = outcome.map_err(|error| Failure::msg(error.to_string()))?;
    match outcome.finished.and_then(|finished| finished.problem) {
        _ if outcome.status == Status::Succeeded => Ok(()),
        Some(problem) => Err(problem.into()),
        None => Err(Failure::msg(format!("it ended {:?}", outcome.status))),
    }
}
