//! [`FakePostgres`]: a server that lives in the test.

mod answers;
mod programs;
mod rows;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runbook_core::testing::FakeTarget;
use tokio::io::DuplexStream;

pub use self::rows::{FakeRows, FakeType, FakeValue};
use crate::config::Config;
use crate::identifier::Table;

/// A server with one database that lives in the test: it speaks PostgreSQL's protocol on an address
/// of a [`FakeTarget`]. Clones are the same server.
///
/// It is a small model, of sessions, and of tables with rows of text, and answers what the checks
/// and steps of this crate ask of those; `pg_dump`, `psql` and `pg_restore` work on the same tables,
/// so that [`dump`](crate::Postgres::dump) and [`restore`](crate::Postgres::restore) do what they
/// say. It knows no SQL: statements of one's own are answered by [`on`](Self::on), and what nothing
/// is scripted for is an error, never a wrong answer.
///
/// ```
/// use runbook_core::testing::{FakeTarget, context, observer};
/// use runbook_core::{Check, Host, Step};
/// use runbook_postgres::testing::{FakePostgres, FakeRows, FakeSession, FakeType};
/// use runbook_postgres::{Config, Postgres};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let server = FakePostgres::new("shop");
/// server.table("orders", ["1 shoes", "2 hats"]);
/// server.connect(FakeSession::new(4711).idle_in_transaction(Duration::from_secs(900)));
/// let total = FakeRows::new([("total", FakeType::Int8)]).row([7.into()]);
/// server.on("SELECT sum(price) AS total FROM orders").rows(total);
///
/// let (target, config) = (FakeTarget::new("db-1"), Config::new("shop"));
/// server.listen(&target, &config);
/// let shop = Postgres::new(&Host::new(target), config);
///
/// let forgotten = shop.idle_in_transaction(Duration::from_secs(300)).check(&observer()).await;
/// let forgotten = forgotten.unwrap().into_evidence();
/// shop.terminate(forgotten).run(&context()).await.unwrap();
/// assert_eq!(server.sessions(), []);
///
/// let cx = observer();
/// let db = shop.read(&cx).await.unwrap();
/// let total: i64 = db.one("SELECT sum(price) AS total FROM orders", &[]).await.unwrap();
/// assert_eq!(total, 7);
/// # });
/// ```
#[derive(Clone)]
pub struct FakePostgres(Arc<Mutex<World>>);

#[derive(Clone)]
struct World {
    runs: bool,
    database: String,
    password: Option<String>,
    max_connections: u32,
    sessions: Vec<FakeSession>,
    tables: BTreeMap<Table, Vec<String>>,
    /// The one added last is asked first.
    scripts: Vec<(String, Script)>,
}

#[derive(Clone)]
enum Script {
    Rows(FakeRows),
    With(FakeRows, MakeRows),
    Touches(u64),
    Fails(Refusal),
}

type MakeRows = Arc<dyn Fn(&[Option<String>]) -> FakeRows + Send + Sync>;

/// An error as the server sends it.
#[derive(Clone, Debug)]
struct Refusal {
    code: String,
    message: String,
}

impl Refusal {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

impl FakePostgres {
    /// Running, with an empty database, nobody connected, and 100 connections at most.
    #[must_use]
    pub fn new(database: impl Into<String>) -> Self {
        Self(Arc::new(Mutex::new(World {
            runs: true,
            database: database.into(),
            password: None,
            max_connections: 100,
            sessions: Vec::new(),
            tables: BTreeMap::new(),
            scripts: Vec::new(),
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, with a password for all users.
    #[must_use]
    pub fn password(self, password: impl Into<String>) -> Self {
        self.world().password = Some(password.into());
        self
    }

    /// The same, with another limit of connections.
    #[must_use]
    pub fn max_connections(self, most: u32) -> Self {
        self.world().max_connections = most;
        self
    }

    /// Listens where `config` says, on `target`, and plays the server's programs there.
    pub fn listen(&self, target: &FakeTarget, config: &Config) {
        let (open, server) = (self.clone(), self.clone());
        target.listen_when(
            &config.address(),
            move || open.is_running(),
            move |stream| server.serve(stream),
        );
        programs::play(self, target);
    }

    /// Answers on one connection until its other end is gone, or the server is stopped.
    pub fn serve(&self, stream: DuplexStream) {
        tokio::spawn(wire::talk(self.clone(), stream));
    }

    /// Stops it: connections are refused, all sessions end, and connections that are open end with
    /// their next statement. Its tables stay.
    pub fn stop(&self) {
        let mut world = self.world();
        world.runs = false;
        world.sessions.clear();
    }

    /// Starts it again.
    pub fn start(&self) {
        self.world().runs = true;
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.world().runs
    }

    /// A table (`orders`, `audit.logins`) with these rows.
    pub fn table<S: Into<String>>(&self, name: &str, rows: impl IntoIterator<Item = S>) {
        let rows = rows.into_iter().map(Into::into).collect();
        self.world().tables.insert(Table::from(name), rows);
    }

    /// A table is not there any more.
    pub fn drop_table(&self, name: &str) {
        self.world().tables.remove(&Table::from(name));
    }

    /// Another client's session.
    pub fn connect(&self, session: FakeSession) {
        self.world().sessions.push(session);
    }

    /// The sessions of an application end.
    pub fn disconnect(&self, application: &str) {
        self.world().sessions.retain(|session| session.application != application);
    }

    /// The sessions of other clients that are there now.
    #[must_use]
    pub fn sessions(&self) -> Vec<FakeSession> {
        self.world().sessions.clone()
    }

    /// All tables with their rows, a line each, to be compared.
    #[must_use]
    pub fn contents(&self) -> String {
        let world = self.world();
        let lines = world.tables.iter().map(|(table, rows)| format!("{table}: {rows:?}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What to answer to statements that hold this text; what was scripted last comes first.
    ///
    /// ```
    /// use runbook_postgres::testing::{FakePostgres, FakeRows, FakeType};
    /// let server = FakePostgres::new("shop");
    /// server.on("UPDATE carts").touches(3);
    /// server.on("DROP TABLE").fails("42501", "must be owner of table carts");
    /// let one = FakeRows::new([("state", FakeType::Text)]);
    /// server.on("SELECT state FROM carts WHERE id = $1").rows_with(one, |values| {
    ///     let state = if values[0].as_deref() == Some("7") { "open" } else { "closed" };
    ///     FakeRows::new([("state", FakeType::Text)]).row([state.into()])
    /// });
    /// ```
    pub fn on(&self, part: impl Into<String>) -> Statement<'_> {
        Statement { server: self, part: part.into() }
    }
}

impl fmt::Debug for FakePostgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world();
        let stopped = if world.runs { "" } else { ", stopped" };
        write!(f, "FakePostgres({}{stopped})", world.database)
    }
}

/// Statements that an answer is for; from [`FakePostgres::on`].
#[must_use = "say what to answer"]
pub struct Statement<'a> {
    server: &'a FakePostgres,
    part: String,
}

impl Statement<'_> {
    /// These rows.
    pub fn rows(self, rows: FakeRows) {
        self.script(Script::Rows(rows));
    }

    /// Rows like `shape`, whatever `rows` makes of the parameters. It is called when the statement
    /// runs, once each time, and may change what it likes.
    pub fn rows_with(
        self,
        shape: FakeRows,
        rows: impl Fn(&[Option<String>]) -> FakeRows + Send + Sync + 'static,
    ) {
        self.script(Script::With(shape, Arc::new(rows)));
    }

    /// It gives no rows, and touches so many.
    pub fn touches(self, rows: u64) {
        self.script(Script::Touches(rows));
    }

    /// The server refuses it, with this SQLSTATE.
    pub fn fails(self, code: impl Into<String>, message: impl Into<String>) {
        self.script(Script::Fails(Refusal { code: code.into(), message: message.into() }));
    }

    fn script(self, script: Script) {
        self.server.world().scripts.push((self.part, script));
    }
}

/// A session of another client of a [`FakePostgres`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeSession {
    pid: i32,
    application: String,
    state: &'static str,
    since: Duration,
    query: String,
    blocked_by: Option<i32>,
}

impl FakeSession {
    /// Served by the process `pid`, idle since now.
    #[must_use]
    pub fn new(pid: i32) -> Self {
        Self {
            pid,
            application: "app".into(),
            state: "idle",
            since: Duration::ZERO,
            query: String::new(),
            blocked_by: None,
        }
    }

    /// What it calls itself; `app` if this is not called.
    #[must_use]
    pub fn application(mut self, name: impl Into<String>) -> Self {
        self.application = name.into();
        self
    }

    /// It has been idle for so long.
    #[must_use]
    pub fn idle(mut self, since: Duration) -> Self {
        (self.state, self.since) = ("idle", since);
        self
    }

    /// It has been idle in a transaction for so long.
    #[must_use]
    pub fn idle_in_transaction(mut self, since: Duration) -> Self {
        (self.state, self.since) = ("idle in transaction", since);
        self
    }

    /// It has been busy with this statement for so long.
    #[must_use]
    pub fn active(mut self, query: impl Into<String>, since: Duration) -> Self {
        (self.state, self.since, self.query) = ("active", since, query.into());
        self
    }

    /// It waits for a lock that the session `pid` holds.
    #[must_use]
    pub fn blocked_by(mut self, pid: i32) -> Self {
        self.blocked_by = Some(pid);
        self
    }

    /// The process that serves it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }
}
