//! The plan of a run as a page: what would happen, in order, with every check that could be made.

use std::time::Duration;

use runbook_core::{BlockKind, Escalation, Level, Outline, SkipReason, UndoKind, UnitKind};

use super::style::{Color, Mark, Style};
use super::text;
use super::view::{Ending, Kind, Node, State, ViewState};

/// The lines of the plan.
pub(crate) fn page(state: &ViewState, ending: &Ending<'_>) -> Vec<String> {
    let Some(head) = &state.head else { return Vec::new() };
    let style = ending.style;
    let mut page = Page { state, columns: ending.columns, style, lines: Vec::new() };
    let mut title = style.bold(&style.text(&head.plan.title));
    if let Some(env) = &head.env {
        title.push_str(&style.dim(&format!("{}{}", style.dot(), style.text(env))));
    }
    page.lines.push(title);
    let doc = head.plan.doc.split("\n\n").next().unwrap_or_default();
    page.wrapped(0, &doc.replace('\n', " "), |line| style.dim(line));
    let params: Vec<String> = head
        .plan
        .params
        .iter()
        .map(|param| format!("{} = {}", param.name, param.values.join(", ")))
        .collect();
    page.wrapped(0, &params.join(style.dot()), str::to_owned);
    page.people(&head.plan);
    page.lines.push(String::new());
    page.nodes(state.top(), "", 0);
    if !state.finally.is_empty() {
        page.lines.push(String::new());
        let when = style.dim(&format!("{}come what may", style.dot()));
        page.lines.push(format!("{}{when}", style.bold("Finally")));
        page.nodes(&state.finally, "F", 0);
    }
    page.end();
    page.lines
}

struct Page<'a> {
    state: &'a ViewState,
    columns: usize,
    style: Style,
    lines: Vec<String>,
}

impl Page<'_> {
    /// How grave it is, and whom to call.
    fn people(&mut self, plan: &Outline) {
        let style = self.style;
        if let Some(severity) = &plan.severity {
            self.wrapped(0, &severity.sentence(), |line| style.paint(line, Color::Yellow));
        }
        for level in plan.escalation.iter().flat_map(Escalation::levels) {
            self.wrapped(0, &format!("call {level}"), str::to_owned);
        }
    }

    /// A level of the tree, numbered `3.1`, `3.2`; those of `finally` `F1`.
    fn nodes(&mut self, nodes: &[usize], prefix: &str, depth: usize) {
        let wide = format!("{prefix}{}", nodes.len()).len();
        for (n, at) in nodes.iter().enumerate() {
            let number = format!("{prefix}{}", n + 1);
            let node = &self.state.nodes[*at];
            let number = format!("{}{number:>wide$}", "  ".repeat(depth));
            match &node.kind {
                Kind::Unit(_) => self.unit(node, &number),
                Kind::Block(kind) => {
                    self.block(node, kind, &number);
                    let prefix = format!("{prefix}{}.", n + 1);
                    self.nodes(&node.children, &prefix, depth + 1);
                }
            }
        }
    }

    fn block(&mut self, node: &Node, kind: &BlockKind, number: &str) {
        let style = self.style;
        let how = match kind {
            BlockKind::Group | BlockKind::Branch => String::new(),
            BlockKind::Remedy => "a remedy".into(),
            BlockKind::Parallel => "all at the same time".into(),
            BlockKind::Checklist => "a checklist, in any order".into(),
            BlockKind::When { .. } if matches!(node.state, State::Skipped(_)) => {
                "left out: its condition does not hold".into()
            }
            BlockKind::When { needs } => {
                let needs: Vec<_> =
                    needs.iter().map(|id| self.state.node(id).map_or("?", |n| &n.title)).collect();
                format!("only if the outcome of `{}` says so", needs.join("`, `"))
            }
            BlockKind::Each(rolling) => {
                let mut how = match rolling.at_once {
                    1 => "one after the other".to_owned(),
                    n => format!("{n} at the same time"),
                };
                match rolling.canary {
                    0 => {}
                    1 => how.push_str(", the first alone before the rest"),
                    n => how.push_str(&format!(", the first {n} before the rest")),
                }
                if rolling.max_failed > 0 {
                    how.push_str(&format!(", {} may fail", rolling.max_failed));
                }
                how
            }
            BlockKind::Ladder { check, .. } => format!("in order, until this holds: {check}"),
        };
        let title = style.bold(&style.text(&node.title));
        self.head(number, Mark::Block, &title, &style.dim(&style.text(&how)));
        if let BlockKind::Each(rolling) = kind {
            let host = |at: &usize| self.state.nodes[*at].title.as_str();
            let batches: Vec<String> = rolling
                .batches(node.children.len())
                .map(|batch| {
                    let canary = if batch.start < rolling.canary { " (canary)" } else { "" };
                    let hosts: Vec<&str> = node.children[batch].iter().map(host).collect();
                    format!("{}{canary}", hosts.join(", "))
                })
                .collect();
            if batches.len() > 1 && batches.len() < node.children.len() {
                self.detail(number, "batches", &batches.join("; "));
            }
            if !rolling.pause.is_zero() {
                let pause = format!("{} between batches", text::running(rolling.pause));
                self.detail(number, "pause", &pause);
            }
        }
        if let BlockKind::Ladder { escalate, call, .. } = kind {
            self.detail(number, "else", escalate.as_deref().unwrap_or_default());
            let call = call.as_ref().map_or_else(String::new, ToString::to_string);
            self.detail(number, "else call", &call);
        }
    }

    fn unit(&mut self, node: &Node, number: &str) {
        let style = self.style;
        let Some(unit) = node.unit() else { return };
        let (mark, note) = self.verdict(node);
        let title = style.text(&node.title).into_owned();
        self.head(number, mark, &title, &note);
        for line in &unit.preview {
            let columns = self.columns.saturating_sub(text::width(number) + 5).max(30);
            let space = " ".repeat(text::width(number) + 4);
            for line in text::wrap(&style.text(line), columns) {
                self.lines.push(format!("{space}{}", style.dim(&line)));
            }
        }
        if unit.preview.is_empty() {
            let args: Vec<_> =
                unit.args.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            self.detail(number, "with", &args.join(", "));
        }
        self.detail(number, "needs first", &unit.requires.join("; "));
        self.detail(number, "verified by", &unit.verify.join("; "));
        if unit.kind != UnitKind::Manual || unit.question.as_ref() != Some(&unit.title) {
            self.detail(number, "asks", unit.question.as_deref().unwrap_or_default());
        }
        let mut limits = Vec::new();
        limits.extend(unit.attempts.map(|attempts| format!("up to {attempts} attempts")));
        limits.extend(
            unit.timeout_ms
                .map(|millis| format!("at most {}", text::running(Duration::from_millis(millis)))),
        );
        self.detail(number, "limits", &limits.join(", "));
        if let Some(why) = &unit.irreversible_because {
            self.detail(number, "accepted because", why);
        }
    }

    fn verdict(&self, node: &Node) -> (Mark, String) {
        let style = self.style;
        let Some(unit) = node.unit() else { return (Mark::Pending, String::new()) };
        let why = node.verdict.as_ref().map(|v| style.text(&v.why).into_owned());
        let why = why.unwrap_or_default();
        let level = node.verdict.as_ref().map(|v| v.level);
        match (&node.state, unit.kind) {
            (State::Skipped(SkipReason::Condition), _) => {
                (Mark::Skipped, style.dim("left out: its condition does not hold"))
            }
            (State::Skipped(_), _) => {
                (Mark::Pending, style.dim("looked at in the run: it needs what is not known yet"))
            }
            (State::Failed, _) => (Mark::Failed, style.paint(&why, Color::Red)),
            (_, UnitKind::Check | UnitKind::Observe | UnitKind::Wait) => match level {
                Some(Level::Pass) => (Mark::Done, style.dim(&why)),
                Some(Level::Warn) => (Mark::Warn, style.paint(&why, Color::Yellow)),
                Some(Level::Fail) if unit.kind == UnitKind::Observe => {
                    (Mark::Noted, style.dim(&format!("no: {why}")))
                }
                Some(Level::Fail) => {
                    (Mark::Pending, style.paint(&format!("not so now: {why}"), Color::Yellow))
                }
                None => (Mark::Pending, style.dim("looked at in the run")),
            },
            (_, UnitKind::Manual) => (Mark::Asks, style.paint("by hand", Color::Yellow)),
            (_, UnitKind::Step) => match (level, node.satisfied, unit.undo) {
                (Some(Level::Fail), ..) => {
                    (Mark::Failed, style.paint(&format!("can't start now: {why}"), Color::Red))
                }
                (_, Some(true), _) => (Mark::Done, style.dim("already so, nothing to do")),
                (_, _, UndoKind::Irreversible) => {
                    (Mark::Warn, style.paint("can't be undone", Color::Yellow))
                }
                (_, _, UndoKind::Recorded) => (Mark::Running, style.dim("can be undone")),
                _ => (Mark::Running, String::new()),
            },
        }
    }

    /// Number, mark, title, and a note in a column of its own where there is room.
    fn head(&mut self, number: &str, mark: Mark, title: &str, note: &str) {
        let style = self.style;
        let mut line = format!("{} {} {title}", style.dim(number), style.mark(mark));
        if !note.is_empty() {
            let column = self.note_column();
            let used = text::width(&line);
            if used + 2 + text::width(note) <= self.columns.max(60) || used < column {
                let pad = column.saturating_sub(used).max(2);
                if used + pad + text::width(note) <= self.columns {
                    line.push_str(&" ".repeat(pad));
                    line.push_str(note);
                    self.lines.push(line);
                    return;
                }
            }
            self.lines.push(line);
            let space = " ".repeat(text::width(number) + 4);
            let room = self.columns.saturating_sub(space.len()).max(30);
            // Wrapped without its colour, which would end with the first line.
            let plain = text::clean(note).into_owned();
            for part in text::wrap(&plain, room) {
                let part = match mark {
                    Mark::Failed => style.paint(&part, Color::Red),
                    Mark::Warn | Mark::Asks => style.paint(&part, Color::Yellow),
                    _ => style.dim(&part),
                };
                self.lines.push(format!("{space}{part}"));
            }
            return;
        }
        self.lines.push(line);
    }

    fn note_column(&self) -> usize {
        let longest = self
            .state
            .nodes
            .iter()
            .map(|node| node.depth * 4 + 7 + text::width(&node.title))
            .max()
            .unwrap_or(0);
        longest.min(self.columns / 2)
    }

    fn detail(&mut self, number: &str, label: &str, said: &str) {
        if said.is_empty() {
            return;
        }
        let style = self.style;
        let space = text::width(number) + 4;
        let said = style.text_lines(&format!("{label}: {said}"));
        self.wrapped(space, &said, |line| style.dim(line));
    }

    fn wrapped(&mut self, space: usize, said: &str, paint: impl Fn(&str) -> String) {
        let room = self.columns.saturating_sub(space).max(30);
        for line in text::wrap(&self.style.text_lines(said), room) {
            self.lines.push(format!("{}{}", " ".repeat(space), paint(&line)));
        }
    }

    fn end(&mut self) {
        let style = self.style;
        let units: Vec<&Node> = self.state.units().collect();
        let count = |test: &dyn Fn(&Node) -> bool| units.iter().filter(|node| test(node)).count();
        let kind = |node: &Node| node.unit().map(|unit| unit.kind);
        let mut facts = Vec::new();
        let mut fact = |n: usize, one: &str, many: &str, color: Option<Color>| {
            if n > 0 {
                let said = format!("{n} {}", if n == 1 { one } else { many });
                facts.push(color.map_or(said.clone(), |color| style.paint(&said, color)));
            }
        };
        fact(count(&|node| kind(node) == Some(UnitKind::Step)), "step", "steps", None);
        let checks = |node: &Node| {
            matches!(kind(node), Some(UnitKind::Check | UnitKind::Observe | UnitKind::Wait))
        };
        fact(count(&checks), "check", "checks", None);
        fact(count(&|node| kind(node) == Some(UnitKind::Manual)), "by hand", "by hand", None);
        let satisfied = |node: &Node| node.satisfied == Some(true);
        fact(count(&satisfied), "already so", "already so", None);
        let asks =
            |node: &Node| node.is_step() && node.unit().is_some_and(|unit| unit.question.is_some());
        fact(count(&asks), "asks for approval", "ask for approval", Some(Color::Yellow));
        let stays =
            |node: &Node| node.unit().is_some_and(|unit| unit.undo == UndoKind::Irreversible);
        fact(count(&stays), "can't be undone", "can't be undone", Some(Color::Yellow));
        let failed = |node: &Node| {
            node.state == State::Failed
                || (node.is_step() && node.verdict.as_ref().is_some_and(|v| v.level == Level::Fail))
        };
        let failed = count(&failed);
        fact(failed, "check failed", "checks failed", Some(Color::Red));
        self.lines.push(String::new());
        let mark = style.mark(if failed > 0 { Mark::Failed } else { Mark::Done });
        self.lines.push(format!("{mark} {}", facts.join(style.dot())));
        self.lines.push(format!("  {}", style.dim("Nothing was changed.")));
    }
}
