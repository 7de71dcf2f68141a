//! Real processes, real files, real sockets.
#![cfg(target_os = "linux")]

// The macros speak of the facade.
extern crate runbook_core as runbook;

mod arguments;
mod commands;
#[cfg(feature = "container")]
mod container;
mod decorators;
mod ending;
mod files;
mod sockets;
mod sudo;
mod support;

/// This machine.
fn here() -> runbook_core::Host {
    runbook_core::Host::new(runbook_targets::Local::new())
}

/// Whether [`here`] is the target `Local`.
const HERE_IS_LOCAL: bool = true;
