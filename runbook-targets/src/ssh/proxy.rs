//! [`Proxy`]: the process of a `ProxyCommand`.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runbook_core::{During, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// A line of `sh` whose standard input and output are the way to a host. Ended when dropped.
pub(super) struct Proxy {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    /// The end of what it said that is kept for an error.
    const SAID: usize = 2 << 10;
    const GRACE: Duration = Duration::from_millis(500);

    pub(super) fn start(command: &str) -> Result<(Self, UnixStream)> {
        let doing = format!("running the proxy command `{command}`");
        let (ours, theirs) = UnixStream::pair().during(&doing)?;
        let output = theirs.try_clone().during(&doing)?;
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .stdin(OwnedFd::from(theirs))
            .stdout(OwnedFd::from(output))
            .stderr(Stdio::piped())
            // Its children end with it, and a Ctrl-C is ours.
            .process_group(0)
            .spawn()
            .during(&doing)?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take();
        let proxy = Self { child, said: said.clone() };
        if let Some(stderr) = stderr {
            std::thread::Builder::new()
                .name("runbook-proxy".to_owned())
                .stack_size(64 << 10)
                .spawn(move || listen(stderr, &said))
                .during(&doing)?;
        }
        Ok((proxy, ours))
    }

    /// The end of what it said on its standard error.
    pub(super) fn said(&self) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        (!said.is_empty()).then_some(said)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return;
        };
        // Not reaped yet, so the number is still its own.
        let _ = kill_process_group(group, Signal::TERM);
        let until = Instant::now() + Self::GRACE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Keeps the end of what it says; ends with the last process that holds its standard error.
fn listen(mut from: ChildStderr, said: &Mutex<Vec<u8>>) {
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
