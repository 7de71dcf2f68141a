//! The hosts of a fleet, in a word each.

use runbook_core::report::HostStatus;
use runbook_core::{BlockKind, UndoKind};

use super::super::style::{Color, Style};
use super::super::text;
use super::node::{Kind, Node, State};
use super::state::{Phase, ViewState};

/// So many names of hosts that fared alike are listed.
const LISTED: usize = 8;

/// What became of the hosts of all fleets, those that fared alike on one line; none if there are
/// no fleets.
pub(super) fn summary(state: &ViewState, room: usize, style: Style) -> Vec<String> {
    let hosts: Vec<(&Node, HostStatus)> = state
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| is_fleet(node))
        .flat_map(|(_, fleet)| &fleet.children)
        .map(|at| (&state.nodes[*at], status(state, *at)))
        .collect();
    let mut kinds: Vec<HostStatus> = Vec::new();
    for (_, status) in &hosts {
        if !kinds.contains(status) {
            kinds.push(*status);
        }
    }
    let lines = |kind: HostStatus| {
        let alike = hosts.iter().filter(|(_, status)| *status == kind);
        let names: Vec<&str> = alike.map(|(node, _)| node.title.as_str()).collect();
        let who = match names.len() {
            n if n > LISTED && !kind.is_lost() => format!("{n} hosts"),
            _ => names.join(", "),
        };
        let said = text::wrap(&style.text(&format!("{who}: {}", kind.words())), room);
        said.into_iter().map(move |line| match kind {
            _ if kind.is_lost() => style.paint(&line, Color::Red),
            HostStatus::Done | HostStatus::Skipped => line,
            _ => style.paint(&line, Color::Yellow),
        })
    };
    kinds.into_iter().flat_map(lines).collect()
}

pub(crate) fn is_fleet(node: &Node) -> bool {
    matches!(node.kind, Kind::Block(BlockKind::Each(_)))
}

/// How far a fleet has come: `2 of 5 done, 1 failed`; nothing before its first host is over.
pub(super) fn progress(state: &ViewState, fleet: &Node) -> String {
    let all: Vec<HostStatus> = fleet.children.iter().map(|at| status(state, *at)).collect();
    let number = |test: &dyn Fn(HostStatus) -> bool| all.iter().filter(|s| test(**s)).count();
    let done = number(&|status| matches!(status, HostStatus::Done | HostStatus::Skipped));
    let lost = number(&HostStatus::is_lost);
    match (done, lost) {
        (0, 0) => String::new(),
        (done, 0) => format!("{done} of {} done", all.len()),
        (done, lost) => format!("{done} of {} done, {lost} failed", all.len()),
    }
}

/// What became of the host whose block stands at `at`.
pub(super) fn status(state: &ViewState, at: usize) -> HostStatus {
    let mut units = Vec::new();
    units_in(state, at, &mut units);
    let node = &state.nodes[at];
    let any = |wanted: State| units.iter().any(|unit| unit.state == wanted);
    let over = state.phase == Phase::Over;
    let failed = units.iter().any(|unit| unit.state == State::Failed || unit.problem.is_some());
    let left = units.iter().any(|unit| {
        let changes = unit
            .unit()
            .is_some_and(|u| matches!(u.undo, UndoKind::Recorded | UndoKind::Irreversible));
        changes && unit.started && unit.state != State::Undone
    });
    if any(State::UndoFailed) {
        return HostStatus::NotRestored;
    }
    let at_work = |unit: &&Node| matches!(unit.state, State::Active | State::Undoing);
    if over && units.iter().any(|unit| unit.started && at_work(unit)) {
        return HostStatus::Interrupted;
    }
    if !over && units.iter().any(at_work) {
        return HostStatus::Running;
    }
    match node.state {
        State::Isolated => HostStatus::FailedAndRolledBack,
        State::Skipped(_) => HostStatus::Skipped,
        _ if failed && left => HostStatus::Failed,
        _ if failed => HostStatus::FailedAndRolledBack,
        _ if any(State::Undone) => HostStatus::RolledBack,
        State::Done => HostStatus::Done,
        _ if !node.entered => HostStatus::NotStarted,
        _ if over => HostStatus::Unfinished,
        _ => HostStatus::Running,
    }
}

fn units_in<'a>(state: &'a ViewState, at: usize, units: &mut Vec<&'a Node>) {
    let node = &state.nodes[at];
    if node.unit().is_some() {
        units.push(node);
    }
    for child in &node.children {
        units_in(state, *child, units);
    }
}
