//! Where the commands of a runbook run.
//!
//! `Local` (feature `local`, on by default) is this machine, `Container` (feature `container`) a
//! running container of any host. The others wrap any target and change how it is used: [`Sudo`] (as another user), [`InDir`] (in a folder), [`WithEnv`] (with an
//! environment), [`RateLimit`] (no more often than so), [`Dry`] (looked at but never changed),
//! [`Latency`] (farther away) and [`Faulty`] (failing on purpose, for tests). They can be put around
//! each other in any order.

mod around;
#[cfg(feature = "container")]
mod container;
mod dry;
mod faulty;
mod latency;
#[cfg(feature = "local")]
mod local;
mod operation;
mod rate_limit;
#[cfg(any(feature = "local", feature = "ssh", feature = "container"))]
mod refused;
#[cfg(any(feature = "ssh", feature = "container"))]
mod remote;
#[cfg(feature = "ssh")]
mod ssh;
mod sudo;
mod within;

#[cfg(feature = "container")]
pub use crate::container::{Compose, Container};
pub use crate::dry::Dry;
pub use crate::faulty::{Faulty, When};
pub use crate::latency::Latency;
#[cfg(feature = "local")]
pub use crate::local::Local;
pub use crate::operation::Operation;
pub use crate::rate_limit::RateLimit;
#[cfg(feature = "ssh")]
pub use crate::ssh::{Auth, HostKeys, Ssh};
pub use crate::sudo::Sudo;
pub use crate::within::{InDir, WithEnv};
