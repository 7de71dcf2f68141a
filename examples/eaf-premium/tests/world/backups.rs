//! Backups, and what a restore gives back.

use std::time::Duration;

use lab::wait_until;

use crate::Test;
use crate::operator::Stage;

pub(crate) const TESTS: &[Test] = &[
    ("a_restore_gives_back_the_same_rows", a_restore_gives_back_the_same_rows),
    ("a_dump_that_was_changed_is_refused", a_dump_that_was_changed_is_refused),
    ("the_files_come_back", the_files_come_back),
    ("a_full_disk_leaves_no_half_backup", a_full_disk_leaves_no_half_backup),
    ("a_cut_connection_leaves_the_database_whole", a_cut_connection_leaves_the_database_whole),
];

const SOON: Duration = Duration::from_secs(60);

/// What is in the tables, in short.
fn content(stage: &Stage) -> String {
    let world = stage.world.postgres();
    let of = |table: &str| {
        let sql =
            format!("select md5(string_agg(t::text, '|' order by t::text)) from \"{table}\" t");
        world.psql(stage.world.database(), &sql)
    };
    ["User", "Copy", "Document", "_prisma_migrations"].map(of).join(" ")
}

fn a_restore_gives_back_the_same_rows(stage: &Stage) {
    let (postgres, database) = (stage.world.postgres(), stage.world.database());
    let before = content(stage);
    stage.run(&["run", "backup"], 0);
    postgres.psql(database, "delete from \"Document\"; update \"User\" set role = 'nobody'");
    assert_ne!(content(stage), before);
    let plan = stage.run(&["plan", "restore"], 0);
    assert!(plan.contains("can be undone"), "{plan}");
    stage.run(&["run", "restore", "--yes"], 0);
    assert_eq!(content(stage), before);
    // And back again: what was there before the restore is not lost.
    stage.run(&["rollback", "last"], 0);
    assert_ne!(content(stage), before);
    stage.run(&["run", "restore", "--yes"], 0);
    assert_eq!(content(stage), before);
    stage.run(&["run", "verify"], 0);
}

fn a_dump_that_was_changed_is_refused(stage: &Stage) {
    let before = content(stage);
    stage.run(&["run", "backup"], 0);
    let dump = stage.world.ssh("ls -t backups/database/*.dump | head -n 1");
    let path = stage.world.home().join(&dump);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let said = stage.run(&["run", "restore", "--yes"], 1);
    assert!(said.contains("is not as it was written"), "{said}");
    assert_eq!(content(stage), before);
    assert_eq!(stage.world.health().unwrap().status, 200, "it never was stopped");
}

fn the_files_come_back(stage: &Stage) {
    let data = stage.world.tree().join(".data");
    let files = || stage.world.ssh("cd eaf_platform/.data && find . -type f -exec sha256sum {} +");
    stage.world.hand_in(2, "a copy that must not be lost");
    let before = files();
    stage.run(&["run", "backup"], 0);
    std::fs::remove_dir_all(data.join("uploads")).unwrap();
    std::fs::write(data.join("memory-store.json"), "{}").unwrap();
    let broken = files();
    stage.run(&["run", "restore-files", "--yes"], 0);
    assert_eq!(files(), before);
    stage.run(&["rollback", "last"], 0);
    assert_eq!(files(), broken, "and what was there before that is not lost either");
    stage.run(&["run", "restore-files", "--yes"], 0);
    assert_eq!(files(), before);
}

fn a_full_disk_leaves_no_half_backup(stage: &Stage) {
    let Some(disk) = stage.world.small_disk("backups", 64 * 1024) else { return };
    stage.run(&["run", "backup"], 0);
    let rest = format!("{}/rest", disk.path().display());
    let fill = format!("dd if=/dev/zero of={rest} bs=4096 2>/dev/null; truncate -s -4096 {rest}");
    stage.world.ssh(&fill);
    let list = || stage.world.ssh("cd backups && find . -type f ! -name rest | sort");
    let before = list();
    let said = stage.run(&["run", "backup"], 1);
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(list(), before, "the good backup stays, and nothing half is beside it");
    drop(disk);
}

fn a_cut_connection_leaves_the_database_whole(stage: &Stage) {
    let (postgres, database) = (stage.world.postgres(), stage.world.database());
    // So much that filling the new database takes a moment.
    let ballast = format!(
        "set role {}; create table ballast as \
         select n, md5(n::text) || md5((-n)::text) as text from generate_series(1, 400000) n; \
         create index on ballast (text)",
        stage.world.role()
    );
    postgres.psql(database, &ballast);
    stage.run(&["run", "backup"], 0);
    let oid = || postgres.psql("postgres", "select oid, datname from pg_database order by 1");
    let before = (content(stage), oid());
    let proxy = stage.world.ssh_proxy();
    stage.write_ssh_config("ssh_config", proxy.port(), &stage.path("known_hosts"));
    let run = stage.run_up_to(&["run", "restore", "--yes"], "started   restore/restore");
    let fills = "select count(*) > 0 from pg_stat_activity where application_name = \
                 'runbook restore' and datname like 'runbook_restore%' and state = 'active'";
    wait_until("the restore to be in the middle", SOON, || postgres.psql("postgres", fills) == "t");
    proxy.cut();
    let said = run.finish();
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("rolled back"), "{}", said.text);
    assert_eq!((content(stage), oid()), before, "the very same databases, and no other");
    postgres.psql(database, "drop table ballast");
    stage.world.wait_for_site();
    stage.run(&["run", "verify"], 0);
}
