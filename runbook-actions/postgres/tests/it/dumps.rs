use std::path::Path;

use runbook_core::testing::Surroundings;
use runbook_core::{Check as _, Host, Status, Step as _};
use runbook_postgres::{Dump, Format, OtherSessions, Postgres, Retention, Table, Verified};

use runbook_targets::Local;

use crate::support::{Cluster, check, run, step};

const FORMATS: [Format; 3] = [Format::Plain, Format::Gzip, Format::Custom];

/// Large objects, bytes, and rows that look like parts of a dump.
const SHOP: &str = r#"
    CREATE SCHEMA audit;
    CREATE TYPE mood AS ENUM ('happy', 'sad');
    CREATE TABLE orders (id serial PRIMARY KEY, note text, photo bytea, mood mood, at timestamptz DEFAULT now());
    INSERT INTO orders (note, photo, mood)
        SELECT 'order ' || n, decode(md5(n::text), 'hex'), 'happy' FROM generate_series(1, 500) n;
    CREATE TABLE audit."my; Type: TABLE" (line text);
    INSERT INTO audit."my; Type: TABLE" VALUES
        ('-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -'), ('BEGIN;'), ('COMMIT;'),
        ('-- Name: ghost; Type: TABLE; Schema: public; Owner: x'), (E'tab\there\nand a line'), ('\.');
    CREATE VIEW happy AS SELECT * FROM orders WHERE mood = 'happy';
    CREATE PROCEDURE tidy() LANGUAGE plpgsql AS $$
BEGIN
DELETE FROM orders WHERE id < 0;
COMMIT;
END $$;
    SELECT lo_from_bytea(4711, '\xdeadbeef00');
    SELECT lo_from_bytea(4712, decode(repeat('ab', 70000), 'hex'));
"#;

/// Everything that is in a database, as text.
fn all(cluster: &Cluster, database: &str) -> String {
    cluster.psql(
        database,
        "SELECT 'order', o::text FROM orders o UNION ALL SELECT 'audit', line FROM audit.\"my; Type: TABLE\" \
         UNION ALL SELECT 'lo', oid || ' ' || md5(lo_get(oid)) FROM pg_largeobject_metadata \
         UNION ALL SELECT 'table', table_schema || table_name FROM information_schema.tables \
             WHERE table_schema IN ('public', 'audit', 'later') \
         UNION ALL SELECT 'proc', pg_get_functiondef('tidy'::regproc) ORDER BY 1, 2",
    )
}

async fn verified(db: &Postgres, dump: Dump) -> Verified<Dump> {
    check(db.verify(dump)).await.unwrap().into_evidence()
}

#[tokio::test]
async fn a_restore_gives_back_what_was_dumped_in_every_format() {
    for format in FORMATS {
        let cluster = Cluster::shared();
        let db = cluster.create(&format!("shop {format}"), SHOP);
        let before = all(&cluster, db.database());
        let dump = step(db.dump(cluster.path("dumps"), format)).await.unwrap();
        let dump = verified(&db, dump).await;
        assert_eq!(
            dump.contents().tables,
            [Table::new("audit", "my; Type: TABLE"), Table::from("orders")],
            "{format}"
        );
        assert_eq!(dump.contents().large_objects, 2, "{format}");
        // What happened since is undone: changed rows, new tables, lost and new large objects.
        cluster.psql(
            db.database(),
            "UPDATE orders SET note = 'gone'; DROP VIEW happy; CREATE TABLE later (n int); \
             CREATE SCHEMA later; CREATE TABLE later.t (n int REFERENCES orders); \
             SELECT lo_unlink(4711); SELECT lo_create(99); CREATE EXTENSION pg_trgm",
        );
        let again = dump.clone();
        let outcome = run(|b| {
            b.step(db.restore(dump, OtherSessions::Refuse));
        })
        .await;
        assert_eq!(outcome.status, Status::Succeeded, "{format}: {:?}", outcome.finished);
        assert_eq!(all(&cluster, db.database()), before, "{format}");
        cluster.psql(
            db.database(),
            "DROP VIEW happy; CREATE TABLE later (n int); SELECT lo_unlink(4711); SELECT lo_create(99)",
        );
        let outcome = run(|b| {
            let safety = b.step(db.dump(cluster.path("dumps"), Format::Custom));
            let safety = b.check(db.verify(safety));
            b.step(db.restore_in_place(again, safety));
        })
        .await;
        assert_eq!(outcome.status, Status::Succeeded, "{format}: {:?}", outcome.finished);
        assert_eq!(all(&cluster, db.database()), before, "{format}");
    }
}

#[tokio::test]
async fn the_owner_of_a_database_restores_it_beside_an_extension_of_a_superuser() {
    for format in FORMATS {
        let cluster = Cluster::shared();
        let name = format!("owned {format}");
        cluster.create(
            &name,
            &format!(
                "CREATE EXTENSION pg_trgm; COMMENT ON EXTENSION pg_trgm IS E'it''s\\nof two lines'; \
                 CREATE ROLE \"owner {format}\" LOGIN PASSWORD 'owner'; \
                 ALTER DATABASE \"{name}\" OWNER TO \"owner {format}\"; \
                 SET ROLE \"owner {format}\"; CREATE TABLE notes AS SELECT 1 AS n"
            ),
        );
        let config = cluster.config(&name).user(format!("owner {format}")).password("owner");
        let db = Postgres::new(&Host::new(Local::new()), config);
        let dump = step(db.dump(cluster.path("dumps"), format)).await.unwrap();
        let dump = verified(&db, dump).await;
        cluster.psql(&name, "UPDATE notes SET n = 2");
        // It may not create databases: somebody else does that for it.
        let failure = step(db.restore(dump.clone(), OtherSessions::Refuse)).await.unwrap_err();
        assert!(failure.to_string().contains("may not create databases"), "{failure}");
        assert!(!check(db.replaceable()).await.unwrap().passed());
        let administered = db.administered_by(&cluster.database(&name));
        assert!(check(administered.replaceable()).await.unwrap().passed());
        for in_place in [false, true] {
            let dump = dump.clone();
            let outcome = run(|b| {
                if in_place {
                    let safety = b.step(db.dump(cluster.path("dumps"), format));
                    let safety = b.check(db.verify(safety));
                    b.step(db.restore_in_place(dump, safety));
                } else {
                    b.step(administered.restore(dump, OtherSessions::Refuse));
                }
            })
            .await;
            assert_eq!(outcome.status, Status::Succeeded, "{format}: {:?}", outcome.finished);
            assert_eq!(cluster.psql(&name, "SELECT n FROM notes"), "1", "{format}");
            let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'notes'";
            assert_eq!(cluster.psql(&name, owner), format!("owner {format}"));
            let extensions = "SELECT string_agg(extname || coalesce(obj_description(oid, \
                'pg_extension'), ''), ',' ORDER BY 1) FROM pg_extension WHERE extname = 'pg_trgm'";
            assert_eq!(cluster.psql(&name, extensions), "pg_trgmit's\nof two lines", "{format}");
            cluster.psql(&name, "UPDATE notes SET n = 2");
        }
    }
}

#[tokio::test]
async fn a_rolled_back_restore_in_place_puts_back_what_was_there() {
    let cluster = Cluster::shared();
    let db = cluster.create("undone", SHOP);
    let dump = step(db.dump(cluster.path("dumps"), Format::Gzip)).await.unwrap();
    let dump = verified(&db, dump).await;
    cluster.psql("undone", "DELETE FROM orders WHERE id > 7; CREATE TABLE later (n int)");
    let before = all(&cluster, "undone");
    let outcome = run(|b| {
        let safety = b.step(db.dump(cluster.path("dumps"), Format::Custom));
        let safety = b.check(db.verify(safety));
        b.step(db.restore_in_place(dump, safety));
        b.check(db.rows::<i32>("It holds what it should", "SELECT 1 WHERE false", []));
    })
    .await;
    assert_eq!(outcome.status, Status::RolledBack, "{:?}", outcome.finished);
    assert_eq!(all(&cluster, "undone"), before);
}

#[tokio::test]
async fn a_dump_cut_short_or_changed_by_a_byte_is_refused_before_anything_is_dropped() {
    for format in FORMATS {
        let cluster = Cluster::shared();
        let db = cluster.create(&format!("spoilt {format}"), SHOP);
        let before = all(&cluster, db.database());
        let dump = step(db.dump(cluster.path("dumps"), format)).await.unwrap();
        let good = std::fs::read(&dump.path).unwrap();
        let proof = verified(&db, dump.clone()).await;
        let mut changed = good.clone();
        *changed.last_mut().unwrap() ^= 1;
        let middle = changed.len() / 2;
        let mut in_the_middle = good.clone();
        in_the_middle[middle] ^= 0x20;
        for bad in [&good[..good.len() - 1], &good[..good.len() / 2], &changed, &in_the_middle] {
            std::fs::write(&dump.path, bad).unwrap();
            let failure = check(db.verify(dump.clone())).await.unwrap_err();
            assert!(failure.to_string().contains("is not as it was written: its SHA-256 is"));
            // Nor if it was spoilt after it had been verified.
            let failure = step(db.restore_over(proof.clone())).await.unwrap_err();
            assert!(failure.to_string().contains("its SHA-256 is"), "{failure}");
            let safety = verified(&db, step(db.dump(cluster.path("dumps"), format)).await.unwrap());
            let failure = step(db.restore_in_place(proof.clone(), safety.await)).await.unwrap_err();
            assert!(failure.to_problem().next.unwrap().contains("nothing was dropped"));
            let restored = run(|b| {
                b.step(db.restore(proof.clone(), OtherSessions::End));
            });
            let finished = restored.await.finished.unwrap();
            assert_eq!(finished.status, Status::RolledBack, "{format}: {finished:?}");
            // Nor with a checksum that somebody wrote anew: it is not whole.
            let cut = bad.len() < good.len();
            let sum = sha256(&dump.path);
            let sidecar = format!("{}.sha256", dump.path.display());
            let old = std::fs::read(&sidecar).unwrap();
            std::fs::write(&sidecar, format!("{sum}  x\n")).unwrap();
            let found = check(db.existing_dump(dump.path.clone())).await.unwrap().into_evidence();
            if cut && format != Format::Custom && bad.len() < good.len() - 1 {
                assert!(check(db.verify(found)).await.is_err(), "{format}");
            }
            std::fs::write(&sidecar, old).unwrap();
        }
        assert_eq!(all(&cluster, db.database()), before, "{format}");
    }
}

#[tokio::test]
async fn what_was_verified_survives_the_journal_and_can_not_be_altered_there() {
    let cluster = Cluster::shared();
    let db = cluster.create("sealed", SHOP);
    let dump = step(db.dump(cluster.path("dumps"), Format::Custom)).await.unwrap();
    let proof = verified(&db, dump.clone()).await;
    let text = serde_json::to_string(&proof).unwrap();
    assert_eq!(serde_json::from_str::<Verified<Dump>>(&text).unwrap(), proof);
    let other = text.replace("sealed-", "other-");
    assert!(serde_json::from_str::<Verified<Dump>>(&other).is_err());
    let bare = serde_json::to_string(&dump).unwrap();
    assert!(serde_json::from_str::<Verified<Dump>>(&bare).is_err());
}

fn sha256(path: &Path) -> String {
    let output = std::process::Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_restore_that_fails_half_way_changes_nothing() {
    for format in FORMATS {
        let cluster = Cluster::shared();
        let db = cluster.create(&format!("failing {format}"), SHOP);
        // Its rows refer to a type of an extension that a rule of the server refuses half way.
        let source = cluster.create(
            &format!("source {format}"),
            "CREATE TABLE a (n int); INSERT INTO a VALUES (1); CREATE ROLE short_lived; \
             CREATE TABLE z (n int); ALTER TABLE z OWNER TO short_lived",
        );
        let dump = step(source.dump(cluster.path("dumps"), format)).await.unwrap();
        let dump = verified(&source, dump).await;
        cluster.psql(source.database(), "DROP TABLE z; DROP ROLE short_lived");
        let before = all(&cluster, db.database());
        let outcome = run(|b| {
            b.step(db.restore(dump.clone(), OtherSessions::Refuse));
        });
        let finished = outcome.await.finished.unwrap();
        assert_eq!(finished.status, Status::RolledBack, "{format}: {finished:?}");
        let text = finished.problem.unwrap().message;
        assert!(text.contains("role \"short_lived\" does not exist"), "{format}: {text}");
        assert_eq!(all(&cluster, db.database()), before, "{format}");
        let failure = step(db.restore_over(dump)).await.unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("role \"short_lived\" does not exist"), "{format}: {text}");
        assert!(text.starts_with("`restore "), "{text}");
        assert_eq!(all(&cluster, db.database()), before, "{format}");
    }
}

#[tokio::test]
async fn a_dump_has_its_checksum_beside_it_and_is_only_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::shared();
    let db = cluster.create("beside", SHOP);
    let folder = cluster.path("dumps/beside");
    let dump = step(db.dump(&folder, Format::Custom)).await.unwrap();
    let name = dump.path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("beside-20") && name.ends_with(".dump"), "{name}");
    let ok = std::process::Command::new("sha256sum")
        .args(["-c", "--quiet", &format!("{name}.sha256")])
        .current_dir(&folder)
        .status()
        .unwrap();
    assert!(ok.success());
    let mode = std::fs::metadata(&dump.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let schema = step(db.dump_schema(&folder, Format::Plain)).await.unwrap();
    let text = std::fs::read_to_string(&schema.path).unwrap();
    assert!(text.contains("CREATE TABLE public.orders") && !text.contains("COPY "));
    // The latest one with rows, not the schema.
    let latest = check(db.latest_dump(&folder)).await.unwrap().into_evidence();
    assert_eq!(latest.path, dump.path);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4, "nothing else is left there");
}

#[tokio::test]
async fn no_row_of_a_dump_is_said_to_whoever_watches() {
    let cluster = Cluster::shared();
    let db = cluster.create("discreet", "CREATE TABLE t AS SELECT 'what Ada bought' AS x");
    cluster.psql("discreet", "SELECT lo_from_bytea(0, '\\xada0ada0ada0')");
    for format in FORMATS {
        let around = Surroundings::new();
        let dump = db.dump(cluster.path("dumps"), format).run(&around.context()).await.unwrap();
        let verdict = db.verify(dump).check(&around.observer()).await.unwrap();
        let proof = verdict.into_evidence();
        db.restore_over(proof).run(&around.context()).await.unwrap();
        let said = around.lines().join("\n");
        assert!(said.contains("-- Name: t; Type: TABLE;"), "{said}");
        assert!(!said.contains("Ada") && !said.contains("ada0"), "{said}");
    }
}

#[tokio::test]
async fn a_test_restore_finds_the_same_content_and_leaves_nothing() {
    let cluster = Cluster::shared();
    let db = cluster.create("monthly", SHOP);
    let dump = step(db.dump(cluster.path("dumps"), Format::Custom)).await.unwrap();
    let first = verified(&db, dump).await;
    let plain = step(db.dump(cluster.path("dumps"), Format::Plain)).await.unwrap();
    let second = verified(&db, plain).await;
    let first = step(db.test_restore(first)).await.unwrap();
    let second = step(db.test_restore(second)).await.unwrap();
    assert_eq!(first.tables, second.tables);
    assert_eq!(first.large_objects, second.large_objects);
    let rows: Vec<_> = first.tables.iter().map(|content| content.rows).collect();
    assert_eq!(rows, [6, 500]);
    cluster
        .psql("monthly", "UPDATE orders SET note = 'x' WHERE id = 1; SELECT lo_put(4711, 0, 'x')");
    let third = step(db.dump(cluster.path("dumps"), Format::Gzip)).await.unwrap();
    let third = step(db.test_restore(verified(&db, third).await)).await.unwrap();
    assert_ne!(first.tables[1].checksum, third.tables[1].checksum);
    assert_ne!(first.large_objects.1, third.large_objects.1);
    // Other tests make such databases too, at the same time.
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'runbook_scratch%'";
    crate::support::until(|| cluster.psql("postgres", left) == "0").await;
}

#[tokio::test]
async fn a_failed_test_restore_drops_its_scratch_database() {
    let cluster = Cluster::shared();
    let db = cluster.create(
        "monthly failing",
        "CREATE ROLE also_short_lived; CREATE TABLE z (n int); ALTER TABLE z OWNER TO also_short_lived",
    );
    let dump = step(db.dump(cluster.path("dumps"), Format::Custom)).await.unwrap();
    let dump = verified(&db, dump).await;
    cluster.psql("monthly failing", "DROP TABLE z; DROP ROLE also_short_lived");
    assert!(step(db.test_restore(dump)).await.is_err());
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'runbook_scratch%'";
    crate::support::until(|| cluster.psql("postgres", left) == "0").await;
}

/// Dumps of so many days ago, each good; the oldest first.
fn aged(folder: &Path, days: &[u64]) -> Vec<std::path::PathBuf> {
    std::fs::create_dir_all(folder).unwrap();
    let now = std::time::SystemTime::now();
    days.iter()
        .map(|day| {
            let path = folder.join(format!("kept-2026-01-{:02}-000000.sql", 31 - day));
            std::fs::write(&path, "-- PostgreSQL database dump complete\n").unwrap();
            let at = now - std::time::Duration::from_secs(day * 86_400 + 60);
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let line = format!("{}  {name}\n", sha256(&path));
            std::fs::write(format!("{}.sha256", path.display()), line).unwrap();
            path
        })
        .collect()
}

#[tokio::test]
async fn retention_keeps_by_days_and_by_count_and_lists_first() {
    let cluster = Cluster::shared();
    let db = cluster.database("kept");
    let folder = cluster.path("dumps/kept");
    let all = aged(&folder, &[30, 20, 10, 5, 1]);
    // Not ours: another database's, a foreign name, a link.
    std::fs::write(folder.join("kept-x-2020-01-01-000000.sql"), "").unwrap();
    std::fs::write(folder.join("kept-notes.sql"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("kept-2019-01-01-000000.sql")).unwrap();
    for (rule, expected) in [
        (Retention::days(14), &all[..2]),
        (Retention::days(14).keep_last(4), &all[..1]),
        (Retention::count(2), &all[..3]),
        (Retention::days(0), &all[..4]),
        (Retention::count(0), &all[..4]),
        (Retention::count(9), &all[..0]),
    ] {
        let verdict = check(db.expired_dumps(&folder, rule)).await.unwrap();
        assert_eq!(verdict.evidence(), expected, "{rule}");
    }
    let rule = Retention::count(2);
    let listed = check(db.expired_dumps(&folder, rule)).await.unwrap().into_evidence();
    // Only what was listed goes.
    let gone = step(db.remove_dumps(&folder, rule, listed[1..].to_vec())).await.unwrap();
    assert_eq!(gone, all[1..3]);
    assert!(all[0].exists() && !all[1].exists() && all[3].exists());
    assert!(!Path::new(&format!("{}.sha256", all[1].display())).exists());
}

#[tokio::test]
async fn the_only_good_dump_is_never_removed() {
    let cluster = Cluster::shared();
    let db = cluster.database("kept");
    let folder = cluster.path("dumps/only");
    let all = aged(&folder, &[30, 20, 1]);
    // Those that would be left are spoilt: one changed, one without a checksum.
    std::fs::write(&all[2], "cut").unwrap();
    std::fs::remove_file(format!("{}.sha256", all[1].display())).unwrap();
    let rule = Retention::count(2);
    let listed = check(db.expired_dumps(&folder, rule)).await.unwrap().into_evidence();
    assert_eq!(listed, all[..1]);
    let failure = step(db.remove_dumps(&folder, rule, listed)).await.unwrap_err();
    assert!(failure.to_string().contains("none has a right checksum"), "{failure}");
    assert!(all[0].exists());
}
