//! [`RowCounts`]: how much is in a database.

use runbook_core::Result;
use serde::{Deserialize, Serialize};

use crate::identifier::Table;
use crate::session::{Reader, Session};

/// The tables of a database with their numbers of rows, and how many large objects it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RowCounts {
    /// Sorted by table.
    pub tables: Vec<(Table, u64)>,
    /// The number of large objects.
    pub large_objects: u64,
}

impl RowCounts {
    /// The rows of all tables.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.tables.iter().map(|(_, rows)| rows).sum()
    }

    pub(super) async fn read(reader: &Reader<'_>) -> Result<Self> {
        let tables: Vec<Table> = reader.query(TABLES, &[]).await?;
        let mut rows: Vec<u64> = Vec::with_capacity(tables.len());
        for some in tables.chunks(AT_ONCE) {
            rows.extend(reader.one::<Vec<u64>>(&count_all(some), &[]).await?);
        }
        let large_objects = reader.one(LARGE_OBJECTS, &[]).await?;
        Ok(Self { tables: tables.into_iter().zip(rows).collect(), large_objects })
    }

    pub(super) async fn count(session: &Session<'_>) -> Result<Self> {
        let tables: Vec<Table> = session.query(TABLES, &[]).await?;
        let mut rows: Vec<u64> = Vec::with_capacity(tables.len());
        for some in tables.chunks(AT_ONCE) {
            rows.extend(session.one::<Vec<u64>>(&count_all(some), &[]).await?);
        }
        let large_objects = session.one(LARGE_OBJECTS, &[]).await?;
        Ok(Self { tables: tables.into_iter().zip(rows).collect(), large_objects })
    }
}

/// The tables that belong to users, not to an extension.
pub(crate) const TABLES: &str = "SELECT n.nspname AS schema, c.relname AS name \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' \
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
            AND d.objid = c.oid AND d.deptype = 'e') \
    ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

/// One statement that counts the rows of all `tables`.
fn count_all(tables: &[Table]) -> String {
    let counts = tables.iter().map(|table| format!("(SELECT count(*) FROM {})", table.quoted()));
    format!("SELECT ARRAY[{}]::int8[]", counts.collect::<Vec<_>>().join(", "))
}

const LARGE_OBJECTS: &str = "SELECT count(*) FROM pg_largeobject_metadata";

/// So many tables are counted by one statement.
const AT_ONCE: usize = 100;
