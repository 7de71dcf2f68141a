//! Lines that stay: what a run did, as it scrolls by.

use std::time::Duration;

use runbook_core::{BlockKind, Level, Problem, SkipReason};

use super::super::style::{Color, Mark, Style};
use super::super::text;
use super::node::{Kind, Node, State};
use super::state::{Settled, ViewState};

/// The lines of something that has settled.
pub(crate) fn settled(
    state: &ViewState,
    what: &Settled,
    columns: usize,
    style: Style,
) -> Vec<String> {
    let note = |mark: Mark, said: String| {
        let lines = text::wrap(&style.text(&said), columns.saturating_sub(2));
        hang(&style.mark(mark), 0, lines)
    };
    match what {
        Settled::Head => head(state, columns, style),
        Settled::Unit(at) => unit(state, &state.nodes[*at], columns, style),
        Settled::Header(at) => {
            let node = &state.nodes[*at];
            vec![format!(
                "{}{} {}",
                indent(node.depth),
                style.mark(Mark::Block),
                style.bold(&style.text(&node.title))
            )]
        }
        Settled::Block(at) => block(&state.nodes[*at], columns, style),
        Settled::Rollback { cause } => {
            let mut lines = vec![String::new()];
            let words = format!("Rolling back: {}", style.text(cause));
            lines.extend(hang(
                &style.mark(Mark::Undone),
                0,
                text::wrap(&words, columns.saturating_sub(2))
                    .iter()
                    .map(|line| style.bold(line))
                    .collect(),
            ));
            lines
        }
        Settled::Undone(at) => undone(state, *at, columns, style),
        Settled::FinallyHeader => {
            vec![format!("{} {}", style.mark(Mark::Block), style.bold("Finally"))]
        }
        Settled::Resumed { by, back, done } => {
            let what = if *back { "taken up to roll back" } else { "taken up again" };
            let before = match done {
                0 => String::new(),
                n => format!("; {} done before", text::count(*n, "unit")),
            };
            vec![style.dim(&style.text(&format!("{what} by {by}{before}"))), String::new()]
        }
        Settled::Cancel { by } => note(Mark::Warn, format!("Asked to end by {by}")),
        Settled::LockWaiting { resource, holder } => {
            let holder = text::holder(holder);
            note(Mark::Asks, format!("Waiting for the lock on {resource}, held by {holder}"))
        }
        Settled::LockLost { resource, why } => {
            note(Mark::Failed, format!("The lock on {resource} was lost: {why}"))
        }
        Settled::Leftovers { unit, host, processes } => note(
            Mark::Warn,
            format!(
                "Ended what an earlier process had left of {} on {host}: {}",
                state.nodes[*unit].title,
                processes.join("; ")
            ),
        ),
        Settled::NotNotified { to, problem } => {
            note(Mark::Warn, format!("Could not tell {to}: {}", problem.message))
        }
        Settled::Decided { unit, by, what } => {
            note(Mark::Warn, format!("{}: {what}, says {by}", state.nodes[*unit].title))
        }
        Settled::Output { unit, line } => {
            let node = &state.nodes[*unit];
            let line = format!("{}{}", style.bar(), style.text(line));
            vec![format!("{}  {}", indent(node.depth), style.dim(&line))]
        }
    }
}

/// Two spaces a level.
pub(super) fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

/// Lines below each other, the first one after a mark.
fn hang(mark: &str, depth: usize, lines: Vec<String>) -> Vec<String> {
    let space = indent(depth);
    lines
        .into_iter()
        .enumerate()
        .map(|(n, line)| match n {
            0 => format!("{space}{mark} {line}"),
            _ => format!("{space}  {line}"),
        })
        .collect()
}

fn head(state: &ViewState, columns: usize, style: Style) -> Vec<String> {
    let Some(head) = &state.head else { return Vec::new() };
    let mut facts = vec![format!("run {}", head.run)];
    facts.extend(head.env.clone());
    facts.push(format!("by {}@{}", head.by.name, head.by.machine));
    facts.extend(head.reason.as_ref().map(|reason| format!("reason: {reason}")));
    let mut lines = vec![style.bold(&style.text(&head.plan.title))];
    lines.extend(
        text::wrap(&style.text(&facts.join(style.dot())), columns)
            .iter()
            .map(|line| style.dim(line)),
    );
    let params: Vec<String> = head
        .plan
        .params
        .iter()
        .map(|param| format!("{} = {}", param.name, param.values.join(", ")))
        .collect();
    if !params.is_empty() {
        lines.extend(text::wrap(&style.text(&params.join(style.dot())), columns));
    }
    lines.push(String::new());
    lines
}

/// The column after the titles, so that times stand below each other.
pub(super) fn title_columns(state: &ViewState, columns: usize) -> usize {
    let longest =
        state.nodes.iter().map(|node| node.depth.max(1) * 2 + 2 + text::width(&node.title)).max();
    let most = (columns * 6 / 10).clamp(20, 64);
    longest.unwrap_or(20).clamp(20, most)
}

/// Mark, title, time and a word on it: one line of at most the terminal's columns.
pub(super) struct Row<'a> {
    pub(super) depth: usize,
    pub(super) mark: Mark,
    pub(super) title: &'a str,
    pub(super) time: Option<String>,
    pub(super) note: &'a str,
}

impl Row<'_> {
    pub(super) fn line(&self, state: &ViewState, columns: usize, style: Style) -> String {
        let before = self.depth * 2 + 2;
        let title = style.text(self.title);
        let room = title_columns(state, columns).saturating_sub(before);
        // A title that does not fit its column moves the rest of its line, rather than being cut.
        let title = text::cut(&title, columns.saturating_sub(before + 9).max(room), style.more());
        let pad = room.saturating_sub(text::width(&title));
        let mut used = before + text::width(&title) + pad;
        let mut rest = String::new();
        if let Some(time) = &self.time {
            let time = format!(" {time:>6}");
            used += time.len();
            rest.push_str(&style.dim(&time));
        }
        let note = style.text(self.note);
        let mut room = columns.saturating_sub(used + 2);
        if !note.is_empty() && room >= 8 {
            if self.time.is_none() {
                // The column of the times stays free, as far as there is room.
                let gap = room.saturating_sub(8).min(7);
                rest.push_str(&" ".repeat(gap));
                room -= gap;
            }
            let note = text::cut(&note, room, style.more());
            rest.push_str("  ");
            rest.push_str(&match self.mark {
                Mark::Failed => style.paint(&note, Color::Red),
                Mark::Warn | Mark::Asks => style.paint(&note, Color::Yellow),
                _ => style.dim(&note),
            });
        }
        let start = format!("{}{} {title}", indent(self.depth), style.mark(self.mark));
        if rest.is_empty() { start } else { format!("{start}{}{rest}", " ".repeat(pad)) }
    }
}

pub(super) fn took(node: &Node) -> Option<String> {
    let (began, ended) = (node.began?, node.ended?);
    let time = ended.since(began);
    // What took no time worth knowing shows none.
    (time >= Duration::from_millis(50)).then(|| text::took(time))
}

/// Mark and note of a unit that is over.
fn verdict_of(node: &Node) -> (Mark, String) {
    let why = node.verdict.as_ref().map(|verdict| verdict.why.clone()).unwrap_or_default();
    match &node.state {
        State::Skipped(SkipReason::Satisfied) => (Mark::Done, "already so".into()),
        State::Skipped(SkipReason::Condition) => {
            (Mark::Skipped, "left out: its condition does not hold".into())
        }
        State::Skipped(SkipReason::NotNeeded) => (Mark::Skipped, "not needed".into()),
        State::Skipped(SkipReason::NoInput) => {
            (Mark::Skipped, "left out: what it needs was not made".into())
        }
        State::Skipped(SkipReason::Operator) => (Mark::Skipped, "taken as done".into()),
        State::Failed | State::UndoFailed => (Mark::Failed, String::new()),
        State::Undone => (Mark::Undone, "undone".into()),
        _ if node.is_observation() && node.is_fail() => (Mark::Noted, format!("no: {why}")),
        _ if node.verdict.as_ref().is_some_and(|v| v.level != Level::Pass) => (Mark::Warn, why),
        _ => {
            let answer = node.answered.clone().unwrap_or_default();
            let attempts = node.retrying.as_ref().map(|(n, _)| format!("at attempt {}", n + 1));
            let notes = [answer, attempts.unwrap_or_default(), why];
            let notes: Vec<_> = notes.into_iter().filter(|note| !note.is_empty()).collect();
            (Mark::Done, notes.join(", "))
        }
    }
}

fn unit(state: &ViewState, node: &Node, columns: usize, style: Style) -> Vec<String> {
    let (mark, note) = verdict_of(node);
    let row = Row { depth: node.depth, mark, title: &node.title, time: took(node), note: &note };
    let mut lines = vec![row.line(state, columns, style)];
    if node.state == State::Failed {
        lines.extend(failure(node, node.depth, columns, style));
    } else if let Some(why) = node.unit().and_then(|unit| unit.irreversible_because.as_ref())
        && node.started
    {
        let why = format!("can't be undone: {why}");
        let room = columns.saturating_sub(node.depth * 2 + 4);
        for line in text::wrap(&style.text(&why), room) {
            lines.push(format!("{}    {}", indent(node.depth), style.dim(&line)));
        }
    }
    lines
}

/// Why a unit failed, and the end of its output.
fn failure(node: &Node, depth: usize, columns: usize, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    let space = indent(depth + 2);
    let room = columns.saturating_sub(space.len()).max(20);
    if let Some(problem) = &node.problem {
        let message = without_title(&problem.message, &node.title);
        for line in text::wrap(&style.text_lines(message), room) {
            lines.push(format!("{space}{}", style.paint(&line, Color::Red)));
        }
    }
    for line in &node.tail {
        let line = format!("{}{}", style.bar(), style.text(line));
        lines.push(format!("{space}{}", style.dim(&text::cut(&line, room, style.more()))));
    }
    lines
}

/// A message without the title of its unit, where that stands above it already.
pub(crate) fn without_title<'a>(message: &'a str, title: &str) -> &'a str {
    let rest = message.strip_prefix(title).and_then(|rest| rest.strip_prefix(": "));
    rest.unwrap_or(message)
}

/// A problem in full: message, causes, and what to do next.
pub(super) fn problem_lines(problem: &Problem, columns: usize, style: Style) -> Vec<String> {
    let mut lines: Vec<String> = text::wrap(&style.text_lines(&problem.message), columns)
        .iter()
        .map(|line| style.paint(line, Color::Red))
        .collect();
    let mut more = |label: &str, said: &str| {
        let said = format!("{label}: {}", style.text_lines(said));
        lines.extend(text::wrap(&said, columns));
    };
    for cause in &problem.causes {
        // Many errors repeat their source in their own text.
        if !problem.message.contains(cause.as_str()) {
            more("because", cause);
        }
    }
    if let Some(next) = &problem.next {
        more("next", next);
    }
    lines
}

fn block(node: &Node, columns: usize, style: Style) -> Vec<String> {
    let title = style.text(&node.title).into_owned();
    if let (State::Done, Kind::Block(BlockKind::Ladder { check, .. })) = (&node.state, &node.kind) {
        let why = node.verdict.as_ref().map_or("", |verdict| verdict.why.as_str());
        let said = style.text(&format!("{check}: {why}")).into_owned();
        let said = text::wrap(&said, columns.saturating_sub(node.depth * 2 + 4));
        return hang(&style.mark(Mark::Done), node.depth + 1, said);
    }
    let (mark, said) = match &node.state {
        State::Isolated => (Mark::Warn, format!("{title}: failed and undone, the run goes on")),
        State::UndoFailed => {
            (Mark::Failed, format!("{title}: failed and NOT restored, the run goes on"))
        }
        State::Skipped(SkipReason::Condition) => {
            (Mark::Skipped, format!("{title}: left out, its condition does not hold"))
        }
        _ => (Mark::Skipped, format!("{title}: not needed")),
    };
    let said = text::wrap(&said, columns.saturating_sub(node.depth * 2 + 2));
    let mut lines = hang(&style.mark(mark), node.depth, said);
    if matches!(node.state, State::Isolated | State::UndoFailed)
        && let Some(problem) = &node.problem
    {
        let space = indent(node.depth + 2);
        let room = columns.saturating_sub(space.len()).max(20);
        lines.extend(
            problem_lines(problem, room, style).iter().map(|line| format!("{space}{line}")),
        );
    }
    lines
}

fn undone(state: &ViewState, at: usize, columns: usize, style: Style) -> Vec<String> {
    let node = &state.nodes[at];
    let path = match path(state, node, style) {
        path if path.is_empty() => String::new(),
        path => format!("in {path}"),
    };
    let failed = node.state == State::UndoFailed;
    let row = Row {
        depth: 1,
        mark: if failed { Mark::Failed } else { Mark::Undone },
        title: &node.title,
        time: took(node),
        note: if failed { "not restored" } else { &path },
    };
    let mut lines = vec![row.line(state, columns, style)];
    if failed {
        lines.extend(failure(node, 1, columns, style));
    }
    lines
}

/// The titles of the blocks around a node.
pub(super) fn path(state: &ViewState, node: &Node, style: Style) -> String {
    let mut titles = Vec::new();
    let mut up = node.parent;
    while let Some(parent) = up {
        let parent = &state.nodes[parent];
        if !matches!(parent.kind, Kind::Block(BlockKind::Each(_))) {
            titles.push(style.text(&parent.title).into_owned());
        }
        up = parent.parent;
    }
    titles.reverse();
    titles.join(style.under())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_never_wider_than_the_terminal() {
        let style = Style::detect(true, &|name| (name == "LANG").then(|| "C.UTF-8".into()));
        let long =
            "the site listens on 127.0.0.1:8087 (pid 16646), and has done so for a long time";
        for columns in [40, 60, 79, 80, 100, 110, 160] {
            for time in [None, Some("3.1s".to_owned())] {
                let row = Row {
                    depth: 1,
                    mark: Mark::Done,
                    title: "The port is free, or is the site's own",
                    time: time.clone(),
                    note: long,
                };
                let line = row.line(&ViewState::default(), columns, style);
                let width = text::width(&strip(&line));
                assert!(width <= columns, "{width} of {columns} ({time:?}): {line}");
            }
        }
    }

    /// Without colours.
    fn strip(line: &str) -> String {
        let mut plain = String::new();
        let mut parts = line.split('\u{1b}');
        plain.push_str(parts.next().unwrap_or_default());
        for part in parts {
            plain.push_str(part.split_once('m').map_or(part, |(_, text)| text));
        }
        plain
    }
}
