//! What every journal store does, file and memory alike.

use runbook_core::{
    FileStore, IllegalEvent, JournalError, JournalStore, MemoryStore, RunId, RunState, StreamKind,
};

use crate::kit::{finish, good_run, id, now, shop, started_run, text};

/// Runs a test against each store.
macro_rules! for_each_store {
    ($($(#[$doc:meta])* async fn $name:ident($store:ident: &dyn JournalStore) $body:block)*) => {
        $(async fn $name($store: &dyn JournalStore) $body)*

        mod file {
            $(#[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(&super::FileStore::new(dir.path())).await;
            })*
        }

        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::MemoryStore::new()).await;
            })*
        }
    };
}

fn run(id: &str) -> RunId {
    RunId::new(id)
}

for_each_store! {
    async fn what_was_appended_is_read(store: &dyn JournalStore) {
        let journal = store.create(&run("a")).await.unwrap();
        let events = good_run("a");
        for (at, event) in events.iter().enumerate() {
            assert_eq!(journal.append(event).unwrap(), at as u64 + 1);
            assert_eq!(text(&store.read(&run("a")).await.unwrap()), text(&events[..=at]));
        }
        journal.commit(events.len() as u64).await.unwrap();
        drop(journal);
        let (journal, again) = store.open(&run("a")).await.unwrap();
        assert_eq!(text(&again), text(&events));
        assert_eq!(RunState::fold(&again).unwrap().events(), events.len() as u64);
        let notified =
            runbook_core::EventKind::Notified { to: "ops@example.org".into(), problem: None };
        assert_eq!(journal.append(&now(notified)).unwrap(), events.len() as u64 + 1);
    }

    async fn a_run_is_created_once(store: &dyn JournalStore) {
        let journal = store.create(&run("a")).await.unwrap();
        assert!(matches!(store.create(&run("a")).await, Err(JournalError::Exists { .. })));
        drop(journal);
        assert!(matches!(store.create(&run("a")).await, Err(JournalError::Exists { .. })));
    }

    async fn one_at_a_time_works_on_a_run(store: &dyn JournalStore) {
        let journal = store.create(&run("a")).await.unwrap();
        assert!(matches!(store.open(&run("a")).await, Err(JournalError::Busy { .. })));
        drop(journal);
        let opened = store.open(&run("a")).await.unwrap();
        assert!(matches!(store.open(&run("a")).await, Err(JournalError::Busy { .. })));
        assert!(store.read(&run("a")).await.unwrap().is_empty(), "reading is always possible");
        drop(opened);
        assert!(store.open(&run("a")).await.is_ok());
    }

    async fn a_run_that_does_not_exist_is_not_found(store: &dyn JournalStore) {
        let (a, unit) = (run("a"), id("dump"));
        assert!(matches!(store.open(&a).await, Err(JournalError::NotFound { .. })));
        assert!(matches!(store.read(&a).await, Err(JournalError::NotFound { .. })));
        assert!(matches!(store.verify(&a).await, Err(JournalError::NotFound { .. })));
        assert!(matches!(store.output(&a, &unit).await, Err(JournalError::NotFound { .. })));
        assert!(store.list().await.unwrap().is_empty());
    }

    async fn an_id_that_is_a_path_is_refused(store: &dyn JournalStore) {
        for id in ["", ".", "..", "../a", "a/b", "/a", ".a", "a b", "a\n"] {
            let refused = |error| matches!(error, Some(JournalError::BadRunId { .. }));
            assert!(refused(store.create(&run(id)).await.err()), "{id:?}");
            assert!(refused(store.open(&run(id)).await.err()), "{id:?}");
            assert!(refused(store.read(&run(id)).await.err()), "{id:?}");
        }
    }

    async fn runs_are_listed_oldest_first(store: &dyn JournalStore) {
        for id in ["zebra", "ant", "mole"] {
            drop(store.create(&run(id)).await.unwrap());
        }
        assert_eq!(store.list().await.unwrap(), [run("zebra"), run("ant"), run("mole")]);
    }

    async fn a_run_is_found_by_a_part_of_its_id(store: &dyn JournalStore) {
        for id in ["20260314-150926-k7xq", "20260314-150926-k7xq-2", "20260315-080000-abcd"] {
            drop(store.create(&run(id)).await.unwrap());
        }
        for (words, found) in [
            ("20260314-150926-k7xq", "20260314-150926-k7xq"),
            ("20260315", "20260315-080000-abcd"),
            ("abcd", "20260315-080000-abcd"),
            ("last", "20260315-080000-abcd"),
            ("latest", "20260315-080000-abcd"),
        ] {
            assert_eq!(store.find(words).await.unwrap(), run(found), "{words}");
        }
        let error = store.find("20260314").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`20260314` fits 2 runs: `20260314-150926-k7xq`, `20260314-150926-k7xq-2`; give more \
             of the id"
        );
        for words in ["2025", "150926"] {
            let error = store.find(words).await.unwrap_err();
            assert!(matches!(error, JournalError::NotFound { .. }), "{words}: {error}");
        }
        assert!(store.find("").await.is_err());
    }

    async fn the_last_of_no_runs_is_not_found(store: &dyn JournalStore) {
        let error = store.find("last").await.unwrap_err();
        assert!(matches!(error, JournalError::NotFound { .. }), "{error}");
    }

    async fn a_good_journal_verifies(store: &dyn JournalStore) {
        let journal = store.create(&run("a")).await.unwrap();
        let empty = store.verify(&run("a")).await.unwrap();
        assert_eq!((empty.good_lines, empty.torn_bytes, empty.fault), (1, 0, None));
        for event in good_run("a") {
            journal.append(&event).unwrap();
        }
        let full = store.verify(&run("a")).await.unwrap();
        assert_eq!((full.good_lines, full.torn_bytes, full.fault), (9, 0, None));
        assert_eq!(full.head.len(), 64);
        assert_ne!(full.head, empty.head);
    }

    async fn events_that_cannot_follow_are_found(store: &dyn JournalStore) {
        let journal = store.create(&run("a")).await.unwrap();
        for event in [started_run("a", shop()), finish("dump")] {
            journal.append(&now(event)).unwrap();
        }
        drop(journal);
        let verification = store.verify(&run("a")).await.unwrap();
        let (line, how) = verification.fault.unwrap();
        assert_eq!((line, &*how), (3, "unit `dump` is pending and can't be finished"));
        let error = store.open(&run("a")).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains("unit `dump` is pending and can't be finished"), "{text}");
        assert_eq!(store.read(&run("a")).await.unwrap().len(), 2, "reports can still be made");
    }

    async fn captured_output_is_kept_by_unit(store: &dyn JournalStore) {
        let journal = store.create(&run("a")).await.unwrap();
        journal.spool(&id("web/dump"), StreamKind::Stdout, "dumping");
        journal.spool(&id("web/dump"), StreamKind::Stderr, "slow disk");
        journal.spool(&id("web+dump"), StreamKind::Note, "another unit");
        journal.append(&now(started_run("a", shop()))).unwrap();
        let output = |unit| {
            let unit = id(unit);
            async move { store.output(&run("a"), &unit).await.unwrap() }
        };
        assert_eq!(output("web/dump").await, "out | dumping\nerr | slow disk\n");
        assert_eq!(output("web+dump").await, "note| another unit\n");
        assert_eq!(output("silent").await, "");
    }

    async fn of_much_output_both_ends_are_kept(store: &dyn JournalStore) {
        let journal = store.create(&run("a")).await.unwrap();
        for at in 0..120_000 {
            let line = format!("{at:06} {}", "x".repeat(60));
            journal.spool(&id("dump"), StreamKind::Stdout, &line);
        }
        journal.append(&now(started_run("a", shop()))).unwrap();
        let text = store.output(&run("a"), &id("dump")).await.unwrap();
        assert!(text.len() < 5 << 20, "{}", text.len());
        assert!(text.starts_with("out | 000000 "));
        assert!(text.lines().last().unwrap().starts_with("out | 119999 "));
        let note = text.lines().find(|line| line.starts_with('[')).unwrap();
        let kept = text.lines().count() - 1;
        assert_eq!(note, format!("[{} lines are left out here]", 120_000 - kept));
    }

    async fn a_null_is_not_the_same_as_nothing(store: &dyn JournalStore) {
        let journal = store.create(&run("a")).await.unwrap();
        let null = || Some(crate::kit::json("null"));
        for event in [
            started_run("a", shop()),
            runbook_core::EventKind::Started { unit: id("dump"), record: null() },
            runbook_core::EventKind::Finished { unit: id("dump"), output: null() },
        ] {
            journal.append(&now(event)).unwrap();
        }
        drop(journal);
        let (_journal, events) = store.open(&run("a")).await.unwrap();
        let state = RunState::fold(&events).unwrap();
        let dump = state.unit(&id("dump")).unwrap();
        assert_eq!(dump.record.as_ref().unwrap().get(), "null");
        assert_eq!(dump.output.as_ref().unwrap().get(), "null");
    }

    async fn json_of_several_lines_stays_one_line(store: &dyn JournalStore) {
        let journal = store.create(&run("a")).await.unwrap();
        let record = Some(crate::kit::json("{\n  \"was\": \"a\\nb\"\n}"));
        let events =
            [started_run("a", shop()), runbook_core::EventKind::Started { unit: id("dump"), record }];
        for event in events {
            journal.append(&now(event)).unwrap();
        }
        drop(journal);
        let (_journal, events) = store.open(&run("a")).await.unwrap();
        let state = RunState::fold(&events).unwrap();
        let record = state.unit(&id("dump")).unwrap().record.as_ref().unwrap();
        let value: serde_json::Value = serde_json::from_str(record.get()).unwrap();
        assert_eq!(value["was"], "a\nb");
    }
}

#[test]
fn stores_and_their_errors_go_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<FileStore>();
    check::<MemoryStore>();
    check::<JournalError>();
    check::<IllegalEvent>();
}
