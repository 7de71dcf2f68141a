//! Redis and BullMQ as typed steps and checks of runbooks.

// `impl Step<Rollback = Record>`: that the record is one of this very step is checked where the step
// is written, and can't be said of a type without a name.
#![allow(opaque_hidden_inferred_bound)]

extern crate runbook_core as runbook;

mod client;
mod config;
mod connection;
mod error;
mod flush;
mod info;
mod key;
mod keys;
mod memory;
mod queue;
mod reply;
mod saved;
mod session;

pub use crate::client::Redis;
pub use crate::config::Config;
pub use crate::error::Error;
pub use crate::flush::Contents;
pub use crate::info::{Clients, Info, Memory, Persistence, Stats};
pub use crate::key::Key;
pub use crate::keys::Keys;
pub use crate::memory::{MaxMemoryBefore, Purged};
pub use crate::queue::{
    Counts, FailedJobs, Flow, Job, PausedBefore, Queue, RemovedJob, Retried, Worker, Workers,
};
pub use crate::reply::Reply;
pub use crate::saved::SavedKeys;
pub use crate::session::{Reader, Session};
/// The options of TLS, as [`Config::tls`] takes them.
pub use runbook_tls::TlsConfig;
