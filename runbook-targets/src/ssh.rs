//! A host over SSH.

mod bell;
mod connect;
mod driver;
mod login;
mod pool;
mod proxy;
mod stream;
mod tunnel;

#[cfg(test)]
mod tests;
