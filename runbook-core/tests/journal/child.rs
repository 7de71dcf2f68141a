//! Other processes: this test binary, started again in a role.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

const ROLE: &str = "JOURNAL_TEST_ROLE";
const DIR: &str = "JOURNAL_TEST_DIR";
/// Marks the lines of a child among those of its test harness.
const MARK: &str = "child: ";

/// Where a child begins; nothing by itself.
#[test]
fn entry() {
    let (Ok(role), Ok(dir)) = (std::env::var(ROLE), std::env::var(DIR)) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match &*role {
            "hold a run" => crate::two_processes::hold(&dir).await,
            "write without end" => crate::two_processes::write_without_end(&dir).await,
            "fill the disk" => crate::disk_full::fill(&dir).await,
            "fight for a lock" => crate::locks::fight(&dir).await,
            "read what is forbidden" => crate::hostile::read_forbidden(&dir).await,
            _ => panic!("no role: {role}"),
        }
    });
}

/// The command that starts a child, and its arguments.
pub(crate) fn command(exe: &std::path::Path, role: &str, dir: &std::path::Path) -> Command {
    let mut command = Command::new(exe);
    command.args(["--exact", "child::entry", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(DIR, dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// This test binary.
pub(crate) fn exe() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

/// Says a line to the parent.
pub(crate) fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // The harness may have left its line open.
    write!(out, "\n{MARK}{line}\n").unwrap();
    out.flush().unwrap();
}

/// Waits until the parent closes the child's standard input.
pub(crate) fn wait_for_parent() {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

/// A running child, which is ended when this is dropped.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says; none when it has ended.
    pub(crate) fn heard(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(said) = line.trim_end().strip_prefix(MARK) {
                return Some(said.to_owned());
            }
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether these tests run as root, which no permission stops.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}
