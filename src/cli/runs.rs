//! What is known of earlier runs: the list, one run, its journal, its report, and locks.

use std::sync::Arc;
use std::time::Duration;

use runbook_core::{
    Actor, Event, EventKind, JournalStore, LockHolder, Phase, RunId, RunState, Status, Timestamp,
};
use serde::Serialize;

use super::style::{Color, Style};
use super::text;

/// A run in one line.
#[derive(Serialize)]
pub(crate) struct Line {
    pub(crate) run: RunId,
    #[serde(skip_serializing_if = "Option::is_none")]
    book: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What is wrong with its journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip)]
    color: Option<Color>,
}

impl Line {
    /// Reads a run. One whose journal can't be read is a line too.
    pub(crate) async fn read(store: &dyn JournalStore, run: RunId) -> Self {
        match store.read(&run).await {
            Err(error) => Self::broken(run, error.to_string()),
            Ok(events) => match RunState::fold(&events) {
                Err(error) => Self::broken(run, error.to_string()),
                Ok(state) => Self::of(run, &events, &state),
            },
        }
    }

    fn broken(run: RunId, problem: String) -> Self {
        Self {
            run,
            book: None,
            env: None,
            status: "unreadable".into(),
            started: None,
            ended: None,
            by: None,
            reason: None,
            problem: Some(problem),
            color: Some(Color::Red),
        }
    }

    fn of(run: RunId, events: &[Arc<Event>], state: &RunState) -> Self {
        let start = state.started();
        let (status, color) = status(events, state);
        let over = matches!(state.phase(), Phase::Ended(_));
        Self {
            run,
            book: start.map(|start| start.plan.book.clone()),
            env: start.and_then(|start| start.env.clone()),
            status,
            started: events.first().map(|event| event.at),
            ended: events.last().filter(|_| over).map(|event| event.at),
            by: start.map(|start| start.by.clone()),
            reason: start.and_then(|start| start.reason.clone()),
            problem: None,
            color,
        }
    }
}

/// How a run stands, in a word.
pub(crate) fn status(events: &[Arc<Event>], state: &RunState) -> (String, Option<Color>) {
    match state.phase() {
        Phase::Fresh => ("empty".into(), None),
        Phase::Suspended => ("suspended".into(), Some(Color::Yellow)),
        Phase::Ended(status) => {
            let color = match status {
                Status::Succeeded => Color::Green,
                Status::RolledBack | Status::Suspended => Color::Yellow,
                Status::Failed | Status::Stuck => Color::Red,
            };
            let without = state.finished().map_or(0, |end| end.without.len());
            if status == Status::Succeeded && without > 0 {
                let hosts = text::count(without, "host");
                return (format!("succeeded without {hosts}"), Some(Color::Yellow));
            }
            (status.to_string(), Some(color))
        }
        Phase::Running | Phase::RollingBack => match is_alive(events) {
            Some(true) if state.phase() == Phase::RollingBack => {
                ("rolling back".into(), Some(Color::Cyan))
            }
            Some(true) => ("running".into(), Some(Color::Cyan)),
            Some(false) => ("interrupted".into(), Some(Color::Red)),
            None => ("running elsewhere, or interrupted".into(), Some(Color::Yellow)),
        },
    }
}

/// Whether the process that was last at work on the run is alive; not known of other machines.
pub(crate) fn is_alive(events: &[Arc<Event>]) -> Option<bool> {
    let actor = events.iter().rev().find_map(|event| match &event.event {
        EventKind::RunStarted(start) => Some(&start.by),
        EventKind::RunResumed { by, .. } => Some(by),
        _ => None,
    })?;
    if actor.machine != Actor::this_process().machine {
        return None;
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(actor.pid).ok()?)?;
    match rustix::process::test_kill_process(pid) {
        Ok(()) | Err(rustix::io::Errno::PERM) => Some(true),
        Err(_) => Some(false),
    }
}

/// The runs as a table.
pub(crate) fn table(lines: &[Line], style: Style, columns: usize) -> Vec<String> {
    let rows = lines.iter().map(|line| {
        let took = match (line.started, line.ended) {
            (Some(started), Some(ended)) => text::took(ended.since(started)),
            _ => String::new(),
        };
        let about = match (&line.problem, &line.reason) {
            (Some(problem), _) => problem.clone(),
            (None, Some(reason)) => reason.clone(),
            (None, None) => String::new(),
        };
        [
            (line.run.to_string(), None),
            (line.status.clone(), line.color),
            (line.book.clone().unwrap_or_default(), None),
            (line.env.clone().unwrap_or_default(), None),
            (line.started.map(text::day_and_minute).unwrap_or_default(), None),
            (took, None),
            (line.by.as_ref().map(|by| by.name.clone()).unwrap_or_default(), None),
            (about, None),
        ]
    });
    let titles = ["RUN", "STATUS", "BOOK", "ENV", "STARTED (UTC)", "TOOK", "BY", "REASON"];
    columns_of(&titles, rows.collect(), style, columns)
}

/// The locks as a table.
pub(crate) fn lock_table(
    locks: &[(String, LockHolder)],
    style: Style,
    columns: usize,
) -> Vec<String> {
    let now = Timestamp::now();
    let rows = locks.iter().map(|(resource, held)| {
        let (lease, color) = lease(held, now);
        [
            (resource.clone(), None),
            (lease, color),
            (held.run.to_string(), None),
            (held.book.clone(), None),
            (format!("{}@{}", held.by.name, held.by.machine), None),
            (text::day_and_minute(held.since), None),
            (held.reason.clone().unwrap_or_default(), None),
        ]
    });
    let titles = ["RESOURCE", "LEASE", "RUN", "BOOK", "BY", "SINCE (UTC)", "REASON"];
    columns_of(&titles, rows.collect(), style, columns)
}

fn lease(held: &LockHolder, now: Timestamp) -> (String, Option<Color>) {
    if held.expires <= now {
        let ago = text::running(now.since(held.expires));
        return (format!("expired {ago} ago"), Some(Color::Yellow));
    }
    let left = held.expires.since(now).max(Duration::from_secs(1));
    (format!("{} left", text::running(left)), None)
}

/// Columns as wide as they need to be, without those that are empty; the last is cut.
pub(crate) fn columns_of<const N: usize>(
    titles: &[&str; N],
    rows: Vec<[(String, Option<Color>); N]>,
    style: Style,
    columns: usize,
) -> Vec<String> {
    let rows: Vec<[(String, Option<Color>); N]> = rows
        .into_iter()
        .map(|row| row.map(|(cell, color)| (style.text(&cell).into_owned(), color)))
        .collect();
    let widths: Vec<usize> = (0..N)
        .map(|n| {
            let widest = rows.iter().map(|row| text::width(&row[n].0)).max().unwrap_or(0);
            if widest == 0 { 0 } else { widest.max(titles[n].len()) }
        })
        .collect();
    let last = widths.iter().rposition(|width| *width > 0).unwrap_or(0);
    let line = |cells: [(&str, Option<Color>); N], bold: bool| {
        let mut line = String::new();
        let mut used = 0;
        for (n, (cell, color)) in cells.into_iter().enumerate() {
            if widths[n] == 0 {
                continue;
            }
            if n == last {
                let cell = text::cut(cell, columns.saturating_sub(used).max(20), style.more());
                line.push_str(&if bold { style.dim(&cell) } else { paint(style, &cell, color) });
                break;
            }
            let pad = " ".repeat(widths[n] - text::width(cell) + 2);
            line.push_str(&if bold { style.dim(cell) } else { paint(style, cell, color) });
            line.push_str(&pad);
            used += widths[n] + 2;
        }
        line.truncate(line.trim_end().len());
        line
    };
    let mut lines = vec![line(titles.map(|title| (title, None)), true)];
    for row in &rows {
        lines.push(line(std::array::from_fn(|n| (row[n].0.as_str(), row[n].1)), false));
    }
    lines
}

fn paint(style: Style, cell: &str, color: Option<Color>) -> String {
    color.map_or_else(|| cell.to_owned(), |color| style.paint(cell, color))
}
