//! Captured output, kept beside the journal: a bounded text file a unit.
//!
//! Of what is too long the beginning and the end are kept: the beginning says what was done, the
//! end says how it went wrong. Nothing here fails a run; what can't be written is given up.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::names::file_name;
use crate::event::{StreamKind, UnitId};

/// So many bytes of the beginning are kept.
pub(super) const HEAD: usize = 2 << 20;
/// Of the end, between so many bytes and twice as many.
pub(super) const TAIL: usize = 1 << 20;
/// Longer lines are cut.
const LONGEST_LINE: usize = 64 << 10;
/// So much is gathered in memory before it is written.
const BUFFER: usize = 32 << 10;

/// The output files of one run.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    dirty: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    units: HashMap<UnitId, Option<Writer>>,
    dirty: Vec<UnitId>,
}

impl Spool {
    /// Keeps files in `dir`, which is made when there is something to keep.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, dirty: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Takes a line.
    pub(super) fn push(&self, unit: &UnitId, stream: StreamKind, line: &str) {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        if !state.units.contains_key(unit) {
            let writer = Writer::open(&self.dir, unit);
            state.units.insert(unit.clone(), given_up(unit, writer));
        }
        let Some(slot) = state.units.get_mut(unit) else { return };
        let Some(writer) = slot else { return };
        if writer.buffer.is_empty() {
            state.dirty.push(unit.clone());
            self.dirty.store(true, Ordering::Release);
        }
        let pushed = writer.push(stream, line);
        if given_up(unit, pushed).is_none() {
            *slot = None;
        }
    }

    /// Hands everything to the operating system.
    pub(super) fn flush(&self) {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        for unit in state.dirty.drain(..) {
            if let Some(slot) = state.units.get_mut(&unit)
                && let Some(writer) = slot
            {
                let flushed = writer.flush();
                if given_up(&unit, flushed).is_none() {
                    *slot = None;
                }
            }
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.flush();
    }
}

fn given_up<T>(unit: &UnitId, result: io::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| {
            tracing::warn!(%unit, %error, "the output of this unit is not kept any further");
        })
        .ok()
}

/// A line as it is kept.
pub(super) fn kept_line(stream: StreamKind, line: &str) -> String {
    let mark = match stream {
        StreamKind::Stdout => "out | ",
        StreamKind::Stderr => "err | ",
        StreamKind::Note => "note| ",
    };
    let end = line.floor_char_boundary(LONGEST_LINE);
    let more = if end < line.len() { " [line cut]" } else { "" };
    format!("{mark}{}{more}\n", &line[..end])
}

/// What stands where lines were left out.
pub(super) fn left_out(lines: u64) -> String {
    format!("[{lines} lines are left out here]\n")
}

/// The files of one unit: `UNIT.log` to begin with; when that is full, `UNIT.log.2`, which becomes
/// `UNIT.log.1` when it is full in its turn. Those two begin with the number of lines before them.
#[derive(Debug)]
struct Writer {
    files: Files,
    in_tail: bool,
    /// Bytes in the file that is written, with the buffer.
    bytes: usize,
    /// Lines so far.
    lines: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Files {
    head: PathBuf,
    older: PathBuf,
    newer: PathBuf,
}

impl Files {
    fn of(dir: &Path, unit: &UnitId) -> Self {
        let name = file_name(unit.as_str());
        Self {
            head: dir.join(format!("{name}.log")),
            older: dir.join(format!("{name}.log.1")),
            newer: dir.join(format!("{name}.log.2")),
        }
    }
}

impl Writer {
    /// Goes on where an earlier process stopped.
    fn open(dir: &Path, unit: &UnitId) -> io::Result<Self> {
        let files = Files::of(dir, unit);
        fs::create_dir_all(dir)?;
        let tail = read(&files.newer)?;
        let in_tail = tail.is_some();
        let text = match tail {
            Some(text) => text,
            None => read(&files.head)?.unwrap_or_default(),
        };
        let (before, lines) = if in_tail { numbered(&text) } else { (0, &*text) };
        let lines = before + lines.lines().count() as u64;
        Ok(Self { files, in_tail, bytes: text.len(), lines, buffer: Vec::new() })
    }

    fn push(&mut self, stream: StreamKind, line: &str) -> io::Result<()> {
        let line = kept_line(stream, line);
        let limit = if self.in_tail { TAIL } else { HEAD };
        if self.bytes + line.len() > limit {
            self.flush()?;
            if self.in_tail {
                fs::rename(&self.files.newer, &self.files.older)?;
            }
            self.in_tail = true;
            self.buffer = format!("{}\n", self.lines).into_bytes();
            self.bytes = self.buffer.len();
        }
        self.buffer.extend_from_slice(line.as_bytes());
        self.bytes += line.len();
        self.lines += 1;
        if self.buffer.len() > BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        // Opened anew each time: a run may have more units than a process may have open files.
        let path = if self.in_tail { &self.files.newer } else { &self.files.head };
        OpenOptions::new().create(true).append(true).open(path)?.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// The kept output of a unit.
pub(super) fn kept_output(dir: &Path, unit: &UnitId) -> Result<String, (PathBuf, io::Error)> {
    let files = Files::of(dir, unit);
    let read = |path: &Path| read(path).map_err(|error| (path.to_owned(), error));
    let mut text = read(&files.head)?.unwrap_or_default();
    let (older, newer) = (read(&files.older)?, read(&files.newer)?);
    let mut lines = text.lines().count() as u64;
    for part in [older, newer].into_iter().flatten() {
        let (before, part) = numbered(&part);
        if before > lines {
            text.push_str(&left_out(before - lines));
        }
        text.push_str(part);
        lines = before + part.lines().count() as u64;
    }
    Ok(text)
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Splits the number of lines before off a part of the end.
fn numbered(text: &str) -> (u64, &str) {
    text.split_once('\n')
        .and_then(|(first, rest)| Some((first.parse().ok()?, rest)))
        .unwrap_or((0, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> UnitId {
        UnitId::new("web/build")
    }

    #[test]
    fn lines_say_which_stream_they_are_of() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path().join("output"));
        spool.push(&unit(), StreamKind::Stdout, "compiling");
        spool.push(&unit(), StreamKind::Stderr, "warning: unused");
        spool.push(&unit(), StreamKind::Note, "took 3 s");
        spool.flush();
        let text = kept_output(&dir.path().join("output"), &unit()).unwrap();
        assert_eq!(text, "out | compiling\nerr | warning: unused\nnote| took 3 s\n");
        assert!(dir.path().join("output/web+build.log").exists());
    }

    #[test]
    fn of_too_much_the_beginning_and_the_end_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let total = 200_000;
        let mut spool = Spool::new(dir.path().to_owned());
        for at in 0..total {
            spool.push(&unit(), StreamKind::Stdout, &format!("line {at:06} {}", "x".repeat(60)));
            if at == total / 3 {
                // A process ends, another one goes on.
                spool = Spool::new(dir.path().to_owned());
            }
        }
        drop(spool);
        let text = kept_output(dir.path(), &unit()).unwrap();
        assert!(text.len() <= HEAD + 2 * TAIL + 100, "{}", text.len());
        assert!(text.starts_with("out | line 000000 "));
        assert!(text.lines().last().unwrap().starts_with("out | line 199999 "));
        let kept = text.lines().filter(|line| line.starts_with("out | ")).count();
        let note = text.lines().find(|line| line.starts_with('[')).unwrap();
        assert_eq!(note, left_out(total - kept as u64).trim_end());
    }

    #[test]
    fn what_cannot_be_written_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("output");
        fs::write(&file, "in the way").unwrap();
        let spool = Spool::new(file.clone());
        spool.push(&unit(), StreamKind::Stdout, "lost");
        spool.flush();
        drop(spool);
        assert_eq!(fs::read_to_string(file).unwrap(), "in the way");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let line = kept_line(StreamKind::Stdout, &"é".repeat(LONGEST_LINE));
        assert!(line.len() < LONGEST_LINE + 30);
        assert!(line.ends_with("é [line cut]\n"));
    }
}
