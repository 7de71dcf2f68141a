//! A restore: the dump fills a new database beside the old one, and the two change names.

use std::time::Duration;

use runbook_core::{About, Context, Input, Observer, Result, Rollback, Step, Verdict, Visit};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use super::rows::RowCounts;
use super::{Dump, Verified, beside};
use crate::client::Postgres;
use crate::databases::{OtherSessions, carry, differences, exists, refuse_if_in_use};
use crate::error::Error;
use crate::identifier::{Table, identifier};
use crate::session::{Reader, Session};

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Restored {
    /// From what.
    pub dump: Dump,
    /// The tables that are there now, with their numbers of rows.
    pub rows: RowCounts,
    /// What the database that was there before is called now; none if it was filled in place.
    pub replaced: Option<String>,
}

/// Puts a database that is filled from a dump in the place of another.
pub(super) struct Restore {
    pub(super) db: Postgres,
    pub(super) dump: Input<Verified<Dump>>,
    pub(super) others: OtherSessions,
}

impl Step for Restore {
    type Output = Restored;
    type Rollback = Original;

    fn about(&self) -> About {
        let sessions = match self.others {
            OtherSessions::Refuse => "Nobody may be connected to it.",
            OtherSessions::End => "Whoever is connected to it is disconnected.",
        };
        About::new("restore", format!("Restore {} from a dump", self.db))
            .doc(format!(
                "The dump fills a new database beside it, which then takes its name. What was there \
                 stays as it is, under another name: a rollback gives that its name back. {sessions}"
            ))
            .preview(
                "CREATE DATABASE; pg_restore or psql; in one transaction: ALTER DATABASE .. RENAME \
                 TO .., of both",
            )
            .arg("db", &self.db)
            .arg("dump", shown(&self.dump))
            .repeatable()
    }

    fn inputs(&self, visit: &mut dyn Visit) {
        visit.see("dump", &self.dump);
    }

    async fn run(&self, cx: &Context) -> Result<Restored> {
        let (db, dump) = (&self.db, self.dump.get(cx)?);
        let names = Names::of(cx, db);
        let maintenance = db.maintenance();
        let rows = if exists(cx, &maintenance, &names.kept).await? {
            cx.say("an earlier attempt has come to its end");
            RowCounts::count(&db.session(cx).await?.unlimited().await?).await?
        } else {
            Obstacles::look(&maintenance.read(cx).await?, db).await?.refuse(db)?;
            let session = maintenance.session(cx).await?.unlimited().await?;
            if self.others == OtherSessions::Refuse {
                refuse_if_in_use(&session, db, "replaced").await?;
            }
            let rows = beside::make(cx, db, &db.other(&names.beside), &dump).await?;
            swap(cx, &session, db, &names, self.others).await?;
            rows
        };
        let (total, tables, kept) = (rows.total(), rows.tables.len(), &names.kept);
        cx.say(format!("{total} rows in {tables} tables; what was there before is {kept} now"));
        Ok(Restored { dump: (*dump).clone(), rows, replaced: Some(names.kept) })
    }
}

/// Which database it was that had the name: how [`Postgres::restore`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// It stays the same whatever the name.
    oid: u32,
    /// Whether it has its name.
    named: bool,
    /// Whether there is another one beside it that this unit has made.
    beside: bool,
}

impl Rollback<Restore> for Original {
    async fn record(step: &Restore, cx: &Observer) -> Result<Self> {
        let (db, names) = (&step.db, Names::of(cx, &step.db));
        let reader = db.maintenance().read(cx).await?;
        let found: Vec<(u32, String)> = reader
            .query(
                "SELECT oid, datname::text FROM pg_database WHERE datname IN ($1, $2, $3)",
                &[db.database().into(), names.kept.as_str().into(), names.beside.as_str().into()],
            )
            .await?;
        let oid = |name: &str| found.iter().find(|(_, one)| one == name).map(|(oid, _)| *oid);
        let (kept, named) = (oid(&names.kept), oid(db.database()));
        let Some(original) = kept.or(named) else {
            return Err(Error::NoDatabase { place: db.to_string() }.into_failure());
        };
        let beside = oid(&names.beside).is_some();
        Ok(Self { oid: original, named: kept.is_none(), beside })
    }

    async fn rollback(&self, step: &Restore, _: Option<&Restored>, cx: &Context) -> Result<()> {
        let (db, names) = (&step.db, Names::of(cx, &step.db));
        let session = db.maintenance().session(cx).await?.unlimited().await?;
        let sql = "SELECT datname::text FROM pg_database WHERE oid = $1::oid";
        let name: Vec<String> = session.query(sql, &[self.oid.into()]).await?;
        let beside = db.other(&names.beside);
        match name.first().map(String::as_str) {
            Some(name) if name == db.database() => {}
            Some(name) if name == names.kept => {
                beside::drop_left(&session, &beside).await?;
                back(cx, &session, db, &names, step.others).await?;
            }
            other => {
                let why = match other {
                    Some(other) => format!("is called {other} by now"),
                    None => format!("(it was kept as {}) is gone", names.kept),
                };
                return Err(Error::Unsafe {
                    place: db.to_string(),
                    why: format!("what was there before the restore {why}"),
                    next: format!(
                        "put it back by hand (`ALTER DATABASE .. RENAME TO ..`), or restore {} \
                         from a dump; then `resume --skip`",
                        db.database()
                    ),
                }
                .into_failure());
            }
        }
        beside::drop_left(&session, &beside).await
    }

    fn restored(&self, now: &Self) -> bool {
        now.oid == self.oid && now.named && !now.beside
    }
}

/// The names of the two databases that a unit moves; the same in every process.
struct Names {
    /// Of that which is filled.
    beside: String,
    /// Of that which was there before, once the other has its name: it tells when that was.
    kept: String,
}

impl Names {
    fn of(cx: &Observer, db: &Postgres) -> Self {
        let number = super::scratch::number(cx, db);
        // 20260314-150926-k7xq
        let mut parts = cx.run_id().as_str().split('-');
        let digits = |part: Option<&str>, many| {
            part.filter(|part| part.len() == many && part.bytes().all(|c| c.is_ascii_digit()))
                .map(str::to_owned)
        };
        let end = match (digits(parts.next(), 8), digits(parts.next(), 6)) {
            (Some(day), Some(time)) => format!("{day}_{time}_{:06x}", number & 0xff_ffff),
            _ => format!("{number:016x}"),
        };
        Self { beside: format!("runbook_restore_{number:016x}"), kept: before(db) + &end }
    }
}

/// The beginning of the names of what restores of a database have replaced. A name has at most 63
/// bytes, of which 22 tell when that was.
fn before(db: &Postgres) -> String {
    const WORD: &str = "_before_";
    let mut stem = db.database();
    while stem.len() + WORD.len() + 22 > 63 {
        stem = &stem[..stem.len() - stem.chars().next_back().map_or(1, char::len_utf8)];
    }
    format!("{stem}{WORD}")
}

/// Gives the new database all that hangs on the old one, and its name. One transaction: whoever
/// breaks it off, at whatever moment, leaves both as they were.
async fn swap(
    cx: &Context,
    session: &Session<'_>,
    db: &Postgres,
    names: &Names,
    others: OtherSessions,
) -> Result<()> {
    session.batch("BEGIN; SET LOCAL synchronous_commit = on").await?;
    carry(session, db.database(), &names.beside).await?;
    let differing = differences(session, db.database(), &names.beside).await?;
    if !differing.is_empty() {
        return Err(Error::Unsafe {
            place: db.to_string(),
            why: format!(
                "it is not replaced: the new database would differ in {}",
                differing.join(", ")
            ),
            next: "restore it in place (`restore_in_place`), which touches none of these".into(),
        }
        .into_failure());
    }
    move_away(cx, session, db, &names.kept, others).await?;
    rename(session, &names.beside, db.database()).await?;
    session.batch("COMMIT").await
}

/// The way back of [`swap`].
async fn back(
    cx: &Context,
    session: &Session<'_>,
    db: &Postgres,
    names: &Names,
    others: OtherSessions,
) -> Result<()> {
    session.batch("BEGIN; SET LOCAL synchronous_commit = on").await?;
    if exists(cx, &db.maintenance(), db.database()).await? {
        if others == OtherSessions::Refuse {
            refuse_if_in_use(session, db, "taken back").await?;
        }
        move_away(cx, session, db, &names.beside, others).await?;
    }
    rename(session, &names.kept, db.database()).await?;
    session.batch("COMMIT").await
}

/// Renames a database in which sessions may be. The server lets nobody new in from the beginning,
/// and waits 5 seconds for those who are.
async fn move_away(
    cx: &Context,
    session: &Session<'_>,
    db: &Postgres,
    to: &str,
    others: OtherSessions,
) -> Result<()> {
    let renaming = rename(session, db.database(), to);
    if others == OtherSessions::Refuse {
        return renaming.await;
    }
    let second = db.maintenance().session(cx).await?;
    let ending = async {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = $1 AND backend_type = 'client backend'";
        loop {
            let _: Vec<bool> = second.query(sql, &[db.database().into()]).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        renamed = renaming => renamed,
        failed = ending => failed,
    }
}

async fn rename(session: &Session<'_>, from: &str, to: &str) -> Result<()> {
    session
        .batch(&format!("ALTER DATABASE {} RENAME TO {}", identifier(from), identifier(to)))
        .await
}

/// What keeps a database from being replaced by another one.
#[derive(Deserialize)]
struct Obstacles {
    creates: bool,
    owns: bool,
    role: String,
    slots: Vec<String>,
    subscriptions: i64,
    prepared: i64,
}

impl Obstacles {
    async fn look(maintenance: &Reader<'_>, db: &Postgres) -> Result<Self> {
        let found: Vec<Self> = maintenance
            .query(
                "SELECT rolsuper OR rolcreatedb AS creates, \
                    rolsuper OR pg_has_role(datdba, 'USAGE') AS owns, rolname::text AS role, \
                    ARRAY(SELECT slot_name::text FROM pg_replication_slots \
                        WHERE database = datname) AS slots, \
                    (SELECT count(*) FROM pg_subscription WHERE subdbid = d.oid) AS subscriptions, \
                    (SELECT count(*) FROM pg_prepared_xacts WHERE database = datname) AS prepared \
                 FROM pg_roles, pg_database d WHERE rolname = current_user AND datname = $1",
                &[db.database().into()],
            )
            .await?;
        found
            .into_iter()
            .next()
            .ok_or_else(|| Error::NoDatabase { place: db.to_string() }.into_failure())
    }

    fn all(&self, db: &Postgres) -> Vec<String> {
        let Self { creates, owns, role, slots, subscriptions, prepared } = self;
        let mut all = Vec::new();
        if db.maintenance().database() == db.database() {
            all.push("others are created from it (`maintenance_database`)".into());
        }
        if !creates {
            all.push(format!("`{role}` may not create databases"));
        }
        if !owns {
            all.push(format!("`{role}` is not its owner"));
        }
        if !slots.is_empty() {
            all.push(format!("it has replication slots ({})", slots.join(", ")));
        }
        if *subscriptions > 0 {
            all.push(format!("it has {subscriptions} subscriptions"));
        }
        if *prepared > 0 {
            all.push(format!("it has {prepared} prepared transactions"));
        }
        all
    }

    fn refuse(&self, db: &Postgres) -> Result<()> {
        let all = self.all(db);
        if all.is_empty() {
            return Ok(());
        }
        Err(Error::Unsafe {
            place: db.to_string(),
            why: format!("it can't be replaced: {}", all.join("; ")),
            next:
                "name a role that may (`administered_by`), take away what hangs on it, or restore \
                   it in place (`restore_in_place`); nothing was dropped or changed"
                    .into(),
        }
        .into_failure())
    }
}

/// The database can be replaced by another one
#[check(title = "{db} can be replaced", preview = "rights, replication slots, subscriptions")]
pub(crate) async fn replaceable(cx: &Observer, db: &Postgres) -> Result<Verdict<()>> {
    let obstacles = Obstacles::look(&db.maintenance().read(cx).await?, db).await?;
    let all = obstacles.all(db);
    let why = if all.is_empty() { "nothing is in the way".into() } else { all.join("; ") };
    Ok(Verdict::pass_if(all.is_empty(), (), why))
}

/// Look which databases were replaced longer ago than they are kept
#[check(title = "List what restores of {db} replaced more than {days} days ago")]
pub(crate) async fn replaced_before(
    cx: &Observer,
    db: &Postgres,
    days: u32,
) -> Result<Verdict<Vec<String>>> {
    let old = old(&db.maintenance().read(cx).await?, db, days).await?;
    let why = if old.is_empty() { "nothing".to_owned() } else { old.join(", ") };
    Ok(Verdict::pass(old, why))
}

async fn old(maintenance: &Reader<'_>, db: &Postgres, days: u32) -> Result<Vec<String>> {
    maintenance
        .query(
            "SELECT datname::text FROM pg_database \
             WHERE starts_with(datname, $1) \
                AND substr(datname, length($1) + 1) ~ '^[0-9]{8}_[0-9]{6}_[0-9a-f]{6}$' \
                AND substr(datname, length($1) + 1) < to_char( \
                    (now() - $2::int * interval '1 day') AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MISS') \
             ORDER BY datname",
            &[before(db).into(), days.into()],
        )
        .await
}

/// Drop databases that were replaced longer ago than they are kept
///
/// Only those that were listed, and to which nobody is connected.
#[step(
    title = "Drop what restores of {db} replaced",
    irreversible,
    repeatable,
    preview = "DROP DATABASE"
)]
pub(crate) async fn drop_replaced(
    cx: &Context,
    db: &Postgres,
    replaced: Vec<String>,
) -> Result<Vec<String>> {
    let beginning = before(db);
    for name in &replaced {
        if !name.starts_with(&beginning) {
            return Err(Error::Unsafe {
                place: db.to_string(),
                why: format!("{name} is not dropped: no restore of this database has replaced it"),
                next: "drop it by `drop_database`, if it is to go".into(),
            }
            .into_failure());
        }
        crate::databases::drop_it(cx, &db.other(name), OtherSessions::Refuse).await?;
    }
    Ok(replaced)
}

/// The tables that a dump lists are there.
pub(super) fn all_there(db: &Postgres, dump: &Verified<Dump>, rows: &RowCounts) -> Result<()> {
    let listed = &dump.contents().tables;
    let there = |table: &&Table| rows.tables.iter().any(|(one, _)| one == *table);
    let missing: Vec<_> =
        listed.iter().filter(|table| !there(table)).map(Table::to_string).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Unsafe {
        place: db.to_string(),
        why: format!("after the restore these tables are missing: {}", missing.join(", ")),
        next: "restore another dump".into(),
    }
    .into_failure())
}

/// The path of a dump, which is what a person knows it by.
pub(crate) fn shown(dump: &Input<Verified<Dump>>) -> String {
    dump.clone().map(|dump| dump.path.clone()).shown()
}
