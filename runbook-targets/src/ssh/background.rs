//! [`spawn`]: work for which more than one runtime may wait.
//!
//! A target may be used from several runtimes, one after the other or at once. A connection that
//! is being made must not depend on the one that asked for it first: that one may end, or stand
//! still between two calls of `block_on`.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Handle};

/// A runtime on a thread of its own, as long as this process lives; none if there is no thread.
static BACKGROUND: LazyLock<Option<Handle>> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("runbook-connect".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .ok()?;
    Some(handle)
});

/// Runs `work`, whatever becomes of the runtime that this is called in, if it is in one.
pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    match &*BACKGROUND {
        Some(background) => drop(background.spawn(work)),
        None => {
            if let Ok(here) = Handle::try_current() {
                here.spawn(work);
            }
        }
    }
}
