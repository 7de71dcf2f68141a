//! A host over SSH.

mod key;
mod known_hosts;
