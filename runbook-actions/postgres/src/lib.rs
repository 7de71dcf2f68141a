//! PostgreSQL as typed steps and checks of runbooks.
//!
//! A [`Postgres`] is one database of one server, made of the server's host and a [`Config`]. Its
//! methods make the steps and checks:
//!
//! | for | there are |
//! | --- | --- |
//! | health | [`ping`](Postgres::ping), [`accepting`](Postgres::accepting), [`connections`](Postgres::connections), [`replication`](Postgres::replication), [`log_is_clean`](Postgres::log_is_clean) |
//! | looking | [`rows`](Postgres::rows), [`size_below`](Postgres::size_below), [`largest_tables`](Postgres::largest_tables), [`slow_queries`](Postgres::slow_queries) |
//! | incidents | [`locks`](Postgres::locks), [`idle`](Postgres::idle), [`idle_in_transaction`](Postgres::idle_in_transaction), [`long_running`](Postgres::long_running), [`cancel`](Postgres::cancel), [`terminate`](Postgres::terminate), [`promote`](Postgres::promote) |
//! | backups | [`dump`](Postgres::dump), [`dump_schema`](Postgres::dump_schema), [`verify`](Postgres::verify), [`latest_dump`](Postgres::latest_dump), [`existing_dump`](Postgres::existing_dump), [`test_restore`](Postgres::test_restore), [`expired_dumps`](Postgres::expired_dumps), [`remove_dumps`](Postgres::remove_dumps) |
//! | restoring | [`replaceable`](Postgres::replaceable), [`unused`](Postgres::unused), [`restore`](Postgres::restore), [`replaced_before`](Postgres::replaced_before), [`drop_replaced`](Postgres::drop_replaced), [`restore_in_place`](Postgres::restore_in_place), [`restore_over`](Postgres::restore_over), [`create_database`](Postgres::create_database), [`drop_database`](Postgres::drop_database) |
//! | changing | [`execute`](Postgres::execute), [`prove_migration`](Postgres::prove_migration), [`migrate`](Postgres::migrate), [`vacuum_analyze`](Postgres::vacuum_analyze), [`old_rows`](Postgres::old_rows), [`delete_old_rows`](Postgres::delete_old_rows) |
//!
//! What a method gives back says how it is undone: `impl Step<Output = Dump, Rollback = ..>`.
//! For steps and checks of your own, [`read`](Postgres::read) and [`session`](Postgres::session)
//! open a connection with typed rows.
//!
//! # A backup and a restore
//!
//! ```
//! use std::time::Duration;
//!
//! use runbook_core::{Error, Host, Plan, Runbook, Wait};
//! use runbook_postgres::{Config, Format, OtherSessions, Postgres, Retention};
//!
//! const FOLDER: &str = "/var/backups/shop";
//!
//! /// Dumps the database, proves that the dump can be restored, and removes old dumps.
//! fn backup(shop: &Postgres) -> Result<Plan, Error> {
//!     let mut b = Runbook::new("backup");
//!     b.lock("database:shop");
//!     b.check(shop.accepting());
//!     let dump = b.step(shop.dump(FOLDER, Format::Custom));
//!     let dump = b.check(shop.verify(dump));
//!     b.step(shop.test_restore(dump));
//!     let rule = Retention::days(14).keep_last(3);
//!     let old = b.check(shop.expired_dumps(FOLDER, rule));
//!     b.irreversible(shop.remove_dumps(FOLDER, rule, old), "dumps are kept for 14 days");
//!     b.build()
//! }
//!
//! /// Goes back to the last dump; if what comes after it fails, to what is there now.
//! fn restore(shop: &Postgres) -> Result<Plan, Error> {
//!     let mut b = Runbook::new("restore");
//!     b.lock("database:shop");
//!     b.check(shop.replaceable());
//!     let dump = b.check(shop.latest_dump(FOLDER));
//!     let dump = b.check(shop.verify(dump));
//!     // Here the application is stopped.
//!     b.wait_until(shop.unused(), Wait::at_most(Duration::from_secs(30)));
//!     b.step(shop.restore(dump, OtherSessions::Refuse));
//!     b.check(shop.rows::<i64>("There are orders", "SELECT id FROM orders LIMIT 1", []));
//!     // Here it is started again.
//!     b.build()
//! }
//!
//! # fn main() -> Result<(), Error> {
//! # let host = Host::new(runbook_core::testing::FakeTarget::new("db-1"));
//! let config = Config::new("shop").host("/run/postgresql").user("shop");
//! let shop = Postgres::new(&host, config);
//! assert_eq!(backup(&shop)?.outline().units().count(), 6);
//! assert_eq!(restore(&shop)?.outline().units().count(), 6);
//! # Ok(())
//! # }
//! ```
//!
//! # How it reaches the server
//!
//! It speaks the protocol over a stream that the host's target opens, so a server that listens
//! only on the loopback address or a unix socket of its host is reached over SSH without a tunnel
//! of your own. `pg_dump`, `pg_restore`, `psql` and `vacuumdb` run on the host, with `sh`, `awk`,
//! `gzip`, `mktemp`, and `openssl` or `sha256sum`; the data does not pass through the operator's
//! machine.
//!
//! The password travels in the protocol, and to those programs in a file (`PGPASSFILE`) that has no
//! name by the time it is written, and so is gone with the program that reads it, however that
//! ends. It is in no argument and no environment variable. The host runs Linux: the file is found
//! in `/proc`.
//!
//! It is written for PostgreSQL 13 and later, and tested with 15.
//!
//! # What can be relied on
//!
//! - A check writes nothing: each of its statements is a read-only transaction.
//! - A file that has the name of a dump is complete. Only [`Postgres::verify`] makes a
//!   [`Verified<Dump>`](Verified), and a restore takes nothing else; it compares the checksum
//!   again before anything takes the place of what is there.
//! - A [`restore`](Postgres::restore) fills a new database and then swaps two names, in one
//!   transaction. Whenever it fails, is cancelled, killed, or loses its connection, the database is
//!   the one that it was, or the new one as a whole; a rollback gives the very same one back. What
//!   an attempt left behind or running is ended before the next one, or the rollback, begins.
//! - A [`restore_in_place`](Postgres::restore_in_place) is one transaction, with the same promise;
//!   its rollback fills the database from a dump again.
//! - When a unit is stopped, the server is told over a second connection to cancel its statement.
//!   A cancel is a wish: whether the statement took effect is said where it is known, and the
//!   outcome stays unknown where it is not.
//!
//! # Why it is so
//!
//! **A restore fills a new database.** So `pg_restore` can use several connections, the dump is
//! hashed while it is read, and nobody waits for a lock meanwhile: with all of its checks it takes
//! no longer than a bare `pg_restore` (see `benches/README.md`). And its undo is exact, at once, and
//! needs no dump of what was there. The price is room for both databases, and that what hangs on the
//! database itself (rights, settings, comment, labels) has to be carried over; it is compared before
//! the swap, and what can't be carried (replication slots, subscriptions) is refused beforehand.
//!
//! **A restore in place is run by psql, for every format.** `pg_restore --clean` drops what the dump
//! knows; tables made since then stay, or stand in the way. Emptying the database in the same
//! transaction needs one session for both, so `pg_restore` writes SQL and psql runs it behind what
//! drops all. That costs processor time: up to half as much again where no processor is free.
//!
//! **Large objects of plain dumps, in place.** pg_dump wraps them into transactions of their own, which would
//! end ours half way: those two lines, and none that look like them, are left out.
//!
//! **Undoing a migration compares what the database is made of,** so that one that changed nothing
//! (it had been applied before) is not taken back.

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
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod value;

pub use crate::activity::{Activity, Blocked, Connections, Ended};
pub use crate::client::Postgres;
pub use crate::config::Config;
pub use crate::databases::{OtherSessions, WasThere};
pub use crate::dump::{
    Contents, Dump, Format, Original, PartialDump, Restored, Retention, RowCounts, Scratch,
    TableContent, TestRestore, Verified,
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
