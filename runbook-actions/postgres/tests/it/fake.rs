//! The fake server says what a real one says.

use std::path::Path;
use std::time::Duration;

use runbook_core::testing::{FakeTarget, context, observer};
use runbook_core::{Failure, Host};
use runbook_postgres::testing::{FakePostgres, FakeRows, FakeSession, FakeType};
use runbook_postgres::{Config, Format, Postgres};
use runbook_targets::Local;

use crate::support::{Cluster, check, step, until};

const TABLES: &str = "CREATE SCHEMA audit; \
     CREATE TABLE orders (line text); INSERT INTO orders VALUES ('1 shoes'), ('2 \"hats\"'); \
     CREATE TABLE audit.logins (line text); INSERT INTO audit.logins VALUES ('kim')";

fn filled(database: &str) -> (FakePostgres, FakeTarget, Postgres) {
    let server = FakePostgres::new(database);
    server.table("orders", ["1 shoes", "2 \"hats\""]);
    server.table("audit.logins", ["kim"]);
    let (target, config) = (FakeTarget::new("db-1"), Config::new(database));
    server.listen(&target, &config);
    let db = Postgres::new(&Host::new(target.clone()), config);
    (server, target, db)
}

/// What goes wrong, without the places, which differ.
fn said(failure: &Failure) -> String {
    let text = failure.to_string();
    text.rsplit(": ").next().unwrap_or_default().to_owned()
}

/// A database is dumped, changed, restored, and a dump is cut short; all that is said of it.
async fn restored(
    db: &Postgres,
    folder: &Path,
    change: impl Fn(),
    cut: impl Fn(&Path),
) -> Vec<String> {
    let mut lines = Vec::new();
    for format in [Format::Custom, Format::Plain] {
        let dump = step(db.dump(folder, format)).await.unwrap();
        let good = check(db.verify(dump.clone())).await.unwrap().into_evidence();
        lines.push(format!("{format}: {:?}", good.contents().tables));
        let found = check(db.existing_dump(dump.path.clone())).await.unwrap().into_evidence();
        lines.push(format!("{} {}", found.format, found.sha256 == dump.sha256));
        change();
        let safety = step(db.dump(folder, format)).await.unwrap();
        let safety = check(db.verify(safety)).await.unwrap().into_evidence();
        let restored = step(db.restore(good, safety.clone())).await.unwrap();
        lines.push(format!("{:?}", restored.rows));
        cut(&dump.path);
        lines.push(
            said(&check(db.verify(dump.clone())).await.unwrap_err())
                .starts_with("its SHA-256")
                .to_string(),
        );
        let failure = step(db.restore_over(safety)).await;
        lines.push(format!("{:?}", failure.unwrap().rows));
    }
    let dumps = check(db.latest_dump(folder)).await.unwrap().into_evidence();
    lines.push(dumps.format.to_string());
    let mut sizes = check(db.largest_tables(5)).await.unwrap().into_evidence();
    sizes.sort_by(|a, b| a.table.cmp(&b.table));
    lines.extend(sizes.iter().map(|size| size.table.to_string()));
    lines
}

#[tokio::test]
async fn dumps_and_restores_end_as_with_a_real_server() {
    let cluster = Cluster::shared();
    let db = cluster.create("fake dumps", TABLES);
    let change = "DELETE FROM orders; DROP TABLE IF EXISTS audit.logins; \
                  CREATE TABLE IF NOT EXISTS late (line text)";
    let folder = cluster.path("dumps of fake");
    let real = restored(
        &db,
        &folder,
        || drop(cluster.psql("fake dumps", change)),
        |path| std::fs::write(path, &std::fs::read(path).unwrap()[..60]).unwrap(),
    );
    let real = real.await;
    let (server, target, db) = filled("fake dumps");
    let disk = target.disk();
    let change = || {
        let none: [&str; 0] = [];
        server.table("orders", none);
        server.table("late", none);
        server.drop_table("audit.logins");
    };
    let cut = |path: &Path| disk.write(path, &disk.read(path).unwrap()[..60]).unwrap();
    let fake = restored(&db, Path::new("/dumps"), change, cut).await;
    for (real, fake) in real.iter().zip(&fake) {
        assert_eq!(fake, real);
    }
    assert_eq!(fake.len(), real.len());
}

/// A session forgets its transaction and is ended; all that is said of it.
async fn ended(db: &Postgres) -> Vec<String> {
    let mut lines = Vec::new();
    let verdict = check(db.idle_in_transaction(Duration::ZERO)).await.unwrap();
    lines.push(format!("{:?}", verdict.level()));
    let found = verdict.into_evidence();
    lines.push(format!("{:?}", found.iter().map(|one| one.state.clone()).collect::<Vec<_>>()));
    let long = check(db.idle_in_transaction(Duration::from_secs(600))).await.unwrap();
    lines.push(long.why().to_owned());
    lines.push(format!("{}", check(db.unused()).await.unwrap().passed()));
    lines.push(check(db.locks()).await.unwrap().why().to_owned());
    let used = check(db.connections(80)).await.unwrap().into_evidence();
    lines.push(format!("{} of {}, {:?}", used.used, used.max, used.by_state));
    let cancelled = step(db.cancel(found.clone())).await.unwrap();
    lines.push(format!("{} {}", cancelled[0].signalled, cancelled[0].ended));
    let mut other = found.clone();
    other[0].began = "2001-01-01T00:00:00.000000Z".into();
    lines.push(format!("{}", step(db.terminate(other)).await.unwrap()[0].signalled));
    for _ in 0..2 {
        let ended = step(db.terminate(found.clone())).await.unwrap();
        lines.push(format!("{} {}", ended[0].signalled, ended[0].ended));
    }
    lines.push(check(db.unused()).await.unwrap().why().to_owned());
    lines
}

#[tokio::test]
async fn sessions_are_seen_and_ended_as_those_of_a_real_server() {
    let cluster = Cluster::start(crate::support::Spec {
        settings: "max_connections = 10",
        ..crate::support::Spec::default()
    });
    let db = cluster.create("fake sessions", TABLES);
    let cx = context();
    let session = db.session(&cx).await.unwrap();
    session.batch("BEGIN").await.unwrap();
    let there = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
    until(|| cluster.psql("fake sessions", there) == "1").await;
    let real = ended(&db).await;

    let (server, _, db) = filled("fake sessions");
    let server = server.max_connections(10);
    server.connect(FakeSession::new(4711).idle_in_transaction(Duration::from_secs(5)));
    // A cancel changes nothing for a session that does nothing, and is signalled all the same.
    assert_eq!(ended(&db).await, real);
}

/// Statements of one's own, good and bad.
async fn spoken(db: &Postgres) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(check(db.ping()).await.unwrap().why().to_owned());
    lines.push(check(db.accepting()).await.unwrap().passed().to_string());
    lines.push(check(db.slow_queries(3)).await.unwrap().why().to_owned());
    let cx = observer();
    let reader = db.read(&cx).await.unwrap();
    let sql = "SELECT 7::int8 AS id, 'open' AS state, true AS paid, 0.5::float8 AS part, \
               NULL::text AS note, ARRAY['a', 'b'] AS tags WHERE 'x' = $1";
    type Order = (i64, String, bool, f64, Option<String>, Vec<String>);
    let orders: Vec<Order> = reader.query(sql, &["x".into()]).await.unwrap();
    lines.push(format!("{orders:?}"));
    let orders: Vec<Order> = reader.query(sql, &["y".into()]).await.unwrap();
    lines.push(format!("{orders:?}"));
    let failure = reader.query::<i64>("SELECT n FROM nowhere", &[]).await.unwrap_err();
    lines.push(said(&failure));
    // The connection can be used after an error, and on and on.
    lines.push(reader.one::<i32>("SELECT 1", &[]).await.unwrap().to_string());
    let cx = context();
    let session = db.session(&cx).await.unwrap();
    let touched = session.execute("UPDATE orders SET line = line || $1", &["!".into()]).await;
    lines.push(touched.unwrap().to_string());
    session.batch("BEGIN; SET LOCAL lock_timeout = 1; COMMIT").await.unwrap();
    lines.push(said(&session.batch("SELECT 1; DROP TABLE nowhere").await.unwrap_err()));
    lines
}

#[tokio::test]
async fn statements_are_answered_as_by_a_real_server() {
    let cluster = Cluster::shared();
    let real = spoken(&cluster.create("fake statements", TABLES)).await;
    let (server, _, db) = filled("fake statements");
    use FakeType::{Bool, Float8, Int8, Text, TextArray};
    let columns = || {
        FakeRows::new([
            ("id", Int8),
            ("state", Text),
            ("paid", Bool),
            ("part", Float8),
            ("note", Text),
            ("tags", TextArray),
        ])
    };
    server.on("WHERE 'x' = $1").rows_with(columns(), move |values| match values[0].as_deref() {
        Some("x") => columns().row([
            7.into(),
            "open".into(),
            true.into(),
            0.5.into(),
            None::<&str>.into(),
            vec!["a", "b"].into(),
        ]),
        _ => columns(),
    });
    server.on("FROM nowhere").fails("42P01", "relation \"nowhere\" does not exist");
    server.on("DROP TABLE nowhere").fails("42P01", "table \"nowhere\" does not exist");
    server.on("UPDATE orders").touches(2);
    assert_eq!(spoken(&db).await, real);
    let failure = check(db.rows::<i64>("Other", "SELECT 2", [])).await.unwrap_err();
    assert!(failure.to_string().contains("nothing is scripted for `SELECT 2`"), "{failure}");
}

#[tokio::test]
async fn a_wrong_password_and_a_stopped_server_are_told_as_of_a_real_one() {
    let cluster = Cluster::start(crate::support::Spec::default());
    let place = Config::new("postgres").host("127.0.0.1").port(cluster.port());
    let server = FakePostgres::new("postgres").password("correct horse");
    let target = FakeTarget::new("db-1");
    server.listen(&target, &place);
    let ask = async |host: Host, config: Config| {
        check(Postgres::new(&host, config).ping()).await.unwrap_err().to_string()
    };
    let [real, fake] = [Host::new(Local::named("db-1")), Host::new(target.clone())];
    let wrong = place.clone().password("not the one");
    assert_eq!(ask(fake.clone(), wrong.clone()).await, ask(real.clone(), wrong).await);
    cluster.stop("fast");
    server.stop();
    for host in [real, fake] {
        let failure = ask(host, place.clone()).await;
        assert!(failure.contains("can't be reached at 127.0.0.1:"), "{failure}");
    }
    server.start();
    let good = place.password("correct horse");
    assert!(check(Postgres::new(&Host::new(target), good).ping()).await.unwrap().passed());
}
