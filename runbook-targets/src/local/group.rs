//! Ends the process group of a command: all that can be known of its tree without `/proc`.

use std::time::{Duration, Instant};

use runbook_core::{Failure, Result};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// Ends the group of `root`: SIGTERM, and SIGKILL after `grace`.
pub(super) async fn end(root: Option<u32>, _command: &str, grace: Duration) -> Result<()> {
    let Some(group) = root.and_then(pid) else { return Ok(()) };
    let began = Instant::now();
    signal(group, Signal::TERM)?;
    // The group is there as long as its leader is not reaped, so it may take the whole grace.
    while test_kill_process_group(group).is_ok() && began.elapsed() < grace {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    signal(group, Signal::KILL)
}

/// Ends the group of `root` without waiting for it.
pub(super) fn kill_now(root: u32, _command: &str) {
    if let Some(group) = pid(root) {
        let _ = signal(group, Signal::KILL);
    }
}

/// Nothing can be known of what a killed run left behind.
pub(super) async fn end_leftovers(_cookie: &str, _grace: Duration) -> Result<Vec<String>> {
    Ok(Vec::new())
}

fn pid(root: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(root).ok()?)
}

fn signal(group: Pid, signal: Signal) -> Result<()> {
    match kill_process_group(group, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        // A group of which only the unreaped leader is left.
        Err(Errno::PERM) if cfg!(target_vendor = "apple") => Ok(()),
        Err(error) => {
            Err(Failure::from(std::io::Error::from(error)).while_doing("ending a process group"))
        }
    }
}
