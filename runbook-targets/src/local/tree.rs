//! Finds through `/proc` all that a command started, and ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use runbook_core::{Failure, Result, Spawn, scrub};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// How long the kernel gets to take a process away after SIGKILL. One that hangs in a system call
/// (a dead network file system) takes until that call is over.
const GONE: Duration = Duration::from_secs(5);

/// Ends all that a command started: SIGTERM, and SIGKILL after `grace`. `root` is its first
/// process, unless that was reaped and its id may be another's.
pub(super) async fn end(root: Option<u32>, command: &str, grace: Duration) -> Result<()> {
    let tree = Tree::of_command(root, command);
    // On a thread of its own: it goes on to its end even if nobody waits for it any more.
    tokio::task::spawn_blocking(move || tree.end(grace).map(drop)).await?
}

/// Sends SIGKILL to all that a command started, without waiting for the end.
pub(super) fn kill_now(root: u32, command: &str) {
    let mut tree = Tree::of_command(Some(root), command);
    let mut killed = BTreeSet::new();
    // A process that was just being forked shows up in the next look.
    loop {
        let found = tree.look();
        let mut news = found.iter().filter(|process| killed.insert(process.id())).peekable();
        if news.peek().is_none() {
            return;
        }
        for process in news {
            let _ = process.signal(Signal::KILL);
        }
    }
}

/// Ends what another process than this one started for `cookie`; says what it was.
pub(super) async fn end_leftovers(cookie: &str, grace: Duration) -> Result<Vec<String>> {
    let tree = Tree {
        marks: Marks::Unit {
            unit: entry(Spawn::VARIABLE, cookie),
            not: entry(Spawn::COMMAND_VARIABLE, &format!("{}.", Spawn::this_process())),
        },
        root: None,
        known: BTreeMap::new(),
    };
    tokio::task::spawn_blocking(move || tree.end(grace)).await?
}

/// The processes that belong together.
struct Tree {
    marks: Marks,
    /// The first process, not yet reaped: its id and that of its group are no other's.
    root: Option<i32>,
    /// Members found so far: they stay members when their parents are gone.
    known: BTreeMap<i32, u64>,
}

/// How a member is known by its environment.
enum Marks {
    Command(Vec<u8>),
    Unit { unit: Vec<u8>, not: Vec<u8> },
}

impl Marks {
    fn of(&self, environment: &[u8]) -> bool {
        let mut entries = environment.split(|byte| *byte == 0);
        match self {
            Self::Command(command) => entries.any(|entry| entry == command),
            Self::Unit { unit, not } => {
                entries.clone().any(|entry| entry == unit)
                    && !entries.any(|entry| entry.starts_with(not))
            }
        }
    }
}

fn entry(name: &str, value: &str) -> Vec<u8> {
    format!("{name}={value}").into_bytes()
}

impl Tree {
    fn of_command(root: Option<u32>, command: &str) -> Self {
        Self {
            marks: Marks::Command(entry(Spawn::COMMAND_VARIABLE, command)),
            root: root.and_then(|root| i32::try_from(root).ok()),
            known: BTreeMap::new(),
        }
    }

    /// Ends them all; says what they were.
    fn end(mut self, grace: Duration) -> Result<Vec<String>> {
        let mut asked = BTreeMap::new();
        let began = Instant::now();
        let mut pause = Pause::new();
        while !grace.is_zero() {
            let living = self.look();
            if living.is_empty() {
                return Ok(asked.into_values().collect());
            }
            for process in &living {
                if let std::collections::btree_map::Entry::Vacant(new) = asked.entry(process.id()) {
                    new.insert(process.command_line());
                    let _ = process.signal(Signal::TERM);
                    // One that is stopped would not hear it.
                    let _ = process.signal(Signal::CONT);
                }
            }
            let left = grace.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            pause.take(left);
        }
        let until = Instant::now() + GONE;
        let mut pause = Pause::new();
        loop {
            let living = self.look();
            if living.is_empty() {
                return Ok(asked.into_values().collect());
            }
            let mut forbidden = 0;
            for process in &living {
                asked.entry(process.id()).or_insert_with(|| process.command_line());
                if process.signal(Signal::KILL) == Err(Errno::PERM) {
                    forbidden += 1;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if forbidden == living.len() || left.is_zero() {
                return Err(still_there(&living, forbidden > 0));
            }
            pause.take(left);
        }
    }

    /// The members that live now.
    fn look(&mut self) -> Vec<Stat> {
        let all: BTreeMap<i32, Stat> = processes().map(|stat| (stat.pid, stat)).collect();
        let us = us(&all);
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for stat in all.values() {
            children.entry(stat.parent).or_default().push(stat.pid);
        }
        // What is older than the first process is none of its descendants.
        let oldest = self.root.and_then(|root| all.get(&root)).map_or(0, |root| root.start);
        let mut members: Vec<i32> = all
            .values()
            .filter(|stat| !us.contains(&stat.pid) && stat.start >= oldest)
            .filter(|stat| {
                self.known.get(&stat.pid) == Some(&stat.start)
                    || self.root == Some(stat.pid)
                    || self.root == Some(stat.group)
                    || fs::read(format!("/proc/{}/environ", stat.pid))
                        .is_ok_and(|environment| self.marks.of(&environment))
            })
            .map(|stat| stat.pid)
            .collect();
        let mut found: BTreeSet<i32> = members.iter().copied().collect();
        while let Some(member) = members.pop() {
            for child in children.get(&member).into_iter().flatten() {
                if !us.contains(child) && found.insert(*child) {
                    members.push(*child);
                }
            }
        }
        let living: Vec<Stat> = found
            .iter()
            .filter_map(|pid| all.get(pid))
            .filter(|stat| !stat.dead)
            .cloned()
            .collect();
        self.known.extend(living.iter().map(Stat::id));
        living
    }
}

/// This process and those above it, init included: never ended, whatever their environment says. A
/// run may be resumed from a shell that the run itself once opened.
fn us(all: &BTreeMap<i32, Stat>) -> BTreeSet<i32> {
    let mut us = BTreeSet::from([1]);
    let mut next = i32::try_from(std::process::id()).ok();
    while let Some(pid) = next
        && us.insert(pid)
    {
        next = all.get(&pid).map(|stat| stat.parent);
    }
    us
}

/// Pauses that grow, so that a quick end is seen quickly and a slow one costs little.
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(Duration::from_millis(1))
    }

    fn take(&mut self, at_most: Duration) {
        std::thread::sleep(self.0.min(at_most));
        self.0 = (self.0 * 2).min(Duration::from_millis(50));
    }
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    pid: i32,
    parent: i32,
    group: i32,
    /// Ended, and waits to be reaped.
    dead: bool,
    /// When it started, in clock ticks; with the id it names a process for good.
    start: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: i32, line: &[u8]) -> Option<Self> {
        /// The kernel's own flag for its threads.
        const KERNEL_THREAD: u64 = 0x0020_0000;
        // The name in parentheses may hold anything, also `)`.
        let after_name = line.iter().rposition(|byte| *byte == b')')? + 1;
        let fields = std::str::from_utf8(&line[after_name..]).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        if number(6)? & KERNEL_THREAD != 0 {
            return None;
        }
        // The first thread of a process may end before the others.
        let threads = number(17)?;
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            dead: matches!(*fields.first()?, "Z" | "X") && threads <= 1,
            start: number(19)?,
        })
    }

    fn id(&self) -> (i32, u64) {
        (self.pid, self.start)
    }

    /// Sends a signal to this process, never to another one that was given its id since.
    fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        let open = pidfd_open(pid, PidfdFlags::empty());
        // Only what is looked at after it was opened says whom the descriptor stands for.
        let same = Self::read(self.pid).is_some_and(|now| now.start == self.start);
        let sent = match open {
            _ if !same => Ok(()),
            Ok(process) => pidfd_send_signal(&process, signal),
            // An old kernel, or a sandbox that forbids it.
            Err(Errno::NOSYS | Errno::PERM) => kill_process(pid, signal),
            Err(error) => Err(error),
        };
        if sent == Err(Errno::SRCH) { Ok(()) } else { sent }
    }

    /// As it was started, secrets as `***`.
    fn command_line(&self) -> String {
        let read = |file: &str| fs::read(format!("/proc/{}/{file}", self.pid)).unwrap_or_default();
        let line = read("cmdline");
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let line = words.join(" ");
        let line = line.trim_end();
        if line.is_empty() {
            let name = read("comm");
            return format!("[{}] (process {})", String::from_utf8_lossy(&name).trim(), self.pid);
        }
        format!("{} (process {})", scrub(line), self.pid)
    }
}

/// All processes that can be seen, threads of the kernel aside.
fn processes() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry: io::Result<fs::DirEntry>| {
        Stat::read(entry.ok()?.file_name().to_str()?.parse().ok()?)
    })
}

fn still_there(living: &[Stat], forbidden: bool) -> Failure {
    let names: Vec<_> = living.iter().map(Stat::command_line).collect();
    let failure = Failure::msg(format!("still running: {}", names.join(", ")));
    if forbidden {
        failure.next("they are another user's: end them as that user, or as root")
    } else {
        failure.next(
            "they hang inside the kernel, often on a network file system or a failing disk: see \
             its log (`dmesg`)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_holds_parentheses_and_spaces_is_read() {
        let line = b"42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 9999 1 1";
        let stat = Stat::parse(42, line).unwrap();
        assert_eq!(stat, Stat { pid: 42, parent: 7, group: 42, dead: false, start: 9999 });
    }

    #[test]
    fn a_process_lives_until_its_last_thread_ends() {
        let line = |threads| {
            format!("42 (x) Z 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 {threads} 0 9 1 1")
        };
        assert!(Stat::parse(42, line(1).as_bytes()).unwrap().dead);
        assert!(!Stat::parse(42, line(2).as_bytes()).unwrap().dead);
    }

    #[test]
    fn marks_are_whole_entries_of_the_environment() {
        let command = Marks::Command(entry("C", "1.2"));
        assert!(command.of(b"A=b\0C=1.2\0"));
        assert!(!command.of(b"A=b\0C=1.23\0"));
        assert!(!command.of(b"XC=1.2\0"));
        let unit = Marks::Unit { unit: entry("U", "run:unit"), not: entry("C", "77.") };
        assert!(unit.of(b"U=run:unit\0C=66.1\0"));
        assert!(!unit.of(b"U=run:unit\0C=77.1\0"));
        assert!(!unit.of(b"U=run:unit-2\0C=66.1\0"));
    }
}
