//! What an operator sees when something is wrong.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use runbook_core::testing::{self, FakeTarget, Surroundings};
use runbook_core::{FailureKind, Host, Secret, Status, Step as _, Wait};
use runbook_postgres::{Config, Format, Postgres};
use runbook_targets::Local;

use crate::support::{Cluster, check, run, step, until};

fn on(config: Config) -> Postgres {
    Postgres::new(&Host::new(Local::named("db-1")), config)
}

#[tokio::test]
async fn what_is_wrong_with_a_login_says_what_to_do() {
    let cluster = Cluster::shared();
    let config = || cluster.config("postgres");
    let cases = [
        (
            config().password(Secret::new("not the one")),
            "refuses the user `postgres`",
            "check the password",
        ),
        (config().user("nobody"), "refuses the user `nobody`", "check the password"),
        (
            Config::new("postgres").host("127.0.0.1").port(cluster.port()),
            "and none is configured",
            "check the password",
        ),
        (cluster.config("nowhere"), "there is no such database", "create it"),
        (config().port(1), "can't be reached at unix:", "pg_lsclusters"),
        (config().host("127.0.0.1").port(1), "can't be reached at 127.0.0.1:1", "pg_lsclusters"),
    ];
    for (config, says, next) in cases {
        let failure = check(on(config).ping()).await.unwrap_err();
        let text = failure.to_string();
        assert!(text.contains(says), "{text}");
        assert!(failure.to_problem().next.unwrap().contains(next), "{text}");
    }
}

#[tokio::test]
async fn programs_that_fail_say_what_to_do() {
    let cluster = Cluster::shared();
    let folder = cluster.path("dumps/none");
    let dump = |config: Config| {
        let db = on(config);
        let folder = folder.clone();
        async move { step(db.dump(&folder, Format::Custom)).await.unwrap_err() }
    };
    let failure = dump(cluster.config("postgres").password(Secret::new("not it"))).await;
    assert!(failure.to_string().contains("password authentication failed"), "{failure}");
    let failure = dump(cluster.config("nowhere")).await;
    assert!(failure.to_string().contains("database \"nowhere\" does not exist"), "{failure}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing is left");
}

#[tokio::test]
async fn a_missing_pg_dump_names_its_package() {
    let host = FakeTarget::new("db-1").dir("/var/backups");
    host.otherwise(testing::Reply::exit(127).stderr("sh: 17: pg_dump: not found\n"));
    let db =
        Postgres::new(&Host::new(host.clone()), Config::new("shop").password("hunter2 hunter2"));
    let failure = step(db.dump("/var/backups", Format::Gzip)).await.unwrap_err();
    assert_eq!(failure.to_string(), "db-1 has no program `pg_dump`");
    let next = failure.to_problem().next.unwrap();
    assert!(next.contains("install the package postgresql-client"), "{next}");
    // The password was on standard input only.
    let call = &host.commands()[0];
    assert_eq!(call.stdin, b"***");
    assert!(!call.line.contains("hunter2"), "{}", call.line);
}

#[tokio::test]
async fn a_pg_dump_that_is_too_old_says_so() {
    let host = FakeTarget::new("db-1").dir("/var/backups");
    host.otherwise(testing::Reply::exit(1).stderr(
        "pg_dump: error: aborting because of server version mismatch\n\
         pg_dump: detail: server version: 16.1; pg_dump version: 15.4\n",
    ));
    let db = Postgres::new(&Host::new(host), Config::new("shop"));
    let failure = step(db.dump("/var/backups", Format::Plain)).await.unwrap_err();
    assert!(failure.to_string().starts_with("db-1: `pg_dump` is older than the server: "));
    assert!(
        failure
            .to_problem()
            .next
            .unwrap()
            .contains("install the client of the server's own version")
    );
}

/// Processes whose command line has all of these words.
fn processes(words: &[&str]) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            words.iter().all(|word| line.contains(word))
        })
        .collect()
}

/// Waits until somebody in a database waits for a lock.
async fn waits_for_a_lock(cluster: &Cluster, database: &str) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' \
         AND wait_event_type = 'Lock'"
    );
    until(|| cluster.psql("postgres", &sql) == "1").await;
}

fn files(folder: &Path) -> Vec<String> {
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    all.map(|name| name.into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_killed_pg_dump_leaves_no_file_and_no_password() {
    let cluster = Cluster::shared();
    let db = cluster.create("killed", "CREATE TABLE t (n int)");
    let folder = cluster.path("dumps/killed");
    // It waits for the lock, so that it is there to be killed.
    let cx = testing::context();
    let session = db.session(&cx).await.unwrap();
    session.batch("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let dumping = db.dump(&folder, Format::Plain);
    let around = testing::context();
    let name = folder.display().to_string();
    let dumping = dumping.run(&around);
    let killing = async {
        let mut passwords = Vec::new();
        waits_for_a_lock(&cluster, "killed").await;
        for pid in processes(&["pg_dump", "--file", &name]) {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
            let line = String::from_utf8_lossy(&line).into_owned();
            assert!(!line.contains("sesame"), "{line}");
            let env = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
            for word in env.split(|byte| *byte == 0) {
                let word = String::from_utf8_lossy(word).into_owned();
                assert!(!word.contains("sesame"), "{word}");
            }
            let password = std::fs::read_link(format!("/proc/{pid}/fd/9")).unwrap();
            passwords.push(password.display().to_string());
        }
        for pid in processes(&["--file", &name]) {
            if std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|comm| comm == "pg_dump\n")
            {
                Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
            }
        }
        passwords
    };
    let (failure, passwords) = tokio::join!(dumping, killing);
    let text = failure.unwrap_err().to_string();
    assert!(text.contains("killed by SIGKILL"), "{text}");
    assert!(!passwords.is_empty());
    // It had no name even while it was read: nobody can have left it behind.
    assert!(passwords.iter().all(|file| file.ends_with(" (deleted)")), "{passwords:?}");
    assert_eq!(files(&folder), [""; 0]);
}

#[tokio::test]
async fn a_cancelled_dump_leaves_no_file_and_no_process() {
    let cluster = Cluster::shared();
    let db = cluster.create("dump cancelled", "CREATE TABLE t (n int)");
    let folder = cluster.path("dumps/cancelled");
    let cx = testing::context();
    let session = db.session(&cx).await.unwrap();
    session.batch("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let around = Surroundings::new();
    let cx = around.context();
    let dumping = db.dump(&folder, Format::Custom);
    let name = folder.display().to_string();
    let cancelling = async {
        waits_for_a_lock(&cluster, "dump cancelled").await;
        around.cancel();
    };
    let (failure, ()) = tokio::join!(dumping.run(&cx), cancelling);
    assert_eq!(failure.unwrap_err().kind(), FailureKind::Cancelled);
    assert!(processes(&["--file", &name]).is_empty());
    assert_eq!(files(&folder), [""; 0]);
}

#[tokio::test]
async fn a_full_disk_leaves_no_partial_dump() {
    let cluster = Cluster::shared();
    let db = cluster.create(
        "full",
        "CREATE TABLE t AS SELECT md5(n::text) || md5((-n)::text) AS x FROM generate_series(1, 60000) n",
    );
    let folder = cluster.path("small");
    std::fs::create_dir(&folder).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(&folder)
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        // Only root can.
        return;
    }
    let outcome = run(|b| {
        b.step(db.dump(&folder, Format::Custom));
    })
    .await;
    let left = files(&folder);
    let unmounted = Command::new("umount").arg(&folder).status().unwrap();
    assert!(unmounted.success());
    let finished = outcome.finished.unwrap();
    assert_eq!(finished.status, Status::RolledBack);
    let text = finished.problem.unwrap().message;
    assert!(text.contains("No space left on device"), "{text}");
    assert_eq!(left, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_and_comes_up_is_waited_for() {
    let cluster = std::sync::Arc::new(Cluster::start(Default::default()));
    let db = cluster.database("postgres");
    cluster.stop("fast");
    let failure = check(db.accepting()).await.unwrap_err();
    assert!(failure.to_string().contains("can't be reached"), "{failure}");
    let starting = tokio::task::spawn_blocking({
        let cluster = cluster.clone();
        move || cluster.up()
    });
    let outcome = run(|b| {
        let wait = Wait::at_most(Duration::from_secs(30));
        b.wait_until(db.accepting(), wait);
    })
    .await;
    assert_eq!(outcome.status, Status::Succeeded);
    starting.await.unwrap();
}

#[tokio::test]
async fn a_restore_does_not_wait_for_ever_for_those_who_use_the_database() {
    let cluster = Cluster::shared();
    let config = cluster.config("in use").lock_timeout(Duration::from_millis(200));
    cluster.create("in use", "CREATE TABLE t AS SELECT 1 AS n");
    let db = on(config);
    assert!(check(db.unused()).await.unwrap().passed());
    let dump = step(db.dump(cluster.path("dumps"), Format::Custom)).await.unwrap();
    let dump = check(db.verify(dump)).await.unwrap().into_evidence();
    let cx = testing::context();
    let session = db.session(&cx).await.unwrap();
    session.batch("BEGIN; SELECT * FROM t").await.unwrap();
    let verdict = check(db.unused()).await.unwrap();
    assert!(verdict.why().contains("idle in transaction"), "{}", verdict.why());
    let failure = step(db.restore_over(dump)).await.unwrap_err();
    assert!(failure.to_string().contains("due to lock timeout"), "{failure}");
    assert!(failure.to_problem().next.unwrap().starts_with("stop what uses the database first"));
    assert_eq!(session.one::<i64>("SELECT count(*) FROM t", &[]).await.unwrap(), 1);
}

#[tokio::test]
async fn what_a_lost_attempt_left_running_on_the_server_is_ended_first() {
    let cluster = Cluster::shared();
    let db = cluster.create("left", "CREATE TABLE t AS SELECT 1 AS n");
    let dump = step(db.dump(cluster.path("dumps"), Format::Plain)).await.unwrap();
    let dump = check(db.verify(dump)).await.unwrap().into_evidence();
    // As psql of an attempt whose connection was cut: it holds all locks, and goes on.
    let restoring = db.restore_over(dump);
    let cx = testing::context();
    let leftover = db.session(&cx).await.unwrap();
    let name = application_of_a_restore(&cluster, &db).await;
    leftover.batch(&format!("SET application_name = '{name}'; BEGIN; DROP TABLE t")).await.unwrap();
    restoring.run(&cx).await.unwrap();
    assert!(leftover.query::<()>("SELECT 1", &[]).await.is_err(), "it was ended");
    assert_eq!(cluster.psql("left", "SELECT count(*) FROM t"), "1");
}

/// The name that a restore of the unit of `testing::context` shows to the server.
async fn application_of_a_restore(cluster: &Cluster, db: &Postgres) -> String {
    let dump = step(db.dump(cluster.path("dumps"), Format::Plain)).await.unwrap();
    let dump = check(db.verify(dump)).await.unwrap().into_evidence();
    // Held up by a lock until it has been seen.
    let cx = testing::context();
    let holder = db.session(&cx).await.unwrap();
    holder.batch("BEGIN; LOCK TABLE t").await.unwrap();
    let other = testing::context();
    let restoring = db.restore_over(dump);
    let looking = async {
        let sql = "SELECT max(application_name) FROM pg_stat_activity \
                   WHERE datname = 'left' AND application_name LIKE 'runbook restore%'";
        until(|| !cluster.psql("postgres", sql).is_empty()).await;
        let name = cluster.psql("postgres", sql);
        holder.batch("ROLLBACK").await.unwrap();
        name
    };
    let (restored, name) = tokio::join!(restoring.run(&other), looking);
    restored.unwrap();
    name
}

#[tokio::test]
async fn a_killed_psql_leaves_the_database_as_it_was() {
    let cluster = Cluster::shared();
    let db =
        cluster.create("psql killed", "CREATE TABLE a AS SELECT 1 AS n; CREATE TABLE t (n int)");
    let dump = step(db.dump(cluster.path("dumps"), Format::Gzip)).await.unwrap();
    let dump = check(db.verify(dump)).await.unwrap().into_evidence();
    cluster.psql("psql killed", "INSERT INTO a VALUES (2)");
    let cx = testing::context();
    let holder = db.session(&cx).await.unwrap();
    holder.batch("BEGIN; LOCK TABLE t").await.unwrap();
    let other = testing::context();
    let restoring = db.restore_over(dump);
    let killing = async {
        let waits = "SELECT pid FROM pg_stat_activity WHERE datname = 'psql killed' \
                     AND application_name LIKE 'runbook restore%' AND wait_event_type = 'Lock'";
        until(|| !cluster.psql("postgres", waits).is_empty()).await;
        let parent = processes(&["psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1"]);
        let ours = parent.into_iter().filter(|pid| {
            let env = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            comm == "psql\n" && String::from_utf8_lossy(&env).contains("PGDATABASE=psql killed")
        });
        for pid in ours {
            Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        }
        // The server notices when it next speaks to its client.
        holder.batch("ROLLBACK").await.unwrap();
    };
    let (failure, ()) = tokio::join!(restoring.run(&other), killing);
    let failure = failure.unwrap_err();
    assert!(failure.to_string().contains("exit code 137"), "{failure}");
    until(|| {
        cluster.psql("psql killed", "SELECT string_agg(n::text, ',' ORDER BY n) FROM a") == "1,2"
    })
    .await;
}

#[tokio::test]
async fn a_safety_dump_that_would_not_bring_things_back_is_refused() {
    let cluster = Cluster::shared();
    let db = cluster.create("to be safe", "CREATE TABLE t AS SELECT 1 AS n");
    let other = cluster.create("another", "CREATE TABLE u AS SELECT 1 AS n");
    let folder = cluster.path("dumps/safety");
    let dump = step(db.dump(&folder, Format::Custom)).await.unwrap();
    let dump = check(db.verify(dump)).await.unwrap().into_evidence();
    let schema = step(db.dump_schema(&folder, Format::Custom)).await.unwrap();
    let foreign = step(other.dump(&folder, Format::Custom)).await.unwrap();
    for safety in [schema, foreign] {
        let safety = check(db.verify(safety)).await.unwrap().into_evidence();
        let failure = step(db.restore_in_place(dump.clone(), safety)).await.unwrap_err();
        assert!(
            failure.to_string().contains("would not bring back what is there now"),
            "{failure}"
        );
        assert_eq!(cluster.psql("to be safe", "SELECT n FROM t"), "1");
    }
}

#[tokio::test]
async fn no_check_changes_anything_on_the_host() {
    let host = FakeTarget::new("db-1").dir("/var/backups/shop");
    host.otherwise(testing::Reply::exit(1));
    let db = Postgres::new(&Host::new(host.clone()), Config::new("shop").password("x y z"));
    let mut b = runbook_core::Runbook::new("look");
    b.observe(db.ping());
    b.observe(db.locks());
    b.observe(db.latest_dump("/var/backups/shop"));
    b.observe(db.log_is_clean("/var/log/postgresql"));
    let dump = b.check(db.existing_dump("/var/backups/shop/x.sql"));
    b.check(db.verify(dump));
    b.step(db.dump("/var/backups/shop", Format::Custom));
    let plan = b.build().unwrap();
    let engine = runbook_core::Engine::new(runbook_core::MemoryStore::new());
    engine.plan(&plan, runbook_core::RunOptions::new()).outcome().await.unwrap();
    engine.check(&plan, runbook_core::RunOptions::new()).outcome().await.unwrap();
    assert_eq!(host.changes(), [""; 0]);
}
