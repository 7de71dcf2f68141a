//! The lines of a journal: how one is written, and how a whole file is checked and read.
//!
//! ```text
//! {"runbook_journal":1,"run":"20260314-150926-k7xq","at":"…","sum":"…"}
//! {"seq":1,"prev":"…","at":"…","event":{"run_started":{…}},"sum":"…"}
//! ```
//!
//! The hash of a line is the SHA-256 of all that stands before its `sum`, and `sum` is the
//! beginning of it. `prev` is the whole hash of the line before: it makes the lines a chain, in
//! which none can be changed, dropped or moved unseen. `sum` shows a change in the last line as
//! well, which no `prev` covers yet, and tells a damaged line from one that a newer program wrote.
//!
//! The members always stand in this order and without spaces, so that only the event itself needs
//! a JSON parser to be read.
//!
//! While a journal is written, its last line is followed by *room*: empty lines, over which the
//! next lines are written. What is overwritten in place is durable sooner than what makes a file
//! longer, for the file system has nothing to note about it (a third sooner on ext4). A power cut
//! may leave any of the sectors written since the last sync as room, so that there are two ways
//! for the end of a journal to be torn: a last line without its end, and a *hole*.

use std::io::Write as _;
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::event::{Event, EventKind, RunId, Timestamp};
use crate::fingerprint::digits;

/// The format that is written, and the only one that is read.
pub(super) const FORMAT: u64 = 1;

const SEQ: &str = "{\"seq\":";
const PREV: &str = ",\"prev\":\"";
const AT: &str = "\",\"at\":\"";
const EVENT: &str = "\",\"event\":";
const SUM: &str = ",\"sum\":\"";
const SUM_DIGITS: usize = 16;

/// What disks write whole or not at all. Larger sectors, and pages of memory, are multiples of it.
const SECTOR: usize = 512;

/// The end of a chain of lines: what the next line has to follow.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    seq: u64,
    head: [u8; 64],
}

impl Chain {
    /// Begins a chain: appends the header of `run` and its newline to `out`.
    pub(super) fn begin(run: &RunId, at: Timestamp, out: &mut Vec<u8>) -> serde_json::Result<Self> {
        let start = out.len();
        let _ = write!(out, "{{\"runbook_journal\":{FORMAT},\"run\":");
        serde_json::to_writer(&mut *out, run)?;
        let _ = write!(out, ",\"at\":\"{at}\"");
        let head = seal(out, start);
        Ok(Self { seq: 0, head })
    }

    /// Appends the line of `event` and its newline to `out`. On an error the chain is as before.
    pub(super) fn line(&mut self, event: &Event, out: &mut Vec<u8>) -> serde_json::Result<u64> {
        let start = out.len();
        let seq = self.seq + 1;
        out.extend_from_slice(SEQ.as_bytes());
        let _ = write!(out, "{seq}");
        out.extend_from_slice(PREV.as_bytes());
        out.extend_from_slice(&self.head);
        out.extend_from_slice(AT.as_bytes());
        let _ = write!(out, "{}", event.at);
        out.extend_from_slice(EVENT.as_bytes());
        serde_json::to_writer(&mut *out, &event.event)?;
        // Records and outputs are JSON that somebody else wrote, perhaps over several lines. A
        // newline in JSON is white space: those in strings are escaped.
        if memchr::memchr(b'\n', &out[start..]).is_some() {
            out[start..].iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        }
        self.head = seal(out, start);
        self.seq = seq;
        Ok(seq)
    }

    /// The sequence number of the last line.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// The hash of the last line.
    pub(super) fn head(&self) -> String {
        self.head.iter().map(|byte| char::from(*byte)).collect()
    }
}

/// Closes the line that begins at `start` with its sum and a newline; gives its hash.
fn seal(out: &mut Vec<u8>, start: usize) -> [u8; 64] {
    let hash = hex(&Sha256::digest(&out[start..]));
    out.extend_from_slice(SUM.as_bytes());
    out.extend_from_slice(&hash[..SUM_DIGITS]);
    out.extend_from_slice(b"\"}\n");
    hash
}

fn hex(hash: &[u8]) -> [u8; 64] {
    let mut text = [b'0'; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(hash) {
        pair.copy_from_slice(&digits(*byte));
    }
    text
}

/// What a journal file holds, as far as it is good.
#[derive(Debug)]
pub(super) struct Replay {
    /// The events of the good lines.
    pub(super) events: Vec<Arc<Event>>,
    /// The end of the good lines; none if not even the header is good.
    pub(super) chain: Option<Chain>,
    /// How many bytes the good lines are.
    pub(super) good_bytes: usize,
    /// Bytes after them that were never durable: a last line without its end, or what follows a
    /// hole.
    pub(super) torn_bytes: usize,
    /// What is wrong with the first line that is not good.
    pub(super) fault: Option<Fault>,
}

/// Why a line is not good.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is not what was written there.
    Changed { line: u64, how: String },
    /// It was written by another version of the program.
    Format { found: String },
}

impl Replay {
    /// Reads and checks the lines of `bytes`, the journal of `run`.
    pub(super) fn of(bytes: &[u8], run: &RunId) -> Self {
        let written = without_room(bytes);
        let whole = memchr::memrchr(b'\n', &bytes[..written]).map_or(0, |at| at + 1);
        let mut replay = Self {
            events: Vec::with_capacity(written / 300),
            chain: None,
            good_bytes: 0,
            torn_bytes: written - whole,
            fault: None,
        };
        for end in memchr::memchr_iter(b'\n', &bytes[..whole]) {
            let line = &bytes[replay.good_bytes..end];
            if let Err(fault) = replay.take(line, run) {
                if replay.chain.is_some() && is_hole(bytes, replay.good_bytes, end) {
                    replay.torn_bytes = written - replay.good_bytes;
                } else {
                    replay.fault = Some(fault);
                }
                return replay;
            }
            replay.good_bytes = end + 1;
        }
        if replay.chain.is_none() {
            replay.fault = Some(Fault::Changed { line: 1, how: "the header is missing".into() });
        }
        replay
    }

    /// How many lines are good, header included.
    pub(super) fn good_lines(&self) -> u64 {
        self.chain.as_ref().map_or(0, |chain| chain.seq + 1)
    }

    fn take(&mut self, line: &[u8], run: &RunId) -> Result<(), Fault> {
        let at = self.good_lines() + 1;
        let changed = |how: String| Fault::Changed { line: at, how };
        let text = std::str::from_utf8(line)
            .map_err(|_| changed("it has bytes that are no text".into()))?;
        let Some(chain) = &mut self.chain else {
            self.chain = Some(header(text, run)?);
            return Ok(());
        };
        let (body, hash) = intact(text).map_err(changed)?;
        // The sum is right, so this is what some program wrote.
        let line = Line::parse(body).map_err(|error| Fault::Format {
            found: format!("{FORMAT} with a line {at} that is unknown here ({error})"),
        })?;
        if line.seq != chain.seq + 1 {
            let how = format!(
                "a line with number {} stands where number {} belongs",
                line.seq,
                chain.seq + 1
            );
            return Err(changed(how));
        }
        if line.prev.as_bytes() != chain.head {
            return Err(changed("it was written after another line than the one before it".into()));
        }
        *chain = Chain { seq: line.seq, head: hash };
        self.events.push(Arc::new(Event { at: line.at, event: line.event }));
        Ok(())
    }
}

/// How many of the bytes were written, with the newline after the last line.
fn without_room(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != b'\n');
    last.map_or(0, |last| bytes.len().min(last + 2))
}

/// Whether the line `start..end` is not whole because sectors of it were never written: there is
/// room from where it stops, which ends with a sector, and it stops where one begins or has nothing
/// at all. A line that somebody changed or emptied does not look so.
///
/// A line may end with a sector that was lost: the sector after it begins with its newline then.
fn is_hole(bytes: &[u8], start: usize, end: usize) -> bool {
    let has_its_end = std::str::from_utf8(&bytes[start..end]).is_ok_and(|line| sum(line).is_some());
    let room = bytes[end..].iter().take_while(|byte| **byte == b'\n').count();
    let stops = end + room;
    let ends_with_a_sector = stops % SECTOR <= 1 || stops == bytes.len();
    let begins_with_a_sector =
        end.is_multiple_of(SECTOR) && (room >= SECTOR || stops == bytes.len());
    !has_its_end && ends_with_a_sector && (start == end || begins_with_a_sector)
}

struct Line<'a> {
    seq: u64,
    prev: &'a str,
    at: Timestamp,
    event: EventKind,
}

impl<'a> Line<'a> {
    /// Takes a line apart, given all that stands before its sum.
    fn parse(body: &'a str) -> serde_json::Result<Self> {
        let split = || {
            let rest = body.strip_prefix(SEQ)?;
            let (seq, rest) = rest.split_at_checked(rest.find(',')?)?;
            let (prev, rest) = rest.strip_prefix(PREV)?.split_at_checked(64)?;
            let rest = rest.strip_prefix(AT)?;
            let (at, rest) = rest.split_at_checked(rest.find('"')?)?;
            let event = rest.strip_prefix(EVENT)?;
            Some((seq.parse().ok()?, prev, humantime::parse_rfc3339(at).ok()?, event))
        };
        let unknown = || serde::de::Error::custom("its members are others");
        let (seq, prev, at, event) = split().ok_or_else(unknown)?;
        let event = serde_json::from_str(event)?;
        Ok(Self { seq, prev, at: Timestamp::from(at), event })
    }
}

#[derive(Deserialize)]
struct Version {
    runbook_journal: u64,
}

#[derive(Deserialize)]
struct Header {
    run: RunId,
    at: Timestamp,
}

/// Checks the first line.
fn header(text: &str, run: &RunId) -> Result<Chain, Fault> {
    let changed = |how: String| Fault::Changed { line: 1, how };
    // The version comes first: other versions may do everything else in another way.
    let version: Version = serde_json::from_str(text)
        .map_err(|_| changed("it is not the header of a journal".into()))?;
    if version.runbook_journal != FORMAT {
        return Err(Fault::Format { found: version.runbook_journal.to_string() });
    }
    let (_, head) = intact(text).map_err(changed)?;
    let header: Header = serde_json::from_str(text)
        .map_err(|error| changed(format!("it is not the header of a journal: {error}")))?;
    if header.run != *run {
        return Err(changed(format!("it is the journal of run `{}`", header.run)));
    }
    Ok(Chain { seq: 0, head })
}

/// When the run of a journal that begins with `line` was begun.
pub(super) fn begun(line: &str) -> Option<Timestamp> {
    serde_json::from_str::<Header>(line).ok().map(|header| header.at)
}

/// Checks the sum of a line; gives what stands before it, and the hash of that.
fn intact(line: &str) -> Result<(&str, [u8; 64]), String> {
    let Some((body, sum)) = sum(line) else {
        return Err("it does not end with its checksum".into());
    };
    let hash = hex(&Sha256::digest(body));
    if sum.as_bytes() != &hash[..SUM_DIGITS] {
        return Err("its checksum does not fit its content".into());
    }
    Ok((body, hash))
}

/// Takes a line apart: what stands before its sum, and the sum.
fn sum(line: &str) -> Option<(&str, &str)> {
    let at = line.len().checked_sub(SUM.len() + SUM_DIGITS + 2)?;
    let (body, end) = line.split_at_checked(at)?;
    Some((body, end.strip_prefix(SUM)?.strip_suffix("\"}")?))
}

/// The lines of a journal that has these events, as bytes.
pub(super) fn lines(
    run: &RunId,
    at: Timestamp,
    events: &[Arc<Event>],
) -> serde_json::Result<(Chain, Vec<u8>)> {
    let mut out = Vec::new();
    let mut chain = Chain::begin(run, at, &mut out)?;
    for event in events {
        chain.line(event, &mut out)?;
    }
    Ok((chain, out))
}
