//! Running programs to their end, with errors that need no second run to understand.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Why a program failed: which one, how it ended, and what it said.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// Tests unwrap it: the text is what they need.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

/// Runs it to its end and gives its standard output, without the newline at its end.
///
/// ```
/// let told = lab::try_run(std::process::Command::new("echo").arg("hello"));
/// assert_eq!(told.unwrap(), "hello");
/// ```
///
/// # Errors
/// It can't be started, or ends with a code other than 0.
pub fn try_run(command: &mut Command) -> Result<String, Failure> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(|error| {
            Failure(format!("starting {command:?}: {error}; scripts/setup installs it"))
        })?;
    let stdout = String::from_utf8_lossy(&stdout);
    if status.success() {
        return Ok(stdout.trim_end_matches('\n').to_owned());
    }
    let stderr = String::from_utf8_lossy(&stderr);
    Err(Failure(format!("{command:?}: {status}\n{}{}", tail(&stdout), tail(&stderr))))
}

/// As [`try_run`], where a failure is the test's.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    try_run(command).unwrap_or_else(|failure| panic!("{failure}"))
}

/// The last lines of a log file; why there are none, otherwise.
pub(crate) fn log_tail(path: &Path) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            format!("end of {}:\n{}", path.display(), tail(&String::from_utf8_lossy(&bytes)))
        }
        Err(error) => format!("no log {}: {error}", path.display()),
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].iter().map(|line| format!("  {line}\n")).collect()
}
