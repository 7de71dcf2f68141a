//! The server's programs, as they would run on the fake's target: `pg_dump`, `pg_restore`, `psql`,
//! and the tools that this crate runs beside them.

use std::sync::{Arc, Mutex, PoisonError};

use runbook_core::testing::{Disk, FakeTarget, Reply};
use runbook_core::{Command, EnvValue};
use sha2::{Digest as _, Sha256};

use super::{FakePostgres, Tables};
use crate::dump::{ENTRIES, FILL_BESIDE, FILL_IN_PLACE, SUM};
use crate::identifier::Table;
use crate::program::WITH_PASSWORD;

/// The beginning of an archive, as of the format that a dump is known by.
const ARCHIVE: &str = "PGDMP";
const PLAIN: &str = "-- PostgreSQL database dump";
/// The end of both.
const END: &str = "-- PostgreSQL database dump complete";

/// Plays the programs on `target`.
pub(super) fn play(server: &FakePostgres, target: &FakeTarget) {
    let (server, disk) = (server.clone(), target.disk());
    // A call is kept without its environment: what is asked for is noted when it is matched.
    let database = Arc::new(Mutex::new(String::new()));
    let asked = Arc::clone(&database);
    let ours = move |command: &Command| {
        let ours = command.program() == "sh"
            && command.arguments().iter().any(|word| word == WITH_PASSWORD);
        let name = command.environment().find(|(name, _)| *name == "PGDATABASE");
        if let (true, Some((_, EnvValue::Plain(name)))) = (ours, name) {
            let name = name.to_string_lossy().into_owned();
            *asked.lock().unwrap_or_else(PoisonError::into_inner) = name;
        }
        ours
    };
    target.on(ours).reply_with(move |call| {
        // sh -c SCRIPT sh PROGRAM ..
        let words: Vec<String> =
            call.args.iter().skip(4).map(|word| word.to_string_lossy().into_owned()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let database = database.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match run(&server, &database, &disk, &words) {
            Ok(said) => Reply::stdout(said),
            Err(why) => Reply::exit(1).stderr(format!("{why}\n")),
        }
    });
}

fn run(
    server: &FakePostgres,
    database: &str,
    disk: &Disk,
    words: &[&str],
) -> Result<String, String> {
    match words {
        ["pg_dump", options @ ..] => dump(server, database, disk, options),
        ["sh", "-c", script, "sh", file] if *script == SUM => sum(disk, file),
        ["sh", "-c", script, "sh", "plain-end" | "plain", file] if *script == ENTRIES => {
            match read(disk, file) {
                Err(why) if why.contains("cut short") => Ok("cut short\n".into()),
                other => other.map(|tables| entries(&tables)),
            }
        }
        ["sh", "-c", script, "sh", "custom", file] if *script == ENTRIES => {
            read(disk, file).map(|tables| entries(&tables))
        }
        ["sh", "-c", script, "sh", way, file, _]
            if [FILL_BESIDE, FILL_IN_PLACE].contains(script) && !way.starts_with("gzip") =>
        {
            let mut world = server.world();
            if !world.runs {
                return Err(refused("psql"));
            }
            if !world.databases.contains_key(database) {
                return Err(format!("psql: error: database \"{database}\" does not exist"));
            }
            // All of it is read before anything is dropped: it is one transaction, or a database
            // that nobody uses yet.
            *world.tables_of(database) = read(disk, file)?;
            drop(world);
            if *script == FILL_BESIDE { sum(disk, file) } else { Ok(String::new()) }
        }
        ["sh", "-c", script, "sh", file] if script.starts_with("pg_restore --list") => {
            read(disk, file).map(|_| String::new())
        }
        _ => Err(format!("the fake does not play `{}`", words.join(" "))),
    }
}

/// As `sha256sum` says it of its input.
fn sum(disk: &Disk, file: &str) -> Result<String, String> {
    let content = disk.read(file).ok_or_else(|| missing("sha256sum", file))?;
    let sum: String = Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect();
    Ok(format!("{sum}  -\n"))
}

fn dump(
    server: &FakePostgres,
    database: &str,
    disk: &Disk,
    options: &[&str],
) -> Result<String, String> {
    let mut world = server.world();
    if !world.runs {
        return Err(refused("pg_dump"));
    }
    let option = |name: &str| options.iter().find_map(|one| one.strip_prefix(name));
    if options.iter().any(|one| one.starts_with("--compress")) {
        return Err("the fake writes no gzip".into());
    }
    let file = option("--file=").ok_or("pg_dump: no file is given")?;
    let head = if option("--format=") == Some("custom") { ARCHIVE } else { PLAIN };
    let mut text = format!("{head}\n");
    for (table, rows) in world.tables_of(database).iter() {
        text.push_str(&line(&["table", &table.schema, &table.name]));
        let schema_only = options.contains(&"--schema-only");
        for row in rows.iter().filter(|_| !schema_only) {
            text.push_str(&line(&["row", row]));
        }
    }
    text.push_str(&format!("{END}\n"));
    drop(world);
    disk.write(file, text).map_err(|why| format!("pg_dump: could not open \"{file}\": {why}"))?;
    Ok(String::new())
}

/// The words as one line, whatever they hold.
fn line(words: &[&str]) -> String {
    format!("{}\n", serde_json::json!(words))
}

/// What is in a dump, if it was written to its end.
fn read(disk: &Disk, file: &str) -> Result<Tables, String> {
    let content = disk.read(file).ok_or_else(|| missing("pg_restore", file))?;
    let text = String::from_utf8_lossy(&content).into_owned();
    let broken = || format!("pg_restore: error: {file} is cut short or broken");
    let body =
        text.strip_prefix(ARCHIVE).or_else(|| text.strip_prefix(PLAIN)).ok_or_else(broken)?;
    let body = body.strip_suffix(&format!("{END}\n")).ok_or_else(broken)?;
    let mut tables = Tables::new();
    let mut last = None;
    for line in body.lines().filter(|line| !line.is_empty()) {
        let words: Vec<String> = serde_json::from_str(line).map_err(|_| broken())?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["table", schema, name] => {
                let table = Table::new(*schema, *name);
                tables.insert(table.clone(), Vec::new());
                last = Some(table);
            }
            ["row", row] => {
                let rows = last.as_ref().and_then(|table| tables.get_mut(table));
                rows.ok_or_else(broken)?.push((*row).to_owned());
            }
            _ => return Err(broken()),
        }
    }
    Ok(tables)
}

fn entries(tables: &Tables) -> String {
    let lines = tables.keys().map(|Table { schema, name }| {
        format!("-- Name: {name}; Type: TABLE; Schema: {schema}; Owner: app\n")
    });
    lines.collect::<String>() + &format!("objects {}\nlarge objects 0\n", tables.len())
}

fn missing(program: &str, file: &str) -> String {
    format!("{program}: {file}: No such file or directory")
}

fn refused(program: &str) -> String {
    format!("{program}: error: connection to server failed: Connection refused")
}
