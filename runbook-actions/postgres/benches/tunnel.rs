//! A small query over an open connection: through the tunnel of our SSH connection, beside a direct
//! connection to the same server, one through two relays that do nothing but copy (a tunnel has two:
//! its client and `sshd`), and one through `ssh -L`; in turn.
//!
//! ```text
//! cargo bench -p runbook-postgres --bench tunnel -- QUERIES
//! ```
//!
//! *bare* is a prepared statement of the driver alone, one round trip: what a tunnel costs shows in
//! it undiluted. *step* and *check* are what a runbook asks by: `Session::one` takes two round trips
//! (it prepares the statement first), `Reader::one` four (and a read-only transaction around it).
//! `ssh -L` leaves Nagle's algorithm on, and takes some 40 ms for each of the latter: it is asked
//! them less often.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod over_ssh;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use lab::Sshd;
use runbook_core::testing::{context, observer};
use runbook_core::{Failure, Host};
use runbook_postgres::{Config, Postgres, Reader, Session};
use runbook_targets::Local;
use tokio_postgres::{Client, NoTls, Statement};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const SQL: &str = "select 1";

/// It is asked less often where it takes long.
const OPENSSH: &str = "ssh -L";

/// How many are asked before it is the next way's turn: a program that asks has what it needs in
/// the processor's caches.
const BLOCK: usize = 20;

// As many threads as a runbook's program has.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let word = std::env::args().skip(1).find(|word| word != "--bench");
    let queries = word.map_or(Ok(2_000), |word| word.parse::<usize>())?;
    let cluster = lab::Postgres::start();
    let sshd = Sshd::start();
    let ours = over_ssh::host(&sshd)?;
    let local = Host::new(Local::new());
    let forwarded = Forwarded::start(&sshd, &cluster);
    let relayed = relay(relay(cluster.port())?)?;

    let config = || Config::new("postgres").user(cluster.user()).password(cluster.password());
    let unix = || config().host(cluster.socket_dir().display().to_string());
    let (cx, step) = (observer(), context());
    for (what, config, by_openssh) in [
        ("TCP", config().port(cluster.port()), config().port(forwarded.tcp)),
        ("a unix socket", unix().port(cluster.port()), config().port(forwarded.unix)),
    ] {
        println!("`{SQL}` over {what}, us (times direct)");
        let ways = [
            ("direct", Postgres::new(&local, config.clone())),
            ("two bare relays", Postgres::new(&local, by_openssh.clone().port(relayed))),
            ("our tunnel", Postgres::new(&ours, config)),
            (OPENSSH, Postgres::new(&local, by_openssh)),
        ];
        for kind in ["bare", "step", "check"] {
            // One connection by each way, as a runbook has it.
            let mut open = Vec::new();
            for (way, db) in &ways {
                let asker = match kind {
                    "bare" => Asker::bare(db, cluster.password()).await?,
                    "step" => Asker::Step(db.session(&step).await.map_err(text)?),
                    _ => Asker::Check(db.read(&cx).await.map_err(text)?),
                };
                open.push((*way, asker, Vec::new()));
            }
            // The first round warms up.
            for round in 0..=queries.div_ceil(BLOCK) {
                for (way, asker, took) in &mut open {
                    let seldom = *way == OPENSSH && kind != "bare" && round % 20 != 1;
                    for _ in 0..if seldom { 0 } else { BLOCK } {
                        let began = Instant::now();
                        assert_eq!(asker.ask().await?, 1);
                        took.extend((round > 0).then(|| began.elapsed()));
                    }
                }
            }
            let direct = at(&open[0].2, 50);
            let figures = open.iter().map(|(way, _, took)| {
                let median = at(took, 50);
                format!("{way} {median:.0} ({:.2}), p90 {:.0}", median / direct, at(took, 90))
            });
            println!("  {kind:6} {}", figures.collect::<Vec<_>>().join("; "));
        }
    }
    Ok(())
}

/// An open connection that is asked.
enum Asker<'a> {
    Bare(Client, Statement),
    Step(Session<'a>),
    Check(Reader<'a>),
}

impl Asker<'_> {
    async fn bare(db: &Postgres, password: &str) -> Result<Self> {
        let stream = db.host().target().connect(&db.config().address()).await.map_err(text)?;
        let mut config = tokio_postgres::Config::new();
        config.user("postgres").password(password).dbname(db.database());
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        tokio::spawn(connection);
        let statement = client.prepare(SQL).await?;
        Ok(Self::Bare(client, statement))
    }

    async fn ask(&self) -> Result<i32> {
        match self {
            Self::Bare(client, statement) => Ok(client.query_one(statement, &[]).await?.get(0)),
            Self::Step(session) => session.one(SQL, &[]).await.map_err(|why| text(why).into()),
            Self::Check(reader) => reader.one(SQL, &[]).await.map_err(|why| text(why).into()),
        }
    }
}

/// OpenSSH's own tunnels to both addresses of the server.
struct Forwarded {
    tcp: u16,
    unix: u16,
    _ssh: lab::Child,
}

impl Forwarded {
    fn start(sshd: &Sshd, cluster: &lab::Postgres) -> Self {
        let (tcp, unix) = (lab::free_port(), lab::free_port());
        let mut ssh = sshd.ssh();
        ssh.args(["-N", "-L", &format!("127.0.0.1:{tcp}:127.0.0.1:{}", cluster.port())]);
        ssh.args(["-L", &format!("127.0.0.1:{unix}:{}", cluster.socket().display())]);
        let forwarded = Self { tcp, unix, _ssh: lab::Child::spawn(ssh.stdin(Stdio::null())) };
        for port in [tcp, unix] {
            lab::wait_until("the tunnel", Duration::from_secs(10), || {
                let mut psql = cluster.command("psql", "postgres");
                psql.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string());
                psql.args(["-XqAtc", SQL]).output().is_ok_and(|output| output.status.success())
            });
        }
        forwarded
    }
}

/// The port of a relay to this one.
fn relay(to: u16) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    // They end with their connections.
    thread::spawn(move || {
        for near in listener.incoming() {
            let near = near?;
            let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            for (mut from, mut to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
                thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    loop {
                        match from.read(&mut bytes)? {
                            0 => return to.shutdown(std::net::Shutdown::Write),
                            read => to.write_all(&bytes[..read])?,
                        }
                    }
                });
            }
        }
        std::io::Result::Ok(())
    });
    Ok(port)
}

/// In microseconds, what this share of them stays below.
fn at(all: &[Duration], percent: usize) -> f64 {
    let mut all = all.to_vec();
    all.sort();
    all[(all.len() * percent / 100).min(all.len() - 1)].as_secs_f64() * 1e6
}

fn text(failure: Failure) -> String {
    failure.to_string()
}
