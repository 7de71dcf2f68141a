//! Two processes and one run.

use runbook_core::{EventKind, FileStore, JournalError, JournalStore, RunId};

use crate::child::{Running, command, exe, say, wait_for_parent};
use crate::kit::{good_run, now, text, written};

/// A child that has the run open until its parent says otherwise.
pub(crate) async fn hold(dir: &str) {
    let opened = FileStore::new(dir).open(&RunId::new("held")).await.unwrap();
    say("I have it");
    wait_for_parent();
    drop(opened);
}

/// A child that appends for as long as it lives, and says what it has appended.
pub(crate) async fn write_without_end(dir: &str) {
    let (journal, _) = FileStore::new(dir).open(&RunId::new("held")).await.unwrap();
    let event = now(EventKind::Notified { to: "ops@example.org".into(), problem: None });
    loop {
        say(journal.append(&event).unwrap());
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_had_appended() {
    let (dir, store) = written("held").await;
    let run = RunId::new("held");
    for lines in [1, 30, 200] {
        let mut child = Running::start(command(&exe(), "write without end", dir.path()));
        let mut last = 0;
        for _ in 0..lines {
            last = child.heard().unwrap().parse().unwrap();
        }
        child.kill();
        let (journal, events) = store.open(&run).await.unwrap();
        assert!(events.len() >= last, "{} of at least {last}", events.len());
        drop(journal);
        let verification = store.verify(&run).await.unwrap();
        assert_eq!((verification.torn_bytes, verification.fault), (0, None));
    }
}

#[tokio::test]
async fn the_second_process_is_told_who_has_the_run() {
    let (dir, store) = written("held").await;
    let run = RunId::new("held");
    let mut child = Running::start(command(&exe(), "hold a run", dir.path()));
    assert_eq!(child.heard().as_deref(), Some("I have it"));

    let error = store.open(&run).await.err().unwrap();
    assert!(matches!(error, JournalError::Busy { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains(&format!("(pid {})", child.id())), "{said}");
    assert!(said.ends_with("; wait for it or end it"), "{said}");

    let read = store.read(&run).await.unwrap();
    assert_eq!(text(&read).len(), good_run("held").len(), "reading goes on");
}

#[tokio::test]
async fn a_killed_process_gives_the_run_free() {
    let (dir, store) = written("held").await;
    let mut child = Running::start(command(&exe(), "hold a run", dir.path()));
    assert_eq!(child.heard().as_deref(), Some("I have it"));
    child.kill();
    let (_journal, events) = store.open(&RunId::new("held")).await.unwrap();
    assert_eq!(events.len(), good_run("held").len());
}
