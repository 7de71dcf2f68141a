//! [`Migration`]: a change of what a database is made of, and its way back.

use runbook_core::{About, Context, Input, IntoInput, Observer, Result, Rollback, Step, Visit};
use serde::{Deserialize, Serialize};

use crate::client::Postgres;
use crate::dump::{Dump, Scratch, TableContent, Verified, contents, shown};
use crate::error::Error;
use crate::session::Session;
use crate::statements::one_transaction;

/// A change of what a database is made of: SQL that may be applied twice, and SQL that takes it
/// back.
///
/// ```
/// use runbook_postgres::Migration;
/// let migration = Migration::new(
///     "orders-note",
///     "ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text",
///     "ALTER TABLE orders DROP COLUMN IF EXISTS note",
/// );
/// assert_eq!(migration.name(), "orders-note");
/// ```
///
/// Usually the texts are files of the project: `include_str!("../migrations/7-note.sql")`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    name: String,
    up: String,
    down: String,
}

/// What proved that a migration may be applied; from [`Postgres::prove_migration`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Proof {
    /// The migration.
    pub migration: String,
    /// Whether the first application changed what the database is made of.
    pub changed: bool,
    /// How long the first application took on the copy, in milliseconds.
    pub took_ms: u64,
}

/// What a migration changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Applied {
    /// Whether it changed what the database is made of.
    pub schema_changed: bool,
    /// How many rows it inserted, updated or deleted.
    pub rows: u64,
}

/// What a database is made of, as a checksum: how [`Postgres::migrate`] is undone and what its
/// rollback is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaBefore {
    schema: String,
}

impl Migration {
    /// The change `up`, which its file name or the like names, and `down`, which takes it back.
    pub fn new(name: impl Into<String>, up: impl Into<String>, down: impl Into<String>) -> Self {
        Self { name: name.into(), up: up.into(), down: down.into() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Postgres {
    /// Applies a migration in one transaction. A rollback applies its way back, unless the
    /// migration had changed nothing, and looks whether the database is then made of what it was
    /// before.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Format, Migration, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("migrate");
    /// # let migration = Migration::new("n", "SELECT 1", "SELECT 1");
    /// let dump = b.step(shop.dump("/var/backups/shop", Format::Custom));
    /// let dump = b.check(shop.verify(dump));
    /// b.step(shop.prove_migration(&migration, dump));
    /// b.step(shop.migrate(&migration));
    /// # b.build().unwrap();
    /// ```
    #[must_use]
    pub fn migrate(
        &self,
        migration: &Migration,
    ) -> impl Step<Output = Applied, Rollback = SchemaBefore> {
        Migrate { db: self.clone(), migration: migration.clone() }
    }

    /// Proves a migration on a copy: restores `dump` into a scratch database, applies the
    /// migration twice (the second time has to change nothing), takes it back (the copy has to be
    /// made of what it was before), and applies it again. The copy is dropped, come what may.
    pub fn prove_migration(
        &self,
        migration: &Migration,
        dump: impl IntoInput<Verified<Dump>>,
    ) -> impl Step<Output = Proof, Rollback = Scratch> {
        Prove { db: self.clone(), migration: migration.clone(), dump: dump.into_input() }
    }
}

struct Migrate {
    db: Postgres,
    migration: Migration,
}

impl Step for Migrate {
    type Output = Applied;
    type Rollback = SchemaBefore;

    fn about(&self) -> About {
        let Migration { name, up, down } = &self.migration;
        About::new("migrate", format!("Apply the migration {name} to {}", self.db))
            .doc("In one transaction; a rollback applies its way back.")
            .preview(one_line(up))
            .arg("db", &self.db)
            .arg("up", up)
            .arg("down", down)
            .repeatable()
    }

    async fn run(&self, cx: &Context) -> Result<Applied> {
        let session = self.db.session(cx).await?.unlimited().await?;
        let applied = apply(&session, &self.db, &self.migration, &self.migration.up).await?;
        cx.say(match &applied {
            Applied { schema_changed: false, rows: 0 } => "it changed nothing".to_owned(),
            Applied { schema_changed: false, rows } => format!("{rows} rows changed"),
            Applied { rows, .. } => format!("the schema and {rows} rows changed"),
        });
        Ok(applied)
    }
}

impl Rollback<Migrate> for SchemaBefore {
    async fn record(step: &Migrate, cx: &Observer) -> Result<Self> {
        let schema = step.db.read(cx).await?.one(SCHEMA, &[]).await?;
        Ok(Self { schema })
    }

    async fn rollback(&self, step: &Migrate, done: Option<&Applied>, cx: &Context) -> Result<()> {
        let session = step.db.session(cx).await?.unlimited().await?;
        let now: String = session.one(SCHEMA, &[]).await?;
        let rows = done.map_or(0, |applied| applied.rows);
        // What was so before must not be taken back, as a column that an earlier run had added.
        if now == self.schema && rows == 0 {
            return Ok(());
        }
        apply(&session, &step.db, &step.migration, &step.migration.down).await.map(drop)
    }
}

struct Prove {
    db: Postgres,
    migration: Migration,
    dump: Input<Verified<Dump>>,
}

impl Step for Prove {
    type Output = Proof;
    type Rollback = Scratch;

    fn about(&self) -> About {
        let name = &self.migration.name;
        About::new(
            "prove-migration",
            format!("Prove the migration {name} on a copy of {}", self.db),
        )
        .doc(
            "Applied twice, taken back and applied again in a scratch database, which is then \
                 dropped.",
        )
        .preview(one_line(&self.migration.up))
        .arg("db", &self.db)
        .arg("up", &self.migration.up)
        .arg("down", &self.migration.down)
        .arg("dump", shown(&self.dump))
        .repeatable()
    }

    fn inputs(&self, visit: &mut dyn Visit) {
        visit.see("dump", &self.dump);
    }

    async fn run(&self, cx: &Context) -> Result<Proof> {
        let dump = self.dump.get(cx)?;
        let proved = async {
            let scratch = Scratch::make(cx, &self.db, &dump).await?;
            let session = scratch.session(cx).await?.unlimited().await?;
            self.prove(&session, &scratch).await
        };
        let proved = proved.await;
        let removed = Scratch::remove(cx, &self.db).await;
        let proved = proved?;
        removed?;
        Ok(proved)
    }
}

impl Rollback<Prove> for Scratch {
    async fn record(step: &Prove, cx: &Observer) -> Result<Self> {
        Self::look(cx, &step.db).await
    }
    async fn rollback(&self, step: &Prove, _: Option<&Proof>, cx: &Context) -> Result<()> {
        Self::remove(cx, &step.db).await
    }
    fn restored(&self, now: &Self) -> bool {
        !now.is_there()
    }
}

impl Prove {
    async fn prove(&self, session: &Session<'_>, scratch: &Postgres) -> Result<Proof> {
        let Migration { name, up, down } = &self.migration;
        let no = |why: &str| {
            Error::Unsafe {
                place: self.db.to_string(),
                why: format!("the migration {name} is not as it should be: {why}"),
                next: "fix the migration; the database itself was not touched".into(),
            }
            .into_failure()
        };
        let before = state(session).await?;
        let started = std::time::Instant::now();
        apply(session, scratch, &self.migration, up).await?;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let once = state(session).await?;
        apply(session, scratch, &self.migration, up).await.map_err(|failure| {
            failure.while_doing(format!("applying the migration {name} a second time, on a copy"))
        })?;
        let twice = state(session).await?;
        if once.schema != twice.schema {
            return Err(no("applied a second time it changes what the database is made of"));
        }
        if once.rows != twice.rows {
            return Err(no("applied a second time it changes rows"));
        }
        apply(session, scratch, &self.migration, down).await?;
        if state(session).await?.schema != before.schema {
            return Err(no("taken back, the database is not made of what it was before"));
        }
        apply(session, scratch, &self.migration, up).await?;
        if state(session).await?.schema != once.schema {
            return Err(no("applied after it was taken back, it gives something else"));
        }
        let changed = once.schema != before.schema || once.rows != before.rows;
        Ok(Proof { migration: name.clone(), changed, took_ms })
    }
}

struct State {
    schema: String,
    rows: (Vec<TableContent>, (u64, String)),
}

async fn state(session: &Session<'_>) -> Result<State> {
    Ok(State { schema: session.one(SCHEMA, &[]).await?, rows: contents(session).await? })
}

/// Runs a script as one transaction.
async fn apply(
    session: &Session<'_>,
    db: &Postgres,
    migration: &Migration,
    script: &str,
) -> Result<Applied> {
    let name = &migration.name;
    let no = |why: String| {
        Error::Unsafe {
            place: db.to_string(),
            why: format!("the migration {name} can't be applied in one transaction: {why}"),
            next: "take that out of it: the whole script is one transaction anyway".into(),
        }
        .into_failure()
    };
    one_transaction(script).map_err(no)?;
    session.batch("BEGIN").await?;
    let applied = async {
        let transaction = "SELECT pg_current_xact_id()::text";
        let before: (String, String) =
            (session.one(transaction, &[]).await?, session.one(SCHEMA, &[]).await?);
        session.batch(script).await?;
        // What it set for its own sake is not ours.
        session.batch("RESET search_path").await?;
        let after: (String, String) =
            (session.one(transaction, &[]).await?, session.one(SCHEMA, &[]).await?);
        if before.0 != after.0 {
            return Err(no("it ended its transaction on its own".into()));
        }
        let rows = session.one(ROWS, &[]).await?;
        session.batch("COMMIT").await?;
        Ok(Applied { schema_changed: before.1 != after.1, rows })
    };
    let applied = applied.await;
    if applied.is_err() {
        // If the connection is lost the server does so by itself.
        let _ = session.batch("ROLLBACK").await;
    }
    applied.map_err(|failure| failure.while_doing(format!("the migration {name}")))
}

/// How many rows the current transaction has changed.
const ROWS: &str = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::int8 \
    FROM pg_stat_xact_user_tables";

fn one_line(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(120).collect()
}

/// A checksum of what a database is made of: columns, constraints, indexes, views, functions,
/// triggers, types, policies. Not the order of columns, which a column that comes back changes.
const SCHEMA: &str = r#"
WITH theirs AS (
    SELECT n.oid, n.nspname FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
), relation AS (
    SELECT c.oid, c.relkind, t.nspname || '.' || c.relname AS name
    FROM pg_class c JOIN theirs t ON t.oid = c.relnamespace
), line (line) AS (
    SELECT 'schema ' || nspname FROM theirs
    UNION ALL
    SELECT 'relation ' || relkind::text || ' ' || name FROM relation WHERE relkind <> 'i' AND relkind <> 'I'
    UNION ALL
    SELECT 'column ' || r.name || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || ' ' || a.attnotnull || ' ' || a.attidentity::text || a.attgenerated::text || ' '
        || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
    UNION ALL
    SELECT 'constraint ' || r.name || ' ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN relation r ON r.oid = k.conrelid
    UNION ALL
    SELECT 'index ' || pg_get_indexdef(i.indexrelid) || ' ' || i.indisvalid
    FROM pg_index i JOIN relation r ON r.oid = i.indrelid
    UNION ALL
    SELECT 'view ' || name || ' ' || pg_get_viewdef(oid) FROM relation WHERE relkind IN ('v', 'm')
    UNION ALL
    SELECT 'trigger ' || pg_get_triggerdef(g.oid) || ' ' || g.tgenabled::text
    FROM pg_trigger g JOIN relation r ON r.oid = g.tgrelid WHERE NOT g.tgisinternal
    UNION ALL
    SELECT 'policy ' || r.name || ' ' || p.polname || ' ' || p.polcmd::text
        || coalesce(pg_get_expr(p.polqual, p.polrelid), '')
        || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '')
    FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
    UNION ALL
    SELECT 'function ' || pg_get_functiondef(f.oid) FROM pg_proc f JOIN theirs t ON t.oid = f.pronamespace
    WHERE f.prokind <> 'a'
    UNION ALL
    SELECT 'aggregate ' || t.nspname || '.' || f.proname || '(' || pg_get_function_arguments(f.oid) || ')'
    FROM pg_proc f JOIN theirs t ON t.oid = f.pronamespace WHERE f.prokind = 'a'
    UNION ALL
    SELECT 'type ' || t.nspname || '.' || y.typname || ' ' || y.typtype::text || ' '
        || coalesce(format_type(nullif(y.typbasetype, 0), y.typtypmod), '') || coalesce((
            SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder)
            FROM pg_enum e WHERE e.enumtypid = y.oid), '')
    FROM pg_type y JOIN theirs t ON t.oid = y.typnamespace WHERE y.typtype IN ('e', 'd', 'r')
    UNION ALL
    SELECT 'extension ' || extname || ' ' || extversion FROM pg_extension
)
SELECT md5(coalesce(string_agg(line, E'\n' ORDER BY line COLLATE "C"), '')) FROM line
"#;
