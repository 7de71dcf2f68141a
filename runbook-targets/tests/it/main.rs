//! Real processes, real files, real sockets.
#![cfg(target_os = "linux")]

mod arguments;
mod commands;
mod decorators;
mod ending;
mod files;
mod sockets;
mod sudo;
mod support;
