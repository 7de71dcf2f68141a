//! A restore beside the database, and the swap of their names.

use std::process::Command;

use runbook_core::testing::{self, Surroundings};
use runbook_core::{Status, Step as _};
use runbook_postgres::{Dump, Format, OtherSessions, Postgres, Restored, Verified};

use crate::support::{Cluster, check, run, step, until};

/// The databases whose names begin so.
fn databases(cluster: &Cluster, beginning: &str) -> Vec<String> {
    let sql = format!(
        "SELECT datname FROM pg_database WHERE starts_with(datname, '{beginning}') ORDER BY 1"
    );
    cluster.psql("postgres", &sql).lines().map(str::to_owned).collect()
}

fn oid(cluster: &Cluster, name: &str) -> String {
    cluster.psql("postgres", &format!("SELECT oid FROM pg_database WHERE datname = '{name}'"))
}

async fn dumped(cluster: &Cluster, db: &Postgres, format: Format) -> Verified<Dump> {
    let dump = step(db.dump(cluster.path("dumps"), format)).await.unwrap();
    check(db.verify(dump)).await.unwrap().into_evidence()
}

#[tokio::test]
async fn all_that_hangs_on_the_database_is_carried_over() {
    let cluster = Cluster::shared();
    let name = "carried \"over\"";
    cluster.psql("postgres", "CREATE ROLE carrier; CREATE ROLE reader; CREATE ROLE \"o'brien\"");
    cluster.psql(
        "postgres",
        "CREATE DATABASE \"carried \"\"over\"\"\" TEMPLATE template0 OWNER carrier \
         ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' CONNECTION LIMIT 17",
    );
    cluster.psql(
        "postgres",
        r#"
        REVOKE ALL ON DATABASE "carried ""over""" FROM PUBLIC;
        GRANT CONNECT ON DATABASE "carried ""over""" TO reader WITH GRANT OPTION;
        GRANT TEMPORARY ON DATABASE "carried ""over""" TO "o'brien";
        COMMENT ON DATABASE "carried ""over""" IS E'it''s\nours \\ theirs';
        ALTER DATABASE "carried ""over""" SET search_path = "$user", "the ""shop""", public;
        ALTER DATABASE "carried ""over""" SET work_mem = '7MB';
        ALTER DATABASE "carried ""over""" SET DateStyle = 'ISO, DMY';
        ALTER DATABASE "carried ""over""" SET "my.own" = 'a ''b'' \ c';
        ALTER DATABASE "carried ""over""" SET default_transaction_read_only = on;
        ALTER ROLE reader IN DATABASE "carried ""over""" SET search_path = '';
        ALTER ROLE reader IN DATABASE "carried ""over""" SET statement_timeout = '3s';
        "#,
    );
    let look = || {
        cluster.psql(
            "postgres",
            "SELECT datdba::regrole, encoding, datcollate, datctype, datlocprovider, dattablespace, \
                datconnlimit, datistemplate, datallowconn, shobj_description(d.oid, 'pg_database'), \
                (SELECT array_agg(a.grantee || a.privilege_type || a.is_grantable ORDER BY 1) \
                    FROM aclexplode(datacl) a), \
                (SELECT array_agg(setrole::regrole || setconfig::text ORDER BY setrole) \
                    FROM pg_db_role_setting WHERE setdatabase = d.oid) \
             FROM pg_database d WHERE datname = 'carried \"over\"'",
        )
    };
    let db = cluster.database(name);
    cluster.psql(name, "SET TRANSACTION READ WRITE; CREATE TABLE public.t AS SELECT 'é' AS x");
    let (before, first) = (look(), oid(&cluster, name));
    assert!(before.contains("7MB") && before.contains("ours"), "{before}");
    let dump = dumped(&cluster, &db, Format::Custom).await;
    let restored = step(db.restore(dump, OtherSessions::Refuse)).await.unwrap();
    assert_eq!(look(), before);
    assert_ne!(oid(&cluster, name), first);
    assert_eq!(oid(&cluster, &restored.replaced.unwrap()), first);
    assert_eq!(cluster.psql(name, "SELECT x FROM public.t"), "é");
}

#[tokio::test]
async fn a_rollback_gives_the_very_same_database_its_name_back() {
    let cluster = Cluster::shared();
    let long = "a_name_of_a_database_that_is_as_long_as_a_name_may_be_in_all_63";
    for name in ["exactly", long] {
        let db = cluster.create(name, "CREATE TABLE t AS SELECT 1 AS n");
        let dump = dumped(&cluster, &db, Format::Plain).await;
        cluster.psql(name, "UPDATE t SET n = 2; CREATE TABLE later (n int)");
        let first = oid(&cluster, name);
        let outcome = run(|b| {
            b.step(db.restore(dump, OtherSessions::Refuse));
            b.check(db.rows::<i32>("It is restored", "SELECT n FROM t WHERE n = 1", []));
            b.check(db.rows::<i32>("It holds what it should", "SELECT 1 WHERE false", []));
        })
        .await;
        assert_eq!(outcome.status, Status::RolledBack, "{:?}", outcome.finished);
        assert_eq!(oid(&cluster, name), first);
        assert_eq!(cluster.psql(name, "SELECT n FROM t, (SELECT FROM later) l"), "");
        assert_eq!(cluster.psql(name, "SELECT n FROM t"), "2");
        assert_eq!(databases(&cluster, &name[..7]), [name], "nothing is left beside it");
    }
}

#[tokio::test]
async fn a_database_in_use_is_replaced_only_if_told() {
    let cluster = Cluster::shared();
    let db = cluster.create("occupied", "CREATE TABLE t AS SELECT 1 AS n");
    let dump = dumped(&cluster, &db, Format::Gzip).await;
    let cx = testing::context();
    let session = db.session(&cx).await.unwrap();
    session.batch("BEGIN; UPDATE t SET n = 2").await.unwrap();
    let failure = step(db.restore(dump.clone(), OtherSessions::Refuse)).await.unwrap_err();
    let text = failure.to_string();
    assert!(text.contains("it is not replaced: in use by postgres by \"runbook\""), "{text}");
    assert_eq!(databases(&cluster, "occupied"), ["occupied"]);
    session.one::<i32>("SELECT n FROM t", &[]).await.unwrap();
    let restored = step(db.restore(dump, OtherSessions::End)).await.unwrap();
    assert!(session.query::<()>("SELECT 1", &[]).await.is_err(), "it was ended");
    assert_eq!(restored.rows.total(), 1);
    assert_eq!(cluster.psql("occupied", "SELECT n FROM t"), "1");
}

#[tokio::test]
async fn an_attempt_that_was_killed_after_the_swap_is_not_made_twice() {
    let cluster = Cluster::shared();
    let db = cluster.create("once", "CREATE TABLE t AS SELECT 1 AS n");
    let dump = dumped(&cluster, &db, Format::Custom).await;
    let around = Surroundings::new();
    let restore = db.restore(dump, OtherSessions::Refuse);
    let first = restore.run(&around.context()).await.unwrap();
    let there = oid(&cluster, "once");
    let second: Restored = restore.run(&around.context()).await.unwrap();
    assert_eq!(oid(&cluster, "once"), there);
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_killed_pg_restore_leaves_the_database_untouched() {
    let cluster = Cluster::shared();
    // What it computes for each row takes a minute from now on.
    let db = cluster.create(
        "pg_restore killed",
        "CREATE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql \
            AS 'BEGIN RETURN n; END'; \
         CREATE TABLE t (n int, m int GENERATED ALWAYS AS (slow(n)) STORED); \
         INSERT INTO t VALUES (1); \
         CREATE OR REPLACE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql \
            AS 'BEGIN PERFORM pg_sleep(60); RETURN n; END'",
    );
    let dump = dumped(&cluster, &db, Format::Custom).await;
    let first = oid(&cluster, "pg_restore killed");
    cluster.psql("pg_restore killed", "CREATE TABLE later (n int)");
    let restoring = run(|b| {
        b.step(db.restore(dump, OtherSessions::Refuse));
    });
    let killing = async {
        let sleeping = "SELECT datname FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                        AND datname LIKE 'runbook_restore%' AND application_name LIKE '%restore%'";
        until(|| !cluster.psql("postgres", sleeping).is_empty()).await;
        let name = cluster.psql("postgres", sleeping);
        let mut killed = 0;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let ours =
                String::from_utf8_lossy(&environment).contains(&format!("PGDATABASE={name}"));
            let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if ours && comm == "pg_restore\n" {
                let pid = entry.file_name();
                killed += 1;
                Command::new("kill").arg("-9").arg(pid).status().unwrap();
            }
        }
        assert!(killed > 0);
    };
    let (outcome, ()) = tokio::join!(restoring, killing);
    let finished = outcome.finished.unwrap();
    assert_eq!(finished.status, Status::RolledBack, "{finished:?}");
    assert_eq!(oid(&cluster, "pg_restore killed"), first);
    assert_eq!(
        cluster.psql("pg_restore killed", "SELECT count(*) FROM t, (SELECT count(*) FROM later) l"),
        "1"
    );
    assert_eq!(databases(&cluster, "pg_restore killed"), ["pg_restore killed"]);
}

#[tokio::test]
async fn what_would_stay_with_the_old_database_keeps_it_from_being_replaced() {
    let cluster = Cluster::shared();
    let db = cluster.create(
        "subscribed",
        "CREATE TABLE t (n int); CREATE SUBSCRIPTION s CONNECTION 'host=192.0.2.1' PUBLICATION p \
         WITH (connect = false)",
    );
    let dump = dumped(&cluster, &db, Format::Custom).await;
    let verdict = check(db.replaceable()).await.unwrap();
    assert!(verdict.why().contains("it has 1 subscriptions"), "{}", verdict.why());
    let failure = step(db.restore(dump, OtherSessions::End)).await.unwrap_err();
    assert!(failure.to_string().contains("it can't be replaced"), "{failure}");
    assert!(failure.to_problem().next.unwrap().contains("restore_in_place"));
    assert_eq!(databases(&cluster, "runbook_restore"), [""; 0]);
    cluster.psql("subscribed", "ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s");
    assert!(check(db.replaceable()).await.unwrap().passed());
}

#[tokio::test]
async fn what_was_replaced_is_dropped_when_its_time_is_over() {
    let cluster = Cluster::shared();
    let db = cluster.create("kept", "CREATE TABLE t AS SELECT 1 AS n");
    for other in
        ["kept_before_", "kept_before_20200101_000000_x", "keptx_before_20200101_000000_00ff00"]
    {
        cluster.create(other, "");
    }
    cluster.create("kept_before_20200101_000000_00ff00", "");
    let dump = dumped(&cluster, &db, Format::Custom).await;
    let mut replaced = None;
    let outcome = run(|b| {
        let restored = b.step(db.restore(dump, OtherSessions::Refuse));
        replaced = Some(restored);
        let old = b.check(db.replaced_before(7));
        b.irreversible(db.drop_replaced(old), "a week has passed");
    })
    .await;
    assert_eq!(outcome.status, Status::Succeeded, "{:?}", outcome.finished);
    let left = databases(&cluster, "kept");
    assert_eq!(left.len(), 5, "{left:?}");
    assert!(!left.contains(&"kept_before_20200101_000000_00ff00".to_owned()), "{left:?}");
    let failure = step(db.drop_replaced(vec!["postgres".to_owned()])).await.unwrap_err();
    assert!(failure.to_string().contains("no restore of this database has replaced it"));
}
