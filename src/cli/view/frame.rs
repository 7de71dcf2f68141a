//! The live part of the view: what is going on now.

use runbook_core::{Mode, Timestamp, UnitKind};

use super::super::style::{Mark, Style};
use super::super::text;
use super::fleet;
use super::node::{Kind, Node, State};
use super::settled::{Row, indent, took};
use super::state::{Phase, ViewState};

/// The lines of the live part, at most `height - 1` of at most `columns` each; empty when the run
/// is over. Elapsed times change once a second, so that a quiet run is drawn once a second.
pub(crate) fn frame(
    state: &ViewState,
    now: Timestamp,
    columns: usize,
    height: usize,
    style: Style,
) -> Vec<String> {
    if state.head.is_none() || state.phase == Phase::Over {
        return Vec::new();
    }
    let view = View { state, now, columns, style };
    if state.mode() != Mode::Run {
        return vec![view.looking()];
    }
    let mut lines = Vec::new();
    for node in state.roots() {
        view.node(node, &mut lines);
    }
    if state.phase == Phase::Back {
        view.undoing(&mut lines);
    }
    fit(&mut lines, height.saturating_sub(3).clamp(1, 40), style);
    let mut lines: Vec<String> = lines.into_iter().map(|line| line.text).collect();
    // One column stays free: some terminals wrap when the last one is written.
    lines.push(view.footer());
    lines
}

struct View<'a> {
    state: &'a ViewState,
    now: Timestamp,
    columns: usize,
    style: Style,
}

struct Line {
    text: String,
    worth: Worth,
}

/// What goes first when there is no room for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    Pending,
    Output,
    Over,
    Header,
    Active,
}

/// So many units that are still to come are shown.
const AHEAD: usize = 4;

impl View<'_> {
    fn node(&self, at: usize, lines: &mut Vec<Line>) {
        let node = &self.state.nodes[at];
        match node.kind {
            Kind::Unit(_) => self.unit(node, lines),
            Kind::Block(_) => self.block(at, lines),
        }
    }

    fn block(&self, at: usize, lines: &mut Vec<Line>) {
        let node = &self.state.nodes[at];
        if node.is_over() && node.is_printed() {
            return;
        }
        let (mark, worth) = match node.state {
            State::Pending => (Mark::Pending, Worth::Pending),
            State::Failed | State::Isolated | State::UndoFailed => (Mark::Failed, Worth::Over),
            State::Skipped(_) => (Mark::Skipped, Worth::Over),
            State::Done => (Mark::Done, Worth::Over),
            _ => (Mark::Block, Worth::Header),
        };
        if !node.is_printed() {
            if worth == Worth::Pending && Self::too_far(lines) {
                return;
            }
            let inside = match node.state {
                State::Pending => self.units_in(node),
                _ if fleet::is_fleet(node) => fleet::progress(self.state, node),
                _ => String::new(),
            };
            self.row(lines, worth, node, mark, None, &inside);
        }
        // A branch that is over is one line until its siblings let it scroll away.
        let undoing = |at: &usize| self.state.nodes[*at].state == State::Undoing;
        if node.state == State::Active || node.children.iter().any(undoing) {
            for child in &node.children {
                self.node(*child, lines);
            }
        }
        self.pause(at, lines);
    }

    /// Why nothing is at work, and how long that lasts.
    fn pause(&self, at: usize, lines: &mut Vec<Line>) {
        let Some((_, until)) = self.state.pausing.filter(|(fleet, _)| *fleet == at) else { return };
        let left = until.since(self.now);
        if left.is_zero() {
            return;
        }
        let space = indent(self.state.nodes[at].depth + 1);
        let said = format!("the next hosts in {}", text::running(left));
        let text = format!("{space}{} {}", self.style.mark(Mark::Pending), self.style.dim(&said));
        lines.push(Line { text, worth: Worth::Active });
    }

    fn unit(&self, node: &Node, lines: &mut Vec<Line>) {
        if node.is_printed() {
            return;
        }
        match &node.state {
            State::Pending => {
                if !Self::too_far(lines) {
                    self.row(lines, Worth::Pending, node, Mark::Pending, None, "");
                }
            }
            State::Active | State::Undoing => self.active(node, lines),
            State::Skipped(_) => self.row(lines, Worth::Over, node, Mark::Skipped, None, ""),
            State::Failed | State::UndoFailed | State::Isolated => {
                self.row(lines, Worth::Over, node, Mark::Failed, None, "");
            }
            State::Done => self.row(lines, Worth::Over, node, Mark::Done, took(node), ""),
            State::Undone => self.row(lines, Worth::Over, node, Mark::Undone, None, "undone"),
        }
    }

    /// A unit at work: its time, what it says of itself, and its last line of output.
    fn active(&self, node: &Node, lines: &mut Vec<Line>) {
        let asks =
            self.state.questions.iter().any(|(unit, _)| self.state.nodes[*unit].id == node.id);
        let locked = self.state.locks_wanted.first().filter(|_| !node.started);
        let mark = match node.state {
            _ if asks || locked.is_some() => Mark::Asks,
            State::Undoing => Mark::Undone,
            _ => Mark::Running,
        };
        let elapsed = node.began.map(|began| self.now.since(began));
        let elapsed = elapsed.filter(|time| time.as_secs() > 0).map(text::running);
        let waits = node.unit().is_some_and(|unit| unit.kind == UnitKind::Wait);
        let note = if asks {
            "waits for an answer".to_owned()
        } else if let Some((resource, holder)) = locked {
            format!("waits for the lock on {resource}, held by run {}", holder.run)
        } else if let Some((done, total)) = node.progress {
            progress(done, total)
        } else if let Some((attempt, problem)) = &node.retrying {
            format!("attempt {} failed: {}", attempt, problem.message)
        } else if let (true, Some(verdict)) = (waits, &node.verdict) {
            verdict.why.clone()
        } else {
            String::new()
        };
        self.row(lines, Worth::Active, node, mark, elapsed, &note);
        let transfer = node.transfer.as_ref().map(text::transfer);
        if let Some(line) = transfer.as_ref().or(node.tail.back()) {
            let depth = if self.state.phase == Phase::Back { 1 } else { node.depth };
            let line = format!("{}{}", self.style.bar(), self.style.text(line));
            let room = self.room().saturating_sub(depth * 2 + 2);
            let line = text::cut(&line, room, self.style.more());
            let text = format!("{}  {}", indent(depth), self.style.dim(&line));
            lines.push(Line { text, worth: Worth::Output });
        }
    }

    fn undoing(&self, lines: &mut Vec<Line>) {
        let mut pending = 0;
        for at in &self.state.to_undo {
            let node = &self.state.nodes[*at];
            if node.state == State::Undoing {
                self.active(node, lines);
            } else {
                pending += 1;
                if pending <= AHEAD {
                    self.row(lines, Worth::Pending, node, Mark::Pending, None, "to be undone");
                }
            }
        }
    }

    fn row(
        &self,
        lines: &mut Vec<Line>,
        worth: Worth,
        node: &Node,
        mark: Mark,
        time: Option<String>,
        note: &str,
    ) {
        let depth = if self.state.to_undo.iter().any(|at| self.state.nodes[*at].id == node.id) {
            1
        } else {
            node.depth
        };
        let row = Row { depth, mark, title: &node.title, time, note };
        let mut text = row.line(self.state, self.room(), self.style);
        if worth == Worth::Pending {
            let plain = Style { color: false, ..self.style };
            text = self.style.dim(&row.line(self.state, self.room(), plain));
        }
        lines.push(Line { text, worth });
    }

    /// Whether enough of what is to come is shown already.
    fn too_far(lines: &[Line]) -> bool {
        lines.iter().filter(|line| line.worth == Worth::Pending).count() >= AHEAD
    }

    fn units_in(&self, node: &Node) -> String {
        fn count(state: &ViewState, node: &Node) -> usize {
            let inner = node.children.iter().map(|at| count(state, &state.nodes[*at]));
            inner.sum::<usize>() + usize::from(node.unit().is_some())
        }
        text::count(count(self.state, node), "unit")
    }

    /// Nothing is changed while checks are made, so that one line is enough.
    fn looking(&self) -> String {
        let is_check = |node: &&Node| {
            node.unit().is_some_and(|unit| {
                matches!(unit.kind, UnitKind::Check | UnitKind::Observe | UnitKind::Wait)
            })
        };
        let next = self.state.units().filter(is_check).find(|node| !node.is_over());
        let elapsed = self.state.since.map(|since| self.now.since(since)).unwrap_or_default();
        let mut facts: Vec<_> = next.map(|node| node.title.clone()).into_iter().collect();
        facts.push(text::running(elapsed));
        facts.push("Ctrl-C stops".into());
        let line = self.style.text(&facts.join(self.style.dot())).into_owned();
        self.style.dim(&text::cut(&line, self.room(), self.style.more()))
    }

    fn footer(&self) -> String {
        let total = self.state.units().count();
        let over = self.state.units().filter(|node| node.is_over()).count();
        let elapsed = self.state.since.map(|since| self.now.since(since)).unwrap_or_default();
        let mut facts = vec![format!("{over}/{total}"), text::running(elapsed)];
        let at_work = |node: &&Node| fleet::is_fleet(node) && node.entered && !node.is_over();
        if let Some(fleet) = self.state.nodes.iter().rfind(at_work) {
            let hosts = fleet::progress(self.state, fleet);
            facts.extend((!hosts.is_empty()).then(|| format!("hosts: {hosts}")));
        }
        facts.push(
            match self.state.phase {
                Phase::Forward => "Ctrl-C cancels and rolls back",
                Phase::Cancelling => "ending; Ctrl-C again stops at once",
                _ => "rolling back; Ctrl-C stops at once",
            }
            .into(),
        );
        let line = self.style.text(&facts.join(self.style.dot())).into_owned();
        self.style.dim(&text::cut(&line, self.room(), self.style.more()))
    }

    fn room(&self) -> usize {
        self.columns.saturating_sub(1).max(10)
    }
}

/// `3/12`, `41 %` of what is large, or a bare count.
fn progress(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) if total > 1000 => {
            let percent = u128::from(done) * 100 / u128::from(total);
            format!("{percent} %")
        }
        Some(total) => format!("{done}/{total}"),
        None => done.to_string(),
    }
}

/// Leaves out what is worth least until the lines fit.
fn fit(lines: &mut Vec<Line>, height: usize, style: Style) {
    let mut left_out = 0;
    for worth in [Worth::Pending, Worth::Output, Worth::Over, Worth::Header, Worth::Active] {
        // The line that says how many are left out takes one as well.
        while lines.len() + usize::from(left_out > 0 && height > 1) > height {
            let found = match worth {
                // The outermost says least about what is going on.
                Worth::Header => lines.iter().position(|line| line.worth == worth),
                _ => lines.iter().rposition(|line| line.worth == worth),
            };
            let Some(at) = found else { break };
            lines.remove(at);
            left_out += usize::from(worth == Worth::Active);
        }
    }
    if left_out > 0 && height > 1 {
        let text = style.dim(&format!("{} and {left_out} more", style.more()));
        lines.push(Line { text, worth: Worth::Active });
    }
}
