//! Waiting for a condition instead of for a time.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

/// Waits until `condition` holds.
///
/// ```
/// lab::wait_until("the sun to rise", std::time::Duration::from_secs(1), || true);
/// ```
///
/// # Panics
/// It does not hold within `deadline`; the message says what was waited for.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return;
        }
        assert!(Instant::now() < end, "waited {deadline:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// A port of the loopback interface that nothing listens on right now.
///
/// Another process may take it before you do: start again with another one if so.
///
/// # Panics
/// The system has none left.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port of the loopback interface")
        .port()
}
