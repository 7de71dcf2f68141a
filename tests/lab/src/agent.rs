//! Keys, and an agent that holds them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::Child;
use crate::wait::wait_until;

/// A type of key, as `ssh-keygen -t` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// ECDSA on the curve P-256.
    Ecdsa,
    /// RSA of 2048 bits.
    Rsa,
}

impl KeyKind {
    /// The name for `ssh-keygen -t`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        }
    }
}

/// Makes a key pair at `path` and `path.pub`; an empty passphrase leaves it open.
///
/// # Panics
/// `ssh-keygen` refuses.
pub fn keygen(path: &Path, kind: KeyKind, passphrase: &str) {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", kind.name(), "-N", passphrase, "-C", "lab", "-f"])
        .arg(path)
        .args(if kind == KeyKind::Rsa { &["-b", "2048"][..] } else { &[] })
        .stdin(Stdio::null())
        .output()
        .expect("ssh-keygen starts");
    assert!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
}

/// An `ssh-agent` in a temporary folder.
#[derive(Debug)]
pub struct Agent {
    // Dropped first: the socket's folder goes after the process.
    _process: Child,
    dir: tempfile::TempDir,
}

impl Agent {
    /// Starts one that holds no key, and waits until it answers.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let process = Child::spawn(
            Command::new("ssh-agent")
                .arg("-D")
                .arg("-a")
                .arg(dir.path().join("agent"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let agent = Self { _process: process, dir };
        wait_until("ssh-agent to answer", Duration::from_secs(20), || {
            std::os::unix::net::UnixStream::connect(agent.socket()).is_ok()
        });
        agent
    }

    /// Its socket, as `SSH_AUTH_SOCK` names it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    /// Gives it an open private key.
    ///
    /// # Panics
    /// The agent refuses the key.
    pub fn add(&self, key: &Path) {
        let output = Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", self.socket())
            .stdin(Stdio::null())
            .output()
            .expect("ssh-add starts");
        assert!(output.status.success(), "ssh-add: {}", String::from_utf8_lossy(&output.stderr));
    }
}
