//! What a dump and a restore take as steps of a runbook over SSH, beside the bare programs on the
//! same host, in turn:
//!
//! ```text
//! cargo bench -p runbook-postgres --bench throughput -- MIB ROUNDS
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod over_ssh;

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use lab::Sshd;
use runbook_core::testing::observer;
use runbook_core::{Check as _, Engine, FileStore, RunOptions, Runbook, Status};
use runbook_postgres::{Config, Dump, Format, OtherSessions, Postgres, Verified};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |at: usize, or: u64| words.get(at).map_or(Ok(or), |word| word.parse());
    let (mib, rounds) = (number(0, 300)?, number(1, 5)?);

    // As a server is: durable.
    let cluster = lab::Postgres::builder()
        .setting("fsync", "on")
        .setting("full_page_writes", "on")
        .setting("synchronous_commit", "on")
        .setting("shared_buffers", "128MB")
        .start();
    cluster.psql("postgres", "create database shop");
    cluster.psql("shop", &fill(mib));
    cluster.psql("shop", "vacuum analyze");
    let size = cluster.psql("shop", "select pg_database_size('shop') / 1048576");
    let sshd = Sshd::start();
    let (folder, db) = (tempfile::tempdir()?, shop(&sshd, &cluster)?);
    let journal = folder.path().join("journal");
    println!("{size} MiB, {rounds} rounds; seconds");

    let mut times = Times::default();
    for round in 0..=rounds {
        // The first one warms up.
        let keep = round > 0;
        for ours_first in [round % 2 == 0, round % 2 != 0] {
            cluster.psql("postgres", "checkpoint");
            if ours_first {
                let dumps = folder.path().join(format!("dumps-{round}"));
                let took = run(&journal, |b| {
                    b.step(db.dump(&dumps, Format::Custom));
                });
                times.add(keep, "dump, ours", took.await?);
                let (took, proof) = verified(&db, &dumps).await?;
                times.add(keep, "(verify, ours)", took);
                cluster.psql("postgres", "checkpoint");
                let took = run(&journal, |b| {
                    b.step(db.restore(proof, OtherSessions::Refuse));
                });
                times.add(keep, "restore, ours", took.await?);
                drop_replaced(&cluster);
                std::fs::remove_dir_all(dumps)?;
            } else {
                let file = folder.path().join("bare.dump");
                let dump = |command: &mut std::process::Command| {
                    command.args(["--format=custom", "--file"]).arg(&file).output()
                };
                times.add(
                    keep,
                    "dump, bare",
                    timed(|| dump(&mut cluster.command("pg_dump", "shop")))?,
                );
                for (name, options) in
                    [("restore, bare", &[][..]), ("(restore, bare, --jobs=2)", &["--jobs=2"][..])]
                {
                    cluster.psql("postgres", "checkpoint");
                    let restore = || {
                        cluster.psql("postgres", "create database bare template template0");
                        let mut command = cluster.command("pg_restore", "bare");
                        command.args(options).args(["--exit-on-error", "--dbname=bare"]);
                        command.arg(&file).stdin(Stdio::null()).output()
                    };
                    times.add(keep, name, timed(restore)?);
                    cluster.psql("postgres", "drop database bare with (force)");
                }
                std::fs::remove_file(file)?;
            }
        }
    }
    times.print();
    Ok(())
}

/// Tables of rows that are short and long, with indexes and a foreign key, and large objects.
fn fill(mib: u64) -> String {
    let orders = mib * 2000;
    format!(
        "create table customers (id bigserial primary key, email text unique, name text);
         insert into customers (email, name)
            select 'user' || n || '@example.org', md5(n::text) from generate_series(1, {customers}) n;
         create table orders (id bigserial primary key, customer bigint references customers,
            note text, photo bytea, at timestamptz default now());
         insert into orders (customer, note, photo)
            select 1 + n % {customers}, repeat(md5(n::text), 3), sha512(n::text::bytea)
            from generate_series(1, {orders}) n;
         create index on orders (customer);
         create table events (id bigserial primary key, kind int, data jsonb);
         insert into events (kind, data)
            select n % 7, jsonb_build_object('n', n, 'hash', md5(n::text))
            from generate_series(1, {orders}) n;
         create index on events (kind);
         select count(lo_from_bytea(0, (
            select string_agg(sha256((n::text || k)::bytea), '') from generate_series(1, 8000) k)))
         from generate_series(1, {objects}) n;",
        customers = orders / 8,
        objects = mib / 6,
    )
}

fn shop(sshd: &Sshd, cluster: &lab::Postgres) -> Result<Postgres> {
    let programs =
        Path::new(cluster.command("psql", "shop").get_program()).parent().map(Path::to_owned);
    let config = Config::new("shop")
        .port(cluster.port())
        .user(cluster.user())
        .password(cluster.password())
        .programs(programs.unwrap_or_default());
    Ok(Postgres::new(&over_ssh::host(sshd)?, config))
}

/// Runs a runbook to its end, with a durable journal.
async fn run(journal: &Path, fill: impl FnOnce(&mut Runbook)) -> Result<f64> {
    let mut b = Runbook::new("bench");
    fill(&mut b);
    let plan = b.build()?;
    let began = Instant::now();
    let outcome =
        Engine::new(FileStore::new(journal)).run(&plan, RunOptions::new()).outcome().await?;
    let took = began.elapsed().as_secs_f64();
    if outcome.status == Status::Succeeded {
        return Ok(took);
    }
    Err(format!("{:?}", outcome.finished).into())
}

async fn verified(db: &Postgres, dumps: &Path) -> Result<(f64, Verified<Dump>)> {
    let cx = observer();
    let text = |failure: runbook_core::Failure| failure.to_string();
    let found = db.latest_dump(dumps).check(&cx).await.map_err(text)?.into_evidence();
    let began = Instant::now();
    let proof = db.verify(found).check(&cx).await.map_err(text)?.into_evidence();
    Ok((began.elapsed().as_secs_f64(), proof))
}

fn drop_replaced(cluster: &lab::Postgres) {
    let names = "select datname from pg_database where datname like 'shop_before_%'";
    for name in cluster.psql("postgres", names).lines() {
        cluster.psql("postgres", &format!("drop database \"{name}\" with (force)"));
    }
}

fn timed(work: impl FnOnce() -> std::io::Result<std::process::Output>) -> Result<f64> {
    let began = Instant::now();
    let output = work()?;
    if output.status.success() {
        return Ok(began.elapsed().as_secs_f64());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}

#[derive(Default)]
struct Times(Vec<(&'static str, Vec<f64>)>);

impl Times {
    fn add(&mut self, keep: bool, name: &'static str, took: f64) {
        if !keep {
            return;
        }
        match self.0.iter_mut().find(|(one, _)| *one == name) {
            Some((_, all)) => all.push(took),
            None => self.0.push((name, vec![took])),
        }
    }

    fn median(&self, name: &str) -> f64 {
        let found = self.0.iter().find(|(one, _)| *one == name);
        let mut all = found.map(|(_, all)| all.clone()).unwrap_or_default();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn print(&self) {
        for (name, all) in &self.0 {
            let each: Vec<_> = all.iter().map(|took| format!("{took:.2}")).collect();
            println!("{name:26} median {:.2}  ({})", self.median(name), each.join(" "));
        }
        for what in ["dump", "restore"] {
            let (ours, bare) = (format!("{what}, ours"), format!("{what}, bare"));
            println!("{what}: {:.3} times bare", self.median(&ours) / self.median(&bare));
        }
    }
}
