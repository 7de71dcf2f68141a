//! [`Proxy`]: the process of a `ProxyCommand`.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use runbook_core::{During, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// A line of `sh` whose standard input and output are the way to a host. Ended when dropped.
pub(super) struct Proxy {
    /// Taken when it ends.
    child: Option<Child>,
    said: Arc<Mutex<Vec<u8>>>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// The end of what it said that is kept for an error.
    const SAID: usize = 2 << 10;
    const GRACE: Duration = Duration::from_millis(500);

    pub(super) fn start(command: &str) -> Result<(Self, UnixStream)> {
        let doing = format!("running the proxy command `{command}`");
        let (ours, theirs) = UnixStream::pair().during(&doing)?;
        let output = theirs.try_clone().during(&doing)?;
        let (stderr, their_stderr) = io::pipe().during(&doing)?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let listener = std::thread::Builder::new()
            .name("runbook-proxy".to_owned())
            .stack_size(64 << 10)
            .spawn(move || listen(stderr, &heard))
            .during(&doing)?;
        let child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .stdin(OwnedFd::from(theirs))
            .stdout(OwnedFd::from(output))
            .stderr(their_stderr)
            // Its children end with it, and a Ctrl-C is ours.
            .process_group(0)
            .spawn()
            .during(&doing)?;
        Ok((Self { child: Some(child), said, listener }, ours))
    }

    /// Ends it, and gives the end of what it said on its standard error. Blocks for a moment.
    pub(super) fn last_words(mut self) -> Option<String> {
        if let Some(mut child) = self.child.take() {
            // It is about to end by itself if it was it that failed.
            if !ends_within(Self::GRACE / 5, || !matches!(child.try_wait(), Ok(None))) {
                end(child);
            }
        }
        // Whoever it left behind may hold on to its standard error.
        ends_within(Self::GRACE, || self.listener.is_finished());
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        (!said.is_empty()).then_some(said)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            // This may be a thread of a runtime, which must not wait.
            let ended = std::thread::Builder::new().stack_size(64 << 10).spawn(|| end(child));
            // Without a thread it is left to end by itself, as its socket is closed.
            drop(ended);
        }
    }
}

/// Ends a process and its group.
fn end(mut child: Child) {
    // Not reaped yet, so the number is still its own.
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    // It may be gone already.
    let _ = kill_process_group(group, Signal::TERM);
    if !ends_within(Proxy::GRACE, || !matches!(child.try_wait(), Ok(None))) {
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
    }
}

/// Waits until `ended`, for at most so long.
fn ends_within(limit: Duration, mut ended: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if ended() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Keeps the end of what it says; ends with the last process that holds its standard error.
fn listen(mut from: io::PipeReader, said: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.extend_from_slice(&buffer[..read]);
                let surplus = said.len().saturating_sub(Proxy::SAID);
                said.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
}
