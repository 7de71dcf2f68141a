//! Does the server answer, does it take connections, and typed looks and statements of one's own.

use std::marker::PhantomData;

use runbook_core::{About, Check, Context, Data, Irreversible, Observer, Result, Step, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::client::Postgres;
use crate::value::Value;

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Server {
    /// Its version, e.g. `15.14`.
    pub version: String,
    /// Since when it runs, RFC 3339.
    pub started: String,
    /// Whether it replays the log of another server: it is a standby, or recovers.
    pub in_recovery: bool,
}

impl Postgres {
    /// The database answers `SELECT 1`.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// b.check(shop.ping());
    /// ```
    #[must_use]
    pub fn ping(&self) -> impl Check<Evidence = i32> {
        ping(self)
    }

    /// The server takes connections; made to be waited for after a start.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, Wait, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// b.wait_until(shop.accepting(), Wait::at_most(std::time::Duration::from_secs(60)));
    /// ```
    #[must_use]
    pub fn accepting(&self) -> impl Check<Evidence = Server> {
        accepting(self)
    }

    /// Rows of one's own query as evidence, each a `T`; runs in a read-only transaction. It passes
    /// if there are rows.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// let sizes = b.check(shop.rows::<(String, i64)>(
    ///     "The shop has departments",
    ///     "SELECT department, count(*) FROM goods WHERE price > $1 GROUP BY 1",
    ///     [10.into()],
    /// ));
    /// let most = sizes.map(|rows| rows.iter().map(|(_, goods)| *goods).max());
    /// ```
    pub fn rows<T: Data>(
        &self,
        title: impl Into<String>,
        sql: impl Into<String>,
        values: impl Into<Vec<Value>>,
    ) -> impl Check<Evidence = Vec<T>> {
        Rows {
            statement: Statement::new(self, title.into(), sql.into(), values.into()),
            kind: PhantomData,
        }
    }

    /// Runs a statement of one's own; gives how many rows it touched. What undoes it nobody can
    /// know: where it can be undone, write a step with a record of its own over
    /// [`session`](Self::session), or a [`Migration`](crate::Migration).
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// b.irreversible(
    ///     shop.execute("Close the carts", "UPDATE carts SET open = $1", [false.into()]),
    ///     "carts are opened again by whoever visits",
    /// );
    /// ```
    pub fn execute(
        &self,
        title: impl Into<String>,
        sql: impl Into<String>,
        values: impl Into<Vec<Value>>,
    ) -> impl Step<Output = u64, Rollback = Irreversible> {
        Execute(Statement::new(self, title.into(), sql.into(), values.into()))
    }
}

/// The database answers
#[check(title = "{db} answers", preview = "SELECT 1")]
pub(crate) async fn ping(cx: &Observer, db: &Postgres) -> Result<Verdict<i32>> {
    let one = db.read(cx).await?.one("SELECT 1", &[]).await?;
    Ok(Verdict::pass_if(one == 1, one, format!("SELECT 1 gives {one}")))
}

/// The server takes connections
#[check(title = "The server of {db} takes connections")]
pub(crate) async fn accepting(cx: &Observer, db: &Postgres) -> Result<Verdict<Server>> {
    let server = server(cx, db).await?;
    let role = if server.in_recovery { ", in recovery" } else { "" };
    let why = format!("version {}, since {}{role}", server.version, server.started);
    Ok(Verdict::pass(server, why))
}

/// What the server says about itself.
pub(crate) async fn server(cx: &Observer, db: &Postgres) -> Result<Server> {
    let sql = "SELECT split_part(current_setting('server_version'), ' ', 1) AS version, \
               pg_postmaster_start_time() AS started, pg_is_in_recovery() AS in_recovery";
    db.read(cx).await?.one(sql, &[]).await
}

/// A statement of the user's own.
struct Statement {
    db: Postgres,
    title: String,
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    fn new(db: &Postgres, title: String, sql: String, values: Vec<Value>) -> Self {
        Self { db: db.clone(), title, sql, values }
    }

    fn about(&self, id: &str) -> About {
        let about =
            About::new(id, self.title.clone()).preview(self.sql.clone()).arg("db", &self.db);
        let values = self.values.iter().enumerate();
        values.fold(about.arg("sql", &self.sql), |about, (at, value)| {
            about.arg(format!("${}", at + 1), value)
        })
    }
}

struct Rows<T> {
    statement: Statement,
    kind: PhantomData<fn() -> T>,
}

impl<T: Data> Check for Rows<T> {
    type Evidence = Vec<T>;

    fn about(&self) -> About {
        self.statement.about("rows")
    }

    async fn check(&self, cx: &Observer) -> Result<Verdict<Vec<T>>> {
        let Statement { db, sql, values, .. } = &self.statement;
        let rows: Vec<T> = db.read(cx).await?.query(sql, values).await?;
        let why = match rows.len() {
            1 => "1 row".to_owned(),
            many => format!("{many} rows"),
        };
        Ok(Verdict::pass_if(!rows.is_empty(), rows, why))
    }
}

struct Execute(Statement);

impl Step for Execute {
    type Output = u64;
    type Rollback = Irreversible;

    fn about(&self) -> About {
        self.0.about("execute")
    }

    async fn run(&self, cx: &Context) -> Result<u64> {
        let Statement { db, sql, values, .. } = &self.0;
        let touched = db.session(cx).await?.execute(sql, values).await?;
        cx.say(format!("{touched} rows"));
        Ok(touched)
    }
}
