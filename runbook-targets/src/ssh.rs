//! A host over SSH.

// The target is assembled on top of them.
#![cfg_attr(not(test), allow(dead_code))]

mod algorithms;
mod auth;
mod bell;
mod config;
mod connect;
mod driver;
mod identity;
mod key;
mod known_hosts;
mod login;
mod offer;
mod pool;
mod proxy;
mod stream;
mod trust;
mod tunnel;

#[cfg(test)]
mod tests;

pub use self::auth::Auth;
pub use self::trust::HostKeys;
