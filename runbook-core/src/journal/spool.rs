//! Captured output, kept beside the journal: one text file for what is short, and a bounded one a
//! unit for what is not.
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

/// So many bytes of a unit go to the file that all share: to make a file costs far more than to
/// write a few lines into one.
const SHORT: usize = 8 << 10;
/// The file that all share. No unit's own file is called so, since those end in `.log`.
const SHARED: &str = "short.txt";
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
    dirty: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    shared: Shared,
    units: HashMap<UnitId, Option<Writer>>,
    dirty: Vec<UnitId>,
}

impl Spool {
    /// Keeps files in `dir`, which is made when there is something to keep.
    pub(super) fn new(dir: PathBuf) -> Self {
        let shared = Shared { dir, file: None, earlier: false };
        let state = State { shared, units: HashMap::new(), dirty: Vec::new() };
        Self { dirty: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Takes a line.
    pub(super) fn push(&self, unit: &UnitId, stream: StreamKind, line: &str) {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        if !state.units.contains_key(unit) {
            let writer = Writer::open(&mut state.shared, unit);
            state.units.insert(unit.clone(), given_up(unit, writer));
        }
        let Some(slot) = state.units.get_mut(unit) else { return };
        let Some(writer) = slot else { return };
        if writer.buffer.is_empty() {
            state.dirty.push(unit.clone());
            self.dirty.store(true, Ordering::Release);
        }
        let pushed = writer.push(&mut state.shared, unit, stream, line);
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
                let flushed = writer.flush(&mut state.shared, &unit);
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

/// The file that all units share: each line begins with the unit and a tab.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    file: Option<File>,
    /// An earlier process wrote it.
    earlier: bool,
}

impl Shared {
    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            fs::create_dir_all(&self.dir)?;
            let path = self.dir.join(SHARED);
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
            self.earlier = file.metadata()?.len() > 0;
            if self.earlier {
                // That process may have been killed in the middle of a line.
                file.write_all(b"\n")?;
            }
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whole lines.
    fn write(&mut self, unit: &UnitId, lines: &[u8]) -> io::Result<()> {
        let mut text = Vec::with_capacity(2 * lines.len());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            text.extend_from_slice(unit.as_str().as_bytes());
            text.push(b'\t');
            text.extend_from_slice(line);
        }
        self.open()?.write_all(&text)
    }

    /// What the file in `dir` holds of a unit.
    fn read(dir: &Path, unit: &UnitId) -> Result<String, (PathBuf, io::Error)> {
        let path = dir.join(SHARED);
        let text = read(&path).map_err(|error| (path, error))?.unwrap_or_default();
        let of =
            |line: &str| line.strip_prefix(unit.as_str())?.strip_prefix('\t').map(str::to_owned);
        Ok(text.split_inclusive('\n').filter_map(of).collect())
    }
}

/// Where the output of one unit goes: at first to the file that all share, then to `UNIT.log`, and
/// when that is full to `UNIT.log.2`, which becomes `UNIT.log.1` when it is full in its turn. Those
/// two begin with the number of lines before them.
#[derive(Debug)]
struct Writer {
    place: Place,
    /// Bytes in that place, with the buffer.
    bytes: usize,
    /// Lines so far.
    lines: u64,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Shared,
    Head,
    Tail,
}

/// A unit's own files. Few units have any, so that nothing is kept of their names.
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
    fn open(shared: &mut Shared, unit: &UnitId) -> io::Result<Self> {
        shared.open()?;
        let buffer = Vec::new();
        if !shared.earlier {
            return Ok(Self { place: Place::Shared, bytes: 0, lines: 0, buffer });
        }
        let files = Files::of(&shared.dir, unit);
        let short = Shared::read(&shared.dir, unit).map_err(|(_, error)| error)?;
        let before = short.lines().count() as u64;
        let (place, text) = match (read(&files.newer)?, read(&files.head)?) {
            (Some(tail), _) => (Place::Tail, tail),
            (None, Some(head)) => (Place::Head, head),
            (None, None) => (Place::Shared, String::new()),
        };
        let (before, lines) = if place == Place::Tail { numbered(&text) } else { (before, &*text) };
        let lines = before + lines.lines().count() as u64;
        let bytes = if place == Place::Shared { short.len() } else { text.len() };
        Ok(Self { place, bytes, lines, buffer })
    }

    fn push(
        &mut self,
        shared: &mut Shared,
        unit: &UnitId,
        stream: StreamKind,
        line: &str,
    ) -> io::Result<()> {
        let line = kept_line(stream, line);
        let limit = match self.place {
            Place::Shared => SHORT,
            Place::Head => HEAD,
            Place::Tail => TAIL,
        };
        if self.bytes + line.len() > limit {
            self.flush(shared, unit)?;
            match self.place {
                Place::Shared => {
                    self.place = Place::Head;
                    self.bytes = 0;
                }
                Place::Head | Place::Tail => {
                    if self.place == Place::Tail {
                        let files = Files::of(&shared.dir, unit);
                        fs::rename(&files.newer, &files.older)?;
                    }
                    self.place = Place::Tail;
                    self.buffer = format!("{}\n", self.lines).into_bytes();
                    self.bytes = self.buffer.len();
                }
            }
        }
        self.buffer.extend_from_slice(line.as_bytes());
        self.bytes += line.len();
        self.lines += 1;
        if self.buffer.len() > BUFFER { self.flush(shared, unit) } else { Ok(()) }
    }

    fn flush(&mut self, shared: &mut Shared, unit: &UnitId) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        // Opened anew each time: a run may have more units than a process may have open files.
        let append = |path, bytes: &[u8]| {
            OpenOptions::new().create(true).append(true).open(path)?.write_all(bytes)
        };
        match self.place {
            Place::Shared => {
                shared.write(unit, &self.buffer)?;
                // Most units are done with it, and a run may have very many.
                self.buffer = Vec::new();
            }
            Place::Head => append(Files::of(&shared.dir, unit).head, &self.buffer)?,
            Place::Tail => append(Files::of(&shared.dir, unit).newer, &self.buffer)?,
        }
        self.buffer.clear();
        Ok(())
    }
}

/// The kept output of a unit.
pub(super) fn kept_output(dir: &Path, unit: &UnitId) -> Result<String, (PathBuf, io::Error)> {
    let files = Files::of(dir, unit);
    let read = |path: &Path| read(path).map_err(|error| (path.to_owned(), error));
    let mut text = Shared::read(dir, unit)?;
    text.push_str(&read(&files.head)?.unwrap_or_default());
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
        let shared = fs::read_to_string(dir.path().join("output/short.txt")).unwrap();
        assert_eq!(shared.lines().next(), Some("web/build\tout | compiling"));
    }

    #[test]
    fn units_are_told_apart_and_an_earlier_process_is_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let other = UnitId::new("web/build-2");
        let spool = Spool::new(dir.path().to_owned());
        spool.push(&unit(), StreamKind::Stdout, "one");
        spool.push(&other, StreamKind::Stdout, "another");
        drop(spool);
        let shared = dir.path().join(SHARED);
        let torn = fs::read_to_string(&shared).unwrap() + "web/bui";
        fs::write(&shared, torn).unwrap();
        let spool = Spool::new(dir.path().to_owned());
        let long = "x".repeat(SHORT);
        for line in ["two", &long, "three"] {
            spool.push(&unit(), StreamKind::Stdout, line);
        }
        drop(spool);
        let text = kept_output(dir.path(), &unit()).unwrap();
        assert_eq!(text, format!("out | one\nout | two\nout | {long}\nout | three\n"));
        assert_eq!(kept_output(dir.path(), &other).unwrap(), "out | another\n");
        assert!(dir.path().join("web+build.log").exists(), "what is long has a file of its own");
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
        assert!(text.len() <= SHORT + HEAD + 2 * TAIL + 100, "{}", text.len());
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
