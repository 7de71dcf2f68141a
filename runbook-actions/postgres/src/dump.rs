//! [`Dump`]: a database in a file, complete or not there at all, with its checksum beside it.

mod restore;
mod retention;
mod scratch;
mod verify;

use std::fmt;
use std::path::{Path, PathBuf};

use runbook_core::{
    Check, Context, FileKind, IntoInput, Observer, Result, Rollback, Step, Timestamp, Verdict,
};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

pub use self::restore::{Restored, RowCounts};
pub(crate) use self::restore::{TABLES, fill, shown};
pub use self::retention::Retention;
pub(crate) use self::scratch::contents;
pub use self::scratch::{Scratch, TableContent, TestRestore};
pub use self::verify::{Contents, Verified};
use self::verify::{check_end, checksum, sidecar};
use crate::client::Postgres;
use crate::error::Error;
use crate::program::Program;

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
        dump(self, &folder.into(), format)
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
        dump_schema(self, &folder.into(), format)
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
        existing_dump(self, path)
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
        latest_dump(self, &folder.into())
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

/// Dump the database
///
/// Under a temporary name until it is complete; with its checksum beside it.
#[step(
    title = "Dump {db} ({format})",
    rollback = PartialDump,
    repeatable,
    preview = "pg_dump, sha256sum, into {folder}"
)]
pub(crate) async fn dump(
    cx: &Context,
    db: &Postgres,
    folder: &Path,
    format: Format,
) -> Result<Dump> {
    write(cx, db, folder, format, false).await
}

/// Dump the schema of the database
///
/// Under a temporary name until it is complete; with its checksum beside it.
#[step(
    title = "Dump the schema of {db} ({format})",
    rollback = PartialDump,
    repeatable,
    preview = "pg_dump --schema-only, sha256sum, into {folder}"
)]
pub(crate) async fn dump_schema(
    cx: &Context,
    db: &Postgres,
    folder: &Path,
    format: Format,
) -> Result<Dump> {
    write(cx, db, folder, format, true).await
}

/// Whether the temporary file of a dump is there: how [`Postgres::dump`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialDump {
    path: PathBuf,
    there: bool,
}

impl PartialDump {
    async fn look(cx: &Observer, db: &Postgres, folder: &Path) -> Result<Self> {
        let path = partial(cx, db, folder);
        // A folder that is not there yet has no file either.
        let there = cx.on(db.host()).exists(&path).await.unwrap_or(false);
        Ok(Self { path, there })
    }

    async fn remove(&self, cx: &Context, db: &Postgres) -> Result<()> {
        if !self.there && cx.on(db.host()).exists(&self.path).await.unwrap_or(false) {
            cx.on(db.host()).remove(&self.path).await?;
        }
        Ok(())
    }
}

impl Rollback<dump> for PartialDump {
    async fn record(step: &dump, cx: &Observer) -> Result<Self> {
        Self::look(cx, &step.db, &step.folder).await
    }
    async fn rollback(&self, step: &dump, _: Option<&Dump>, cx: &Context) -> Result<()> {
        self.remove(cx, &step.db).await
    }
}

impl Rollback<dump_schema> for PartialDump {
    async fn record(step: &dump_schema, cx: &Observer) -> Result<Self> {
        Self::look(cx, &step.db, &step.folder).await
    }
    async fn rollback(&self, step: &dump_schema, _: Option<&Dump>, cx: &Context) -> Result<()> {
        self.remove(cx, &step.db).await
    }
}

/// The same name in every attempt of one unit, so that whoever cleans up knows it.
fn partial(cx: &Observer, db: &Postgres, folder: &Path) -> PathBuf {
    let unit: String = cx.unit_id().as_str().chars().map(plain).collect();
    folder.join(format!(".{}-{}-{unit}.partial", stem(db), cx.run_id()))
}

/// The beginning of the names of a database's dumps.
fn stem(db: &Postgres) -> String {
    db.database().chars().map(plain).collect()
}

fn plain(c: char) -> char {
    if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '_' }
}

async fn write(
    cx: &Context,
    db: &Postgres,
    folder: &Path,
    format: Format,
    schema_only: bool,
) -> Result<Dump> {
    let host = cx.on(db.host());
    host.create_dir(folder).await?;
    let temporary = partial(cx, db, folder);
    let written = async {
        let mut program = Program::new(db, "pg_dump")
            .arg(match format {
                Format::Plain | Format::Gzip => "--format=plain",
                Format::Custom => "--format=custom",
            })
            .arg(format!("--file={}", temporary.display()))
            .arg(format!("--lock-wait-timeout={}", db.config().lock_timeout.as_millis()))
            .arg("--no-password")
            // The server's own limit is for statements that answer someone.
            .settings("-c statement_timeout=0");
        if format == Format::Gzip {
            program = program.arg("--compress=6");
        }
        if schema_only {
            program = program.arg("--schema-only");
        }
        program.run(cx).await?;
        check_end(cx, db, &temporary, format).await?;
        let sha256 = checksum(cx, db, &temporary).await?;
        let taken = Timestamp::now();
        let path = free_name(cx, db, folder, taken, format, schema_only).await?;
        let bytes = host.stat(&temporary).await?.map_or(0, |info| info.size);
        // First the checksum: what has the name of a dump has one.
        let line = format!("{sha256}  {}\n", name_of(&path));
        host.write(sidecar(&path), line).await?;
        host.rename(&temporary, &path).await?;
        Ok(Dump {
            path,
            host: db.host().name().to_owned(),
            database: Some(db.database().to_owned()),
            schema_only,
            format,
            bytes,
            sha256,
            taken,
        })
    };
    let written = written.await;
    if written.is_err() {
        // What is said is why the dump failed; and a rollback tries again.
        let _ = host.remove(&temporary).await;
    }
    written
}

/// `shop-2026-03-14-150926.dump`, or the next that is free.
async fn free_name(
    cx: &Observer,
    db: &Postgres,
    folder: &Path,
    taken: Timestamp,
    format: Format,
    schema_only: bool,
) -> Result<PathBuf> {
    // 2026-03-14T15:09:26.535897Z
    let at: String = taken.to_string().chars().take(19).filter(|c| *c != ':').collect();
    let at = at.replace('T', "-");
    let (stem, extension) = (stem(db), format.extension());
    let schema = if schema_only { ".schema" } else { "" };
    for n in 1.. {
        let n = if n == 1 { String::new() } else { format!("-{n}") };
        let path = folder.join(format!("{stem}-{at}{n}{schema}.{extension}"));
        if !cx.on(db.host()).exists(&path).await? {
            return Ok(path);
        }
    }
    unreachable!("there are more numbers than files")
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A dump is there, with its checksum beside it
#[check(title = "There is a dump {path}")]
pub(crate) async fn existing_dump(
    cx: &Observer,
    db: &Postgres,
    path: PathBuf,
) -> Result<Verdict<Dump>> {
    let dump = look(cx, db, &path).await?;
    let why = format!("{} bytes, {}, of {}", dump.bytes, dump.format, dump.taken);
    Ok(Verdict::pass(dump, why))
}

/// There is a dump of the database
#[check(title = "There is a dump of {db}", preview = "ls {folder}")]
pub(crate) async fn latest_dump(
    cx: &Observer,
    db: &Postgres,
    folder: &Path,
) -> Result<Verdict<Dump>> {
    let mut dumps = dumps_in(cx, db, folder).await?;
    dumps.retain(|file| !file.schema_only);
    let Some(last) = dumps.last() else {
        return Err(Error::Unusable {
            host: db.host().name().into(),
            path: folder.join(format!("{}-*", stem(db))),
            why: "there is none".into(),
        }
        .into_failure());
    };
    let dump = look(cx, db, &last.path).await?;
    let why = format!("{}, {} bytes, of {}", dump.path.display(), dump.bytes, dump.taken);
    Ok(Verdict::pass(dump, why))
}

async fn look(cx: &Observer, db: &Postgres, path: &Path) -> Result<Dump> {
    let host = cx.on(db.host());
    let unusable = |why: String| {
        let host = db.host().name().to_owned();
        Error::Unusable { host, path: path.to_owned(), why }.into_failure()
    };
    let Some(info) = host.stat(path).await? else {
        return Err(unusable("there is no such file".into()));
    };
    if info.kind != FileKind::File {
        return Err(unusable("it is no file".into()));
    }
    let sha256 = verify::recorded(cx, db, path).await?;
    let mut head = [0; 5];
    let mut file = host.open(path).await?;
    let mut read = 0;
    while read < head.len() {
        match tokio::io::AsyncReadExt::read(&mut file, &mut head[read..]).await? {
            0 => break,
            n => read += n,
        }
    }
    let format = match &head[..read] {
        b"PGDMP" => Format::Custom,
        [0x1f, 0x8b, ..] => Format::Gzip,
        _ => Format::Plain,
    };
    Ok(Dump {
        path: path.to_owned(),
        host: db.host().name().to_owned(),
        database: None,
        schema_only: name_of(path).contains(".schema."),
        format,
        bytes: info.size,
        sha256,
        taken: info.modified.into(),
    })
}

/// A file that has the name of a dump.
struct DumpFile {
    path: PathBuf,
    modified: Timestamp,
    schema_only: bool,
}

/// The dumps of this database in a folder, oldest first; links are not followed.
async fn dumps_in(cx: &Observer, db: &Postgres, folder: &Path) -> Result<Vec<DumpFile>> {
    let stem = stem(db);
    let mut dumps = Vec::new();
    for info in cx.on(db.host()).list(folder).await? {
        let name = name_of(&info.path);
        let rest = name.strip_prefix(stem.as_str()).and_then(|rest| rest.strip_prefix('-'));
        let Some(rest) = rest.filter(|_| info.kind == FileKind::File) else { continue };
        let Some((at, extension)) = rest.split_once('.') else { continue };
        let dated = at.len() >= 17
            && at.bytes().take(17).enumerate().all(|(i, c)| match i {
                4 | 7 | 10 => c == b'-',
                _ => c.is_ascii_digit(),
            });
        let schema_only = extension.starts_with("schema.");
        let extension = extension.strip_prefix("schema.").unwrap_or(extension);
        if dated && ["sql", "sql.gz", "dump"].contains(&extension) {
            let modified = info.modified.into();
            // By the time in the name, which a copy keeps; `-2` after the one without a number.
            let key = (at[..17].to_owned(), at.len(), at.to_owned());
            dumps.push((key, DumpFile { modified, path: info.path, schema_only }));
        }
    }
    dumps.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(dumps.into_iter().map(|(_, file)| file).collect())
}
