//! Databases that are made to try something, and dropped.

use std::time::Instant;

use runbook_core::{About, Context, Input, Observer, Result, Rollback, Step, Visit};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::restore::shown;
use super::rows::TABLES;
use super::{Dump, Verified, beside};
use crate::client::Postgres;
use crate::error::Error;
use crate::identifier::{Table, identifier};
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
        db.other(format!("runbook_scratch_{:016x}", number(cx, db)))
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

    /// Makes one that is like `db` and holds what is in a dump.
    pub(crate) async fn make(
        cx: &Context,
        db: &Postgres,
        dump: &Verified<Dump>,
    ) -> Result<Postgres> {
        let scratch = Self::database(cx, db);
        beside::make(cx, db, &scratch, dump).await?;
        Ok(scratch)
    }
}

/// A number of this unit of this run and of a database, the same in every process.
pub(super) fn number(cx: &Observer, db: &Postgres) -> u64 {
    let name = format!("{}:{}:{}", cx.run_id(), cx.unit_id(), db.database());
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Restores a dump into a scratch database, looks at it, and drops it.
pub(super) struct RestoreTest {
    pub(super) db: Postgres,
    pub(super) dump: Input<Verified<Dump>>,
}

impl Step for RestoreTest {
    type Output = TestRestore;
    type Rollback = Scratch;

    fn about(&self) -> About {
        About::new("test-restore", format!("Test that a dump of {} can be restored", self.db))
            .doc("Into a scratch database, which is dropped come what may.")
            .preview("create a scratch database, fill it, count its rows, drop it")
            .arg("db", &self.db)
            .arg("dump", shown(&self.dump))
            .repeatable()
    }

    fn inputs(&self, visit: &mut dyn Visit) {
        visit.see("dump", &self.dump);
    }

    async fn run(&self, cx: &Context) -> Result<TestRestore> {
        let dump = self.dump.get(cx)?;
        let tested = self.test(cx, &dump).await;
        // Come what may. What the test found comes first, if both fail.
        let removed = Scratch::remove(cx, &self.db).await;
        let tested = tested?;
        removed?;
        let rows: u64 = tested.tables.iter().map(|content| content.rows).sum();
        cx.say(format!("{rows} rows in {} tables; it was dropped again", tested.tables.len()));
        Ok(tested)
    }
}

impl RestoreTest {
    async fn test(&self, cx: &Context, dump: &Verified<Dump>) -> Result<TestRestore> {
        let started = Instant::now();
        let scratch = Scratch::make(cx, &self.db, dump).await?;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let session = scratch.session(cx).await?.unlimited().await?;
        let (tables, large_objects) = contents(&session).await?;
        let found: Vec<_> = tables.iter().map(|content| &content.table).collect();
        let listed: Vec<_> = dump.contents().tables.iter().collect();
        if found == listed {
            return Ok(TestRestore { tables, large_objects, took_ms });
        }
        let names = |tables: &[&Table]| {
            tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        Err(Error::Unusable {
            host: dump.host.clone(),
            path: dump.path.clone(),
            why: format!("it lists {}, and gave {}", names(&listed), names(&found)),
        }
        .into_failure())
    }
}

impl Rollback<RestoreTest> for Scratch {
    async fn record(step: &RestoreTest, cx: &Observer) -> Result<Self> {
        Self::look(cx, &step.db).await
    }
    async fn rollback(
        &self,
        step: &RestoreTest,
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
