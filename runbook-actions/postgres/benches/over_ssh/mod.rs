//! The database's host, as runbooks reach it.

use lab::Sshd;
use runbook_core::Host;
use runbook_targets::{Auth, Ssh};

/// The machine of this server, over SSH.
pub(crate) fn host(sshd: &Sshd) -> std::io::Result<Host> {
    let known_hosts = sshd.dir().join("known_hosts_of_the_bench");
    std::fs::write(&known_hosts, sshd.known_hosts())?;
    let ssh = Ssh::at(sshd.addr().ip().to_string())
        .port(sshd.port())
        .user(sshd.user())
        .known_hosts(known_hosts)
        .auth(Auth::new().key_file(sshd.client_key()).without_agent())
        .named("db-1");
    Ok(Host::new(ssh))
}
