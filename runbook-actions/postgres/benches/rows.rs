//! 10,000 rows as values of a struct, through our SSH connection, beside psql through a tunnel of
//! `ssh -L`, in turn. Both connections to the host are open before.
//!
//! ```text
//! cargo bench -p runbook-postgres --bench rows -- ROUNDS
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod over_ssh;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::Sshd;
use runbook_core::Timestamp;
use runbook_core::testing::observer;
use runbook_postgres::{Config, Postgres};
use serde::Deserialize;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const ROWS: usize = 10_000;
const SQL: &str = "select id, customer, note, paid, at from orders order by id limit 10000";

/// A row, as a program wants it.
#[derive(Deserialize)]
struct Order {
    id: i64,
    customer: i32,
    note: String,
    paid: bool,
    at: Option<Timestamp>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let words = std::env::args().skip(1).find(|word| word != "--bench");
    let rounds = words.map_or(Ok(51), |word| word.parse::<usize>())?;
    let cluster = lab::Postgres::start();
    cluster.psql(
        "postgres",
        "create table orders as select n::bigint as id, n % 500 as customer, \
         'order ' || md5(n::text) as note, n % 3 = 0 as paid, now() + n * interval '1 s' as at \
         from generate_series(1, 20000) n; create unique index on orders (id); analyze",
    );
    let sshd = Sshd::start();
    let db = through_ssh(&sshd, &cluster)?;
    let port = lab::free_port();
    let mut ssh = sshd.ssh();
    ssh.args(["-N", "-L", &format!("127.0.0.1:{port}:127.0.0.1:{}", cluster.port())]);
    let _tunnel = lab::Child::spawn(ssh.stdin(Stdio::null()));
    let psql = || {
        let mut command = cluster.command("psql", "postgres");
        command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).args(["-XqAt"]);
        command
    };
    lab::wait_until("the tunnel", Duration::from_secs(10), || {
        psql().args(["-c", "select 1"]).output().is_ok_and(|output| output.status.success())
    });

    let cx = observer();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut ours_open, mut theirs_open) = (Vec::new(), Vec::new());
    let reader = db.read(&cx).await.map_err(|failure| failure.to_string())?;
    let mut session = Session::start(psql())?;
    for round in 0..=rounds {
        let began = Instant::now();
        let opened = db.read(&cx).await.map_err(|failure| failure.to_string())?;
        check(&opened.query::<Order>(SQL, &[]).await.map_err(|failure| failure.to_string())?);
        let first = began.elapsed();

        let began = Instant::now();
        let output = psql().args(["-c", SQL]).output()?;
        assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), ROWS);
        let second = began.elapsed();

        let began = Instant::now();
        check(&reader.query::<Order>(SQL, &[]).await.map_err(|failure| failure.to_string())?);
        let third = began.elapsed();

        let began = Instant::now();
        session.ask(SQL)?;
        let fourth = began.elapsed();
        if round > 0 {
            ours.push(first);
            theirs.push(second);
            ours_open.push(third);
            theirs_open.push(fourth);
        }
    }
    for (what, ours, theirs) in
        [("connect and ask", ours, theirs), ("ask over an open connection", ours_open, theirs_open)]
    {
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "{ROWS} rows, {what}: ours, typed {ours:.1} ms; psql, text {theirs:.1} ms: {:.2} times",
            ours / theirs
        );
    }
    Ok(())
}

/// They are what was asked for.
fn check(orders: &[Order]) {
    let right = |(at, order): (usize, &Order)| {
        order.id == at as i64 + 1
            && order.customer as usize == (at + 1) % 500
            && order.note.len() == 38
            && order.paid == ((at + 1) % 3 == 0)
            && order.at.is_some()
    };
    assert!(orders.len() == ROWS && orders.iter().enumerate().all(right));
}

fn through_ssh(sshd: &Sshd, cluster: &lab::Postgres) -> Result<Postgres> {
    let config = Config::new("postgres")
        .port(cluster.port())
        .user(cluster.user())
        .password(cluster.password());
    Ok(Postgres::new(&over_ssh::host(sshd)?, config))
}

/// A psql that stays.
struct Session {
    child: std::process::Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Session {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().ok_or("it has no output")?;
        Ok(Self { child, said: BufReader::with_capacity(1 << 16, said) })
    }

    fn ask(&mut self, sql: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().ok_or("it has no input")?;
        writeln!(input, "{sql};\n\\echo end of rows")?;
        let (mut line, mut rows) = (String::new(), 0);
        loop {
            line.clear();
            if self.said.read_line(&mut line)? == 0 {
                return Err("psql has ended".into());
            }
            if line == "end of rows\n" {
                assert_eq!(rows, ROWS);
                return Ok(());
            }
            rows += 1;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn median(mut values: Vec<Duration>) -> f64 {
    values.sort();
    values[values.len() / 2].as_secs_f64() * 1000.0
}
