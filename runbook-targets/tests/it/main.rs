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
