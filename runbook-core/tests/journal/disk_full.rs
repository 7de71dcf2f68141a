//! A disk that gets full while a journal is written.

use std::path::Path;
use std::process::Command;

use runbook_core::{FileStore, JournalError, JournalStore, RunId, RunState};

use crate::child::{Running, command, exe, is_root, say};
use crate::kit::{finish, journal_path, now, said, shop, start, started_run};

const RUN: &str = "full";

/// A child that appends until it can't, and says how far it came and why no further.
pub(crate) async fn fill(dir: &str) {
    let journal = FileStore::new(dir).create(&RunId::new(RUN)).await.unwrap();
    let mut events = vec![now(started_run(RUN, shop())), now(start("dump"))];
    // As many as one likes: looks at things.
    events
        .extend((0..100_000).map(|_| {
            now(runbook_core::EventKind::Notified { to: "x".repeat(300), problem: None })
        }));
    let mut taken = 0;
    for event in &events {
        match journal.append(event) {
            Ok(seq) => taken = seq,
            Err(error) => {
                let path = Path::new(dir);
                say(taken);
                say(said(&error, path));
                assert!(matches!(error, JournalError::Io { .. }));
                let later = journal.append(&now(finish("dump"))).unwrap_err();
                assert!(matches!(later, JournalError::Closed { .. }));
                say(said(&later, path));
                let commit = journal.commit(taken).await.unwrap_err();
                assert!(matches!(commit, JournalError::Closed { .. }));
                return;
            }
        }
    }
    panic!("the disk never got full");
}

/// Runs the child by `shell`, and looks at what it left in `dir` with `make_room`.
async fn check(shell: &mut Command, dir: &Path, cause: &str, make_room: impl FnOnce()) {
    let inner = command(&exe(), "fill the disk", dir);
    shell.arg(inner.get_program()).args(inner.get_args());
    shell.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    let mut child = Running::start(std::mem::replace(shell, Command::new("true")));
    let taken: usize = child.heard().expect("it says how far it came").parse().unwrap();
    let error = child.heard().unwrap();
    assert_eq!(error, format!("writing DIR/runs/full/journal.jsonl: {cause}"));
    let later = child.heard().unwrap();
    assert_eq!(
        later,
        format!("the journal of run `full` takes nothing more: an earlier write failed ({cause})")
    );
    assert_eq!(child.heard(), None);

    // What was taken is there, whole, and the run goes on from it once there is room.
    let bytes = std::fs::read(journal_path(dir, RUN)).unwrap();
    assert!(bytes.ends_with(b"\n"), "the line that had no room was taken back");
    let store = FileStore::new(dir);
    assert_eq!(store.read(&RunId::new(RUN)).await.unwrap().len(), taken);
    make_room();
    let (journal, events) = store.open(&RunId::new(RUN)).await.unwrap();
    assert_eq!(events.len(), taken);
    assert_eq!(RunState::fold(&events).unwrap().interrupted().len(), 1);
    let seq = journal.append(&now(finish("dump"))).unwrap();
    assert_eq!(seq, taken as u64 + 1);
    journal.commit(seq).await.unwrap();
}

#[tokio::test]
async fn a_file_that_may_not_grow_closes_the_journal_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    // The signal would end the process; ignored, the write fails.
    shell.args(["-c", r#"trap "" XFSZ; ulimit -f 64; exec "$@""#, "sh"]);
    check(&mut shell, dir.path(), "File too large (os error 27)", || {}).await;
}

#[tokio::test]
async fn a_full_disk_closes_the_journal_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(dir.path()) else {
        // Only root can mount; the test above covers the rest.
        return;
    };
    // Room to make later.
    let reserve = dir.path().join("reserve");
    std::fs::write(&reserve, [0; 32 << 10]).unwrap();
    let mut shell = Command::new("env");
    let free = || std::fs::remove_file(&reserve).unwrap();
    check(&mut shell, dir.path(), "No space left on device (os error 28)", free).await;
}

/// A disk of 128 KiB.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(at);
        let mounted = is_root() && mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
