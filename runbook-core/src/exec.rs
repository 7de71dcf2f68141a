//! Runs one command through a target: streams, bounds, scrubs and spools its output, and ends its
//! process tree when it is out of time or cancelled.

mod lines;
mod sweep;

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};

use self::lines::Lines;
pub(crate) use self::sweep::{Sweep, sweep};
use crate::command::{Command, Exit, Output, ReadOnly};
use crate::context::Observer;
use crate::error::{During, Failure, FailureKind, Result};
use crate::event::StreamKind;
use crate::target::{BoxRead, BoxWrite, Host, Process, Spawn};

/// After a command has ended, its output is read until it is quiet for so long: a process that it
/// left behind may hold the streams open for ever.
const QUIET: Duration = Duration::from_secs(1);

/// And for no longer than this, however much such a process says.
const DRAIN: Duration = Duration::from_secs(10);

/// One command on one host, as a unit asked for it.
pub(crate) struct Invocation<'a> {
    cx: &'a Observer,
    host: &'a Host,
    command: &'a Command,
    read_only: bool,
}

impl<'a> Invocation<'a> {
    pub(crate) fn reading(cx: &'a Observer, host: &'a Host, command: &'a ReadOnly) -> Self {
        Self { cx, host, command: command.command(), read_only: true }
    }

    pub(crate) fn changing(cx: &'a Observer, host: &'a Host, command: &'a Command) -> Self {
        Self { cx, host, command, read_only: false }
    }

    /// Runs it; fails unless it exits with code 0.
    pub(crate) async fn checked(self) -> Result<Output> {
        let (output, said) = self.finish().await?;
        if output.exit.success() {
            return Ok(output);
        }
        let failure = Failure::msg(format!("{}{said}", output.exit)).while_doing(self.name());
        Err(match self.advice(output.exit) {
            Some(advice) => failure.next(advice),
            None => failure,
        })
    }

    /// Runs it; however it ends is fine.
    pub(crate) async fn unchecked(self) -> Result<Output> {
        Ok(self.finish().await?.0)
    }

    /// Starts it and hands its streams over.
    pub(crate) async fn spawn(self) -> Result<Running> {
        let process = self.start().await?;
        Ok(Running {
            process,
            cx: self.cx.clone(),
            name: self.name(),
            limit: self.command.time_limit(),
            started: Instant::now(),
        })
    }

    async fn start(&self) -> Result<Box<dyn Process>> {
        let started = Instant::now();
        let cookie = format!("{}:{}", self.cx.run_id(), self.cx.unit_id());
        let mut spawn = Spawn::new(cookie);
        spawn.read_only = self.read_only;
        let start = async {
            sweep(self.cx, self.host).await?;
            let spawned = self.host.target().spawn(self.command, &spawn).await;
            spawned.map_err(|failure| failure.while_doing(self.name()))
        };
        tokio::select! {
            biased;
            why = self.cx.stopped() => Err(stopped(&self.name(), &why, started.elapsed(), "before it ran")),
            process = start => process,
        }
    }

    /// Runs it to its end, with the end of what it said.
    async fn finish(&self) -> Result<(Output, Said)> {
        let started = Instant::now();
        let mut process = self.start().await?;
        let mut streams = Streams::of(self.cx, &mut *process);
        let ended = {
            let mut wait = pin!(process.wait());
            let mut stop = pin!(stop_or_limit(self.cx, self.command.time_limit()));
            let mut drain = pin!(sleep(DRAIN));
            let mut exit = None;
            loop {
                if let Some(exit) = exit
                    && !streams.open()
                {
                    break Ok(exit);
                }
                // Stopping comes first, so that a flood of output can't keep it from being heard.
                tokio::select! {
                    biased;
                    why = &mut stop => break Err(why),
                    read = streams.next(), if streams.open() => {
                        read.map_err(|error| {
                            // Pipes of this machine do not fail: it is the connection to another.
                            Failure::new(FailureKind::Disconnected, error)
                                .while_doing("reading its output")
                                .while_doing(self.name())
                        })?;
                    }
                    ended = &mut wait, if exit.is_none() => {
                        exit = Some(ended.map_err(|failure| failure.while_doing(self.name()))?);
                        drain.as_mut().reset(Instant::now() + DRAIN);
                    }
                    () = async { tokio::select! { () = sleep(QUIET) => {}, () = &mut drain => {} } },
                        if exit.is_some() =>
                    {
                        self.cx.emit_line(
                            StreamKind::Note,
                            &crate::secret::scrub(&format!(
                                "{} left a process behind that holds its output open; that output \
                                 is not read on",
                                self.name()
                            )),
                        );
                        streams.close();
                    }
                }
            }
        };
        match ended {
            Ok(exit) => Ok(streams.into_output(exit)),
            Err(why) => {
                let after = started.elapsed();
                let end = end(self.cx, &mut *process, &mut streams).await;
                let (_, said) = streams.into_output(Exit::Signal(15));
                Err(stopped(&self.name(), &why, after, &format!("{end}{said}")))
            }
        }
    }

    /// The command and its host, as errors name them.
    fn name(&self) -> String {
        /// A script given as an argument need not be repeated whole in every error.
        const LONG: usize = 400;
        let mut line = self.command.to_string();
        if let Some((cut, _)) = line.char_indices().nth(LONG) {
            line.truncate(cut);
            line.push_str("...");
        }
        format!("`{line}` on {}", self.host)
    }

    fn advice(&self, exit: Exit) -> Option<String> {
        let host = self.host;
        match exit {
            Exit::Code(126) => Some(format!(
                "exit code 126 says that a program may not be executed: look at its mode and at \
                 its first line on {host}"
            )),
            Exit::Code(127) => Some(format!(
                "exit code 127 says that a program was not found: install it on {host} or correct \
                 the PATH"
            )),
            Exit::Signal(9) => Some(format!(
                "it was not this run that killed it; often the kernel does when memory is short: \
                 look into the kernel's log on {host} (`dmesg`)"
            )),
            _ => None,
        }
    }
}

/// A command that was started with [`HostAccess::spawn`](crate::HostAccess::spawn).
///
/// Its streams are the caller's: what is read from them is in no event. Dropping it ends its whole
/// process tree, unless [`wait`](Self::wait) already saw its end.
pub struct Running {
    process: Box<dyn Process>,
    cx: Observer,
    name: String,
    limit: Option<Duration>,
    started: Instant,
}

impl Running {
    /// Its standard input, once.
    pub fn stdin(&mut self) -> Option<BoxWrite> {
        self.process.stdin()
    }

    /// Its standard output, once.
    pub fn stdout(&mut self) -> Option<BoxRead> {
        self.process.stdout()
    }

    /// Its standard error, once.
    pub fn stderr(&mut self) -> Option<BoxRead> {
        self.process.stderr()
    }

    /// Waits until it ends; ends it if the unit is cancelled or out of time.
    ///
    /// # Errors
    /// Cancelled, out of time, or the connection was lost.
    pub async fn wait(&mut self) -> Result<Exit> {
        let limit = self.limit.map(|limit| limit.saturating_sub(self.started.elapsed()));
        let why = tokio::select! {
            biased;
            exit = self.process.wait() => return exit.during(&self.name),
            why = stop_or_limit(&self.cx, limit) => why,
        };
        let after = self.started.elapsed();
        let mut streams = Streams::default();
        let end = end(&self.cx, &mut *self.process, &mut streams).await;
        Err(stopped(&self.name, &why, after, &end))
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({})", self.name)
    }
}

/// Waits until the unit is to stop, or the command has used up its own time.
async fn stop_or_limit(cx: &Observer, limit: Option<Duration>) -> Failure {
    let Some(limit) = limit else { return cx.stopped().await };
    tokio::select! {
        biased;
        why = cx.stopped() => why,
        () = sleep(limit) => Failure::new(FailureKind::TimedOut, "out of time"),
    }
}

/// Ends the process tree while reading on, since a full pipe would keep it from ending in order.
async fn end(cx: &Observer, process: &mut dyn Process, streams: &mut Streams<'_>) -> String {
    // Done before the engine loses patience after the whole grace time and drops the unit.
    let grace = cx.scope().grace.mul_f32(0.8);
    let killed = {
        let mut kill = pin!(process.kill(grace));
        loop {
            tokio::select! {
                biased;
                killed = &mut kill => break killed,
                read = streams.next(), if streams.open() => {
                    if read.is_err() {
                        streams.close();
                    }
                }
            }
        }
    };
    let rest = async { while streams.open() && streams.next().await.is_ok() {} };
    let _ = timeout(QUIET, rest).await;
    streams.close();
    match killed {
        Ok(()) => "its process tree was ended".to_owned(),
        Err(failure) => format!("and its process tree could not be ended ({failure})"),
    }
}

fn stopped(name: &str, why: &Failure, after: Duration, then: &str) -> Failure {
    let after = Duration::from_millis(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    let after = humantime::format_duration(after);
    Failure::new(why.kind(), format!("{why} after {after}, {then}")).while_doing(name)
}

/// Both output streams of a command on their way to events and to the [`Output`].
#[derive(Default)]
struct Streams<'a> {
    out: Option<Capture<'a>>,
    err: Option<Capture<'a>>,
}

impl<'a> Streams<'a> {
    fn of(cx: &'a Observer, process: &mut dyn Process) -> Self {
        Self {
            out: Some(Capture::new(cx, StreamKind::Stdout, process.stdout())),
            err: Some(Capture::new(cx, StreamKind::Stderr, process.stderr())),
        }
    }

    fn open(&self) -> bool {
        [&self.out, &self.err].into_iter().flatten().any(|capture| capture.from.is_some())
    }

    fn close(&mut self) {
        for capture in [&mut self.out, &mut self.err].into_iter().flatten() {
            capture.close();
        }
    }

    /// Takes what comes next from whichever stream has something. Safe to cancel.
    async fn next(&mut self) -> std::io::Result<()> {
        async fn read(capture: &mut Option<Capture<'_>>) -> std::io::Result<()> {
            match capture {
                Some(capture) if capture.from.is_some() => capture.next().await,
                _ => std::future::pending().await,
            }
        }
        tokio::select! {
            read = read(&mut self.out) => read,
            read = read(&mut self.err) => read,
        }
    }

    fn into_output(mut self, exit: Exit) -> (Output, Said) {
        self.close();
        let mut output = Output::new(exit, Vec::new(), Vec::new());
        let mut said = Said { stream: "output", lines: VecDeque::new() };
        if let Some(out) = self.out {
            output.stdout = out.kept;
            output.dropped += out.dropped;
            said.lines = out.tail;
        }
        if let Some(err) = self.err {
            output.stderr = err.kept;
            output.dropped += err.dropped;
            if !err.tail.is_empty() {
                said = Said { stream: "stderr", lines: err.tail };
            }
        }
        (output, said)
    }
}

/// One output stream.
struct Capture<'a> {
    cx: &'a Observer,
    kind: StreamKind,
    from: Option<BoxRead>,
    buffer: Vec<u8>,
    kept: Vec<u8>,
    dropped: u64,
    lines: Lines,
    tail: VecDeque<String>,
}

impl<'a> Capture<'a> {
    /// Most commands say less than this.
    const LITTLE: usize = 1 << 10;
    /// What is taken at once of those that say more.
    const MUCH: usize = 16 << 10;

    fn new(cx: &'a Observer, kind: StreamKind, from: Option<BoxRead>) -> Self {
        Self {
            cx,
            kind,
            from,
            buffer: Vec::with_capacity(Self::LITTLE),
            kept: Vec::new(),
            dropped: 0,
            lines: Lines::default(),
            tail: VecDeque::new(),
        }
    }

    async fn next(&mut self) -> std::io::Result<()> {
        let Some(from) = &mut self.from else { return Ok(()) };
        // A source that always has more must not keep timers and the word to stop from running.
        tokio::task::coop::consume_budget().await;
        self.buffer.clear();
        let read = from.read_buf(&mut self.buffer).await?;
        let (cx, kind, tail) = (self.cx, self.kind, &mut self.tail);
        let bytes = self.buffer.as_slice();
        let room = (Output::LIMIT - self.kept.len()).min(read);
        self.kept.extend_from_slice(&bytes[..room]);
        self.dropped += (read - room) as u64;
        self.lines.push(bytes, |line| {
            cx.emit_line(kind, line);
            Said::remember(tail, line);
        });
        if read == 0 {
            self.close();
        } else if read == self.buffer.capacity() && read < Self::MUCH {
            self.buffer = Vec::with_capacity(Self::MUCH);
        }
        Ok(())
    }

    fn close(&mut self) {
        self.from = None;
        let (cx, kind, tail) = (self.cx, self.kind, &mut self.tail);
        self.lines.finish(|line| {
            cx.emit_line(kind, line);
            Said::remember(tail, line);
        });
    }
}

/// The end of what a command said, for its error.
struct Said {
    stream: &'static str,
    lines: VecDeque<String>,
}

impl Said {
    const LINES: usize = 10;
    const WIDTH: usize = 400;

    fn remember(tail: &mut VecDeque<String>, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        // The string that is dropped lends its memory to the one that comes.
        let mut text = if tail.len() == Self::LINES {
            tail.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        text.clear();
        text.extend(line.trim_end().chars().take(Self::WIDTH));
        tail.push_back(text);
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lines.len() {
            0 => Ok(()),
            1 => write!(f, ": {}", self.lines[0].trim_start()),
            _ => {
                write!(f, "; the end of its {}:", self.stream)?;
                self.lines.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
