//! [`Sshd`]: a real server, and a login that knows it.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use runbook_core::Failure;
use rustix::process::{Pid, Signal, kill_process};

use crate::ssh::login::Login;

/// Its processes end when it is dropped.
pub(super) struct Sshd {
    lab: lab::Sshd,
    pub(super) port: u16,
}

impl Sshd {
    pub(super) fn start() -> Self {
        Self::with("")
    }

    /// With these lines in its configuration.
    pub(super) fn with(lines: &str) -> Self {
        let lab = lab::Sshd::builder().config(lines).start();
        Self { port: lab.port(), lab }
    }

    pub(super) fn log(&self) -> String {
        self.lab.log()
    }

    pub(super) fn path(&self) -> &Path {
        self.lab.dir()
    }

    /// Who trusts this server and is trusted by it.
    pub(super) fn login(&self) -> KeyLogin {
        let host = self.lab.host_key(lab::KeyKind::Ed25519);
        let key = host.split_whitespace().nth(1).expect("a type and a key");
        KeyLogin {
            host_key: BASE64_STANDARD.decode(key).expect("a key in base64"),
            user: self.lab.user().to_owned(),
            key: self.lab.client_key(),
        }
    }

    /// The processes of its connections and of what runs on them.
    pub(super) fn sessions(&self) -> Vec<Pid> {
        let pids = self.lab.sessions().into_iter();
        pids.filter_map(|pid| Pid::from_raw(pid.cast_signed())).collect()
    }

    /// Sends a signal to the processes of its connections, and of what runs on them.
    pub(super) fn signal_sessions(&self, signal: Signal) {
        for pid in self.sessions() {
            // It may have ended just now.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Logs in with a key file, to a server whose key it knows.
#[derive(Debug)]
pub(super) struct KeyLogin {
    host_key: Vec<u8>,
    user: String,
    key: PathBuf,
}

impl Login for KeyLogin {
    fn prepare(&self, _: &mut ssh2::Session) -> Result<(), Failure> {
        Ok(())
    }

    fn authenticate(&self, session: &mut ssh2::Session) -> Result<(), Failure> {
        match session.host_key() {
            Some((key, _)) if key == self.host_key => {}
            _ => return Err(Failure::msg("the server has another key")),
        }
        Ok(session.userauth_pubkey_file(&self.user, None, &self.key, None)?)
    }
}
