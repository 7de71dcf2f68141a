//! A host over SSH.

mod algorithms;
mod auth;
mod background;
mod bell;
mod config;
mod connect;
mod driver;
mod identity;
mod key;
mod known_hosts;
mod login;
mod offer;
mod owner;
mod pool;
mod proxy;
mod stream;
mod target;
mod trust;
mod tunnel;

#[cfg(test)]
mod tests;

pub use self::auth::Auth;
pub use self::target::Ssh;
pub use self::trust::HostKeys;
