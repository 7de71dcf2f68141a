//! Runs a script as the other user and takes what it says.

use std::ffi::OsStr;

use runbook_core::{Exit, Failure, Process, Result, Spawn, scrub};
use tokio::io::AsyncReadExt;

use super::{Sudo, script};

/// The cookie of what this target runs for itself: it belongs to no unit.
pub(super) const COOKIE: &str = "runbook:sudo";

/// For a script that changes nothing; the target below may tell it from one that does.
pub(super) fn look() -> Spawn {
    change().read_only()
}

/// For any other.
pub(super) fn change() -> Spawn {
    Spawn::new(COOKIE)
}

/// What a script said and how it ended.
pub(super) struct Said {
    pub(super) exit: Exit,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Said {
    /// The last line of its error output.
    pub(super) fn why(&self) -> String {
        why(self.exit, &self.stderr)
    }
}

/// Why a program that works on files gave up, without the program's own name and words around it:
/// `rm: cannot remove '/x': Permission denied` is `permission denied`.
pub(super) fn refused(sudo: &Sudo, exit: Exit, stderr: &[u8]) -> Failure {
    let why = why(exit, stderr);
    let reason = why.rsplit(": ").next().unwrap_or(&why);
    let mut chars = reason.chars();
    let reason: String = match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    };
    let failure = Failure::msg(scrub(&reason));
    if reason == "permission denied" || reason == "operation not permitted" {
        let user = &sudo.user;
        failure.next(format!(
            "look at the owner and mode of it and of the folders above: {user} may not do that"
        ))
    } else {
        failure
    }
}

pub(super) fn why(exit: Exit, stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    match said.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => line.trim().to_owned(),
        None => exit.to_string(),
    }
}

/// Reads both streams to their end and waits.
pub(super) async fn finish(mut process: Box<dyn Process>) -> Result<Said> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (out, err) = (process.stdout(), process.stderr());
    let read_out = async {
        match out {
            Some(mut out) => out.read_to_end(&mut stdout).await,
            None => Ok(0),
        }
    };
    let read_err = async {
        match err {
            Some(mut err) => err.read_to_end(&mut stderr).await,
            None => Ok(0),
        }
    };
    // Beside each other: a target may end the streams only when the end is waited for.
    let wait = async { Ok(process.wait().await) };
    let (_, _, exit) = tokio::try_join!(read_out, read_err, wait)?;
    Ok(Said { exit: exit?, stdout, stderr })
}

impl Sudo {
    /// Runs a script about files; gives what it said on standard output. If it fails, the end of
    /// its standard error is why.
    pub(super) async fn run<'a>(
        &self,
        doing: impl Fn() -> String,
        what: &Spawn,
        text: &str,
        args: impl IntoIterator<Item = &'a OsStr>,
    ) -> Result<Vec<u8>> {
        let said =
            self.say(what, text, args).await.map_err(|failure| failure.while_doing(doing()))?;
        if said.exit == Exit::Code(0) {
            return Ok(said.stdout);
        }
        Err(refused(self, said.exit, &said.stderr).while_doing(doing()))
    }

    /// Runs a script, however it ends.
    pub(super) async fn say<'a>(
        &self,
        what: &Spawn,
        text: &str,
        args: impl IntoIterator<Item = &'a OsStr>,
    ) -> Result<Said> {
        let process = self.start(&script(text, args), what).await?;
        finish(Box::new(process)).await
    }
}
