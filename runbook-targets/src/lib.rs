//! Where the commands of a runbook run.
//!
//! | target | feature | |
//! | --- | --- | --- |
//! | `Local` | `local` | this machine |
//! | `Ssh` | `ssh` | a host over SSH |
//! | `Container` | `container` | a running container of any host |
//!
//! Decorators wrap any target, in any order, and change how it is used: [`InDir`] (in a folder) and
//! [`WithEnv`] (with an environment) are always there; with the feature `decorators` there are
//! `Sudo` (as another user), `RateLimit` (no more often than so), `Dry` (looked at but never
//! changed), `Latency` (farther away) and `Faulty` (failing on purpose, for tests).

#[cfg(feature = "decorators")]
mod around;
#[cfg(feature = "container")]
mod container;
#[cfg(feature = "decorators")]
mod dry;
#[cfg(feature = "decorators")]
mod faulty;
#[cfg(feature = "decorators")]
mod latency;
#[cfg(feature = "local")]
mod local;
#[cfg(feature = "decorators")]
mod operation;
#[cfg(feature = "decorators")]
mod rate_limit;
#[cfg(any(feature = "local", feature = "ssh", feature = "container"))]
mod refused;
#[cfg(any(feature = "ssh", feature = "container"))]
mod remote;
#[cfg(feature = "ssh")]
mod ssh;
#[cfg(feature = "decorators")]
mod sudo;
mod within;

#[cfg(feature = "container")]
pub use crate::container::{Compose, Container};
#[cfg(feature = "decorators")]
pub use crate::dry::Dry;
#[cfg(feature = "decorators")]
pub use crate::faulty::{Faulty, When};
#[cfg(feature = "decorators")]
pub use crate::latency::Latency;
#[cfg(feature = "local")]
pub use crate::local::Local;
#[cfg(feature = "decorators")]
pub use crate::operation::Operation;
#[cfg(feature = "decorators")]
pub use crate::rate_limit::RateLimit;
#[cfg(feature = "ssh")]
pub use crate::ssh::{Auth, HostKeys, Ssh};
#[cfg(feature = "decorators")]
pub use crate::sudo::Sudo;
pub use crate::within::{InDir, WithEnv};
