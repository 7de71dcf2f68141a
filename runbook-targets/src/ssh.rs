//! A host over SSH.

// The driver and the builder are their users.
#![cfg_attr(not(test), allow(dead_code))]

mod algorithms;
mod auth;
mod config;
mod identity;
mod key;
mod known_hosts;
mod login;
mod offer;
mod trust;

pub use self::auth::Auth;
pub use self::trust::HostKeys;
