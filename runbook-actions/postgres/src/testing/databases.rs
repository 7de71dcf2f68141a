//! What the fake knows of whole databases: that they are made, dropped and renamed, and that
//! sessions are in the one that the server was made with.

use runbook_core::Timestamp;

use super::answers::{Answer, one};
use super::{Database, FakeRows, FakeType, FakeValue, Refusal, Tables, World};

/// The names that a statement renames, from what to what.
pub(super) fn renaming(sql: &str) -> Option<(String, String)> {
    let words = sql.split('"').collect::<Vec<_>>();
    match words.as_slice() {
        ["ALTER DATABASE ", from, " RENAME TO ", to, ""] => {
            Some(((*from).to_owned(), (*to).to_owned()))
        }
        _ => None,
    }
}

/// The statements about databases, each known by words that no other has.
pub(super) fn modelled(
    world: &mut World,
    sql: &str,
    values: &[Option<String>],
) -> Option<Result<Answer, Refusal>> {
    if let Some((from, to)) = renaming(sql) {
        return Some(rename(world, &from, to));
    }
    let name = sql.split('"').nth(1).unwrap_or_default();
    if sql.starts_with("CREATE DATABASE ") {
        return Some(create(world, name));
    }
    if sql.starts_with("DROP DATABASE ") {
        return Some(drop(world, name, sql));
    }
    if sql.starts_with("ALTER DATABASE ") {
        return Some(Ok(Answer::Done("ALTER DATABASE".into())));
    }
    asked(world, sql, values).map(|rows| Ok(Answer::Rows(rows)))
}

fn rename(world: &mut World, from: &str, to: String) -> Result<Answer, Refusal> {
    unused(world, from)?;
    if world.databases.contains_key(&to) {
        return Err(Refusal::new("42P04", format!("database \"{to}\" already exists")));
    }
    let database = world.databases.remove(from).ok_or_else(|| missing(from))?;
    world.databases.insert(to, database);
    Ok(Answer::Done("ALTER DATABASE".into()))
}

fn create(world: &mut World, name: &str) -> Result<Answer, Refusal> {
    if world.databases.contains_key(name) {
        return Err(Refusal::new("42P04", format!("database \"{name}\" already exists")));
    }
    let database = Database { oid: world.next_oid(), tables: Tables::new() };
    world.databases.insert(name.to_owned(), database);
    Ok(Answer::Done("CREATE DATABASE".into()))
}

fn drop(world: &mut World, name: &str, sql: &str) -> Result<Answer, Refusal> {
    if sql.contains("WITH (FORCE)") {
        if name == world.database {
            world.sessions.clear();
        }
    } else {
        unused(world, name)?;
    }
    if world.databases.remove(name).is_none() && !sql.contains("IF EXISTS") {
        return Err(missing(name));
    }
    Ok(Answer::Done("DROP DATABASE".into()))
}

fn missing(name: &str) -> Refusal {
    Refusal::new("3D000", format!("database \"{name}\" does not exist"))
}

fn unused(world: &World, name: &str) -> Result<(), Refusal> {
    if name == world.database && !world.sessions.is_empty() {
        let why = format!("database \"{name}\" is being accessed by other users");
        return Err(Refusal::new("55006", why));
    }
    Ok(())
}

fn asked(world: &World, sql: &str, values: &[Option<String>]) -> Option<FakeRows> {
    use FakeType::{Bool, Int4, Int8, Json, Text, TextArray};
    let has = |part: &str| sql.contains(part);
    let value = |at: usize| values.get(at).and_then(Option::as_deref).unwrap_or_default();
    Some(if has("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)") {
        one("exists", Bool, world.databases.contains_key(value(0)))
    } else if has("rolsuper OR rolcreatedb AS creates") {
        let columns = FakeRows::new([
            ("creates", Bool),
            ("owns", Bool),
            ("role", Text),
            ("slots", TextArray),
            ("subscriptions", Int8),
            ("prepared", Int8),
        ]);
        if values.is_empty() || world.databases.contains_key(value(0)) {
            let none = FakeValue::List(Vec::new());
            columns.row([true.into(), true.into(), "app".into(), none, 0.into(), 0.into()])
        } else {
            columns
        }
    } else if has("usename AS user, application_name AS application") {
        let columns = FakeRows::new([("pid", Int4), ("user", Text), ("application", Text)]);
        let there = world.sessions.iter().filter(|_| value(0) == world.database);
        there.fold(columns, |rows, one| {
            rows.row([one.pid.into(), "app".into(), one.application.clone().into()])
        })
    } else if has("SELECT to_jsonb(d), pg_get_userbyid(datdba)") {
        let columns = [("d", Json), ("owner", Text), ("encoding", Text), ("spcname", Text)];
        let like = [r#"{"datcollate":"C","datctype":"C"}"#, "app", "UTF8", "pg_default"];
        FakeRows::new(columns).row(like.map(Into::into))
    } else if has("jsonb_build_object") && has("'labels'") {
        one("to_jsonb", Json, "{}")
    } else if has("SELECT datconnlimit, datistemplate") {
        let columns = [("limit", Int4), ("template", Bool), ("comment", Text)];
        FakeRows::new(columns).row([FakeValue::Int(-1), false.into(), FakeValue::Null])
    } else if has("SELECT statement FROM") {
        FakeRows::new([("statement", Text)])
    } else if has("FROM pg_db_role_setting, unnest(setconfig) WITH ORDINALITY") {
        FakeRows::new([("role", Text), ("name", Text), ("value", Text)])
    } else if has("SELECT provider, label FROM pg_shseclabel") {
        FakeRows::new([("provider", Text), ("label", Text)])
    } else if has("SELECT extname::text, obj_description") {
        FakeRows::new([("extname", Text), ("comment", Text)])
    } else if has("SELECT oid, datname::text FROM pg_database WHERE datname IN") {
        let columns = FakeRows::new([("oid", Int8), ("datname", Text)]);
        let named = |name: &str| values.iter().any(|value| value.as_deref() == Some(name));
        let found = world.databases.iter().filter(|(name, _)| named(name));
        found.fold(columns, |rows, (name, database)| {
            rows.row([database.oid.into(), name.clone().into()])
        })
    } else if has("SELECT datname::text FROM pg_database WHERE oid = $1::oid") {
        let found =
            world.databases.iter().filter(|(_, database)| database.oid.to_string() == value(0));
        found.fold(FakeRows::new([("datname", Text)]), |rows, (name, _)| {
            rows.row([name.clone().into()])
        })
    } else if has("WHERE starts_with(datname, $1)") {
        let (before, days) = (value(0), value(1).parse().unwrap_or(0));
        let old = world.databases.keys().filter(|name| {
            name.strip_prefix(before).is_some_and(|end| end.len() == 22 && end < &*ago(days))
        });
        old.fold(FakeRows::new([("datname", Text)]), |rows, name| rows.row([name.clone().into()]))
    } else {
        return None;
    })
}

/// So many days ago, as names of databases tell it.
fn ago(days: u64) -> String {
    let then = Timestamp::now().as_micros().saturating_sub(days * 24 * 60 * 60 * 1_000_000);
    // 2026-03-14T15:09:26.535897Z
    let text = Timestamp::from_micros(then).to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).take(14).collect();
    format!("{}_{}", &digits[..8.min(digits.len())], &digits[8.min(digits.len())..])
}
