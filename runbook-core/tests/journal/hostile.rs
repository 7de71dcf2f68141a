//! Journals that were torn, changed, or written by another version.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use runbook_core::{EventKind, FileStore, JournalError, JournalStore, RunId};
use sha2::{Digest, Sha256};

use crate::child::{Running, command, exe, is_root, say};
use crate::kit::{good_run, journal_path, now, said, text, written};

const RUN: &str = "run";

fn run() -> RunId {
    RunId::new(RUN)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn write_lines(path: &Path, lines: &[String]) {
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// What `open` says of a journal whose lines were changed by `change`; nothing may have been
/// written, and `verify` finds the same.
async fn said_of(change: impl FnOnce(&mut Vec<String>)) -> String {
    let (dir, store) = written(RUN).await;
    let path = journal_path(dir.path(), RUN);
    let mut all = lines(&path);
    change(&mut all);
    write_lines(&path, &all);
    let before = fs::read(&path).unwrap();
    let error = store.open(&run()).await.err().expect("it is refused");
    assert_eq!(fs::read(&path).unwrap(), before, "nothing was written");
    let read = store.read(&run()).await.expect_err("reading refuses it too");
    assert_eq!(read.to_string(), error.to_string());
    match (&error, store.verify(&run()).await) {
        (JournalError::Changed { line, how, .. }, Ok(verification)) => {
            assert_eq!(verification.fault, Some((*line, how.clone())));
            assert_eq!(verification.good_lines, line - 1);
        }
        (JournalError::Format { .. }, Err(JournalError::Format { .. })) => {}
        (error, verification) => panic!("{error} but {verification:?}"),
    }
    said(error, dir.path())
}

/// The line with a sum that fits it.
fn resealed(line: &str) -> String {
    let body = &line[..line.rfind(",\"sum\":").unwrap()];
    let sum: String =
        Sha256::digest(body).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{body},\"sum\":\"{sum}\"}}")
}

#[tokio::test]
async fn a_torn_last_line_is_cut_and_kept_wherever_it_was_torn() {
    let (dir, store) = written(RUN).await;
    let path = journal_path(dir.path(), RUN);
    let torn_path = path.with_file_name("journal.torn");
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    let mut torn_before = Vec::new();
    for end in last + 1..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let torn = (end - last) as u64;
        let verification = store.verify(&run()).await.unwrap();
        assert_eq!((verification.torn_bytes, verification.fault), (torn, None));
        let read = store.read(&run()).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), &whole[..end], "reading changes nothing");

        let (journal, events) = store.open(&run()).await.unwrap();
        assert_eq!(text(&events), text(&read));
        assert_eq!(events.len(), good_run(RUN).len() - 1);
        assert_eq!(fs::read(&path).unwrap(), &whole[..last]);
        torn_before.extend_from_slice(&whole[last..end]);
        torn_before.push(b'\n');
        assert_eq!(fs::read(&torn_path).unwrap(), torn_before, "nothing is lost");
        journal.append(&good_run(RUN)[events.len()]).unwrap();
        assert_eq!(store.verify(&run()).await.unwrap().torn_bytes, 0);
    }
}

#[tokio::test]
async fn a_changed_byte_is_found_in_its_line_wherever_it_is() {
    let (dir, store) = written(RUN).await;
    let path = journal_path(dir.path(), RUN);
    let whole = fs::read(&path).unwrap();
    let mut line = 1;
    // The last newline is another matter: without it the line counts as torn.
    for at in 0..whole.len() - 1 {
        // Another character, another case, no text any more, the end of the line.
        let changes = [whole[at] ^ 1, whole[at] ^ 0x20, whole[at] | 0x80, b'\n'];
        for change in changes.into_iter().skip(at % changes.len()).take(1) {
            let mut changed = whole.clone();
            changed[at] = change;
            if changed == whole {
                continue;
            }
            fs::write(&path, &changed).unwrap();
            match store.read(&run()).await {
                Err(JournalError::Changed { line: found, how, .. }) => {
                    assert_eq!(found, line, "byte {at}: {how}");
                }
                Err(JournalError::Format { .. }) => assert_eq!(line, 1, "byte {at}"),
                other => panic!("byte {at} changed to {:?}: {other:?}", changed[at]),
            }
        }
        if whole[at] == b'\n' {
            line += 1;
        }
    }
    fs::write(&path, &whole).unwrap();
    assert!(store.read(&run()).await.is_ok());
}

#[tokio::test]
async fn a_change_of_content_is_named() {
    let said = said_of(|lines| lines[3] = lines[3].replace(":42}", ":43}")).await;
    assert_snapshot!(said, @"line 4 of DIR/runs/run/journal.jsonl was changed or is missing: its checksum does not fit its content; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
}

#[tokio::test]
async fn a_change_that_was_hidden_by_a_new_checksum_is_found_by_the_next_line() {
    let said = said_of(|lines| lines[3] = resealed(&lines[3].replace(":42}", ":43}"))).await;
    assert_snapshot!(said, @"line 5 of DIR/runs/run/journal.jsonl was changed or is missing: it was written after another line than the one before it; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
}

#[tokio::test]
async fn a_change_in_the_last_line_is_found() {
    let said = said_of(|lines| {
        let last = lines.last_mut().unwrap();
        *last = last.replace("succeeded", "rolled_back");
    })
    .await;
    assert_snapshot!(said, @"line 9 of DIR/runs/run/journal.jsonl was changed or is missing: its checksum does not fit its content; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
}

#[tokio::test]
async fn a_missing_line_is_named() {
    let said = said_of(|lines| drop(lines.remove(4))).await;
    assert_snapshot!(said, @"line 5 of DIR/runs/run/journal.jsonl was changed or is missing: a line with number 5 stands where number 4 belongs; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
    for at in 1..good_run(RUN).len() {
        let said = said_of(|lines| drop(lines.remove(at))).await;
        assert!(said.starts_with(&format!("line {} of ", at + 1)), "{said}");
    }
}

#[tokio::test]
async fn lines_that_changed_places_are_named() {
    let said = said_of(|lines| lines.swap(4, 5)).await;
    assert_snapshot!(said, @"line 5 of DIR/runs/run/journal.jsonl was changed or is missing: a line with number 5 stands where number 4 belongs; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
    let said = said_of(|lines| lines.swap(0, 1)).await;
    assert_snapshot!(said, @"line 1 of DIR/runs/run/journal.jsonl was changed or is missing: it is not the header of a journal; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
}

#[tokio::test]
async fn a_line_that_stands_twice_is_named() {
    let said = said_of(|lines| lines.insert(3, lines[2].clone())).await;
    assert_snapshot!(said, @"line 4 of DIR/runs/run/journal.jsonl was changed or is missing: a line with number 2 stands where number 3 belongs; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
}

#[tokio::test]
async fn lines_that_are_no_events_are_named() {
    let said = said_of(|lines| lines.insert(3, String::new())).await;
    assert_snapshot!(said, @"line 4 of DIR/runs/run/journal.jsonl was changed or is missing: it does not end with its checksum; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
    let said = said_of(|lines| lines[3] = "\0".repeat(40)).await;
    assert_snapshot!(said, @"line 4 of DIR/runs/run/journal.jsonl was changed or is missing: it does not end with its checksum; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
}

#[tokio::test]
async fn the_journal_of_another_run_is_refused() {
    let (dir, store) = written("other").await;
    let runs = dir.path().join("runs");
    fs::rename(runs.join("other"), runs.join(RUN)).unwrap();
    let error = store.open(&run()).await.err().unwrap();
    assert_snapshot!(said(error, dir.path()), @"line 1 of DIR/runs/run/journal.jsonl was changed or is missing: it is the journal of run `other`; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
}

#[tokio::test]
async fn other_format_versions_are_refused() {
    let version = |new: &'static str| {
        move |lines: &mut Vec<String>| {
            lines[0] = lines[0].replace("\"runbook_journal\":1", new);
        }
    };
    let said = said_of(version("\"runbook_journal\":2")).await;
    assert_snapshot!(said, @"DIR/runs/run/journal.jsonl has journal format 2, this program reads 1: use the version of the program that wrote it");
    let said = said_of(version("\"runbook_journal\":0")).await;
    assert_snapshot!(said, @"DIR/runs/run/journal.jsonl has journal format 0, this program reads 1: use the version of the program that wrote it");
    let said = said_of(version("\"other_journal\":1")).await;
    assert_snapshot!(said, @"line 1 of DIR/runs/run/journal.jsonl was changed or is missing: it is not the header of a journal; nothing was written; put the file back from a copy, or look at what the run did and start a new one");
}

#[tokio::test]
async fn an_event_of_a_newer_program_is_refused_as_such() {
    let said = said_of(|lines| {
        let last = lines.last_mut().unwrap();
        *last = resealed(&last.replace("run_finished", "run_beamed_up"));
    })
    .await;
    let (start, _) = said.split_once(", expected").unwrap();
    assert_snapshot!(start, @"DIR/runs/run/journal.jsonl has journal format 1 with a line 9 that is unknown here (unknown variant `run_beamed_up`");
}

#[tokio::test]
async fn a_file_without_a_header_is_refused() {
    for content in ["", "{\"runbook_journal\":1,\"run\":\"r"] {
        let (dir, store) = written(RUN).await;
        fs::write(journal_path(dir.path(), RUN), content).unwrap();
        let error = store.open(&run()).await.err().unwrap();
        let said = said(error, dir.path());
        assert!(said.contains("line 1 of DIR/runs/run/journal.jsonl"), "{said}");
        assert!(said.contains("the header is missing"), "{said}");
        assert_eq!(store.list().await.unwrap(), [run()], "it is listed, to be found");
    }
}

#[tokio::test]
async fn a_file_in_the_way_of_the_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("runs"), "in the way").unwrap();
    let store = FileStore::new(dir.path());
    let told = |error: JournalError| said(error, dir.path());
    assert_snapshot!(told(store.list().await.unwrap_err()), @"listing DIR/runs: Not a directory (os error 20)");
    assert_snapshot!(told(store.read(&run()).await.unwrap_err()), @"reading DIR/runs/run/journal.jsonl: Not a directory (os error 20)");
    assert_snapshot!(told(store.open(&run()).await.err().unwrap()), @"opening DIR/runs/run/journal.jsonl: Not a directory (os error 20)");
    assert_snapshot!(told(store.create(&run()).await.err().unwrap()), @"making DIR/runs: File exists (os error 17)");
}

#[tokio::test]
async fn an_id_that_leads_out_of_the_folder_is_refused() {
    let (dir, store) = written(RUN).await;
    let error = store.open(&RunId::new("../runs/run")).await.err().unwrap();
    assert_snapshot!(said(error, dir.path()), @"`../runs/run` can't be the id of a run: it begins with a dot");
    let error = store.create(&RunId::new("..")).await.err().unwrap();
    assert_snapshot!(said(error, dir.path()), @"`..` can't be the id of a run: it begins with a dot");
}

/// A child that may not read its parent's folder.
pub(crate) async fn read_forbidden(dir: &str) {
    let path = Path::new(dir);
    let store = FileStore::new(path);
    say(said(store.list().await.unwrap_err(), path));
    say(said(store.read(&run()).await.unwrap_err(), path));
    say(said(store.open(&run()).await.err().unwrap(), path));
    say(said(store.create(&RunId::new("new")).await.err().unwrap(), path));
    say(said(store.locks().list().await.unwrap_err(), path));
}

#[tokio::test]
async fn a_folder_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let (dir, _) = written(RUN).await;
    let forbidden = fs::Permissions::from_mode(0o000);
    // As another user the child may not be able to run a binary in the build folder.
    let bin = tempfile::tempdir().unwrap();
    fs::set_permissions(bin.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = bin.path().join("child");
    fs::copy(exe(), &copy).unwrap();
    let mut command = command(&copy, "read what is forbidden", dir.path());
    if is_root() {
        command.uid(65534).gid(65534);
    }
    command.current_dir("/");
    fs::set_permissions(dir.path(), forbidden).unwrap();
    let mut child = Running::start(command);
    let heard: Vec<_> = std::iter::from_fn(|| child.heard()).collect();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_snapshot!(heard.join("\n"), @"
listing DIR/runs: Permission denied (os error 13)
reading DIR/runs/run/journal.jsonl: Permission denied (os error 13)
opening DIR/runs/run/journal.jsonl: Permission denied (os error 13)
making DIR/runs: Permission denied (os error 13)
listing the locks in DIR/locks: Permission denied (os error 13)
");
}

#[tokio::test]
async fn a_journal_that_was_removed_while_it_is_written_takes_nothing_more() {
    let (dir, store) = written(RUN).await;
    let (journal, events) = store.open(&run()).await.unwrap();
    fs::remove_dir_all(dir.path().join("runs")).unwrap();
    let event = now(EventKind::Notified { to: "ops@example.org".into(), problem: None });
    let seq = journal.append(&event).unwrap();
    assert_eq!(seq, events.len() as u64 + 1);
    let error = journal.commit(seq).await.unwrap_err();
    assert_snapshot!(said(error, dir.path()), @"making durable DIR/runs/run/journal.jsonl: the file was removed");
    assert!(matches!(journal.append(&event), Err(JournalError::Closed { .. })));
}

#[tokio::test]
async fn what_another_process_is_writing_does_not_disturb_a_reader() {
    let (dir, store) = written(RUN).await;
    let (journal, before) = store.open(&run()).await.unwrap();
    let path = journal_path(dir.path(), RUN);
    // A line of which only a part has arrived yet.
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, b"{\"seq\":9,\"pr").unwrap();
    assert_eq!(store.read(&run()).await.unwrap().len(), before.len());
    drop(journal);
    let event = EventKind::Notified { to: "ops@example.org".into(), problem: None };
    let (journal, _) = store.open(&run()).await.unwrap();
    journal.append(&now(event)).unwrap();
    assert_eq!(store.read(&run()).await.unwrap().len(), before.len() + 1);
}
