//! PostgreSQL as typed steps and checks of runbooks.

// `impl Step<Rollback = Record>`: that the record is one of this very step is checked where the step
// is written, and can't be said of a type without a name.
#![allow(opaque_hidden_inferred_bound)]

extern crate runbook_core as runbook;

mod activity;
mod client;
mod config;
mod databases;
mod dump;
mod error;
mod health;
mod identifier;
mod log;
mod maintenance;
mod migration;
mod program;
mod replication;
mod row;
mod session;
mod sizes;
mod statements;
mod tls;
mod value;

pub use crate::activity::{Activity, Blocked, Connections, Ended};
pub use crate::client::Postgres;
pub use crate::config::Config;
pub use crate::databases::{OtherSessions, WasThere};
pub use crate::dump::{
    Contents, Dump, Format, PartialDump, Restored, Retention, RowCounts, Scratch, TableContent,
    TestRestore, Verified,
};
pub use crate::error::Error;
pub use crate::health::Server;
pub use crate::identifier::Table;
pub use crate::log::LogFindings;
pub use crate::maintenance::OldRows;
pub use crate::migration::{Applied, Migration, Proof, SchemaBefore};
pub use crate::replication::{Replication, Standby};
pub use crate::session::{Reader, Session};
pub use crate::sizes::{SlowQuery, TableSize};
pub use crate::value::Value;
/// The options of TLS, as [`Config::tls`] takes them.
pub use runbook_tls::TlsConfig;
