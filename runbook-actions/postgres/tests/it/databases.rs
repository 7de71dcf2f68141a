use runbook_core::Status;
use runbook_postgres::OtherSessions;

use crate::support::{Cluster, run, step};

fn there(cluster: &Cluster, name: &str) -> bool {
    let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    cluster.psql("postgres", &sql) == "1"
}

#[tokio::test]
async fn a_created_database_is_dropped_by_a_rollback_if_nobody_uses_it() {
    let cluster = Cluster::shared();
    let db = cluster.database("new \"one\"");
    for (fails, expected) in [(true, false), (false, true), (true, true)] {
        let outcome = run(|b| {
            b.step(db.create_database("postgres"));
            if fails {
                b.check(db.rows::<i32>("no", "SELECT 1 WHERE false", []));
            }
        })
        .await;
        assert_eq!(outcome.status == Status::Succeeded, !fails, "{:?}", outcome.finished);
        // The last time it was there before, and stays.
        assert_eq!(there(&cluster, "new \"one\""), expected);
    }
}

#[tokio::test]
async fn a_created_database_with_tables_in_it_is_not_dropped() {
    let cluster = Cluster::shared();
    let db = cluster.database("filled");
    let outcome = run(|b| {
        b.step(db.create_database("postgres"));
        b.irreversible(db.execute("fill", "CREATE TABLE t ()", []), "test");
        b.check(db.rows::<i32>("no", "SELECT 1 WHERE false", []));
    })
    .await;
    assert_eq!(outcome.status, Status::Stuck);
    assert!(there(&cluster, "filled"));
}

#[tokio::test]
async fn a_database_in_use_is_dropped_only_if_told() {
    let cluster = Cluster::shared();
    let db = cluster.create("used", "");
    let cx = runbook_core::testing::observer();
    let reader = db.read(&cx).await.unwrap();
    let failure = step(db.drop_database(OtherSessions::Refuse)).await.unwrap_err();
    assert!(
        failure.to_string().contains("it is not dropped: in use by postgres by \"runbook\" (pid "),
        "{failure}"
    );
    assert!(there(&cluster, "used"));
    assert!(step(db.drop_database(OtherSessions::End)).await.unwrap());
    assert!(!there(&cluster, "used"));
    assert!(reader.query::<()>("SELECT 1", &[]).await.is_err());
    assert!(!step(db.drop_database(OtherSessions::Refuse)).await.unwrap(), "it is gone already");
    assert!(step(cluster.database("postgres").drop_database(OtherSessions::End)).await.is_err());
}
