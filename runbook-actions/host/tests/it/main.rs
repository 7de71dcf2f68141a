//! A host's facts, files and services, against this machine.
#![allow(missing_docs)]
#![cfg(target_os = "linux")]

mod env;
mod facts;
mod files;
mod firewall;
mod ports;
mod services;
mod ssh;
mod support;
