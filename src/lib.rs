//! Operational runbooks as typed Rust.

pub use runbook_core::*;
pub use runbook_macros::*;

/// Where commands run.
#[cfg(feature = "local")]
pub mod targets {
    pub use runbook_targets::*;
}

#[cfg(feature = "cli")]
pub mod cli;
