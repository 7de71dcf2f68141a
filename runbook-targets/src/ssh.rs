//! A host over SSH.

mod algorithms;
mod config;
mod key;
mod known_hosts;
mod login;
mod trust;

pub use self::trust::HostKeys;
