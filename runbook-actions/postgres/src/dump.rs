//! [`Dump`]: a database in a file, complete or not there at all, with its checksum beside it.

mod beside;
mod find;
mod in_place;
mod restore;
mod retention;
mod rows;
mod scratch;
mod verify;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};

use runbook_core::{Check, IntoInput, Step, Timestamp};
use serde::{Deserialize, Serialize};

pub(crate) use self::restore::shown;
pub use self::restore::{Original, Restored};
pub use self::retention::Retention;
pub use self::rows::RowCounts;
pub(crate) use self::rows::TABLES;
pub(crate) use self::scratch::contents;
pub use self::scratch::{Scratch, TableContent, TestRestore};
#[cfg(feature = "testing")]
pub(crate) use self::verify::ENTRIES;
pub use self::verify::{Contents, Verified};
pub use self::write::PartialDump;
use crate::client::Postgres;
use crate::databases::OtherSessions;

/// A database in a file.
///
/// What [`Postgres::dump`] gives is complete; whether it still is what it was when it was written
/// only [`Postgres::verify`] knows, which makes it [`Verified`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Dump {
    /// The file on the host; its checksum stands beside it, in `.sha256`.
    pub path: PathBuf,
    /// The host.
    pub host: String,
    /// Of which database; none for a file that was found.
    pub database: Option<String>,
    /// Whether it holds no rows.
    pub schema_only: bool,
    /// How it is written.
    pub format: Format,
    /// Size in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// When it was written.
    pub taken: Timestamp,
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.path.display(), self.host)
    }
}

/// How a dump is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// SQL, `.sql`.
    Plain,
    /// SQL through gzip, `.sql.gz`.
    Gzip,
    /// The archive of `pg_dump -Fc`, `.dump`.
    Custom,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Plain => "sql",
            Self::Gzip => "sql.gz",
            Self::Custom => "dump",
        }
    }

    /// As our scripts know it.
    fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Custom => "custom",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Postgres {
    /// Dumps the database into a file of a folder of its host, by `pg_dump` on that host.
    ///
    /// It is written under a temporary name and gets its own (`shop-2026-03-14-150926.dump`) only
    /// when it is complete and its checksum stands beside it: a file with such a name is a good
    /// one. Readers and writers of the database go on. If it fails, or is undone half done, the
    /// temporary file is removed; a dump that is complete stays.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("backup");
    /// use runbook_postgres::Format;
    /// let dump = b.step(shop.dump("/var/backups/shop", Format::Custom));
    /// let dump = b.check(shop.verify(dump));
    /// # b.build().unwrap();
    /// ```
    pub fn dump(
        &self,
        folder: impl Into<PathBuf>,
        format: Format,
    ) -> impl Step<Output = Dump, Rollback = PartialDump> {
        write::dump(self, &folder.into(), format)
    }

    /// Dumps what the database is made of, without rows.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Format, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("backup");
    /// b.step(shop.dump_schema("/var/backups/shop", Format::Plain));
    /// ```
    pub fn dump_schema(
        &self,
        folder: impl Into<PathBuf>,
        format: Format,
    ) -> impl Step<Output = Dump, Rollback = PartialDump> {
        write::dump_schema(self, &folder.into(), format)
    }

    /// A dump that is there already, at this path, with its checksum beside it.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// let dump = b.check(shop.existing_dump("/var/backups/shop/shop-2026-03-14-150926.dump"));
    /// let dump = b.check(shop.verify(dump));
    /// ```
    pub fn existing_dump(&self, path: impl IntoInput<PathBuf>) -> impl Check<Evidence = Dump> {
        find::existing_dump(self, path)
    }

    /// The latest dump of this database in a folder of its host, without those of the schema only.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// let dump = b.check(shop.latest_dump("/var/backups/shop"));
    /// ```
    pub fn latest_dump(&self, folder: impl Into<PathBuf>) -> impl Check<Evidence = Dump> {
        find::latest_dump(self, &folder.into())
    }

    /// Reads a dump to its end and compares it with its checksum; gives it as [`Verified`], which
    /// alone can be restored.
    ///
    /// The file's SHA-256 has to be that of the dump and of the `.sha256` beside it; `pg_restore
    /// --list`, `gzip -t` or the mark at the end of a plain dump have to say that it is whole.
    pub fn verify(&self, dump: impl IntoInput<Dump>) -> impl Check<Evidence = Verified<Dump>> {
        verify::verify(self, dump)
    }

    /// Restores a dump into a new database beside this one, and then swaps their names: whoever
    /// connects sees what was there or what is in the dump, never a part.
    ///
    /// The new database is filled by `pg_restore`, over several connections where the dump and the
    /// host allow that; it gets the owner, rights, settings, comment, encoding and tablespace that
    /// this one has. Until the swap, which is one transaction, this one is untouched, whatever
    /// happens. What was there stays, under a name as `shop_before_20260314_150926_5d41ab`, and a
    /// rollback gives it its name back: [`drop_replaced`](Self::drop_replaced) drops it when it is
    /// not needed any more. Meanwhile there has to be room for both.
    ///
    /// At the swap nobody may be connected: stop the application before, or have its sessions ended
    /// (`OtherSessions::End`); what it writes while the new database is filled is only in the old
    /// one. The role has to own the database and may have to create databases;
    /// [`administered_by`](Self::administered_by) names another role for this, and
    /// [`replaceable`](Self::replaceable) looks beforehand.
    /// Where that can't be, there is [`restore_in_place`](Self::restore_in_place).
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Format, OtherSessions, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// let dump = b.check(shop.latest_dump("/var/backups/shop"));
    /// let dump = b.check(shop.verify(dump));
    /// b.step(shop.restore(dump, OtherSessions::Refuse));
    /// # b.build().unwrap();
    /// ```
    ///
    /// A dump that was not verified can't be restored:
    ///
    /// ```compile_fail,E0277
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Format, OtherSessions, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// let dump = b.check(shop.latest_dump("/var/backups/shop"));
    /// b.step(shop.restore(dump, OtherSessions::Refuse));
    /// ```
    pub fn restore(
        &self,
        dump: impl IntoInput<Verified<Dump>>,
        others: OtherSessions,
    ) -> impl Step<Output = Restored, Rollback = Original> {
        restore::Restore { db: self.clone(), dump: dump.into_input(), others }
    }

    /// Whether [`restore`](Self::restore) may replace this database: rights, and what hangs on it
    /// and would stay with the old one (replication slots, subscriptions, prepared transactions).
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Format, OtherSessions, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// b.check(shop.replaceable());
    /// ```
    #[must_use]
    pub fn replaceable(&self) -> impl Check<Evidence = ()> {
        restore::replaceable(self)
    }

    /// The databases that restores of this one have replaced more than so many days ago.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Format, OtherSessions, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// let old = b.check(shop.replaced_before(7));
    /// b.irreversible(shop.drop_replaced(old), "what a restore replaced is kept for a week");
    /// ```
    pub fn replaced_before(&self, days: u32) -> impl Check<Evidence = Vec<String>> {
        restore::replaced_before(self, days)
    }

    /// Drops databases that restores of this one have replaced. Refuses any other, and those that
    /// somebody is connected to. See [`replaced_before`](Self::replaced_before), which gives the
    /// list.
    pub fn drop_replaced(
        &self,
        replaced: impl IntoInput<Vec<String>>,
    ) -> impl Step<Output = Vec<String>, Rollback = runbook_core::Irreversible> {
        restore::drop_replaced(self, replaced)
    }

    /// Empties the database and fills it from a dump, in one transaction: as
    /// [`restore`](Self::restore), for a role that may not create databases, or a database that
    /// has to stay the same one. It takes longer, as all goes through one psql.
    ///
    /// `safety` is a dump of what is there before, from which a rollback fills the database again:
    /// one with rows, that [`dump`](Self::dump) has taken of this very database.
    /// The dump's checksum is compared once more before anything is dropped.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Format, OtherSessions, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// let dump = b.check(shop.latest_dump("/var/backups/shop"));
    /// let dump = b.check(shop.verify(dump));
    /// let safety = b.step(shop.dump("/var/backups/shop/before-restore", Format::Custom));
    /// let safety = b.check(shop.verify(safety));
    /// b.step(shop.restore_in_place(dump, safety));
    /// # b.build().unwrap();
    /// ```
    pub fn restore_in_place(
        &self,
        dump: impl IntoInput<Verified<Dump>>,
        safety: impl IntoInput<Verified<Dump>>,
    ) -> impl Step<Output = Restored, Rollback = RowCounts> {
        let (dump, safety) = (dump.into_input(), safety.into_input());
        in_place::RestoreInPlace { db: self.clone(), dump, safety }
    }

    /// As [`restore_in_place`](Self::restore_in_place), for a database whose content can't be dumped any more, or
    /// that holds none.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// # let dump = b.check(shop.latest_dump("/var/backups/shop"));
    /// # let dump = b.check(shop.verify(dump));
    /// b.irreversible(shop.restore_over(dump), "its pages are corrupt and can't be read");
    /// ```
    pub fn restore_over(
        &self,
        dump: impl IntoInput<Verified<Dump>>,
    ) -> impl Step<Output = Restored, Rollback = runbook_core::Irreversible> {
        in_place::RestoreOver { db: self.clone(), dump: dump.into_input() }
    }

    /// Restores a dump into a scratch database of the same server, counts its rows and takes
    /// checksums of them, and drops it, come what may.
    ///
    /// It fails unless the tables are those that the dump lists.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore-test");
    /// let dump = b.check(shop.latest_dump("/var/backups/shop"));
    /// let dump = b.check(shop.verify(dump));
    /// b.step(shop.test_restore(dump));
    /// ```
    pub fn test_restore(
        &self,
        dump: impl IntoInput<Verified<Dump>>,
    ) -> impl Step<Output = TestRestore, Rollback = Scratch> {
        scratch::RestoreTest { db: self.clone(), dump: dump.into_input() }
    }

    /// What retention would remove from a folder of dumps of this database, oldest first.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("backup");
    /// use runbook_postgres::Retention;
    /// let retention = Retention::days(14).keep_last(3);
    /// let old = b.check(shop.expired_dumps("/var/backups/shop", retention));
    /// b.irreversible(
    ///     shop.remove_dumps("/var/backups/shop", retention, old),
    ///     "they are older than the time that we keep them for",
    /// );
    /// ```
    pub fn expired_dumps(
        &self,
        folder: impl Into<PathBuf>,
        retention: Retention,
    ) -> impl Check<Evidence = Vec<PathBuf>> {
        retention::expired_dumps(self, &folder.into(), &retention)
    }

    /// Removes dumps that retention lets go, with their checksums. Refuses if no dump whose
    /// checksum is right would be left. See [`expired_dumps`](Self::expired_dumps), which gives
    /// the list.
    pub fn remove_dumps(
        &self,
        folder: impl Into<PathBuf>,
        retention: Retention,
        expired: impl IntoInput<Vec<PathBuf>>,
    ) -> impl Step<Output = Vec<PathBuf>, Rollback = runbook_core::Irreversible> {
        retention::remove_dumps(self, &folder.into(), &retention, expired)
    }
}

/// The beginning of the names of a database's dumps.
fn stem(db: &Postgres) -> String {
    db.database().chars().map(plain).collect()
}

fn plain(c: char) -> char {
    if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '_' }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
