//! Who is connected, what runs, who waits for whom; and ending it.

use std::fmt;
use std::time::Duration;

use runbook_core::{Check, Context, IntoInput, Irreversible, Observer, Result, Step, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::client::Postgres;
use crate::value::Value;

/// How full a server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Connections {
    /// Sessions of clients, of all databases.
    pub used: u32,
    /// How many there may be (`max_connections`).
    pub max: u32,
    /// How many of those are kept for superusers.
    pub reserved: u32,
    /// By state: `active`, `idle`, `idle in transaction` ..
    pub by_state: Vec<(String, u32)>,
    /// By user and application, most first, at most ten.
    pub by_application: Vec<(String, String, u32)>,
}

impl Connections {
    /// Used, in percent of all that may be.
    #[must_use]
    pub fn percent(&self) -> u32 {
        (self.used * 100).checked_div(self.max).unwrap_or(100)
    }
}

/// A session of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Activity {
    /// The process that serves it.
    pub pid: i32,
    /// When it began, RFC 3339: another session may get the same pid later.
    pub began: String,
    /// Its database.
    pub database: Option<String>,
    /// Its role.
    pub user: Option<String>,
    /// What it calls itself.
    pub application: Option<String>,
    /// Where it comes from; none for a unix socket.
    pub client: Option<String>,
    /// `active`, `idle`, `idle in transaction` ..
    pub state: Option<String>,
    /// For how many seconds it has been in that state; for an active one, since its statement
    /// began.
    pub seconds: f64,
    /// What it waits for, e.g. `Lock: relation`.
    pub waits_for: Option<String>,
    /// Its statement, or the last one if it is idle; at most 200 characters.
    pub query: String,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
        write!(
            f,
            "pid {} ({} by {:?} in {}), {} for {:.0} s: {}",
            self.pid,
            text(&self.user),
            self.application.as_deref().unwrap_or_default(),
            text(&self.database),
            text(&self.state),
            self.seconds,
            self.query
        )
    }
}

/// Someone who waits for a lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Blocked {
    /// Who waits.
    pub waiting: Activity,
    /// For what: `relation orders, AccessExclusiveLock`.
    pub lock: String,
    /// Who is in the way.
    pub by: Vec<Activity>,
}

/// A session that was told to end, or whose statement was to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ended {
    /// Its process.
    pub pid: i32,
    /// Whether it was still the same session and the server signalled it.
    pub signalled: bool,
    /// Whether it was seen to be gone, or its statement to have ended.
    pub ended: bool,
}

impl Postgres {
    /// How many connections are used; fails from `percent` of all on, and warns from three
    /// quarters of that.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// b.check(shop.connections(80));
    /// ```
    #[must_use]
    pub fn connections(&self, percent: u32) -> impl Check<Evidence = Connections> {
        connections(self, percent)
    }

    /// Nobody waits for a lock; if somebody does, who is in the way.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// let seen = b.observe(shop.locks());
    /// b.when("Somebody waits", seen.failed(), |b| {
    ///     let holders = seen.map(|seen| {
    ///         let blocked = seen.evidence().cloned().unwrap_or_default();
    ///         blocked.into_iter().flat_map(|one| one.by).collect::<Vec<_>>()
    ///     });
    ///     b.irreversible(shop.terminate(holders), "a transaction that was forgotten holds all up");
    /// });
    /// # b.build().unwrap();
    /// ```
    #[must_use]
    pub fn locks(&self) -> impl Check<Evidence = Vec<Blocked>> {
        locks(self)
    }

    /// No session of this database has been idle in a transaction for longer than this: it holds
    /// its locks, and what it sees can't be cleaned up.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # use std::time::Duration;
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// b.observe(shop.idle_in_transaction(Duration::from_secs(60)));
    /// ```
    #[must_use]
    pub fn idle_in_transaction(&self, longer: Duration) -> impl Check<Evidence = Vec<Activity>> {
        sessions(self, &Kind::IdleInTransaction, &Span(longer))
    }

    /// No session of this database has been idle for longer than this, in a transaction or not.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # use std::time::Duration;
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// b.observe(shop.idle(Duration::from_secs(600)));
    /// ```
    #[must_use]
    pub fn idle(&self, longer: Duration) -> impl Check<Evidence = Vec<Activity>> {
        sessions(self, &Kind::Idle, &Span(longer))
    }

    /// No statement in this database has been running for longer than this.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # use std::time::Duration;
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// let seen = b.observe(shop.long_running(Duration::from_secs(300)));
    /// b.when("Something runs for minutes", seen.failed(), |b| {
    ///     let sessions = seen.map(|seen| seen.evidence().cloned().unwrap_or_default());
    ///     b.irreversible(shop.cancel(sessions), "reports can be run again at night");
    /// });
    /// ```
    #[must_use]
    pub fn long_running(&self, longer: Duration) -> impl Check<Evidence = Vec<Activity>> {
        sessions(self, &Kind::Active, &Span(longer))
    }

    /// Nobody is connected to this database: made to be required before a restore.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, Wait, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # use std::time::Duration;
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("restore");
    /// b.wait_until(shop.unused(), Wait::at_most(Duration::from_secs(30)));
    /// ```
    #[must_use]
    pub fn unused(&self) -> impl Check<Evidence = Vec<Activity>> {
        unused(self)
    }

    /// Cancels the statements of these sessions; the sessions stay. What they did in their
    /// transaction is lost.
    pub fn cancel(
        &self,
        sessions: impl IntoInput<Vec<Activity>>,
    ) -> impl Step<Output = Vec<Ended>, Rollback = Irreversible> {
        cancel(self, sessions)
    }

    /// Ends these sessions, if they are still the same. What they did in their transaction is
    /// lost.
    pub fn terminate(
        &self,
        sessions: impl IntoInput<Vec<Activity>>,
    ) -> impl Step<Output = Vec<Ended>, Rollback = Irreversible> {
        terminate(self, sessions)
    }
}

/// The columns of an [`Activity`], of `pg_stat_activity a`.
const ACTIVITY: &str = "a.pid, to_char(a.backend_start AT TIME ZONE 'UTC', \
     'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS began, \
     a.datname AS database, a.usename AS user, nullif(a.application_name, '') AS application, \
     host(a.client_addr) AS client, a.state, \
     greatest(extract(epoch FROM clock_timestamp() - CASE a.state WHEN 'active' \
         THEN a.query_start ELSE a.state_change END), 0)::float8 AS seconds, \
     CASE WHEN a.wait_event_type IS NOT NULL AND a.state = 'active' \
         THEN a.wait_event_type || ': ' || a.wait_event END AS waits_for, \
     left(regexp_replace(a.query, '\\s+', ' ', 'g'), 200) AS query";

/// Enough connections are free
#[check(title = "Fewer than {percent} % of the connections of {db} are used")]
pub(crate) async fn connections(
    cx: &Observer,
    db: &Postgres,
    percent: u32,
) -> Result<Verdict<Connections>> {
    let reader = db.read(cx).await?;
    // Our own is not counted.
    let clients = "FROM pg_stat_activity WHERE backend_type = 'client backend' \
                   AND pid <> pg_backend_pid()";
    let (used, max, reserved) = reader
        .one(
            &format!(
                "SELECT count(*), current_setting('max_connections')::int, \
                 current_setting('superuser_reserved_connections')::int {clients}"
            ),
            &[],
        )
        .await?;
    let by_state = reader
        .query(
            &format!(
                "SELECT coalesce(state, 'not told'), count(*) {clients} GROUP BY 1 ORDER BY 2 DESC, 1"
            ),
            &[],
        )
        .await?;
    let by_application = reader
        .query(
            &format!(
                "SELECT coalesce(usename, '?'), coalesce(application_name, ''), count(*) {clients} \
                 GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 10"
            ),
            &[],
        )
        .await?;
    let found = Connections { used, max, reserved, by_state, by_application };
    let states: Vec<_> =
        found.by_state.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let why = format!("{used} of {max} ({} %): {}", found.percent(), states.join(", "));
    Ok(if found.percent() >= percent {
        Verdict::fail(found, why)
    } else if found.percent() * 4 >= percent * 3 {
        Verdict::warn(found, why)
    } else {
        Verdict::pass(found, why)
    })
}

#[derive(Deserialize)]
struct Wait {
    pid: i32,
    lock: String,
    by: Vec<i32>,
}

/// Nobody waits for a lock
#[check(title = "Nobody waits for a lock in {db}")]
pub(crate) async fn locks(cx: &Observer, db: &Postgres) -> Result<Verdict<Vec<Blocked>>> {
    let reader = db.read(cx).await?;
    let waits: Vec<Wait> = reader
        .query(
            "SELECT l.pid, l.locktype || coalesce(' ' || l.relation::regclass::text, '') || ', ' \
             || l.mode AS lock, pg_blocking_pids(l.pid) AS by \
             FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
             WHERE NOT l.granted AND a.datname = current_database() ORDER BY a.query_start, l.pid",
            &[],
        )
        .await?;
    if waits.is_empty() {
        return Ok(Verdict::pass(Vec::new(), "nobody does"));
    }
    let sql = format!("SELECT {ACTIVITY} FROM pg_stat_activity a");
    let all: Vec<Activity> = reader.query(&sql, &[]).await?;
    let find = |pid: i32| all.iter().find(|one| one.pid == pid).cloned();
    let blocked: Vec<_> = waits
        .into_iter()
        .filter_map(|Wait { pid, lock, by }| {
            // One that has ended in between waits no more.
            let by = by.into_iter().filter_map(find).collect();
            Some(Blocked { waiting: find(pid)?, lock, by })
        })
        .collect();
    // The ones in the way that do not wait themselves: those who are to be ended.
    let mut roots: Vec<&Activity> = blocked.iter().flat_map(|one| &one.by).collect();
    roots.retain(|one| !blocked.iter().any(|blocked| blocked.waiting.pid == one.pid));
    roots.sort_by_key(|one| one.pid);
    roots.dedup_by_key(|one| one.pid);
    let roots: Vec<_> = roots.into_iter().map(ToString::to_string).collect();
    let why = format!("{} wait; in the way: {}", blocked.len(), roots.join("; "));
    Ok(Verdict::pass_if(blocked.is_empty(), blocked, why))
}

/// Which sessions are looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    IdleInTransaction,
    Idle,
    Active,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IdleInTransaction => "idle in a transaction",
            Self::Idle => "idle",
            Self::Active => "busy with one statement",
        })
    }
}

/// A time as people write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// No session is stuck
#[check(title = "No session of {db} is {kind} for more than {longer}", id = "sessions")]
pub(crate) async fn sessions(
    cx: &Observer,
    db: &Postgres,
    kind: &Kind,
    longer: &Span,
) -> Result<Verdict<Vec<Activity>>> {
    let states = match kind {
        Kind::IdleInTransaction => "'idle in transaction', 'idle in transaction (aborted)'",
        Kind::Idle => "'idle', 'idle in transaction', 'idle in transaction (aborted)'",
        Kind::Active => "'active', 'fastpath function call'",
    };
    let sql = format!(
        "SELECT * FROM (SELECT {ACTIVITY} FROM pg_stat_activity a \
         WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() \
         AND a.datname = current_database() AND a.state IN ({states})) s \
         WHERE seconds > $1::float8 ORDER BY seconds DESC"
    );
    let found: Vec<Activity> =
        db.read(cx).await?.query(&sql, &[longer.0.as_secs_f64().into()]).await?;
    let why = match found.as_slice() {
        [] => "none is".to_owned(),
        [one] => one.to_string(),
        [first, ..] => format!("{} are; the longest: {first}", found.len()),
    };
    Ok(Verdict::pass_if(found.is_empty(), found, why))
}

/// Nobody is connected
#[check(title = "Nobody is connected to {db}")]
pub(crate) async fn unused(cx: &Observer, db: &Postgres) -> Result<Verdict<Vec<Activity>>> {
    let sql = format!(
        "SELECT {ACTIVITY} FROM pg_stat_activity a WHERE a.backend_type = 'client backend' \
         AND a.pid <> pg_backend_pid() AND a.datname = current_database() ORDER BY a.pid"
    );
    let found: Vec<Activity> = db.read(cx).await?.query(&sql, &[]).await?;
    let all: Vec<_> = found.iter().map(ToString::to_string).collect();
    let why = if all.is_empty() { "nobody is".into() } else { all.join("; ") };
    Ok(Verdict::pass_if(found.is_empty(), found, why))
}

/// Cancel the statements of sessions
#[step(
    title = "Cancel statements in {db}",
    irreversible,
    repeatable,
    preview = "pg_cancel_backend"
)]
pub(crate) async fn cancel(
    cx: &Context,
    db: &Postgres,
    sessions: Vec<Activity>,
) -> Result<Vec<Ended>> {
    end(cx, db, &sessions, "pg_cancel_backend").await
}

/// End sessions
#[step(title = "End sessions of {db}", irreversible, repeatable, preview = "pg_terminate_backend")]
pub(crate) async fn terminate(
    cx: &Context,
    db: &Postgres,
    sessions: Vec<Activity>,
) -> Result<Vec<Ended>> {
    end(cx, db, &sessions, "pg_terminate_backend").await
}

/// How long to look whether a session has ended.
const PATIENCE: Duration = Duration::from_secs(10);

async fn end(
    cx: &Context,
    db: &Postgres,
    sessions: &[Activity],
    function: &str,
) -> Result<Vec<Ended>> {
    let session = db.session(cx).await?;
    let same = "FROM pg_stat_activity WHERE pid = $1::int4 AND backend_start = $2::timestamptz";
    let mut done = Vec::with_capacity(sessions.len());
    for one in sessions {
        let values: [Value; 2] = [one.pid.into(), one.began.as_str().into()];
        let sql = format!("SELECT {function}(pid) {same} AND pid <> pg_backend_pid()");
        let signalled: Vec<bool> = session.query(&sql, &values).await?;
        let signalled = signalled.contains(&true);
        cx.say(if signalled {
            format!("ended: {one}")
        } else {
            format!("gone already: pid {}", one.pid)
        });
        done.push(Ended { pid: one.pid, signalled, ended: !signalled });
    }
    // A signal is a wish; it has ended when it is not seen any more.
    let still = match function {
        "pg_cancel_backend" => format!("SELECT EXISTS (SELECT {same} AND state = 'active')"),
        _ => format!("SELECT EXISTS (SELECT {same})"),
    };
    let started = tokio::time::Instant::now();
    for (one, ended) in sessions.iter().zip(&mut done) {
        let values: [Value; 2] = [one.pid.into(), one.began.as_str().into()];
        while !ended.ended && started.elapsed() < PATIENCE {
            let there: bool = session.one(&still, &values).await?;
            ended.ended = !there;
            if there {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    if let Some(left) = done.iter().find(|one| !one.ended) {
        cx.say(format!("pid {} has not ended yet", left.pid));
    }
    Ok(done)
}
