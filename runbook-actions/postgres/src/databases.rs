//! Creating and dropping databases.

mod like;

use runbook_core::{Context, Irreversible, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

pub(crate) use self::like::{carry, create_like, differences};
use crate::client::Postgres;
use crate::error::Error;
use crate::identifier::identifier;
use crate::session::Session;

/// What a drop does to sessions of others in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherSessions {
    /// It refuses to drop.
    Refuse,
    /// It ends them.
    End,
}

/// Whether the database was there before: how [`Postgres::create_database`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasThere(bool);

impl Postgres {
    /// Creates this database, owned by `owner`; fine if it is there. A rollback drops it if it was
    /// not there before, and refuses to if somebody has put tables into it since.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("new-shop");
    /// b.step(shop.create_database("shop"));
    /// ```
    pub fn create_database(
        &self,
        owner: impl Into<String>,
    ) -> impl Step<Output = String, Rollback = WasThere> {
        create_database(self, owner.into())
    }

    /// Drops this database; fine if it is not there.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("old-shop");
    /// use runbook_postgres::OtherSessions;
    /// b.irreversible(
    ///     shop.other("shop_old").drop_database(OtherSessions::Refuse),
    ///     "the new shop has been serving for a month",
    /// );
    /// ```
    pub fn drop_database(
        &self,
        others: OtherSessions,
    ) -> impl Step<Output = bool, Rollback = Irreversible> {
        drop_database(self, others)
    }
}

/// Whether there is a database `name`, asked in `db`.
pub(crate) async fn exists(cx: &Observer, db: &Postgres, name: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
    db.read(cx).await?.one(sql, &[name.into()]).await
}

async fn is_there(cx: &Observer, db: &Postgres, _owner: &str) -> Result<Option<String>> {
    let there = exists(cx, &db.maintenance(), db.database()).await?;
    Ok(there.then(|| db.database().to_owned()))
}

/// Create the database
#[step(
    title = "Create the database {db}",
    rollback = WasThere,
    satisfied = is_there,
    repeatable,
    preview = "CREATE DATABASE .. OWNER {owner}"
)]
pub(crate) async fn create_database(cx: &Context, db: &Postgres, owner: String) -> Result<String> {
    let name = db.database();
    if !exists(cx, &db.maintenance(), name).await? {
        let session = db.maintenance().session(cx).await?.unlimited().await?;
        let sql = format!("CREATE DATABASE {} OWNER {}", identifier(name), identifier(&owner));
        session.batch(&sql).await?;
    }
    Ok(name.to_owned())
}

impl Rollback<create_database> for WasThere {
    async fn record(step: &create_database, cx: &Observer) -> Result<Self> {
        exists(cx, &step.db.maintenance(), step.db.database()).await.map(WasThere)
    }

    async fn rollback(
        &self,
        step: &create_database,
        _: Option<&String>,
        cx: &Context,
    ) -> Result<()> {
        let db = &step.db;
        if self.0 || !exists(cx, &db.maintenance(), db.database()).await? {
            return Ok(());
        }
        let sql = format!("SELECT count(*) FROM ({}) t", crate::dump::TABLES);
        let tables: u64 = db.read(cx).await?.one(&sql, &[]).await?;
        if tables > 0 {
            return Err(Error::Unsafe {
                place: db.to_string(),
                why: format!("it is not dropped: it holds {tables} tables by now"),
                next: "undo what made them first, or keep it: `resume --skip`".into(),
            }
            .into_failure());
        }
        drop_it(cx, db, OtherSessions::Refuse).await.map(drop)
    }
}

/// Drop the database
#[step(
    title = "Drop the database {db}",
    irreversible,
    repeatable,
    preview = "DROP DATABASE; other sessions: {others}"
)]
pub(crate) async fn drop_database(
    cx: &Context,
    db: &Postgres,
    others: OtherSessions,
) -> Result<bool> {
    drop_it(cx, db, others).await
}

/// Refuses to touch a database that others are connected to.
pub(crate) async fn refuse_if_in_use(
    session: &Session<'_>,
    db: &Postgres,
    what: &str,
) -> Result<()> {
    #[derive(Deserialize)]
    struct Other {
        pid: i32,
        user: Option<String>,
        application: Option<String>,
    }
    // The server ends its own workers there by itself.
    let others: Vec<Other> = session
        .query(
            "SELECT pid, usename AS user, application_name AS application FROM pg_stat_activity \
             WHERE datname = $1 AND backend_type NOT LIKE 'autovacuum%' ORDER BY pid",
            &[db.database().into()],
        )
        .await?;
    if others.is_empty() {
        return Ok(());
    }
    let who = others.iter().map(|other| {
        let user = other.user.as_deref().unwrap_or("?");
        format!("{user} by {:?} (pid {})", other.application.as_deref().unwrap_or(""), other.pid)
    });
    let who = who.collect::<Vec<_>>().join(", ");
    Err(Error::Unsafe {
        place: db.to_string(),
        why: format!("it is not {what}: in use by {who}"),
        next: "stop what uses it, or say that other sessions are to be ended \
               (`OtherSessions::End`)"
            .into(),
    }
    .into_failure())
}

/// Drops a database; says whether it was there.
pub(crate) async fn drop_it(cx: &Context, db: &Postgres, others: OtherSessions) -> Result<bool> {
    let maintenance = db.maintenance();
    if maintenance.database() == db.database() {
        return Err(Error::Unsafe {
            place: db.to_string(),
            why: "it is the one that others are dropped from".into(),
            next: "configure another `maintenance_database`".into(),
        }
        .into_failure());
    }
    if !exists(cx, &maintenance, db.database()).await? {
        return Ok(false);
    }
    let session = maintenance.session(cx).await?.unlimited().await?;
    let name = identifier(db.database());
    if others == OtherSessions::Refuse {
        refuse_if_in_use(&session, db, "dropped").await?;
        // Whoever came in since then makes the server refuse.
        session.batch(&format!("DROP DATABASE {name}")).await?;
    } else {
        session.batch(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    }
    Ok(true)
}
