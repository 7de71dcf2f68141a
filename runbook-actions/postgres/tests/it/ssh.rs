//! The same through SSH, to a server that listens only on its host's unix socket.

use lab::Sshd;
use runbook_core::testing::{self, Surroundings};
use runbook_core::{FailureKind, Host, Status, Step as _};
use runbook_postgres::{Format, OtherSessions, Postgres};
use runbook_targets::{Auth, Ssh};

use crate::support::{Cluster, Spec, check, run, step, until};

fn over(sshd: &Sshd, cluster: &Cluster, database: &str) -> Postgres {
    let known_hosts = sshd.dir().join("known_hosts_of_the_tests");
    std::fs::write(&known_hosts, sshd.known_hosts()).unwrap();
    let host = Ssh::at(sshd.addr().ip().to_string())
        .port(sshd.port())
        .user(sshd.user())
        .known_hosts(known_hosts)
        .auth(Auth::new().key_file(sshd.client_key()).without_agent())
        .named("db-1");
    Postgres::new(&Host::new(host), cluster.config(database))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_ssh_is_dumped_restored_and_undone() {
    let cluster =
        Cluster::start(Spec { settings: "listen_addresses = '127.0.0.1'", ..Spec::default() });
    cluster.create("shop", "CREATE TABLE t AS SELECT n FROM generate_series(1, 5000) n");
    let sshd = Sshd::start();
    let db = over(&sshd, &cluster, "shop");
    let rows = check(db.rows::<(i32,)>("rows", "SELECT n FROM t ORDER BY n", [])).await.unwrap();
    assert_eq!(rows.evidence().len(), 5000);
    for format in [Format::Plain, Format::Gzip, Format::Custom] {
        let outcome = run(|b| {
            let dump = b.step(db.dump(cluster.path("dumps/ssh"), format));
            let dump = b.check(db.verify(dump));
            b.step(db.test_restore(dump));
            b.irreversible(db.execute("lose rows", "DELETE FROM t WHERE n > 7", []), "test");
            b.step(db.restore(dump, OtherSessions::Refuse));
            b.check(db.rows::<i32>("all are back", "SELECT 1 FROM t HAVING count(*) = 5000", []));
            b.irreversible(db.execute("lose rows", "DELETE FROM t WHERE n > 9", []), "test");
        })
        .await;
        assert_eq!(outcome.status, Status::Succeeded, "{format}: {:?}", outcome.finished);
        cluster.psql("shop", "INSERT INTO t SELECT n FROM generate_series(10, 5000) n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_behind_ssh_is_cancelled() {
    let cluster = Cluster::start(Spec::default());
    let sshd = Sshd::start();
    let db = over(&sshd, &cluster, "postgres");
    let around = Surroundings::new();
    let cx = around.observer();
    let reader = db.read(&cx).await.unwrap();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(62)%' \
                    AND state = 'active' AND pid <> pg_backend_pid()";
    let query = reader.query::<()>("SELECT pg_sleep(62)", &[]);
    let cancel = async {
        until(|| cluster.psql("postgres", sleeping) == "1").await;
        around.cancel();
    };
    let (failure, ()) = tokio::join!(query, cancel);
    assert_eq!(failure.unwrap_err().kind(), FailureKind::Cancelled);
    until(|| cluster.psql("postgres", sleeping) == "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_in_the_middle_of_a_restore_leaves_the_database_whole() {
    let cluster = Cluster::start(Spec::default());
    cluster.create("shop", "CREATE TABLE a AS SELECT 1 AS n; CREATE TABLE t (n int)");
    let mut sshd = Sshd::start();
    let db = over(&sshd, &cluster, "shop");
    let dump = step(db.dump(cluster.path("dumps/ssh"), Format::Custom)).await.unwrap();
    let dump = check(db.verify(dump)).await.unwrap().into_evidence();
    cluster.psql("shop", "INSERT INTO a VALUES (2)");
    let local = cluster.database("shop");
    let cx = testing::context();
    let holder = local.session(&cx).await.unwrap();
    holder.batch("BEGIN; LOCK TABLE t").await.unwrap();
    let other = testing::context();
    let restoring = db.restore_over(dump);
    let cutting = async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' \
                     AND application_name LIKE 'runbook restore%' AND wait_event_type = 'Lock'";
        until(|| cluster.psql("postgres", waits) == "1").await;
        sshd.stop();
    };
    let (failure, ()) = tokio::join!(restoring.run(&other), cutting);
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    holder.batch("ROLLBACK").await.unwrap();
    // It ends as a whole or not at all.
    let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' \
                   AND application_name LIKE 'runbook restore%'";
    until(|| cluster.psql("postgres", running) == "0").await;
    let rows = cluster.psql("shop", "SELECT string_agg(n::text, ',' ORDER BY n) FROM a");
    assert!(rows == "1,2" || rows == "1", "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_while_the_new_database_is_filled_leaves_the_old_one_untouched() {
    let cluster = Cluster::start(Spec::default());
    // What it computes for each row takes a minute from now on.
    cluster.create(
        "shop",
        "CREATE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql \
            AS 'BEGIN RETURN n; END'; \
         CREATE TABLE t (n int, m int GENERATED ALWAYS AS (slow(n)) STORED); \
         INSERT INTO t VALUES (1); \
         CREATE OR REPLACE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql \
            AS 'BEGIN PERFORM pg_sleep(60); RETURN n; END'",
    );
    let mut sshd = Sshd::start();
    let db = over(&sshd, &cluster, "shop");
    let dump = step(db.dump(cluster.path("dumps/ssh"), Format::Custom)).await.unwrap();
    let dump = check(db.verify(dump)).await.unwrap().into_evidence();
    let oid = || cluster.psql("postgres", "SELECT oid FROM pg_database WHERE datname = 'shop'");
    let before = oid();
    let filling = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'runbook_restore%' \
                   AND wait_event = 'PgSleep'";
    let around = Surroundings::new();
    let cx = around.context();
    let restore = db.restore(dump.clone(), OtherSessions::Refuse);
    let cutting = async {
        until(|| cluster.psql("postgres", filling) == "1").await;
        sshd.stop();
    };
    let (failure, ()) = tokio::join!(restore.run(&cx), cutting);
    assert_eq!(failure.unwrap_err().kind(), FailureKind::Disconnected);
    assert_eq!(oid(), before);
    // Whoever comes back, to go on or to undo it, meets nothing of the first attempt.
    cluster.psql(
        "shop",
        "CREATE OR REPLACE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql \
            AS 'BEGIN RETURN n; END'",
    );
    let local = cluster.database("shop");
    let now = step(local.dump(cluster.path("dumps/ssh"), Format::Custom)).await.unwrap();
    let now = check(local.verify(now)).await.unwrap().into_evidence();
    let restored = local.restore(now, OtherSessions::Refuse).run(&cx).await.unwrap();
    assert_eq!(restored.rows.total(), 1);
    assert_ne!(oid(), before);
    assert_eq!(cluster.psql("postgres", filling), "0");
}
