//! Backups, and what a restore gives back.

use crate::Test;
use crate::operator::Stage;

pub(crate) const TESTS: &[Test] = &[
    ("a_restore_gives_back_the_same_rows", a_restore_gives_back_the_same_rows),
    ("a_dump_that_was_changed_is_refused", a_dump_that_was_changed_is_refused),
];

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
