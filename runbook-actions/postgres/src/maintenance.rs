//! `VACUUM ANALYZE`, and deleting old rows.

use runbook_core::{
    Check, Context, Harmless, IntoInput, Irreversible, Observer, Result, Step, Verdict,
};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::client::Postgres;
use crate::error::Error;
use crate::identifier::{Table, identifier};
use crate::session::Reader;

/// Rows that are older than a number of days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OldRows {
    /// Of which table.
    pub table: Table,
    /// By which column: a date or a moment.
    pub column: String,
    /// What is before this is old, RFC 3339. Fixed when they were counted: rows that get old after
    /// that stay.
    pub before: String,
    /// How many there were when they were counted.
    pub rows: u64,
    /// How many rows the table had.
    pub of: u64,
}

impl Postgres {
    /// Cleans up dead rows and gathers statistics, of the whole database or of one table. Readers
    /// and writers go on.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("weekly");
    /// b.step(shop.vacuum_analyze(None));
    /// b.step(shop.vacuum_analyze(Some("audit.logins".into())));
    /// ```
    #[must_use]
    pub fn vacuum_analyze(
        &self,
        table: Option<Table>,
    ) -> impl Step<Output = (), Rollback = Harmless> {
        vacuum_analyze(self, table)
    }

    /// Counts the rows of a table whose `column` is more than `days` days ago.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("yearly");
    /// let old = b.check(shop.old_rows("analytics", "created_at", 365));
    /// b.irreversible(shop.delete_old_rows(old, 10_000), "we promise to keep a year");
    /// # b.build().unwrap();
    /// ```
    pub fn old_rows(
        &self,
        table: impl Into<Table>,
        column: impl Into<String>,
        days: u32,
    ) -> impl Check<Evidence = OldRows> {
        old_rows(self, &table.into(), &column.into(), days)
    }

    /// Deletes old rows that were counted, `batch` at a time, each batch a transaction: no lock is
    /// held for long, and what was deleted stays deleted if it is stopped. Gives how many.
    pub fn delete_old_rows(
        &self,
        old: impl IntoInput<OldRows>,
        batch: u32,
    ) -> impl Step<Output = u64, Rollback = Irreversible> {
        delete_old_rows(self, old, batch)
    }
}

/// Clean up dead rows and gather statistics
#[step(title = "Vacuum and analyze {db}", harmless, repeatable, preview = "VACUUM (ANALYZE)")]
pub(crate) async fn vacuum_analyze(
    cx: &Context,
    db: &Postgres,
    table: Option<Table>,
) -> Result<()> {
    let session = db.session(cx).await?.unlimited().await?;
    let table = table.map(|table| format!(" {}", table.quoted())).unwrap_or_default();
    session.batch(&format!("VACUUM (ANALYZE){table}")).await
}

/// Count old rows
#[check(title = "Rows of {table} in {db} whose {column} is more than {days} days ago")]
pub(crate) async fn old_rows(
    cx: &Observer,
    db: &Postgres,
    table: &Table,
    column: &str,
    days: u32,
) -> Result<Verdict<OldRows>> {
    let reader = db.read(cx).await?;
    is_a_moment(&reader, db, table, column).await?;
    let before: String = reader
        .one(
            "SELECT to_char((now() - make_interval(days => $1::int4)) AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
            &[days.into()],
        )
        .await?;
    let sql = format!(
        "SELECT count(*) FILTER (WHERE {} < $1::timestamptz), count(*) FROM {}",
        identifier(column),
        table.quoted()
    );
    let (rows, of) = reader.one(&sql, &[before.as_str().into()]).await?;
    let why = format!("{rows} of {of} rows are from before {before}");
    let old = OldRows { table: table.clone(), column: column.to_owned(), before, rows, of };
    Ok(Verdict::pass(old, why))
}

/// Delete old rows, batch by batch
#[step(
    title = "Delete old rows in {db}",
    irreversible,
    repeatable,
    preview = "DELETE, {batch} rows at a time"
)]
pub(crate) async fn delete_old_rows(
    cx: &Context,
    db: &Postgres,
    old: OldRows,
    batch: u32,
) -> Result<u64> {
    let session = db.session(cx).await?;
    // A row has a place within its own table only, so those that are made of others are taken part
    // by part.
    let parts: Vec<Table> = session
        .query(
            "SELECT n.nspname AS schema, c.relname AS name FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.oid IN ( \
                 SELECT relid FROM pg_partition_tree($1::text::regclass) WHERE isleaf \
                 UNION ALL SELECT $1::text::regclass) ORDER BY 1, 2",
            &[old.table.quoted().into()],
        )
        .await?;
    let column = identifier(&old.column);
    let mut deleted = 0;
    for part in parts {
        let part = part.quoted();
        let sql = format!(
            "DELETE FROM ONLY {part} WHERE ctid = ANY (ARRAY (SELECT ctid FROM ONLY {part} \
             WHERE {column} < $1::timestamptz LIMIT $2::int8)) AND {column} < $1::timestamptz"
        );
        loop {
            let values = [old.before.as_str().into(), batch.max(1).into()];
            let gone = session.execute(&sql, &values).await?;
            if gone == 0 {
                break;
            }
            deleted += gone;
            cx.progress(deleted, Some(old.rows.max(deleted)));
        }
    }
    cx.say(format!("{deleted} rows deleted"));
    Ok(deleted)
}

async fn is_a_moment(
    reader: &Reader<'_>,
    db: &Postgres,
    table: &Table,
    column: &str,
) -> Result<()> {
    let kind: Vec<String> = reader
        .query(
            "SELECT format_type(a.atttypid, NULL) FROM pg_attribute a \
             JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND NOT a.attisdropped",
            &[table.schema.as_str().into(), table.name.as_str().into(), column.into()],
        )
        .await?;
    let why = match kind.first().map(String::as_str) {
        Some("date" | "timestamp without time zone" | "timestamp with time zone") => return Ok(()),
        Some(kind) => format!("the column `{column}` of {table} is a {kind}, no date or moment"),
        None => format!("there is no table {table} with a column `{column}`"),
    };
    Err(Error::Unsafe {
        place: db.to_string(),
        why,
        next: "check the names of the table and its column".into(),
    }
    .into_failure())
}

impl std::fmt::Display for OldRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows of {} from before {}", self.rows, self.table, self.before)
    }
}
