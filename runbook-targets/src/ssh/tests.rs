//! The connections against real servers, and against broken ones.

mod commands;
mod hostile;
mod lost;
mod routes;
mod sshd;
mod tunnels;

use std::sync::Arc;
use std::time::{Duration, Instant};

use runbook_core::{Exit, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::sshd::Sshd;
use super::connect::Route;
use super::driver::Keepalive;
use super::pool::{Connections, Limits};
use crate::remote::channel::{Channel, Channels, Purpose};

/// How long a test waits for what must happen.
const SOON: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    Limits::default()
}

/// Limits under which a dead server is found in a few seconds.
fn quick() -> Limits {
    Limits {
        keepalive: Keepalive { interval: Duration::from_secs(2), count: 2 },
        ..Limits::default()
    }
}

fn pool(server: &Sshd, limits: Limits) -> Connections {
    route(server, Route::Direct { host: "127.0.0.1".into(), port: server.port }, limits)
}

fn route(server: &Sshd, route: Route, limits: Limits) -> Connections {
    Connections::new("web-1", route, Arc::new(server.login()), limits)
}

/// What a line said, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    exit: Exit,
    stdout: String,
    stderr: String,
}

async fn run(connections: &Connections, line: &str) -> Result<Ran> {
    finish(connections.open(line, Purpose::Command).await?, b"").await
}

/// Feeds a channel, reads both of its streams and waits for its end.
async fn finish(channel: Channel, input: &[u8]) -> Result<Ran> {
    let Channel { mut stdin, mut stdout, mut stderr, exit } = channel;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let feed = async {
        stdin.write_all(input).await?;
        stdin.shutdown().await
    };
    let (fed, read_out, read_err) =
        tokio::join!(feed, stdout.read_to_end(&mut out), stderr.read_to_end(&mut err));
    let exit = exit.await.expect("a driver always says how a command ended")?;
    fed?;
    read_out?;
    read_err?;
    let text = |bytes| String::from_utf8(bytes).expect("what was said is text");
    Ok(Ran { exit, stdout: text(out), stderr: text(err) })
}

/// Waits until `holds`, which must be soon.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What must come soon.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

#[track_caller]
fn refused<T>(result: Result<T>) -> runbook_core::Failure {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(failure) => failure,
    }
}
