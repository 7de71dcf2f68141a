//! PostgreSQL as typed steps and checks of runbooks.

extern crate runbook_core as runbook;

mod client;
mod config;
mod error;
mod health;
mod row;
mod session;
mod value;

pub use crate::client::Postgres;
pub use crate::config::Config;
pub use crate::error::Error;
pub use crate::health::Server;
pub use crate::session::{Reader, Session};
pub use crate::value::Value;
