//! Processes that end with the test that started them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A process that is killed with all its descendants when this is dropped.
#[derive(Debug)]
pub struct Child(std::process::Child);

impl Child {
    /// Starts it.
    ///
    /// # Panics
    /// It can't be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}")))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Its standard streams and the rest of what the standard library knows of it.
    pub fn std(&mut self) -> &mut std::process::Child {
        &mut self.0
    }

    /// Waits for its end; `None` if it still runs at the deadline.
    ///
    /// # Panics
    /// The system can't tell.
    pub fn wait(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            let status = self.0.try_wait().expect("the state of a child");
            if status.is_some() || Instant::now() >= end {
                return status;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Kills it with all its descendants, and waits for its end.
    pub fn kill(&mut self) {
        // Once reaped, its id may be that of a stranger.
        if self.is_running() {
            kill_tree(self.pid());
            let _ = self.0.wait();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process with this id exists and is no zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.alive)
}

/// The living descendants of a process, without the process itself, parents first.
///
/// A process whose parent has ended is no descendant any more: see [`with_environment`].
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (child, stat) in all() {
        if stat.alive {
            children.entry(stat.parent).or_default().push(child);
        }
    }
    let mut found = Vec::new();
    let mut next = children.remove(&pid).unwrap_or_default();
    while !next.is_empty() {
        found.extend_from_slice(&next);
        next = next.iter().filter_map(|parent| children.remove(parent)).flatten().collect();
    }
    found
}

/// The living processes that were started with this variable in their environment.
///
/// It finds a process by its mark also when its parent has ended. Other users' processes are not
/// seen, unless by root.
#[must_use]
pub fn with_environment(name: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{name}={value}");
    all()
        .filter(|(_, stat)| stat.alive)
        .filter(|(pid, _)| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes())
            })
        })
        .map(|(pid, _)| pid)
        .collect()
}

/// Kills a process with all its descendants.
pub fn kill_tree(pid: u32) {
    // Stopped, none of them can start another one behind our back.
    let mut stopped = BTreeSet::new();
    let mut found = vec![pid];
    while found.iter().any(|pid| stopped.insert(*pid)) {
        for pid in &found {
            signal(*pid, Signal::STOP);
            stopped.insert(*pid);
        }
        found = descendants(pid);
    }
    for pid in stopped {
        signal(pid, Signal::KILL);
    }
}

/// Sends a signal; a process that is gone is none of our concern.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

struct Stat {
    parent: u32,
    alive: bool,
}

fn all() -> impl Iterator<Item = (u32, Stat)> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, parentheses too.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let alive = !matches!(fields.next()?, "Z" | "X");
    Some(Stat { parent: fields.next()?.parse().ok()?, alive })
}
