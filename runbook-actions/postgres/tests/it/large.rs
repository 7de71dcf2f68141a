//! A database of more than a gigabyte, with large objects.

use runbook_core::Status;
use runbook_postgres::{Format, OtherSessions};

use crate::support::{Cluster, Spec, run};

/// Long rows, of which a dump makes little; some that nothing makes smaller; large objects. The
/// server makes them: nothing of it is read from anywhere.
const LIBRARY: &str = "
    CREATE TABLE pages (id bigserial PRIMARY KEY, chapter int, text text);
    ALTER TABLE pages ALTER text SET STORAGE EXTERNAL;
    INSERT INTO pages (chapter, text)
        SELECT n % 100, repeat(md5(n::text), 58) FROM generate_series(1, 500000) n;
    CREATE INDEX ON pages (chapter);
    CREATE TABLE noise (id bigserial PRIMARY KEY, bytes bytea);
    ALTER TABLE noise ALTER bytes SET STORAGE EXTERNAL;
    CREATE TEMPORARY TABLE base AS
        SELECT string_agg(sha512(k::text::bytea), '') AS bytes FROM generate_series(1, 15000) k;
    INSERT INTO noise (bytes)
        SELECT substr(bytes, 1 + n * 7919 % 900000, 16000) FROM base, generate_series(1, 1000) n;
    SELECT count(lo_from_bytea(0, substr(bytes, 1 + n * 104729 % 400000, 300000 + n)))
        FROM base, generate_series(1, 100) n;
";

/// All rows and all large objects, in short.
const CONTENT: &str = "
    SELECT 'pages', count(*), sum(hashtextextended(t::text, 0)::numeric)::text FROM pages t
    UNION ALL SELECT 'noise', count(*), sum(hashtextextended(t::text, 0)::numeric)::text FROM noise t
    UNION ALL SELECT 'large objects', count(*), md5(string_agg(oid || md5(lo_get(oid)), ',' ORDER BY oid))
        FROM pg_largeobject_metadata
    UNION ALL SELECT 'next page', last_value, '' FROM pages_id_seq ORDER BY 1";

const GIB: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_comes_back_in_every_format() {
    let cluster = Cluster::start(Spec {
        settings: "full_page_writes = off\nmax_wal_size = 512MB\nshared_buffers = 128MB\n\
                   synchronous_commit = off\nautovacuum = off",
        ..Spec::default()
    });
    let room = lab::free_space(&cluster.path("dumps"));
    assert!(room > 5 * GIB, "5 GiB of disk are needed there, and {} MiB are free", room >> 20);
    let db = cluster.create("library", LIBRARY);
    let size = cluster.psql("library", "SELECT pg_database_size('library')");
    assert!(size.parse::<u64>().unwrap() > GIB, "{size}");
    let content = cluster.psql("library", CONTENT);
    assert!(content.contains("large objects|100|") && content.contains("pages|500000|"));
    for format in [Format::Plain, Format::Gzip, Format::Custom] {
        let folder = cluster.path("dumps").join(format.to_string());
        let outcome = run(|b| {
            let dump = b.step(db.dump(&folder, format));
            let dump = b.check(db.verify(dump));
            for harm in [
                "DELETE FROM pages WHERE id % 7 = 0",
                "UPDATE noise SET bytes = 'gone' WHERE id < 100",
                "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
            ] {
                b.irreversible(db.execute("do harm", harm, []), "it is what is undone here");
            }
            let restored = b.step(db.restore(dump, OtherSessions::Refuse));
            let replaced = restored.map(|restored| Vec::from_iter(restored.replaced.clone()));
            b.irreversible(db.drop_replaced(replaced), "there is not room for all of them");
        })
        .await;
        assert_eq!(outcome.status, Status::Succeeded, "{format}: {:?}", outcome.finished);
        assert_eq!(cluster.psql("library", CONTENT), content, "{format}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
