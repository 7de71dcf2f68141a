//! `RevokedHostKeys`: a list of keys that must not be trusted, as text or as OpenSSH's binary KRL.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use runbook_core::{During as _, Failure, Result};

use crate::ssh::key::PublicKey;

/// # Errors
/// The list can't be read: no key can be trusted then.
pub(super) fn is_revoked(path: &Path, key: &PublicKey) -> Result<bool> {
    let doing = || format!("reading the revoked host keys in {}", path.display());
    let content = std::fs::read(path).during(doing())?;
    if content.starts_with(b"SSHKRL\n\0") {
        return ask_keygen(path, key).during(doing());
    }
    Ok(content.split(|byte| *byte == b'\n').any(|line| {
        PublicKey::from_text(line.trim_ascii_start()).is_some_and(|revoked| revoked == *key)
    }))
}

fn ask_keygen(path: &Path, key: &PublicKey) -> Result<bool> {
    let mut keygen = Command::new("ssh-keygen")
        .args(["-Q", "-f"])
        .arg(path)
        .arg("/dev/stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .during("starting `ssh-keygen -Q`")
        .or_next("install OpenSSH's client (`apt-get install openssh-client`)")?;
    // Dropped at once, which ends its input. If it has gone, its answer says why.
    if let Some(mut stdin) = keygen.stdin.take() {
        let _ = writeln!(stdin, "{key}");
    }
    let output = keygen.wait_with_output().during("running `ssh-keygen -Q`")?;
    match output.status.code() {
        Some(0) => Ok(false),
        Some(1) if String::from_utf8_lossy(&output.stdout).contains("REVOKED") => Ok(true),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Failure::msg(format!("`ssh-keygen -Q` said: {}", said.trim())))
        }
    }
}
