//! Writing a dump: under a temporary name until it is complete.

use std::path::{Path, PathBuf};

use runbook_core::{Context, Observer, Result, Rollback, Timestamp};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use super::verify::{check_end, checksum, sidecar};
use super::{Dump, Format, name_of, plain, stem};
use crate::client::Postgres;
use crate::config::millis;
use crate::program::Program;

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
            .arg(format!("--lock-wait-timeout={}", millis(db.config().lock_timeout)))
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
