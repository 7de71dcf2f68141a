use std::time::Duration;

use runbook_core::{Level, Status, testing};
use runbook_postgres::{Activity, Format, Migration, Table};

use crate::support::{Cluster, Spec, check, run, step, until};

#[tokio::test]
async fn who_holds_up_whom_is_found_and_ended() {
    let cluster = Cluster::shared();
    let db = cluster.create("held", "CREATE TABLE t (n int)");
    assert!(check(db.locks()).await.unwrap().passed());
    let (first, second) = (testing::context(), testing::context());
    let holder = db.session(&first).await.unwrap();
    holder.batch("SET application_name = 'forgotten'; BEGIN; LOCK TABLE t").await.unwrap();
    let waiter = db.session(&second).await.unwrap();
    let waiting = waiter.execute("DELETE FROM t", &[]);
    let ending = async {
        let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
                     WHERE NOT granted AND datname = 'held'";
        until(|| cluster.psql("held", waits) == "1").await;
        let verdict = check(db.locks()).await.unwrap();
        assert!(!verdict.passed());
        let why = verdict.why().to_owned();
        assert!(
            why.starts_with("1 wait; in the way: pid ") && why.contains("\"forgotten\""),
            "{why}"
        );
        let blocked = verdict.into_evidence();
        assert_eq!(blocked[0].lock, "relation t, RowExclusiveLock");
        assert_eq!(blocked[0].waiting.query, "DELETE FROM t");
        let idle = check(db.idle_in_transaction(Duration::ZERO)).await.unwrap();
        let idle = idle.into_evidence();
        assert_eq!(idle.len(), 1);
        assert_eq!(idle[0].pid, blocked[0].by[0].pid);
        assert!(check(db.idle_in_transaction(Duration::from_secs(600))).await.unwrap().passed());
        let ended = step(db.terminate(idle.clone())).await.unwrap();
        assert!(ended[0].signalled && ended[0].ended);
        // Once more: it is gone, and nobody else is ended.
        let ended = step(db.terminate(idle)).await.unwrap();
        assert!(!ended[0].signalled);
    };
    let (deleted, ()) = tokio::join!(waiting, ending);
    assert_eq!(deleted.unwrap(), 0);
}

#[tokio::test]
async fn another_session_with_the_same_pid_is_not_ended() {
    let cluster = Cluster::shared();
    let db = cluster.create("same pid", "");
    let cx = testing::context();
    let session = db.session(&cx).await.unwrap();
    until(|| {
        cluster.psql(
            "same pid",
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'same pid' AND state = 'idle'",
        ) == "1"
    })
    .await;
    let mut found = check(db.idle(Duration::ZERO)).await.unwrap().into_evidence();
    found[0].began = "2001-01-01T00:00:00.000000Z".into();
    let ended = step(db.terminate(found)).await.unwrap();
    assert!(!ended[0].signalled);
    assert_eq!(session.one::<i32>("SELECT 1", &[]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_long_statement_is_found_and_cancelled() {
    let cluster = Cluster::shared();
    let db = cluster.create("long", "");
    let cx = testing::context();
    let session = db.session(&cx).await.unwrap();
    let query = session.query::<()>("SELECT pg_sleep(60)", &[]);
    let cancelling = async {
        let mut found: Vec<Activity> = Vec::new();
        while found.is_empty() {
            let verdict = check(db.long_running(Duration::from_millis(100))).await.unwrap();
            found = verdict.into_evidence();
        }
        assert_eq!(found[0].query, "SELECT pg_sleep(60)");
        let ended = step(db.cancel(found)).await.unwrap();
        assert!(ended[0].signalled && ended[0].ended);
    };
    let (failure, ()) = tokio::join!(query, cancelling);
    assert!(failure.unwrap_err().to_string().contains("due to user request (SQLSTATE 57014)"));
    assert_eq!(session.one::<i32>("SELECT 1", &[]).await.unwrap(), 1, "the session stays");
}

#[tokio::test]
async fn used_connections_are_counted() {
    let cluster = Cluster::start(Spec { settings: "max_connections = 10", ..Spec::default() });
    let db = cluster.create("full", "");
    let cx = testing::observer();
    assert_eq!(check(db.connections(80)).await.unwrap().level(), Level::Pass);
    let mut readers = Vec::new();
    for _ in 0..7 {
        readers.push(db.read(&cx).await.unwrap());
    }
    let verdict = check(db.connections(80)).await.unwrap();
    assert_eq!(verdict.level(), Level::Warn, "{}", verdict.why());
    assert_eq!(verdict.evidence().percent(), 70);
    readers.push(db.read(&cx).await.unwrap());
    let verdict = check(db.connections(80)).await.unwrap();
    assert_eq!(verdict.level(), Level::Fail);
    assert_eq!(verdict.evidence().by_application[0].1, "runbook");
    // Nobody gets in any more.
    readers.push(db.read(&cx).await.unwrap());
    readers.push(db.read(&cx).await.unwrap());
    let failure = check(db.ping()).await.unwrap_err();
    assert!(failure.to_string().contains("all connections are taken"), "{failure}");
    assert!(failure.to_problem().next.unwrap().contains("end idle sessions"));
}

#[tokio::test]
async fn sizes_and_slow_statements_are_told() {
    let cluster = Cluster::start(Spec {
        settings: "shared_preload_libraries = 'pg_stat_statements'",
        ..Spec::default()
    });
    let db = cluster.create(
        "sizes",
        "CREATE SCHEMA s; CREATE TABLE s.big AS SELECT n FROM generate_series(1, 20000) n; \
         CREATE TABLE small (n int); ANALYZE",
    );
    assert!(check(db.size_below(1 << 40)).await.unwrap().passed());
    assert!(!check(db.size_below(1000)).await.unwrap().passed());
    let tables = check(db.largest_tables(1)).await.unwrap().into_evidence();
    assert_eq!(tables[0].table, Table::new("s", "big"));
    assert_eq!(tables[0].estimated_rows, Some(20_000));
    let verdict = check(db.slow_queries(3)).await.unwrap();
    assert_eq!(verdict.level(), Level::Warn);
    assert!(verdict.why().ends_with("run CREATE EXTENSION pg_stat_statements in the database"));
    assert!(!verdict.why().contains("postgresql.conf"));
    cluster.psql("sizes", "CREATE EXTENSION pg_stat_statements");
    cluster.psql("sizes", "SELECT pg_sleep(0.3)");
    let verdict = check(db.slow_queries(3)).await.unwrap();
    let slow = verdict.into_evidence();
    assert!(
        slow.iter().any(|one| one.query == "SELECT pg_sleep($1)" && one.mean_ms > 250.0),
        "{slow:?}"
    );
    let without = Cluster::shared();
    let verdict = check(without.database("postgres").slow_queries(3)).await.unwrap();
    assert!(verdict.why().contains("shared_preload_libraries"));
}

#[tokio::test]
async fn old_rows_are_counted_and_deleted_batch_by_batch() {
    let cluster = Cluster::shared();
    let db = cluster.create(
        "old",
        r#"CREATE TABLE "odd ""one" (id int, "at;" date);
           INSERT INTO "odd ""one" SELECT n, now() - make_interval(days => n) FROM generate_series(1, 100) n;
           CREATE TABLE parts (id int, at timestamptz) PARTITION BY HASH (id);
           CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
           CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
           INSERT INTO parts SELECT n, now() - make_interval(days => n) FROM generate_series(1, 100) n"#,
    );
    for (table, column) in
        [(Table::new("public", "odd \"one"), "at;"), (Table::from("parts"), "at")]
    {
        let old = check(db.old_rows(table.clone(), column, 30)).await.unwrap().into_evidence();
        assert!((70..=71).contains(&old.rows), "{old}");
        assert_eq!(old.of, 100);
        let deleted = step(db.delete_old_rows(old.clone(), 7)).await.unwrap();
        assert_eq!(deleted, old.rows);
        let old = check(db.old_rows(table, column, 30)).await.unwrap().into_evidence();
        assert_eq!((old.rows, old.of), (0, 100 - deleted));
    }
    let failure = check(db.old_rows("parts", "id", 30)).await.unwrap_err();
    assert!(failure.to_string().contains("is a integer, no date or moment"), "{failure}");
    let failure = check(db.old_rows("parts; DROP TABLE parts", "at", 30)).await.unwrap_err();
    assert!(failure.to_string().contains("there is no table"), "{failure}");
    step(db.vacuum_analyze(None)).await.unwrap();
    step(db.vacuum_analyze(Some(Table::new("public", "odd \"one")))).await.unwrap();
}

fn note() -> Migration {
    Migration::new(
        "note",
        "ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text; \
         CREATE INDEX IF NOT EXISTS orders_note ON orders (note); \
         UPDATE orders SET note = 'old' WHERE note IS NULL",
        "DROP INDEX IF EXISTS orders_note; ALTER TABLE orders DROP COLUMN IF EXISTS note",
    )
}

const ORDERS: &str = "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz DEFAULT now()); \
                      INSERT INTO orders SELECT n FROM generate_series(1, 10) n";

#[tokio::test]
async fn a_migration_is_proved_applied_and_taken_back() {
    let cluster = Cluster::shared();
    let db = cluster.create("migrated", ORDERS);
    let columns = "SELECT string_agg(attname, ',' ORDER BY attname) FROM pg_attribute \
                   WHERE attrelid = 'orders'::regclass AND attnum > 0 AND NOT attisdropped";
    for fails in [true, false, true] {
        let outcome = run(|b| {
            let dump = b.step(db.dump(cluster.path("dumps"), Format::Custom));
            let dump = b.check(db.verify(dump));
            b.step(db.prove_migration(&note(), dump));
            b.step(db.migrate(&note()));
            if fails {
                b.check(db.rows::<i32>("no", "SELECT 1 WHERE false", []));
            }
        })
        .await;
        let finished = format!("{:?}", outcome.finished);
        assert_eq!(outcome.status == Status::Succeeded, !fails, "{finished}");
        assert_eq!(outcome.status == Status::RolledBack, fails, "{finished}");
        if outcome.status == Status::Succeeded {
            assert_eq!(cluster.psql("migrated", columns), "at,id,note");
        }
    }
    // The last one found it applied already: its rollback took nothing back.
    assert_eq!(cluster.psql("migrated", columns), "at,id,note");
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'runbook_scratch%'";
    until(|| cluster.psql("postgres", left) == "0").await;
}

#[tokio::test]
async fn a_migration_that_is_not_idempotent_is_found_on_a_copy() {
    let cluster = Cluster::shared();
    let db = cluster.create("unproved", ORDERS);
    let dump = step(db.dump(cluster.path("dumps"), Format::Custom)).await.unwrap();
    let dump = check(db.verify(dump)).await.unwrap().into_evidence();
    let before = cluster.psql("unproved", "SELECT * FROM orders ORDER BY 1");
    let bad = [
        ("CREATE TABLE t ()", "DROP TABLE t", "a second time, on a copy"),
        (
            "INSERT INTO orders SELECT max(id) + 1 FROM orders",
            "SELECT 1",
            "a second time it changes rows",
        ),
        ("CREATE TABLE IF NOT EXISTS t ()", "SELECT 1", "taken back, the database is not made of"),
        (
            "ALTER TABLE orders DROP COLUMN IF EXISTS at",
            "ALTER TABLE orders ADD at date",
            "taken back, the database is not",
        ),
        (
            "CREATE TABLE IF NOT EXISTS t (); COMMIT",
            "DROP TABLE t",
            "begins or ends a transaction of its own",
        ),
        ("\\i more.sql", "SELECT 1", "a command of psql"),
    ];
    for (up, down, says) in bad {
        let migration = Migration::new("bad", up, down);
        let failure = step(db.prove_migration(&migration, dump.clone())).await.unwrap_err();
        assert!(failure.to_string().contains(says), "{up}: {failure}");
    }
    assert_eq!(cluster.psql("unproved", "SELECT * FROM orders ORDER BY 1"), before);
}

#[tokio::test]
async fn a_migration_that_fails_half_way_changes_nothing() {
    let cluster = Cluster::shared();
    let db = cluster.create("half", ORDERS);
    let outcome = run(|b| {
        b.step(db.migrate(&Migration::new(
            "half",
            "DELETE FROM orders; CREATE TABLE t (); SELECT 1 / 0",
            "DROP TABLE t",
        )));
    })
    .await;
    assert_eq!(outcome.status, Status::RolledBack, "{:?}", outcome.finished);
    let message = outcome.finished.unwrap().problem.unwrap().message;
    assert!(
        message.starts_with("the migration half: ") && message.contains("division by zero"),
        "{message}"
    );
    assert_eq!(cluster.psql("half", "SELECT count(*) FROM orders"), "10");
}

#[tokio::test]
async fn a_standby_is_seen_to_follow_and_is_promoted() {
    let primary = std::sync::Arc::new(Cluster::start(Spec::default()));
    let standby = Cluster::start(Spec { standby_of: Some(primary.clone()), ..Spec::default() });
    let (first, second) = (primary.database("postgres"), standby.database("postgres"));
    let lag = Duration::from_secs(30);
    until(|| {
        primary
            .psql("postgres", "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
            == "1"
    })
    .await;
    let verdict = check(first.replication(1, lag)).await.unwrap();
    assert!(verdict.passed(), "{}", verdict.why());
    assert!(!check(first.replication(2, lag)).await.unwrap().passed());
    let verdict = check(second.replication(0, lag)).await.unwrap();
    assert!(verdict.why().starts_with("it is a standby, streaming, "), "{}", verdict.why());
    primary.psql("postgres", "CREATE TABLE t AS SELECT 42 AS n");
    until(|| standby.psql("postgres", "SELECT to_regclass('t') IS NOT NULL") == "t").await;
    // A standby takes no writes, and says so.
    let failure = step(second.execute("write", "DELETE FROM t", [])).await.unwrap_err();
    assert!(failure.to_problem().next.unwrap().contains("on a standby"));
    let failure = step(first.promote()).await.unwrap_err();
    assert!(failure.to_string().contains("it is not promoted: it is no standby"), "{failure}");
    primary.stop("immediate");
    let verdict = check(second.replication(0, lag)).await;
    assert!(verdict.is_ok());
    step(second.promote()).await.unwrap();
    assert_eq!(step(second.execute("write", "DELETE FROM t", [])).await.unwrap(), 1);
}

#[tokio::test]
async fn corruption_in_the_log_speaks_for_a_restore() {
    let cluster = Cluster::start(Spec { settings: "autovacuum = off", ..Spec::default() });
    let db = cluster.create(
        "damaged",
        "CREATE TABLE t AS SELECT n, 'x' || n AS x FROM generate_series(1, 1000) n",
    );
    let log = cluster.path("log");
    let clean = check(db.log_is_clean(&log)).await.unwrap();
    assert_eq!((clean.level(), clean.why()), (Level::Pass, "nothing speaks for a restore"));
    // A real damaged page.
    let file =
        cluster.path("data").join(cluster.psql("damaged", "SELECT pg_relation_filepath('t')"));
    cluster.stop("fast");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[10..24].fill(0xff);
    std::fs::write(&file, bytes).unwrap();
    cluster.up();
    let read = step(db.execute("read", "SELECT count(*) FROM t", [])).await;
    assert!(read.is_err());
    let verdict = check(db.log_is_clean(&log)).await.unwrap();
    assert_eq!(verdict.level(), Level::Fail);
    assert!(verdict.why().contains("invalid page in block 0"), "{}", verdict.why());
    assert!(verdict.evidence().advice().contains("restore the last good dump"));
    assert!(check(db.log_is_clean("/nowhere")).await.is_err());
    // Only panics: a warning.
    let folder = cluster.path("logs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        folder.join("pg.log"),
        "2026-01-01 [1] PANIC:  could not write to file: No space left\n",
    )
    .unwrap();
    assert_eq!(check(db.log_is_clean(&folder)).await.unwrap().level(), Level::Warn);
}
