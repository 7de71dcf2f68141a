//! What the tests share.

use std::fs;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use runbook_core::{Command, Host};

/// Far beyond what anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// This machine: as itself, or by way of the target that the test program is for.
pub(crate) fn here() -> Host {
    crate::here()
}

pub(crate) fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

/// Waits for `work`; panics if that takes for ever.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("it does not end")
}

/// Waits until `condition` holds; panics if it never does.
pub(crate) async fn comes_true(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs `body` in a process of its own, started by the shell words `start` (e.g. `exec`); `name`
/// is the calling test.
#[track_caller]
pub(crate) fn in_a_process_of_its_own(name: &str, start: &str, body: impl FnOnce()) {
    const INSIDE: &str = "RUNBOOK_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let child = std::process::Command::new("sh")
        .args(["-c", &format!("{start} \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "no test {name}");
}

/// An environment variable that only one test's processes carry.
pub(crate) struct Mark(pub(crate) String);

impl Mark {
    pub(crate) const NAME: &str = "RUNBOOK_TEST_MARK";

    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self(format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn on(&self, command: Command) -> Command {
        command.env(Self::NAME, &self.0)
    }

    pub(crate) fn value(&self) -> &str {
        &self.0
    }

    /// The ids of living processes that carry it.
    pub(crate) fn living(&self) -> Vec<u32> {
        let entry = format!("{}={}", Self::NAME, self.0);
        let pids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment.split(|byte| *byte == 0).any(|found| found == entry.as_bytes())
            })
        })
        .collect()
    }

    /// Their command lines, sorted.
    pub(crate) fn command_lines(&self) -> Vec<String> {
        let line = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let text = |line: Vec<u8>| String::from_utf8_lossy(&line).replace('\0', " ");
        let mut lines: Vec<_> =
            self.living().iter().map(|pid| text(line(pid)).trim_end().to_owned()).collect();
        lines.sort();
        lines
    }
}

/// What a test starts ends with it.
impl Drop for Mark {
    fn drop(&mut self) {
        for pid in self.living() {
            let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).output();
        }
    }
}
