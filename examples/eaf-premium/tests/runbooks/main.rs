//! The runbooks as tests: pages and plans as snapshots, and the fault matrix of each on a platform
//! made of fakes. On the real one they are run by `tests/world`.
#![allow(missing_docs)]

mod platform;
mod posix;
mod proc;
mod programs;
mod site;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use eaf_premium::Env;
use runbook::harness::{Case, Fakes, Harness};
use runbook_postgres::testing::FakeSession;

use crate::platform::{BACKUPS, NGINX, Platform, QUEUE, SITE, TREE, WORKER, made, well, with};

fn main() -> ExitCode {
    Harness::new(eaf_premium::catalog, well)
        .snapshots(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"))
        .book("start", |case| case.fakes(|| with(both_are_stopped)))
        .book("deploy", |case| {
            // The database stays at the release to which it was brought.
            dumps_stay(kept_of_a_build(case), "database")
                .arg("migrate", "true")
                .may_leave("migrations")
        })
        .book("return-to", |case| {
            dumps_stay(kept_of_a_build(case), "before-restore")
                .fakes(|| with(a_dump_is_there))
                .arg("commit", "v1")
                .answer("decide-whether-a-backup-is-restored", "restore")
        })
        .book("backup", |case| {
            // What is too old is removed for good.
            dumps_stay(case, "database")
                .fakes(|| with(old_backups_are_there))
                .may_leave(format!("{BACKUPS}/files"))
        })
        .book("restore", |case| dumps_stay(case, "before-restore").fakes(|| with(a_dump_is_there)))
        .book("restore-files", |case| case.fakes(|| with(an_archive_is_there)))
        .book("quick-plan", |case| {
            // What was mended stays so: servers, the site's process, what a person did.
            case.fakes(everything_is_wrong)
                .answer("postgresql-does-not-answer/decide-whether-a-backup-is-restored", "keep")
                .may_leave("servers")
                .may_leave("apps")
                .may_leave("sessions")
                .may_leave("/etc/nginx")
        })
        .book("many-401", |case| case.fakes(|| with(cookies_are_not_secure)))
        .book("csrf-403", |case| case.fakes(|| with(tokens_are_refused)))
        .book("queue-blocked", |case| {
            // The jobs that a worker did are done.
            case.fakes(|| with(the_worker_is_gone_and_jobs_wait))
                .arg("retry", "true")
                .may_leave("keys")
        })
        .book("redis-down", |case| {
            // A server that was started goes on.
            case.fakes(|| with(redis_is_down_and_small)).may_leave("servers")
        })
        .book("database-slow", |case| {
            // Who was ended stays ended.
            case.fakes(|| with(sessions_are_in_the_way)).may_leave("sessions")
        })
        .book("release-checklist", kept_of_a_build)
        .main()
}

/// What a build keeps for the way back goes with the next one, or the end of a run.
fn kept_of_a_build(case: Case<Env>) -> Case<Env> {
    case.may_leave(format!("{TREE}/.runbook-kept"))
}

/// A dump that is complete stays, and whoever dumps twice has two.
fn dumps_stay(case: Case<Env>, folder: &str) -> Case<Env> {
    let folder = format!("{BACKUPS}/{folder}");
    case.may_leave(&folder).may_repeat(folder)
}

fn both_are_stopped(eaf: &Platform) {
    eaf.stop(SITE);
    eaf.stop(WORKER);
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A backup of so many days ago.
fn backup(eaf: &Platform, name: &str, content: &str, days: u32) {
    let path = format!("{BACKUPS}/{name}");
    let sum = posix::sum(content.as_bytes());
    let file = name.rsplit('/').next().unwrap_or_default();
    for (path, text) in
        [(path.clone(), content), (path.clone() + ".sha256", &format!("{sum}  {file}\n"))]
    {
        eaf.put(&path, text);
        let touched = eaf.disk.touch(&path, SystemTime::now() - DAY * days);
        touched.unwrap_or_else(|why| panic!("{path}: {why}"));
    }
}

/// A dump in which one more copy was handed in.
fn a_dump_is_there(eaf: &Platform) {
    let dump = "PGDMP\n[\"table\",\"public\",\"copies\"]\n[\"row\",\"1 kim\"]\n[\"row\",\"2 ada\"]\n\
                [\"row\",\"3 lin\"]\n[\"table\",\"public\",\"marks\"]\n\
                -- PostgreSQL database dump complete\n";
    backup(eaf, "database/eaf_prod-2026-01-01-030000.dump", dump, 1);
}

fn an_archive_is_there(eaf: &Platform) {
    let archive = r#"[[".data/copies/1.pdf","a copy"],[".data/copies/2.pdf","another"]]"#;
    backup(eaf, "files/files-2026-01-01.tar.gz", archive, 1);
}

fn old_backups_are_there(eaf: &Platform) {
    for day in 1..=5 {
        let dump = "PGDMP\n-- PostgreSQL database dump complete\n";
        backup(eaf, &format!("database/eaf_prod-2026-01-0{day}-030000.dump"), dump, 40 - day);
        backup(eaf, &format!("files/files-2026-01-0{day}.tar.gz"), "[]", 40 - day);
    }
}

fn cookies_are_not_secure(eaf: &Platform) {
    let variables = eaf.read(".env").unwrap_or_default();
    eaf.write(".env", &variables.replace("COOKIE_SECURE=true", "COOKIE_SECURE=false"));
    eaf.restart(SITE);
}

fn tokens_are_refused(eaf: &Platform) {
    if let Some(app) = eaf.state().apps.get_mut(SITE) {
        app.confused = true;
    }
}

fn the_worker_is_gone_and_jobs_wait(eaf: &Platform) {
    eaf.stop(WORKER);
    eaf.redis.queue(QUEUE).waiting("1").waiting("2").failed("3", "the language model is away");
}

/// When it runs again its memory is full.
fn redis_is_down_and_small(eaf: &Platform) {
    eaf.redis.memory(250 << 20, 256 << 20);
    eaf.redis.stop();
}

fn sessions_are_in_the_way(eaf: &Platform) {
    let minutes = Duration::from_mins;
    eaf.db.connect(FakeSession::new(601).application("psql").idle_in_transaction(minutes(20)));
    let report = FakeSession::new(602).application("report");
    eaf.db.connect(report.active("SELECT * FROM copies", minutes(30)));
    eaf.db.connect(FakeSession::new(603).active("UPDATE copies", minutes(1)).blocked_by(601));
    for pid in 610..625 {
        eaf.db.connect(FakeSession::new(pid).application("forgotten").idle(minutes(60)));
    }
}

const MEND: &str = "nginx-refuses-its-configuration/mend-the-configuration/by-hand/\
                    mend-the-line-that-nginx-names";
const RENEW: &str = "the-certificate-is-not-good/renew-it/by-hand/renew-the-certificate";

/// Database and Redis are stopped, somebody has the port, the configuration of Nginx is broken and
/// its certificate expired. A person mends the last two.
fn everything_is_wrong() -> Fakes<Env> {
    let (eaf, fakes) = made(|eaf| {
        eaf.state().stranger = Some(77);
        eaf.restart(SITE);
        eaf.db.stop();
        eaf.redis.stop();
        eaf.put("/etc/nginx/nginx.conf", &NGINX.replace("listen", "lisden"));
        eaf.put("/etc/nginx/eaf.pem", "expired");
    });
    let (line, certificate) = (eaf.clone(), eaf);
    fakes
        .person(MEND, move || line.put("/etc/nginx/nginx.conf", NGINX))
        .person(RENEW, move || certificate.put("/etc/nginx/eaf.pem", "good"))
}
