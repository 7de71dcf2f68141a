//! Back the data up, and bring it back.

use std::path::PathBuf;
use std::time::Duration;

use runbook::{Manual, Param, Result, Runbook, Step, Wait, runbook};
use runbook_host::Retention as Old;
use runbook_postgres::{Format, OtherSessions, Retention};
use serde::{Deserialize, Serialize};

use super::release::works;
use crate::checks::stays_up;
use crate::env::Env;
use crate::files::{archive_files, archive_is_good, bring_files_back, latest_archive};
use crate::platform::Platform;

/// Back the database and the files up
///
/// What fails half way is removed, and nothing older is: a backup is only worth its name once it
/// was read again. Redis is not backed up: what it holds is gone in a day by itself.
#[runbook]
pub(crate) fn backup(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    b.lock(eaf.backups_lock());
    let dumps = eaf.dumps();
    b.group("The database", |b| {
        let dump = b.step(eaf.db.dump(&dumps, Format::Custom));
        b.check(eaf.db.verify(dump));
    });
    b.group("The files", |b| {
        let archive = b.step(archive_files(&eaf.host, &env.app.dir, &eaf.archives()));
        b.check(archive_is_good(&eaf.host, archive));
    });
    b.group("What is too old", |b| {
        let rule = Retention::days(env.backups.retention_days).keep_last(3);
        let old = b.check(eaf.db.expired_dumps(&dumps, rule));
        let why = format!("backups are kept for {} days", env.backups.retention_days);
        b.irreversible(eaf.db.remove_dumps(&dumps, rule, old), why.as_str());
        let archives = eaf.machine.folder(eaf.archives());
        let rule = Old::days(env.backups.retention_days).keep_last(6).named("files-*.tar.gz*");
        let old = b.check(archives.list_old(rule));
        b.irreversible(archives.remove(old), why.as_str());
        let replaced = b.check(eaf.db.replaced_before(env.backups.retention_days));
        b.irreversible(eaf.db.drop_replaced(replaced), why);
    });
    Ok(())
}

/// Restore the database
///
/// Only from a dump that was verified, with the site stopped around it. The dump fills a new
/// database, which takes the place of the old one when it is whole: if anything fails, also after
/// the restore, the old one is given its name back. It stays until backups of its age are removed.
#[runbook]
pub(crate) fn restore(
    b: &mut Runbook,
    env: &Env,
    /// The dump; the latest one if it is left out
    dump: Option<PathBuf>,
) -> Result<()> {
    let eaf = &Platform::new(env)?;
    b.lock(eaf.lock());
    b.lock(eaf.backups_lock());
    restore_database(b, eaf, dump);
    Ok(())
}

/// Restore the files
///
/// From an archive that was verified, with the site stopped around it. What is there now is moved
/// aside, and stays there.
#[runbook]
pub(crate) fn restore_files(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    b.lock(eaf.lock());
    b.lock(eaf.backups_lock());
    let archive = b.check(latest_archive(&eaf.host, &eaf.archives()));
    let archive = b.check(archive_is_good(&eaf.host, archive));
    stop_what_writes(b, eaf, "Restore the files? The site is away meanwhile.");
    b.step(bring_files_back(&eaf.host, &env.app.dir, &eaf.aside(), archive));
    start_again(b, eaf);
    Ok(())
}

/// The database from a dump, with the site stopped around it.
pub(crate) fn restore_database(b: &mut Runbook, eaf: &Platform, dump: Option<PathBuf>) {
    let db = &eaf.db;
    let dump = b.group("The dump", |b| {
        let dump = match dump {
            Some(dump) => b.check(db.existing_dump(dump)),
            None => b.check(db.latest_dump(eaf.dumps())),
        };
        b.check(db.replaceable());
        b.check(db.verify(dump))
    });
    stop_what_writes(
        b,
        eaf,
        "Restore the database? The site is away meanwhile, and what was written since the dump is \
         lost.",
    );
    b.wait_until(db.unused(), Wait::at_most(Duration::from_secs(30)));
    b.group("Restore", |b| {
        b.step(db.restore(dump, OtherSessions::Refuse));
        b.step(eaf.prisma.generate());
    });
    start_again(b, eaf);
}

fn stop_what_writes(b: &mut Runbook, eaf: &Platform, question: &str) {
    b.group("Stop what writes", |b| {
        b.step(eaf.pm2.stop(eaf.app()).confirm(question));
        b.step(eaf.pm2.stop(eaf.worker_app()));
    });
}

fn start_again(b: &mut Runbook, eaf: &Platform) {
    b.group("Start again", |b| {
        b.step(eaf.pm2.start(eaf.worker_app()));
        b.step(eaf.pm2.start(eaf.app()));
        let port = eaf.env.app.port;
        b.wait_until(stays_up(&eaf.pm2, eaf.app(), &port, &eaf.steady(), None), eaf.start());
    });
    b.group("Prove that it works", |b| works(b, eaf));
}

/// What is to become of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Param, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Data {
    /// It stays as it is
    Keep,
    /// It is restored from the latest dump
    Restore,
}

/// Asks a person whether a backup is to be restored, and does so.
pub(crate) fn decide_to_restore(b: &mut Runbook, eaf: &Platform) {
    let decided = b.manual(
        Manual::new("Decide whether a backup is restored")
            .doc(format!(
                "Restore only if rows are wrong or lost: what was written since the dump goes. If \
                 only the code was wrong, keep the data. In doubt, ask first: {}.",
                eaf.on_call()
            ))
            .ask::<Data>("Keep the data, or restore the latest dump?"),
    );
    let restore = decided.map(|data| *data == Data::Restore);
    b.when("If it is restored", restore, |b| restore_database(b, eaf, None));
}
