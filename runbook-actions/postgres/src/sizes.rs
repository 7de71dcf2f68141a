//! How big a database and its tables are, and which statements take the time.

use runbook_core::{Check, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::client::Postgres;
use crate::identifier::Table;

/// How big a table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TableSize {
    /// Which.
    pub table: Table,
    /// With its indexes and what is stored out of line.
    pub bytes: u64,
    /// Its indexes.
    pub index_bytes: u64,
    /// Rows, as the planner estimates; none if it was never analysed.
    pub estimated_rows: Option<u64>,
    /// Rows that are dead and not cleaned up yet, as the server estimates.
    pub dead_rows: u64,
}

/// A kind of statement and the time that it takes; from `pg_stat_statements`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SlowQuery {
    /// The statement, values replaced by `$1` ..; at most 300 characters.
    pub query: String,
    /// How often it ran.
    pub calls: u64,
    /// All of its time, in milliseconds.
    pub total_ms: f64,
    /// Its time on average, in milliseconds.
    pub mean_ms: f64,
    /// How many rows it gave or touched.
    pub rows: u64,
}

impl Postgres {
    /// The database is not bigger than `bytes`.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// b.check(shop.size_below(50 << 30));
    /// ```
    #[must_use]
    pub fn size_below(&self, bytes: u64) -> impl Check<Evidence = u64> {
        size_below(self, bytes)
    }

    /// The `count` largest tables, largest first.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// b.check(shop.largest_tables(10));
    /// ```
    #[must_use]
    pub fn largest_tables(&self, count: u32) -> impl Check<Evidence = Vec<TableSize>> {
        largest_tables(self, count)
    }

    /// The `count` statements of this database that take longest on average, slowest first. Warns,
    /// with how to enable it, if the server does not keep count.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// b.check(shop.slow_queries(10));
    /// ```
    #[must_use]
    pub fn slow_queries(&self, count: u32) -> impl Check<Evidence = Vec<SlowQuery>> {
        slow_queries(self, count)
    }
}

/// The database is not too big
#[check(title = "{db} has at most {bytes} bytes")]
pub(crate) async fn size_below(cx: &Observer, db: &Postgres, bytes: u64) -> Result<Verdict<u64>> {
    let size: u64 =
        db.read(cx).await?.one("SELECT pg_database_size(current_database())", &[]).await?;
    Ok(Verdict::pass_if(size <= bytes, size, human(size)))
}

/// Look which tables are the largest
#[check(title = "The {count} largest tables of {db}")]
pub(crate) async fn largest_tables(
    cx: &Observer,
    db: &Postgres,
    count: u32,
) -> Result<Verdict<Vec<TableSize>>> {
    #[derive(Deserialize)]
    struct Row {
        schema: String,
        name: String,
        bytes: u64,
        index_bytes: u64,
        rows: i64,
        dead: Option<u64>,
    }
    let rows: Vec<Row> = db
        .read(cx)
        .await?
        .query(
            "SELECT n.nspname AS schema, c.relname AS name, \
             pg_total_relation_size(c.oid) AS bytes, pg_indexes_size(c.oid) AS index_bytes, \
             c.reltuples::int8 AS rows, s.n_dead_tup AS dead \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid \
             WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' \
             AND n.nspname <> 'information_schema' ORDER BY bytes DESC, 1, 2 LIMIT $1::int8",
            &[count.into()],
        )
        .await?;
    let sizes: Vec<_> = rows
        .into_iter()
        .map(|row| TableSize {
            table: Table::new(row.schema, row.name),
            bytes: row.bytes,
            index_bytes: row.index_bytes,
            estimated_rows: row.rows.try_into().ok(),
            dead_rows: row.dead.unwrap_or(0),
        })
        .collect();
    let why = sizes.iter().map(|size| format!("{} {}", size.table, human(size.bytes)));
    let why = why.collect::<Vec<_>>().join(", ");
    Ok(Verdict::pass(sizes, if why.is_empty() { "it has no tables".into() } else { why }))
}

/// Look which statements are the slowest
#[check(title = "The {count} slowest statements of {db}", preview = "pg_stat_statements")]
pub(crate) async fn slow_queries(
    cx: &Observer,
    db: &Postgres,
    count: u32,
) -> Result<Verdict<Vec<SlowQuery>>> {
    let reader = db.read(cx).await?;
    let place = "SELECT n.nspname::text FROM pg_extension e \
                 JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'";
    let schema: Vec<String> = reader.query(place, &[]).await?;
    let loaded: bool = reader
        .one("SELECT current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'", &[])
        .await?;
    let [schema] = schema.as_slice() else {
        return Ok(Verdict::warn(Vec::new(), enable(loaded)));
    };
    if !loaded {
        return Ok(Verdict::warn(Vec::new(), enable(false)));
    }
    // Until version 12 there was no time of planning to tell apart.
    let old: bool =
        reader.one("SELECT current_setting('server_version_num')::int < 130000", &[]).await?;
    let (total, mean) =
        if old { ("total_time", "mean_time") } else { ("total_exec_time", "mean_exec_time") };
    let schema = crate::identifier::identifier(schema);
    let sql = format!(
        "SELECT left(regexp_replace(s.query, '\\s+', ' ', 'g'), 300) AS query, s.calls, \
         s.{total}::float8 AS total_ms, s.{mean}::float8 AS mean_ms, s.rows \
         FROM {schema}.pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
         WHERE d.datname = current_database() ORDER BY s.{mean} DESC LIMIT $1::int8"
    );
    let slow: Vec<SlowQuery> = reader.query(&sql, &[count.into()]).await?;
    let why = match slow.first() {
        Some(one) => {
            format!("{:.1} ms on average, {} calls: {}", one.mean_ms, one.calls, one.query)
        }
        None => "none has run yet".into(),
    };
    Ok(Verdict::pass(slow, why))
}

fn enable(loaded: bool) -> String {
    let load = if loaded {
        ""
    } else {
        "add pg_stat_statements to shared_preload_libraries in postgresql.conf, restart the server, \
         and "
    };
    format!(
        "the server does not keep count: {load}run CREATE EXTENSION pg_stat_statements in the \
         database"
    )
}

/// `3.2 GiB`.
pub(crate) fn human(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{size:.1} {}", units[unit]) }
}
