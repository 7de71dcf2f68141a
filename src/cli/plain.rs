//! Plain lines: one an event that matters, for logs and pipes.

use runbook_core::{
    BlockOutcome, CheckRole, Direction, Event, EventKind, Level, Mode, Problem, RunStarted,
    SkipReason, TransferState, UnitId,
};

use super::style::Style;
use super::text;
use super::view::{ViewState, without_title};

/// A file that is no larger is not worth a line of a log.
const LARGE: u64 = 1 << 20;

/// The line of an event, without its time; `None` if it does not matter here. The view has taken
/// the event already.
pub(crate) fn line(view: &ViewState, event: &Event, style: Style) -> Option<String> {
    use EventKind as E;
    // A plan is shown as a whole when all of it is known.
    if view.mode() == Mode::Plan {
        return None;
    }
    let (word, said) = match &event.event {
        E::RunStarted(start) if start.mode == Mode::Check => ("check", head(start)),
        E::RunStarted(start) => ("run", head(start)),
        E::RunResumed { by, .. } => {
            let run = view.head.as_ref().map(|head| head.run.to_string()).unwrap_or_default();
            ("resumed", format!("{run} by {by}"))
        }
        E::CancelRequested { by } => ("cancel", format!("asked to end by {by}")),
        E::RollbackStarted { cause, units } => {
            ("rollback", format!("{} to undo: {cause}", text::count(units.len(), "unit")))
        }
        E::LockWaiting { resource, holder } => {
            ("lock", format!("waiting for {resource}, held by {}", text::holder(holder)))
        }
        E::LockAcquired { resource } => ("lock", format!("took {resource}")),
        E::LockLost { resource, why } => ("lock", format!("lost {resource}: {why}")),
        E::Skipped { unit, why, .. } => ("skipped", of(view, unit, skip_words(why))),
        E::Asked { unit, question } => ("asks", of(view, unit, &question.text)),
        E::Answered { unit, by, answer } => {
            let said = match answer {
                runbook_core::Answer::Yes => format!("yes, says {by}"),
                runbook_core::Answer::No => format!("no, says {by}"),
                runbook_core::Answer::Value(value) => format!("{value:?}, says {by}"),
            };
            ("answered", of(view, unit, &said))
        }
        E::Started { unit, .. } => ("started", of(view, unit, "")),
        E::Retrying { unit, attempt, problem, pause_ms } => {
            let said = format!("attempt {attempt} failed: {problem}; next in {pause_ms} ms");
            ("retrying", of(view, unit, &said))
        }
        E::Checked { unit, role, title, verdict } => {
            let word = match verdict.level {
                Level::Pass => "pass",
                Level::Warn => "warn",
                Level::Fail if *role == CheckRole::Wait => "waiting",
                Level::Fail if *role == CheckRole::Observation => "no",
                Level::Fail => "fail",
            };
            let said = match role {
                CheckRole::Gate | CheckRole::Observation | CheckRole::Wait => {
                    of(view, unit, &verdict.why)
                }
                _ => of(view, unit, &format!("{title}: {}", verdict.why)),
            };
            (word, said)
        }
        E::Finished { unit, .. } => {
            // A check has said so with its verdict.
            let node = view.node(unit)?;
            if !node.is_step() && node.answered.is_none() {
                return None;
            }
            let took = node.began.map(|began| event.at.since(began)).unwrap_or_default();
            let took = if took.as_millis() < 50 { String::new() } else { text::took(took) };
            ("done", of(view, unit, if node.is_step() { &took } else { "" }))
        }
        // The verdict has said so.
        E::Failed { .. } if view.mode() == Mode::Check => return None,
        E::Failed { unit, problem } => {
            let title = view.node(unit).map_or("", |node| node.title.as_str());
            let words = problem_words(problem);
            let mut said = of(view, unit, without_title(&words, title));
            for line in view.node(unit).map(|node| &node.tail).into_iter().flatten() {
                said.push_str(&format!("\n  | {line}"));
            }
            ("failed", said)
        }
        E::Decided { unit, by, decision } => {
            let said = format!("{decision:?}, says {by}").to_lowercase();
            ("decided", of(view, unit, &said))
        }
        E::LeftoversEnded { unit, host, processes } => {
            let said = format!("ended what was left on {host}: {}", processes.join("; "));
            ("cleanup", of(view, unit, &said))
        }
        E::UndoStarted { unit } => ("undoing", of(view, unit, "")),
        E::Undone { unit } => ("undone", of(view, unit, "")),
        E::UndoFailed { unit, problem } => ("NOT UNDONE", of(view, unit, &problem_words(problem))),
        E::BlockFinished { block, outcome: BlockOutcome::Isolated { problem } } => {
            let said = format!("failed and undone, the run goes on: {problem}");
            ("isolated", of(view, block, &said))
        }
        E::BlockFinished { block, outcome: BlockOutcome::NotRestored { not_restored, .. } } => {
            let said = format!("failed and NOT restored, the run goes on: {not_restored}");
            ("NOT UNDONE", of(view, block, &said))
        }
        E::BlockFinished { block, outcome: BlockOutcome::Succeeded } if view.is_host(block) => {
            ("done", block.to_string())
        }
        E::Pausing { block, pause_ms } => {
            let pause = text::running(std::time::Duration::from_millis(*pause_ms));
            ("pause", format!("{block}: the next hosts in {pause}"))
        }
        E::Notified { to, problem: Some(problem) } => {
            ("notify", format!("could not tell {to}: {problem}"))
        }
        // What moves is for whoever watches; a log gets the end of what took some time.
        E::Transfer(file) if file.state == TransferState::Done && file.done > LARGE => {
            let (word, way) = match file.direction {
                Direction::Up => ("sent", "to"),
                Direction::Down => ("fetched", "from"),
            };
            let took = std::time::Duration::from_millis(file.elapsed_ms);
            let mut said = format!(
                "{} {way} {}: {}",
                text::clean(&file.path),
                file.host,
                text::size(file.done)
            );
            if let Some(rate) = file.rate() {
                said.push_str(&format!(" in {}, {}/s", text::took(took), text::size(rate)));
            }
            if let Some(sha256) = &file.sha256 {
                said.push_str(&format!(", sha256 {sha256}"));
            }
            (word, format!("{}: {said}", file.unit))
        }
        E::Output { unit, line, .. } if view.verbose => ("output", format!("{unit}: {line}")),
        _ => return None,
    };
    Some(format!("{word:<9} {}", style.text_lines(&said)))
}

/// A unit's id, its title if that says more, and what there is to say.
fn of(view: &ViewState, unit: &UnitId, said: &str) -> String {
    let title = view.node(unit).map_or("", |node| node.title.as_str());
    let mut text = unit.to_string();
    for part in [title, said] {
        if !part.is_empty() {
            text.push_str(": ");
            text.push_str(part);
        }
    }
    text
}

fn head(start: &RunStarted) -> String {
    let mut said = match start.mode {
        Mode::Run => format!("{} of {} by {}", start.run, start.plan.book, start.by),
        // Nothing is kept of a look, so that its id says nothing.
        _ => format!("{} by {}", start.plan.book, start.by),
    };
    if let Some(env) = &start.env {
        said.push_str(&format!(", environment {env}"));
    }
    if let Some(reason) = &start.reason {
        said.push_str(&format!(", reason: {reason}"));
    }
    for param in &start.plan.params {
        said.push_str(&format!(", {} = {}", param.name, param.values.join(", ")));
    }
    said
}

fn skip_words(why: &SkipReason) -> &'static str {
    match why {
        SkipReason::Satisfied => "already so",
        SkipReason::Condition => "its condition does not hold",
        SkipReason::NotNeeded => "not needed",
        SkipReason::Operator => "taken as done",
        SkipReason::NoInput => "what it needs was not made",
    }
}

fn problem_words(problem: &Problem) -> String {
    let mut said = problem.message.clone();
    for cause in problem.causes.iter().filter(|cause| !problem.message.contains(cause.as_str())) {
        said.push_str(&format!("; because: {cause}"));
    }
    if let Some(next) = &problem.next {
        said.push_str(&format!("; next: {next}"));
    }
    said
}
