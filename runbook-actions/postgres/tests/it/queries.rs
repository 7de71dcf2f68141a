use std::collections::BTreeMap;
use std::time::Duration;

use runbook_core::testing::{self, Surroundings};
use runbook_core::{FailureKind, Timestamp};
use runbook_postgres::{Format, Postgres};
use serde::Deserialize;

use crate::support::{Cluster, step, until};

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mood {
    Happy,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Everything {
    yes: bool,
    small: i16,
    big: i64,
    real: f64,
    text: String,
    none: Option<String>,
    bytes: Vec<u8>,
    json: BTreeMap<String, Vec<i32>>,
    id: String,
    amount: String,
    whole: u64,
    share: f64,
    day: String,
    at: Timestamp,
    list: Vec<Option<String>>,
    empty: Vec<i32>,
    mood: Mood,
}

const EVERYTHING: &str = "SELECT true AS yes, 7::int2 AS small, -9007199254740993 AS big, \
    0.5::float8 AS real, 'é'::text AS text, NULL::text AS none, '\\x00ff'::bytea AS bytes, \
    '{\"a\": [1, 2]}'::jsonb AS json, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS id, \
    -1234567.8901 AS amount, sum(5)::numeric AS whole, 0.25 AS share, '2024-02-29'::date AS day, \
    '2026-03-14 15:09:26.5+00'::timestamptz AS at, ARRAY['a', NULL]::text[] AS list, \
    '{}'::int[] AS empty, 'happy'::mood AS mood";

#[tokio::test]
async fn rows_are_read_as_typed_values() {
    let cluster = Cluster::shared();
    let db = cluster.create("typed", "CREATE TYPE mood AS ENUM ('happy')");
    let cx = testing::observer();
    let reader = db.read(&cx).await.unwrap();
    let all: Everything = reader.one(EVERYTHING, &[]).await.unwrap();
    let expected = Everything {
        yes: true,
        small: 7,
        big: -9_007_199_254_740_993,
        real: 0.5,
        text: "é".into(),
        none: None,
        bytes: vec![0, 255],
        json: BTreeMap::from([("a".into(), vec![1, 2])]),
        id: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".into(),
        amount: "-1234567.8901".into(),
        whole: 5,
        share: 0.25,
        day: "2024-02-29".into(),
        at: Timestamp::from_micros(1_773_500_966_500_000),
        list: vec![Some("a".into()), None],
        empty: vec![],
        mood: Mood::Happy,
    };
    assert_eq!(all, expected);
    let pairs: Vec<(i32, String)> =
        reader.query("SELECT n, 'x' FROM generate_series(1, 3) n", &[]).await.unwrap();
    assert_eq!(pairs.len(), 3);
    let doubled: i64 = reader.one("SELECT $1::int8 * 2", &[21.into()]).await.unwrap();
    assert_eq!(doubled, 42);
    let quoted: String = reader.one("SELECT $1::text", &["'; DROP".into()]).await.unwrap();
    assert_eq!(quoted, "'; DROP");
}

#[tokio::test]
async fn a_row_of_another_type_says_which_column() {
    let cluster = Cluster::shared();
    let db = cluster.database("postgres");
    let cx = testing::observer();
    let reader = db.read(&cx).await.unwrap();
    let failure = reader.one::<(i32, bool)>("SELECT 1 AS a, 'x' AS b", &[]).await.unwrap_err();
    let text = failure.to_string();
    assert!(
        text.contains("a row of `SELECT 1 AS a, 'x' AS b` is not as expected: column `b`"),
        "{text}"
    );
}

#[tokio::test]
async fn a_check_can_write_nothing() {
    let cluster = Cluster::shared();
    let db = cluster.create("readonly", "CREATE TABLE t (n int)");
    let cx = testing::observer();
    let reader = db.read(&cx).await.unwrap();
    for sql in ["INSERT INTO t VALUES (1)", "DROP TABLE t", "CREATE TABLE u ()"] {
        let failure = reader.query::<()>(sql, &[]).await.unwrap_err();
        assert!(failure.to_string().contains("read-only transaction"), "{failure}");
    }
    // Neither by ending the transaction first.
    for sql in ["COMMIT", "SET TRANSACTION READ WRITE", "SET default_transaction_read_only = off"] {
        let _ = reader.query::<()>(sql, &[]).await;
        assert!(reader.query::<()>("INSERT INTO t VALUES (1)", &[]).await.is_err(), "{sql}");
    }
    assert_eq!(cluster.psql("readonly", "SELECT count(*) FROM t"), "0");
}

#[tokio::test]
async fn ping_and_accepting_pass_over_socket_and_tcp() {
    let cluster = Cluster::shared();
    let socket = cluster.database("postgres");
    let tcp = cluster.config("postgres").host("127.0.0.1");
    let tcp = runbook_postgres::Postgres::new(socket.host(), tcp);
    use runbook_core::Check as _;
    for db in [socket, tcp] {
        let cx = testing::observer();
        assert!(db.ping().check(&cx).await.unwrap().passed());
        let verdict = db.accepting().check(&cx).await.unwrap();
        assert!(verdict.evidence().version.starts_with("15."), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_cancelled_unit_cancels_its_statement_on_the_server() {
    let cluster = Cluster::shared();
    let db = cluster.create("cancelled", "");
    let around = Surroundings::new();
    let cx = around.observer();
    let reader = db.read(&cx).await.unwrap();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' \
                    AND state = 'active' AND datname = 'cancelled'";
    let query = reader.query::<()>("SELECT pg_sleep(60)", &[]);
    let cancel = async {
        until(|| cluster.psql("postgres", sleeping) == "1").await;
        around.cancel();
    };
    let (failure, ()) = tokio::join!(query, cancel);
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Cancelled);
    let text = failure.to_string();
    assert!(text.ends_with("cancelled: the server cancelled it"), "{text}");
    assert_eq!(cluster.psql("postgres", sleeping), "0");
}

#[tokio::test]
async fn a_dropped_statement_is_cancelled_on_the_server() {
    let cluster = Cluster::shared();
    let db = cluster.create("dropped", "");
    let cx = testing::observer();
    let reader = db.read(&cx).await.unwrap();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(61)%' \
                    AND state = 'active' AND datname = 'dropped'";
    {
        let query = reader.query::<()>("SELECT pg_sleep(61)", &[]);
        tokio::select! {
            _ = query => panic!("it ended"),
            () = until(|| cluster.psql("postgres", sleeping) == "1") => {}
        }
    }
    until(|| cluster.psql("postgres", sleeping) == "0").await;
}

#[tokio::test]
async fn a_statement_timeout_says_so() {
    let cluster = Cluster::shared();
    let config = cluster.config("postgres").statement_timeout(Duration::from_millis(50));
    let db = runbook_postgres::Postgres::new(cluster.database("postgres").host(), config);
    let cx = testing::observer();
    let failure =
        db.read(&cx).await.unwrap().query::<()>("SELECT pg_sleep(60)", &[]).await.unwrap_err();
    assert!(failure.to_string().contains("due to statement timeout (SQLSTATE 57014)"), "{failure}");
    assert!(failure.to_problem().next.unwrap().contains("raise `statement_timeout`"));
}

#[tokio::test]
async fn for_ever_is_a_limit_like_any_other_and_so_is_a_moment() {
    let cluster = Cluster::shared();
    cluster.create("limits", "CREATE TABLE t AS SELECT 1 AS n");
    let ever = Duration::MAX;
    let config = cluster.config("limits");
    let config = config.connect_timeout(ever).statement_timeout(ever).lock_timeout(ever);
    let on = |config| Postgres::new(cluster.database("limits").host(), config);
    let limits = async |config| {
        let db = on(config);
        let cx = testing::observer();
        let session = db.read(&cx).await.unwrap();
        let shown = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')";
        session.one::<(String, String)>(shown, &[]).await.unwrap()
    };
    assert_eq!(limits(config.clone()).await, ("2147483647ms".into(), "2147483647ms".into()));
    step(on(config.clone()).dump(cluster.path("dumps"), Format::Plain)).await.unwrap();

    let config = config.statement_timeout(Duration::ZERO).lock_timeout(Duration::from_nanos(1));
    assert_eq!(limits(config).await, ("0".into(), "1ms".into()));
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_leaves_the_outcome_unknown() {
    let cluster = Cluster::shared();
    let db = cluster.create("lost", "");
    let cx = testing::observer();
    let reader = db.read(&cx).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = 'lost' AND state = 'active'";
    let query = reader.query::<()>("SELECT pg_sleep(60)", &[]);
    let cut = until(|| cluster.psql("postgres", end) == "t");
    let (failure, ()) = tokio::join!(query, cut);
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Disconnected);
    assert!(failure.to_string().contains("the connection was lost during `SELECT pg_sleep(60)`"));
}

#[tokio::test]
async fn any_name_and_any_text_stays_what_it_is() {
    let cluster = Cluster::shared();
    let cx = testing::context();
    let session = cluster.create("names", "").session(&cx).await.unwrap();
    for name in ["a\"b", "a'; DROP TABLE x; --", "Mixed Case", "\\", "é$1", "select", "a.b"] {
        let table = runbook_postgres::Table::new("public", name);
        session.batch(&format!("CREATE TABLE {} (at date)", table.quoted())).await.unwrap();
        let found: bool = session
            .one("SELECT EXISTS (SELECT FROM pg_class WHERE relname = $1)", &[name.into()])
            .await
            .unwrap();
        assert!(found, "{name}");
    }
}
