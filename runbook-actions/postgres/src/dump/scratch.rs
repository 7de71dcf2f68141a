//! Databases that are made to try something, and dropped.

use std::time::Instant;

use runbook_core::{Context, Observer, Result, Rollback};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use super::restore::{TABLES, fill};
use super::{Dump, Verified};
use crate::client::Postgres;
use crate::error::Error;
use crate::identifier::{Table, identifier, literal};
use crate::session::Session;

/// What a restored copy held; from [`Postgres::test_restore`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TestRestore {
    /// The tables, sorted.
    pub tables: Vec<TableContent>,
    /// The number of large objects, and a checksum of their content.
    pub large_objects: (u64, String),
    /// How long it took to restore, in milliseconds: what a real restore will take at least.
    pub took_ms: u64,
}

/// What a table holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TableContent {
    /// Which.
    pub table: Table,
    /// The number of rows.
    pub rows: u64,
    /// The same for the same rows in any order.
    pub checksum: String,
}

/// Whether a scratch database of this unit is there: how steps that make one are undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scratch {
    name: String,
    there: bool,
}

impl Scratch {
    /// The scratch database of this unit of this run.
    pub(crate) fn database(cx: &Observer, db: &Postgres) -> Postgres {
        use std::hash::{Hash, Hasher};
        // The same after a resume by another process: not the randomly seeded hasher.
        #[allow(deprecated)]
        let mut hash = std::hash::SipHasher::new();
        (cx.run_id().as_str(), cx.unit_id().as_str()).hash(&mut hash);
        db.other(format!("runbook_scratch_{:016x}", hash.finish()))
    }

    pub(crate) fn is_there(&self) -> bool {
        self.there
    }

    pub(crate) async fn look(cx: &Observer, db: &Postgres) -> Result<Self> {
        let name = Self::database(cx, db).database().to_owned();
        let there = crate::databases::exists(cx, &db.maintenance(), &name).await?;
        Ok(Self { name, there })
    }

    pub(crate) async fn remove(cx: &Context, db: &Postgres) -> Result<()> {
        let name = Self::database(cx, db).database().to_owned();
        let session = db.maintenance().session(cx).await?.unlimited().await?;
        session.batch(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(&name))).await
    }

    /// Makes an empty one, as `db` in encoding and order.
    pub(crate) async fn create(cx: &Context, db: &Postgres) -> Result<Postgres> {
        let scratch = Self::database(cx, db);
        let session = db.maintenance().session(cx).await?.unlimited().await?;
        let (encoding, collate, ctype): (String, String, String) = session
            .one(
                "SELECT pg_encoding_to_char(encoding), datcollate::text, datctype::text \
                 FROM pg_database WHERE datname = $1",
                &[db.database().into()],
            )
            .await?;
        let name = identifier(scratch.database());
        // What an attempt of this unit that was killed left behind.
        session.batch(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        session
            .batch(&format!(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
                literal(&encoding),
                literal(&collate),
                literal(&ctype)
            ))
            .await?;
        Ok(scratch)
    }
}

/// Restore the dump into a scratch database, verify it, and drop it
#[step(
    title = "Test that {dump} can be restored",
    rollback = Scratch,
    repeatable,
    preview = "create a scratch database, fill it, count its rows, drop it"
)]
pub(crate) async fn test_restore(
    cx: &Context,
    db: &Postgres,
    dump: Verified<Dump>,
) -> Result<TestRestore> {
    let tested = async {
        let scratch = Scratch::create(cx, db).await?;
        let started = Instant::now();
        fill(cx, &scratch, &dump).await?;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let session = scratch.session(cx).await?.unlimited().await?;
        let (tables, large_objects) = contents(&session).await?;
        let found: Vec<_> = tables.iter().map(|content| &content.table).collect();
        let listed: Vec<_> = dump.contents().tables.iter().collect();
        if found != listed {
            let names = |tables: &[&Table]| {
                tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            return Err(Error::Unusable {
                host: dump.host.clone(),
                path: dump.path.clone(),
                why: format!("it lists {}, and gave {}", names(&listed), names(&found)),
            }
            .into_failure());
        }
        Ok(TestRestore { tables, large_objects, took_ms })
    };
    let tested = tested.await;
    // Come what may. What the test found comes first, if both fail.
    let removed = Scratch::remove(cx, db).await;
    let tested = tested?;
    removed?;
    let rows: u64 = tested.tables.iter().map(|content| content.rows).sum();
    cx.say(format!("{rows} rows in {} tables; it was dropped again", tested.tables.len()));
    Ok(tested)
}

impl Rollback<test_restore> for Scratch {
    async fn record(step: &test_restore, cx: &Observer) -> Result<Self> {
        Self::look(cx, &step.db).await
    }
    async fn rollback(
        &self,
        step: &test_restore,
        _: Option<&TestRestore>,
        cx: &Context,
    ) -> Result<()> {
        Self::remove(cx, &step.db).await
    }
    fn restored(&self, now: &Self) -> bool {
        !now.is_there()
    }
}

/// The rows of all tables and the large objects, as checksums.
pub(crate) async fn contents(session: &Session<'_>) -> Result<(Vec<TableContent>, (u64, String))> {
    // What a text of a row depends on.
    session
        .batch(
            "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; \
             SET extra_float_digits = 3; SET bytea_output = 'hex'",
        )
        .await?;
    let tables: Vec<Table> = session.query(TABLES, &[]).await?;
    let mut contents = Vec::with_capacity(tables.len());
    for table in tables {
        // A sum does not depend on the order.
        let sql = format!(
            "SELECT count(*), coalesce(sum(hashtextextended(one::text, 0)::numeric), 0)::text \
             FROM {} one",
            table.quoted()
        );
        let (rows, checksum) = session.one(&sql, &[]).await?;
        contents.push(TableContent { table, rows, checksum });
    }
    let large_objects = session
        .one(
            "SELECT count(*), coalesce(sum(hashtextextended(md5(lo_get(oid)), oid::int8)::numeric), \
             0)::text FROM pg_largeobject_metadata",
            &[],
        )
        .await?;
    Ok((contents, large_objects))
}
