//! Follows a run to its end: hands its events to the reporter, its questions to a person, and
//! signals to the run.

use std::time::Duration;

use runbook_core::{Control, Error, Outcome, Question, RunHandle, Timestamp, UnitId};
use tokio::time::MissedTickBehavior;

use super::prompt::{self, Lines};
use super::reporter::Reporter;

/// How following ended.
pub(crate) enum Followed {
    /// The run ended, or could not be run.
    Ended(Box<Result<Outcome, Error>>),
    /// The operator wants to stop at once.
    Interrupted,
}

/// At most so often a frame is drawn: 12 a second.
const FRAME: Duration = Duration::from_millis(80);

/// Follows a run to its end. `lines` are what a person types, if somebody can answer; `by` is who
/// that is. One signal ends the run in order, a second Ctrl-C at once.
pub(crate) async fn follow(
    mut handle: RunHandle,
    reporter: &mut Reporter<'_>,
    mut lines: Option<Lines>,
    by: &str,
) -> (Followed, bool) {
    let control = handle.control();
    let mut signals = Signals::new();
    let mut signalled = false;
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking: Option<Asking> = None;
    loop {
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Signal::Interrupt if signalled => return (Followed::Interrupted, true),
                // Whoever sends SIGTERM twice has been heard.
                _ if signalled => {}
                signal => {
                    signalled = true;
                    reporter.cancelled(signal.name());
                    control.cancel(signal.name());
                }
            },
            _ = frames.tick(), if reporter.is_live() => reporter.tick(Timestamp::now()),
            line = next_line(&mut lines), if asking.is_some() => {
                if let Some(open) = asking.take() {
                    match line {
                        Some(line) => asking = open.answer(&line, &control, reporter, by),
                        None => {
                            // The person is gone; nothing that waits for them will go on.
                            reporter.answered(false);
                            lines = None;
                            control.cancel("end of input");
                        }
                    }
                }
            }
            event = handle.next() => match event {
                Some(event) => reporter.event(&event),
                None => break,
            },
        }
        if let Some(open) = &asking
            && !reporter.view.questions.iter().any(|(unit, _)| *unit == open.unit)
        {
            asking = None;
            reporter.answered(false);
        }
        if asking.is_none()
            && lines.is_some()
            && let Some((unit, question)) = reporter.view.questions.first().cloned()
        {
            reporter.ask(unit, &question);
            let id = reporter.view.nodes[unit].id.clone();
            asking = Some(Asking { unit, id, question });
        }
    }
    if asking.is_some() {
        reporter.answered(false);
    }
    (Followed::Ended(Box::new(handle.outcome().await)), signalled)
}

async fn next_line(lines: &mut Option<Lines>) -> Option<String> {
    match lines {
        Some(lines) => lines.next().await,
        None => std::future::pending().await,
    }
}

/// A question that stands on the screen.
struct Asking {
    unit: usize,
    id: UnitId,
    question: Question,
}

impl Asking {
    /// Takes a typed line; gives the question back if it has to be asked again.
    fn answer(
        self,
        line: &str,
        control: &Control,
        reporter: &mut Reporter<'_>,
        by: &str,
    ) -> Option<Self> {
        let refused = match prompt::read_answer(&self.question.kind, line) {
            Err(accepted) => accepted.to_owned(),
            Ok(answer) => match control.answer(&self.id, answer, by) {
                Ok(()) => {
                    // Its event takes it off the list as well, a moment later.
                    reporter.view.questions.retain(|(unit, _)| *unit != self.unit);
                    reporter.answered(true);
                    return None;
                }
                Err(error) => {
                    // Which unit asks stands above.
                    let text = error.to_string();
                    let unit = format!("`{}`: ", self.id);
                    text.strip_prefix(&unit).map_or(text.clone(), str::to_owned)
                }
            },
        };
        reporter.ask_again(&self.question, Some(&refused));
        Some(self)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    Interrupt,
    Terminate,
    Hangup,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        }
    }
}

/// The signals that end a run. A terminal that goes away is as SIGTERM: the run ends in order
/// rather than being left half done.
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // What was started to ignore a signal, by nohup or in the background, goes on ignoring it.
        let ignored = ignored_signals();
        let heard = |kind: SignalKind| {
            let bit = 1u64 << (kind.as_raw_value() - 1);
            if ignored & bit == 0 { signal(kind).ok() } else { None }
        };
        Self {
            interrupt: heard(SignalKind::interrupt()),
            terminate: heard(SignalKind::terminate()),
            hangup: heard(SignalKind::hangup()),
        }
    }

    async fn next(&mut self) -> Signal {
        async fn wait(signal: &mut Option<tokio::signal::unix::Signal>) {
            if let Some(signal) = signal {
                signal.recv().await;
            } else {
                std::future::pending().await
            }
        }
        tokio::select! {
            () = wait(&mut self.interrupt) => Signal::Interrupt,
            () = wait(&mut self.terminate) => Signal::Terminate,
            () = wait(&mut self.hangup) => Signal::Hangup,
        }
    }
}

/// The signals that this process was started to ignore, a bit each; none where it can't be known.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
