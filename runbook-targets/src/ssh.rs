//! A host over SSH.

mod config;
mod key;
mod known_hosts;
