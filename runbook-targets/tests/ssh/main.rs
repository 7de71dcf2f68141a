//! A host over SSH, by a real `sshd`: all that holds of this machine, and what only a connection
//! can do wrong.
#![cfg(target_os = "linux")]

// The macros speak of the facade.
extern crate runbook_core as runbook;

#[path = "../it/arguments.rs"]
mod arguments;
#[path = "../it/commands.rs"]
mod commands;
#[cfg(feature = "container")]
#[path = "../it/container.rs"]
mod container;
#[path = "../it/ending.rs"]
mod ending;
#[path = "../it/files.rs"]
mod files;
#[path = "../it/sockets.rs"]
mod sockets;
#[path = "../it/sudo.rs"]
mod sudo;
#[path = "../it/support.rs"]
mod support;

mod ahead;
mod cut_link;
mod durable;
mod files_far;
mod hostile;
mod latency;
mod left_behind;
mod limits;
mod routes;
mod runtimes;

use lab::{Proxy, Sshd};
use runbook_core::Host;
use runbook_targets::{Auth, Ssh};

/// This machine, over SSH; called `local` so that what is said of it can be compared. Each test has
/// a server of its own, with OpenSSH's own limits, that ends with its thread.
fn here() -> Host {
    thread_local! {
        static SSHD: Sshd = Sshd::start();
    }
    Host::new(SSHD.with(to).named("local"))
}

/// A server, by what it is known by.
pub(crate) fn to(sshd: &Sshd) -> Ssh {
    at(sshd, sshd.port())
}

/// A key that the server takes, and that `open sesame` opens.
pub(crate) fn locked_key(sshd: &Sshd) -> std::path::PathBuf {
    let key = sshd.dir().join("locked");
    lab::keygen(&key, lab::KeyKind::Ed25519, "open sesame");
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    std::fs::write(sshd.dir().join("authorized_keys"), public).unwrap();
    key
}

/// The same server, over a network that can be slow, silent or cut.
pub(crate) fn by_way_of(sshd: &Sshd, proxy: &Proxy) -> Ssh {
    at(sshd, proxy.port())
}

pub(crate) fn at(sshd: &Sshd, port: u16) -> Ssh {
    let known_hosts = sshd.dir().join(format!("known_hosts_at_{port}"));
    let lines = sshd.known_hosts().replace(&format!("]:{} ", sshd.port()), &format!("]:{port} "));
    std::fs::write(&known_hosts, lines).unwrap();
    Ssh::at(sshd.addr().ip().to_string())
        .port(port)
        .user(sshd.user())
        .known_hosts(known_hosts)
        .auth(Auth::new().key_file(sshd.client_key()).without_agent())
}

/// Whether [`here`] is the target `Local`.
const HERE_IS_LOCAL: bool = false;
