//! [`Dump`]: a database in a file, complete or not there at all, with its checksum beside it.

mod find;
mod restore;
mod retention;
mod scratch;
mod verify;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};

use runbook_core::{Check, IntoInput, Step, Timestamp};
use serde::{Deserialize, Serialize};

#[cfg(feature = "testing")]
pub(crate) use self::restore::{EXTENSIONS_OF_OTHERS, FILL, LARGE_OBJECTS};
pub use self::restore::{Restored, RowCounts};
pub(crate) use self::restore::{TABLES, fill, shown};
pub use self::retention::Retention;
pub(crate) use self::scratch::contents;
pub use self::scratch::{Scratch, TableContent, TestRestore};
#[cfg(feature = "testing")]
pub(crate) use self::verify::ENTRIES;
pub use self::verify::{Contents, Verified};
pub use self::write::PartialDump;
use crate::client::Postgres;

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

    /// Empties the database and fills it from a dump, in one transaction: readers see what was
    /// there or what is in the dump, never a part. Stop the application around it.
    ///
    /// `safety` is a dump of what is there before, from which a rollback fills the database again:
    /// one with rows, that [`dump`](Self::dump) has taken of this very database.
    /// The dump's checksum is compared once more before anything is dropped.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Format, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// let dump = b.check(shop.latest_dump("/var/backups/shop"));
    /// let dump = b.check(shop.verify(dump));
    /// let safety = b.step(shop.dump("/var/backups/shop/before-restore", Format::Custom));
    /// let safety = b.check(shop.verify(safety));
    /// b.step(shop.restore(dump, safety));
    /// # b.build().unwrap();
    /// ```
    ///
    /// A dump that was not verified can't be restored:
    ///
    /// ```compile_fail,E0277
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Format, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// let dump = b.check(shop.latest_dump("/var/backups/shop"));
    /// let safety = b.step(shop.dump("/var/backups/shop/before-restore", Format::Custom));
    /// b.step(shop.restore(dump, safety));
    /// ```
    pub fn restore(
        &self,
        dump: impl IntoInput<Verified<Dump>>,
        safety: impl IntoInput<Verified<Dump>>,
    ) -> impl Step<Output = Restored, Rollback = RowCounts> {
        let (dump, safety) = (dump.into_input(), safety.into_input());
        restore::Restore { db: self.clone(), dump, safety }
    }

    /// As [`restore`](Self::restore), for a database whose content can't be dumped any more, or
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
        restore::RestoreOver { db: self.clone(), dump: dump.into_input() }
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
