//! Where the commands of a runbook run.
//!
//! `Local` (feature `local`, on by default) is this machine. The others wrap any target and change
//! how it is used: [`Sudo`] (as another user), [`InDir`] (in a folder), [`WithEnv`] (with an
//! environment).

#[cfg(feature = "local")]
mod local;
#[cfg(any(feature = "local", feature = "ssh", feature = "container"))]
mod refused;
#[cfg(any(feature = "ssh", feature = "container"))]
#[allow(dead_code)]
mod remote;
#[cfg(feature = "ssh")]
mod ssh;
mod sudo;
mod within;

#[cfg(feature = "local")]
pub use crate::local::Local;
#[cfg(feature = "ssh")]
pub use crate::ssh::{Auth, HostKeys};
pub use crate::sudo::Sudo;
pub use crate::within::{InDir, WithEnv};
