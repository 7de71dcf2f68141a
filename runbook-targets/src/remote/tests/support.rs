//! What the tests share.

use std::fs;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use runbook_core::Command;

/// Far beyond what anything here takes on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(60);

pub(super) fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

/// Waits for `work`; panics if that takes for ever.
pub(super) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("it does not end")
}

/// Waits until `condition` holds; panics if it never does.
pub(super) async fn comes_true(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An environment variable that only one test's processes carry.
pub(super) struct Mark(String);

impl Mark {
    const NAME: &str = "RUNBOOK_TEST_MARK";

    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self(format!("{}-r{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(super) fn on(&self, command: Command) -> Command {
        command.env(Self::NAME, &self.0)
    }

    pub(super) fn value(&self) -> &str {
        &self.0
    }

    /// The ids of living processes that carry it.
    pub(super) fn living(&self) -> Vec<u32> {
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
}

/// What a test starts ends with it.
impl Drop for Mark {
    fn drop(&mut self) {
        for pid in self.living() {
            let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).output();
        }
    }
}
