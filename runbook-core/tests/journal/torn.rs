//! What a power cut may leave of a journal, and what is no power cut.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use runbook_core::{Event, EventKind, FileStore, JournalError, JournalStore, RunId};

use crate::kit::{good_run, journal_path, now, shop, started_run, text};

const RUN: &str = "cut";
const SECTOR: usize = 512;

fn run() -> RunId {
    RunId::new(RUN)
}

/// An event of about so many bytes.
fn note(bytes: usize) -> std::sync::Arc<Event> {
    now(EventKind::Notified { to: "x".repeat(bytes), problem: None })
}

/// The bytes of a journal with these events, as they stand while it is written, and where each of
/// its lines ends.
async fn while_written(events: &[std::sync::Arc<Event>]) -> (Vec<u8>, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let journal = FileStore::new(dir.path()).create(&run()).await.unwrap();
    for event in events {
        journal.append(event).unwrap();
    }
    let bytes = fs::read(journal_path(dir.path(), RUN)).unwrap();
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let ends = ends.take(events.len() + 1).collect();
    (bytes, ends)
}

/// A store with this journal.
fn with(dir: &Path, bytes: &[u8]) -> FileStore {
    let path = journal_path(dir, RUN);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    FileStore::new(dir)
}

#[tokio::test]
async fn a_journal_has_room_at_its_end_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path());
    let journal = store.create(&run()).await.unwrap();
    let events = good_run(RUN);
    for event in &events {
        journal.append(event).unwrap();
    }
    let path = journal_path(dir.path(), RUN);
    let open = fs::read(&path).unwrap();
    assert!(open.ends_with(b"\n\n\n"), "the next line makes the file no longer");
    assert_eq!(text(&store.read(&run()).await.unwrap()), text(&events));
    assert_eq!(store.verify(&run()).await.unwrap().torn_bytes, 0);
    drop(journal);
    let closed = fs::read(&path).unwrap();
    assert!(closed.ends_with(b"\"}\n") && open.starts_with(&closed));
}

/// Any change of a byte in a whole line is found in a journal with room as in one without.
#[tokio::test]
async fn room_hides_no_change() {
    let mut events = good_run(RUN);
    events.push(note(1));
    let (_, ends) = while_written(&events).await;
    // The worst case: the last line ends where a sector does, as one that is cut short.
    let to_the_sector = SECTOR - (ends.last().unwrap() - 1) % SECTOR;
    *events.last_mut().unwrap() = note(1 + to_the_sector);
    let (whole, ends) = while_written(&events).await;
    let dir = tempfile::tempdir().unwrap();
    let written = *ends.last().unwrap();
    assert_eq!((written - 1) % SECTOR, 0);
    // The newline of the last line is not part of it.
    // Nor is what says that the line is whole, if that is where it stops.
    for at in ends[0]..written - "\",\"sum\":\"0123456789abcdef\"}\n".len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        let read = with(dir.path(), &changed).read(&run()).await;
        assert!(matches!(read, Err(JournalError::Changed { .. })), "byte {at}: {read:?}");
    }
}

#[tokio::test]
async fn an_emptied_line_is_no_torn_one() {
    let (whole, ends) = while_written(&good_run(RUN)).await;
    for line in 1..ends.len() - 1 {
        let mut changed = whole.clone();
        changed[ends[line - 1]..ends[line]].fill(b'\n');
        let dir = tempfile::tempdir().unwrap();
        let read = with(dir.path(), &changed).read(&run()).await;
        let aligned = ends[line] % SECTOR <= 1;
        assert!(aligned || matches!(read, Err(JournalError::Changed { .. })), "{read:?}");
    }
}

/// The sector before that of a line's newline is lost: no room ends where a sector does then.
#[tokio::test]
async fn a_line_that_ends_with_a_lost_sector_leaves_a_hole() {
    let mut events = good_run(RUN);
    let good = events.len();
    events.push(note(SECTOR * 3));
    events.push(note(1));
    let (_, ends) = while_written(&events).await;
    let to_the_sector = SECTOR - (ends[good + 1] - 1) % SECTOR;
    events[good] = note(SECTOR * 3 + to_the_sector);
    let (whole, ends) = while_written(&events).await;
    let end = ends[good + 1] - 1;
    assert!(end.is_multiple_of(SECTOR) && whole[end] == b'\n');
    for lost in 1..=2 {
        let mut cut = whole.clone();
        cut[end - lost * SECTOR..end].fill(b'\n');
        let dir = tempfile::tempdir().unwrap();
        let (_journal, read) = with(dir.path(), &cut).open(&run()).await.unwrap();
        assert_eq!(text(&read), text(&events[..good]));
        let kept = fs::read(journal_path(dir.path(), RUN).with_file_name("journal.torn")).unwrap();
        assert!(cut[ends[good]..].starts_with(&kept[..kept.len() - 1]));
    }
}

/// Sizes of lines, which of them ends with a sector, how many of them are durable, which of the
/// sectors after those were written, and how long the file is in sectors.
fn cuts() -> impl Strategy<Value = (Vec<usize>, Option<usize>, usize, Vec<bool>, Option<usize>)> {
    let sizes = prop::collection::vec(prop_oneof![1..200_usize, 300..3000_usize], 1..12);
    (
        sizes,
        prop::option::of(any::<prop::sample::Index>()),
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<bool>(), 200),
        prop::option::of(0..200_usize),
    )
        .prop_map(|(sizes, aligned, durable, sectors, length)| {
            let aligned = aligned.map(|aligned| aligned.index(sizes.len()));
            let durable = durable.index(sizes.len() + 1);
            (sizes, aligned, durable, sectors, length)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever of the sectors after the last sync a disk has written: what was synced is read,
    /// what is read was written, the rest is kept beside it, and the run goes on.
    #[test]
    fn a_power_cut_takes_no_line_that_was_durable(
        (sizes, aligned, durable, sectors, length) in cuts()
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut events = vec![now(started_run(RUN, shop()))];
            events.extend(sizes.iter().map(|size| note(*size)));
            let (mut bytes, mut ends) = while_written(&events).await;
            if let Some(aligned) = aligned {
                let to_the_sector = SECTOR - (ends[aligned + 2] - 1) % SECTOR;
                events[aligned + 1] = note(sizes[aligned] + to_the_sector);
                (bytes, ends) = while_written(&events).await;
            }
            let synced = ends[durable + 1];
            let mut lost = false;
            for (sector, there) in sectors.iter().enumerate() {
                let (from, to) = (sector * SECTOR, (sector + 1) * SECTOR);
                if !there && to > synced && to <= bytes.len() {
                    let old = &mut bytes[from.max(synced)..to];
                    lost |= old.iter().any(|byte| *byte != b'\n');
                    old.fill(b'\n');
                }
            }
            if let Some(length) = length {
                bytes.truncate((length * SECTOR).max(synced));
            }
            let dir = tempfile::tempdir().unwrap();
            let store = with(dir.path(), &bytes);
            let (journal, read) = store.open(&run()).await.unwrap();
            prop_assert!(read.len() > durable, "{} of {durable} durable", read.len());
            prop_assert_eq!(text(&read), text(&events[..read.len()]));
            if lost || read.len() < events.len() {
                prop_assert!(read.len() < events.len());
            }
            journal.append(&note(1)).unwrap();
            drop(journal);
            prop_assert_eq!(store.read(&run()).await.unwrap().len(), read.len() + 1);
            let verified = store.verify(&run()).await.unwrap();
            prop_assert!(verified.fault.is_none() && verified.torn_bytes == 0);
            let rest = &bytes[ends[read.len()].min(bytes.len())..];
            let kept = journal_path(dir.path(), RUN).with_file_name("journal.torn");
            let is_torn = rest.iter().any(|byte| *byte != b'\n');
            prop_assert_eq!(is_torn, kept.exists());
            if is_torn {
                let kept = fs::read(kept).unwrap();
                prop_assert!(rest.starts_with(&kept[..kept.len() - 1]));
            }
            Ok(())
        })?;
    }
}
