//! Locks: what every store of them does, and processes that race for one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;
use runbook_core::{FileLocks, LockHolder, LockStore, MemoryLocks, RunId, Timestamp};

use crate::child::{Running, command, exe, say};
use crate::kit::{actor, said};

fn holder(run: &str, lease: i64) -> LockHolder {
    let now = Timestamp::now();
    let expires = now.as_micros().saturating_add_signed(lease * 1_000_000);
    LockHolder {
        run: RunId::new(run),
        book: "deploy".into(),
        by: actor(),
        reason: None,
        since: Timestamp::from_micros(1_773_500_966_000_000),
        expires: Timestamp::from_micros(expires),
    }
}

const DB: &str = "database:shop";

macro_rules! for_each_store {
    ($(async fn $name:ident($locks:ident: &dyn LockStore) $body:block)*) => {
        $(async fn $name($locks: &dyn LockStore) $body)*

        mod file {
            $(#[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(&super::FileLocks::new(dir.path().join("locks"))).await;
            })*
        }

        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::MemoryLocks::default()).await;
            })*
        }
    };
}

for_each_store! {
    async fn one_run_holds_a_lock(locks: &dyn LockStore) {
        let (a, b) = (holder("a", 60), holder("b", 60));
        assert_eq!(locks.acquire(DB, &a).await.unwrap(), Ok(()));
        assert_eq!(locks.acquire(DB, &b).await.unwrap(), Err(a.clone()));
        assert_eq!(locks.acquire("site:shop", &b).await.unwrap(), Ok(()));
        locks.release(DB, &a.run).await.unwrap();
        assert_eq!(locks.acquire(DB, &b).await.unwrap(), Ok(()));
    }

    async fn the_run_that_holds_a_lock_may_take_it_again(locks: &dyn LockStore) {
        let a = holder("a", 60);
        assert_eq!(locks.acquire(DB, &a).await.unwrap(), Ok(()));
        assert_eq!(locks.acquire(DB, &a).await.unwrap(), Ok(()));
    }

    async fn a_lease_that_ran_out_holds_nobody_up(locks: &dyn LockStore) {
        let (a, b) = (holder("a", -1), holder("b", 60));
        assert_eq!(locks.acquire(DB, &a).await.unwrap(), Ok(()));
        assert_eq!(locks.acquire(DB, &b).await.unwrap(), Ok(()));
        let error = locks.renew(DB, &a).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the lock on `database:shop` was lost: its lease had run out or it was broken, and \
             now run b of `deploy` by ada@box (pid 7) since 2026-03-14T15:09:26.000000Z has it"
        );
        // The one that lost it can't give it back either.
        locks.release(DB, &a.run).await.unwrap();
        assert_eq!(locks.list().await.unwrap(), [(DB.to_owned(), b)]);
    }

    async fn a_renewed_lease_holds_on(locks: &dyn LockStore) {
        let (late, early) = (holder("a", 60), holder("a", -1));
        assert_eq!(locks.acquire(DB, &early).await.unwrap(), Ok(()));
        locks.renew(DB, &late).await.unwrap();
        let held = locks.acquire(DB, &holder("b", 60)).await.unwrap().unwrap_err();
        assert_eq!(held.expires, late.expires);
        assert_eq!(held.since, early.since);
    }

    async fn a_broken_lock_is_lost(locks: &dyn LockStore) {
        let a = holder("a", 60);
        assert_eq!(locks.acquire(DB, &a).await.unwrap(), Ok(()));
        assert_eq!(locks.break_lock(DB).await.unwrap(), Some(a.clone()));
        assert_eq!(locks.break_lock(DB).await.unwrap(), None);
        let error = locks.renew(DB, &a).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the lock on `database:shop` was lost: it was broken, and nobody has it now"
        );
        assert!(locks.list().await.unwrap().is_empty());
    }

    async fn all_locks_are_listed_by_resource(locks: &dyn LockStore) {
        assert!(locks.list().await.unwrap().is_empty());
        for resource in ["site:shop", "a/b", "database:shop", "a+b"] {
            assert_eq!(locks.acquire(resource, &holder("a", 60)).await.unwrap(), Ok(()));
        }
        assert_eq!(locks.acquire("old", &holder("b", -1)).await.unwrap(), Ok(()));
        let names: Vec<_> = locks.list().await.unwrap().into_iter().map(|lock| lock.0).collect();
        assert_eq!(names, ["a+b", "a/b", "database:shop", "old", "site:shop"]);
    }
}

#[tokio::test]
async fn a_damaged_lock_file_is_named_and_can_be_broken() {
    let dir = tempfile::tempdir().unwrap();
    let locks = FileLocks::new(dir.path());
    locks.acquire(DB, &holder("a", 60)).await.unwrap().unwrap();
    let path = dir.path().join("database%3Ashop.json");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..40]).unwrap();
    let error = locks.acquire(DB, &holder("b", 60)).await.unwrap_err();
    assert_snapshot!(said(format!("{error:?}"), dir.path()), @"
reading the lock file DIR/database%3Ashop.json: EOF while parsing a string at line 1 column 40
  next: it is damaged; if no run is at work on the resource, `unlock` it
");
    let error = locks.list().await.unwrap_err();
    assert_snapshot!(said(error, dir.path()), @"reading the lock file DIR/database%3Ashop.json: EOF while parsing a string at line 1 column 40");
    assert_eq!(locks.break_lock(DB).await.unwrap(), None);
    assert_eq!(locks.acquire(DB, &holder("b", 60)).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_folder_of_locks_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("locks"), "in the way").unwrap();
    let locks = FileLocks::new(dir.path().join("locks"));
    let error = locks.acquire(DB, &holder("a", 60)).await.unwrap_err();
    assert_snapshot!(said(error, dir.path()), @"making the folder of locks DIR/locks: File exists (os error 17)");
}

const ROUNDS: u32 = 60;

/// A child that takes the lock a number of times, and looks whether it is alone.
pub(crate) async fn fight(dir: &str) {
    let me = format!("run-{}", std::process::id());
    let locks = FileLocks::new(Path::new(dir).join("locks"));
    let alone = Path::new(dir).join("alone");
    for _ in 0..ROUNDS {
        while locks.acquire(DB, &holder(&me, 60)).await.unwrap().is_err() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        // Fails if another one has made it and not yet removed it.
        fs::OpenOptions::new().write(true).create_new(true).open(&alone).expect("nobody else");
        fs::remove_file(&alone).unwrap();
        locks.release(DB, &RunId::new(&*me)).await.unwrap();
    }
    say("done");
}

#[tokio::test]
async fn processes_that_race_never_hold_a_lock_together() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> =
        (0..4).map(|_| Running::start(command(&exe(), "fight for a lock", dir.path()))).collect();
    for mut child in children {
        assert_eq!(child.heard().as_deref(), Some("done"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_runs_that_race_for_an_expired_lock_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let locks = FileLocks::new(dir.path());
    for round in 0..20 {
        let resource = format!("host:{round}");
        locks.acquire(&resource, &holder("dead", -1)).await.unwrap().unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|run| {
                let (locks, resource) = (locks.clone(), resource.clone());
                tokio::spawn(async move {
                    locks.acquire(&resource, &holder(&run.to_string(), 60)).await.unwrap().is_ok()
                })
            })
            .collect();
        let mut winners = 0;
        for task in tasks {
            winners += u32::from(task.await.unwrap());
        }
        assert_eq!(winners, 1);
    }
}
