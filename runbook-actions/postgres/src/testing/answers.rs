//! What the fake answers to the statements of this crate, from its model, and to those that a test
//! has scripted.

use std::time::Duration;

use runbook_core::Timestamp;

use super::databases;
use super::{FakePostgres, FakeRows, FakeSession, FakeType, FakeValue, Refusal, Script, World};
use crate::dump::{EXTENSIONS_OF_OTHERS, LARGE_OBJECTS, TABLES};
use crate::identifier::Table;

/// What a statement does.
pub(super) enum Answer {
    Rows(FakeRows),
    /// No rows, but the tag with which it ends.
    Done(String),
}

/// The columns that a statement gives, before it runs; `None` if it gives no rows.
pub(super) fn shape(
    server: &FakePostgres,
    database: &str,
    sql: &str,
) -> Result<Option<FakeRows>, Refusal> {
    match scripted(server, sql) {
        Some(Script::Rows(rows) | Script::With(rows, _)) => Ok(Some(rows)),
        Some(Script::Touches(_)) => Ok(None),
        Some(Script::Fails(refusal)) => Err(refusal),
        None => {
            // On a copy: it does not run yet.
            let mut world = server.world().clone();
            match modelled(&mut world, database, sql, &[])? {
                Answer::Rows(rows) => Ok(Some(rows)),
                Answer::Done(_) => Ok(None),
            }
        }
    }
}

/// Runs it.
pub(super) fn answer(
    server: &FakePostgres,
    database: &str,
    sql: &str,
    values: &[Option<String>],
) -> Result<Answer, Refusal> {
    match scripted(server, sql) {
        Some(Script::Rows(rows)) => Ok(Answer::Rows(rows)),
        // It may ask this very server.
        Some(Script::With(_, rows)) => Ok(Answer::Rows(rows(values))),
        Some(Script::Touches(rows)) => Ok(Answer::Done(tag(sql, rows))),
        Some(Script::Fails(refusal)) => Err(refusal),
        None => modelled(&mut server.world(), database, sql, values),
    }
}

fn scripted(server: &FakePostgres, sql: &str) -> Option<Script> {
    let world = server.world();
    let found = world.scripts.iter().rev().find(|(part, _)| sql.contains(part.as_str()));
    found.map(|(_, script)| script.clone())
}

/// `UPDATE 3`, `INSERT 0 3`.
fn tag(sql: &str, rows: u64) -> String {
    let word = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
    if word == "INSERT" { format!("INSERT 0 {rows}") } else { format!("{word} {rows}") }
}

/// The statements of this crate, each known by words that no other has.
fn modelled(
    world: &mut World,
    database: &str,
    sql: &str,
    values: &[Option<String>],
) -> Result<Answer, Refusal> {
    use FakeType::{Bool, Int4, Int4Array, Int8, Int8Array, Text, Timestamptz};
    let has = |part: &str| sql.contains(part);
    let first = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
    if ["SET", "BEGIN", "ROLLBACK", "COMMIT", "ANALYZE"].contains(&first.as_str()) {
        return Ok(Answer::Done(first));
    }
    if let Some(answer) = databases::modelled(world, sql, values) {
        return answer;
    }
    let rows = if sql.trim() == "SELECT 1" {
        one("?column?", Int4, 1)
    } else if has("pg_postmaster_start_time()") {
        let columns = [("version", Text), ("started", Timestamptz), ("in_recovery", Bool)];
        let started = Timestamp::from_micros(1_767_225_600_000_000);
        FakeRows::new(columns).row(["15.14".into(), started.into(), false.into()])
    } else if has("superuser_reserved_connections") {
        let columns = [("count", Int8), ("current_setting", Int4), ("current_setting", Int4)];
        let most = FakeValue::from(world.max_connections);
        FakeRows::new(columns).row([len(world.sessions.len()), most, 3.into()])
    } else if has("coalesce(state, 'not told')") {
        let of = |session: &FakeSession| vec![session.state.to_owned()];
        counted(world, &["coalesce"], of)
    } else if has("coalesce(usename, '?')") {
        let of = |session: &FakeSession| vec!["app".to_owned(), session.application.clone()];
        counted(world, &["coalesce", "coalesce"], of)
    } else if has("FROM pg_locks l JOIN") {
        let columns = [("pid", Int4), ("lock", Text), ("by", Int4Array)];
        let waits = |one: &&FakeSession| {
            let holds = |pid| world.sessions.iter().any(|other| Some(other.pid) == pid);
            one.blocked_by.is_some() && holds(one.blocked_by)
        };
        world.sessions.iter().filter(waits).fold(FakeRows::new(columns), |rows, one| {
            let by: Vec<i32> = one.blocked_by.into_iter().collect();
            rows.row([one.pid.into(), "transactionid, ShareLock".into(), by.into()])
        })
    } else if has("SELECT pg_terminate_backend(pid)") || has("SELECT pg_cancel_backend(pid)") {
        end(world, sql, values)
    } else if has("SELECT EXISTS (SELECT FROM pg_stat_activity") {
        let there = one_of(world, sql, values).count() > 0;
        one("exists", Bool, there)
    } else if has("AS waits_for") {
        activity(world, sql, values)
    } else if has("WHERE e.extname = 'pg_stat_statements'") {
        FakeRows::new([("nspname", Text)])
    } else if has("'shared_preload_libraries') LIKE") {
        one("?column?", Bool, false)
    } else if has("pg_database_size(") {
        one("pg_database_size", Int8, 8 << 20)
    } else if has("pg_total_relation_size(c.oid) AS bytes") {
        let columns = [
            ("schema", Text),
            ("name", Text),
            ("bytes", Int8),
            ("index_bytes", Int8),
            ("rows", Int8),
            ("dead", Int8),
        ];
        world.tables_of(database).iter().fold(FakeRows::new(columns), |rows, (table, content)| {
            let Table { schema, name } = table.clone();
            let numbers = [8192.into(), 0.into(), len(content.len()), 0.into()];
            rows.row([schema.into(), name.into()].into_iter().chain(numbers))
        })
    } else if sql == TABLES {
        let columns = FakeRows::new([("schema", Text), ("name", Text)]);
        world
            .tables_of(database)
            .keys()
            .cloned()
            .fold(columns, |rows, Table { schema, name }| rows.row([schema.into(), name.into()]))
    } else if has("SELECT ARRAY[") {
        let named = sql.split("(SELECT count(*) FROM ").skip(1);
        let counts = named.map(|rest| {
            let rows = world
                .tables_of(database)
                .iter()
                .find(|(table, _)| rest.starts_with(&table.quoted()));
            rows.map_or(FakeValue::Null, |(_, rows)| len(rows.len()))
        });
        one("array", Int8Array, FakeValue::List(counts.collect()))
    } else if sql == LARGE_OBJECTS {
        one("count", Int8, 0)
    } else if sql == EXTENSIONS_OF_OTHERS {
        one("exists", Bool, false)
    } else {
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let why = format!("nothing is scripted for `{sql}`: script it with `on(..)`");
        return Err(Refusal::new("0A000", why));
    };
    Ok(Answer::Rows(rows))
}

pub(super) fn one(name: &str, kind: FakeType, value: impl Into<FakeValue>) -> FakeRows {
    FakeRows::new([(name, kind)]).row([value.into()])
}

fn len(length: usize) -> FakeValue {
    FakeValue::Int(i64::try_from(length).unwrap_or(i64::MAX))
}

/// How many sessions are alike, most first.
fn counted(world: &World, names: &[&str], key: impl Fn(&FakeSession) -> Vec<String>) -> FakeRows {
    let mut counts: Vec<(Vec<String>, i64)> = Vec::new();
    for session in &world.sessions {
        let of = key(session);
        match counts.iter_mut().find(|(known, _)| *known == of) {
            Some((_, count)) => *count += 1,
            None => counts.push((of, 1)),
        }
    }
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let columns = names.iter().map(|name| (*name, FakeType::Text));
    let columns = FakeRows::new(columns.chain([("count", FakeType::Int8)]));
    counts.into_iter().fold(columns, |rows, (words, count)| {
        rows.row(words.into_iter().map(FakeValue::from).chain([count.into()]))
    })
}

/// The session that `pid = $1 AND backend_start = $2` or `application_name = $1` name.
fn one_of<'a>(
    world: &'a World,
    sql: &'a str,
    values: &'a [Option<String>],
) -> impl Iterator<Item = &'a FakeSession> {
    let value = |at: usize| values.get(at).and_then(Option::as_deref);
    world.sessions.iter().filter(move |one| {
        let named = if sql.contains("application_name = $1") {
            value(0) == Some(one.application.as_str())
        } else {
            value(0) == Some(one.pid.to_string().as_str()) && value(1) == Some(BEGAN)
        };
        named && (!sql.contains("AND state = 'active'") || one.state == "active")
    })
}

/// When all sessions began.
const BEGAN: &str = "2026-01-01T00:00:00.000000Z";

/// Ends sessions, or what they do.
fn end(world: &mut World, sql: &str, values: &[Option<String>]) -> FakeRows {
    let pids: Vec<i32> = one_of(world, sql, values).map(|session| session.pid).collect();
    let terminate = sql.contains("pg_terminate_backend");
    if terminate {
        world.sessions.retain(|session| !pids.contains(&session.pid));
    }
    for session in world.sessions.iter_mut().filter(|session| pids.contains(&session.pid)) {
        (session.state, session.since, session.blocked_by) = ("idle", Duration::ZERO, None);
    }
    let name = if terminate { "pg_terminate_backend" } else { "pg_cancel_backend" };
    let columns = FakeRows::new([(name, FakeType::Bool)]);
    pids.iter().fold(columns, |rows, _| rows.row([true.into()]))
}

/// Sessions with all that is told of one, longest first; of the states and the age that are asked
/// for.
fn activity(world: &World, sql: &str, values: &[Option<String>]) -> FakeRows {
    use FakeType::{Float8, Int4, Text};
    let columns = [
        ("pid", Int4),
        ("began", Text),
        ("database", Text),
        ("user", Text),
        ("application", Text),
        ("client", Text),
        ("state", Text),
        ("seconds", Float8),
        ("waits_for", Text),
        ("query", Text),
    ];
    let states = sql.split_once("a.state IN (").and_then(|(_, rest)| rest.split(')').next());
    let longer = values.first().and_then(|value| value.as_deref()?.parse::<f64>().ok());
    let mut found: Vec<_> = world.sessions.iter().collect();
    found.retain(|one| {
        let wanted = states.is_none_or(|states| states.contains(&format!("'{}'", one.state)));
        wanted && longer.is_none_or(|longer| one.since.as_secs_f64() > longer)
    });
    found.sort_by_key(|one| (std::cmp::Reverse(one.since), one.pid));
    found.into_iter().fold(FakeRows::new(columns), |rows, one| {
        let waits = one.blocked_by.map(|_| "Lock: transactionid");
        rows.row([
            one.pid.into(),
            BEGAN.into(),
            world.database.clone().into(),
            "app".into(),
            one.application.clone().into(),
            "127.0.0.1".into(),
            one.state.into(),
            one.since.as_secs_f64().into(),
            waits.into(),
            one.query.clone().into(),
        ])
    })
}
