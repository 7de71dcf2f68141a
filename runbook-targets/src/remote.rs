//! A whole [`Target`](runbook_core::Target) made of channels that each run a line of `sh`.
//!
//! A few persistent shells take one framed command after another ([`shell`]). One more process,
//! the [`lifeline`], ends what they run when this side is gone. Nothing is installed there: it
//! needs a POSIX `sh` (dash, bash and BusyBox are tested) and the usual tools of GNU or BusyBox.

pub(crate) mod channel;
mod files;
mod fuse;
mod lifeline;
mod process;
mod shell;
mod stream;
mod target;
mod upload;
mod words;

#[allow(unused_imports)]
pub(crate) use self::target::{Limits, Remote};

#[cfg(all(test, feature = "local", target_os = "linux"))]
mod tests;
