//! Redis and BullMQ as typed steps and checks of runbooks.
//!
//! A [`Redis`] is one database of one server, made of the server's host and a [`Config`]; a
//! [`Queue`] is a BullMQ queue in it. Their methods make the steps and checks:
//!
//! | for | there are |
//! | --- | --- |
//! | health | [`ping`](Redis::ping), [`accepting`](Redis::accepting), [`info`](Redis::info), [`memory`](Redis::memory), [`hit_ratio`](Redis::hit_ratio), [`clients`](Redis::clients), [`saves`](Redis::saves) |
//! | memory | [`purge_memory`](Redis::purge_memory), [`set_max_memory`](Redis::set_max_memory) |
//! | keys | [`keys`](Redis::keys), [`delete_key`](Redis::delete_key), [`delete`](Redis::delete), [`delete_matching`](Redis::delete_matching) |
//! | all keys | [`contents`](Redis::contents), [`flush_database`](Redis::flush_database), [`flush_all`](Redis::flush_all) |
//! | queues | [`counts`](Queue::counts), [`flows`](Queue::flows), [`worker_alive`](Queue::worker_alive), [`none_stalled`](Queue::none_stalled), [`failed`](Queue::failed) |
//! | jobs | [`retry`](Queue::retry), [`retry_failed`](Queue::retry_failed), [`remove`](Queue::remove), [`pause`](Queue::pause), [`resume`](Queue::resume) |
//!
//! What a method gives back says how it is undone: `impl Step<Output = u64, Rollback = SavedKeys>`.
//! For steps and checks of your own, [`read`](Redis::read) and [`session`](Redis::session) open a
//! connection.
//!
//! # A queue that stands still
//!
//! ```
//! use std::time::Duration;
//!
//! use runbook_core::{Error, Host, Plan, Runbook, Wait};
//! use runbook_redis::{Config, Queue, Redis};
//!
//! /// Finds out why no mails go out, and sends those that failed once more.
//! fn mails_stand_still(redis: &Redis) -> Result<Plan, Error> {
//!     let mails = Queue::new(redis, "mails");
//!     let mut b = Runbook::new("mails-stand-still");
//!     b.check(redis.ping());
//!     b.check(redis.memory(95));
//!     let flow = b.observe(mails.flows(Duration::from_secs(300)));
//!     b.when("Mails wait", flow.failed(), |b| {
//!         // Here the worker is started again.
//!         b.wait_until(mails.worker_alive(), Wait::at_most(Duration::from_secs(30)));
//!     });
//!     b.irreversible(mails.retry_failed(500), "a mail may be sent twice; none may be missing");
//!     b.wait_until(mails.flows(Duration::from_secs(60)), Wait::at_most(Duration::from_secs(600)));
//!     b.build()
//! }
//!
//! # fn main() -> Result<(), Error> {
//! # let host = Host::new(runbook_core::testing::FakeTarget::new("cache-1"));
//! let redis = Redis::new(&host, Config::new().password("correct horse"));
//! assert_eq!(mails_stand_still(&redis)?.outline().units().count(), 6);
//! # Ok(())
//! # }
//! ```
//!
//! # How it reaches the server
//!
//! It speaks the protocol over a stream that the host's target opens, so a server that listens
//! only on the loopback address or a unix socket of its host is reached over SSH without a tunnel
//! of your own; nothing has to be installed on the host. Connections are kept for the next unit,
//! and end with the last clone of their [`Redis`].
//!
//! It is written for Redis 6 and later and tested with 7.0, and for BullMQ 4 and later, tested with
//! the last versions of 5 and 6.
//!
//! # What can be relied on
//!
//! - A check changes nothing: [`Reader`] sends only commands of a list that is known to look, and
//!   `KEYS`, which stops the server, is not among them.
//! - What a rollback puts back is in the journal: the values of deleted keys, whatever they hold.
//!   It is bounded for that ([`SavedKeys`]); beyond the bound a step that can be undone refuses to
//!   start, and the one that deletes for good is of another type.
//! - A command whose answer does not come has an unknown outcome, and says so.
//! - Scripts change a queue all at once or not at all, also when the memory is full.
//!
//! # Why it is so
//!
//! **Scripts of our own instead of the application's BullMQ.** That would need Node, the right
//! folder and the right version on the host, in the middle of an incident. What differs between
//! versions is small, and each queue says which one wrote it; from a library that is not known
//! (BullMQ Pro), a queue is read and not changed.
//!
//! **Retrying is irreversible.** A job that waits again may have run by the time of the rollback.
//!
//! **What is there again is left alone.** A rollback of a deletion does not replace a key that the
//! application has made again since: the newer value is the one that is in use.

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
#[cfg(feature = "testing")]
pub mod testing;

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
