//! [`mermaid`]: a runbook as a flow chart.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::text::one_line;
use super::words;
use crate::event::UnitId;
use crate::plan::{BlockKind, BlockOutline, Outline, OutlineNode, UnitKind, UnitOutline};
use crate::step::UndoKind;

/// A runbook as a Mermaid flow chart: blocks as boxes, what follows as solid arrows, data that
/// flows as dashed ones; checks, waits and what a person does have shapes of their own, and what
/// can't be undone is marked.
///
/// ```
/// use runbook_core::{Manual, Runbook, report};
/// let mut b = Runbook::new("greet");
/// b.manual(Manual::new("Wave"));
/// let chart = report::mermaid(b.build()?.outline());
/// assert!(chart.starts_with("flowchart TD\n"));
/// # Ok::<(), runbook_core::Error>(())
/// ```
#[must_use]
pub fn mermaid(outline: &Outline) -> String {
    let mut chart = Chart::default();
    chart.out.push_str("flowchart TD\n");
    let last = chart.sequence(&outline.nodes, 1, Edge::Then);
    if !outline.finally.is_empty() {
        let id = chart.fresh('b');
        chart.open(&id, "At the end, come what may", 1);
        chart.sequence(&outline.finally, 2, Edge::Then);
        chart.line(1, "end");
        if let Some(last) = last {
            chart.edges.push(format!("{last} ==> {id}"));
        }
    }
    chart.data_flow();
    for edge in std::mem::take(&mut chart.edges) {
        chart.line(1, &edge);
    }
    chart.line(1, "classDef look stroke-dasharray: 4 3");
    chart.line(1, "classDef person stroke-width:2px");
    chart.line(1, "classDef forever stroke:#c62828,stroke-width:3px");
    for (class, mut nodes) in [
        ("look", std::mem::take(&mut chart.looks)),
        ("person", std::mem::take(&mut chart.people)),
        ("forever", std::mem::take(&mut chart.forever)),
    ] {
        nodes.sort();
        if !nodes.is_empty() {
            chart.line(1, &format!("class {} {class}", nodes.join(",")));
        }
    }
    chart.out
}

#[derive(Default)]
struct Chart {
    out: String,
    /// Written after all nodes: an edge that comes first would pull a node out of its box.
    edges: Vec<String>,
    nodes: HashMap<UnitId, String>,
    /// Data that flows: from a unit, to a node.
    flows: Vec<(UnitId, String, &'static str)>,
    count: usize,
    looks: Vec<String>,
    people: Vec<String>,
    forever: Vec<String>,
}

/// How the children of a block follow on each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Then,
    NotEnough,
    None,
}

impl Chart {
    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.out, "{}{text}", "  ".repeat(depth));
    }

    fn fresh(&mut self, prefix: char) -> String {
        self.count += 1;
        format!("{prefix}{}", self.count)
    }

    fn open(&mut self, id: &str, title: &str, depth: usize) {
        self.line(depth, &format!("subgraph {id}[\"{}\"]", label(title)));
        self.line(depth + 1, "direction TB");
    }

    /// Draws nodes; gives the last one.
    fn sequence(&mut self, nodes: &[OutlineNode], depth: usize, edge: Edge) -> Option<String> {
        let mut last: Option<String> = None;
        for node in nodes {
            let id = match node {
                OutlineNode::Unit(unit) => self.unit(unit, depth),
                OutlineNode::Block(block) => self.block(block, depth),
                OutlineNode::Lock { resource } => {
                    let id = self.fresh('l');
                    let label = label(&format!("lock {resource}"));
                    self.line(depth, &format!("{id}[(\"{label}\")]"));
                    id
                }
            };
            if let Some(before) = &last {
                match edge {
                    Edge::Then => self.edges.push(format!("{before} --> {id}")),
                    Edge::NotEnough => {
                        self.edges.push(format!("{before} -->|\"not enough\"| {id}"));
                    }
                    Edge::None => {}
                }
            }
            last = Some(id);
        }
        last
    }

    fn block(&mut self, block: &BlockOutline, depth: usize) -> String {
        let id = self.fresh('b');
        let title = super::block_title(block);
        let (title, edge) = match &block.kind {
            BlockKind::Parallel => (format!("{title} (at the same time)"), Edge::None),
            BlockKind::Checklist => (format!("{title} (in any order)"), Edge::None),
            BlockKind::When { needs } => {
                self.flows.extend(needs.iter().map(|need| (need.clone(), id.clone(), "decides")));
                (format!("{title} (only if)"), Edge::Then)
            }
            BlockKind::Each(rolling) if rolling.at_once > 1 => {
                (format!("{title} ({} at a time)", rolling.at_once), Edge::None)
            }
            BlockKind::Ladder { check, .. } => {
                (format!("{title}: until “{check}” passes"), Edge::NotEnough)
            }
            BlockKind::Group | BlockKind::Each(_) | BlockKind::Branch | BlockKind::Remedy => {
                (title, Edge::Then)
            }
        };
        self.open(&id, &title, depth);
        let last = self.sequence(&block.children, depth + 1, edge);
        let turn = match &block.kind {
            BlockKind::Ladder { escalate, call, .. } => {
                let call = call.as_ref().map(|call| format!("call {call}"));
                let turn: Vec<String> = escalate.iter().cloned().chain(call).collect();
                (!turn.is_empty()).then(|| turn.join("; "))
            }
            _ => None,
        };
        if let (Some(to), Some(last)) = (turn, last) {
            let end = self.fresh('n');
            let label = label(&format!("turn to: {to}"));
            self.line(depth + 1, &format!("{end}[/\"{label}\"\\]"));
            self.people.push(end.clone());
            self.edges.push(format!("{last} -->|\"not enough\"| {end}"));
        }
        self.line(depth, "end");
        id
    }

    fn unit(&mut self, unit: &UnitOutline, depth: usize) -> String {
        let id = self.fresh('n');
        let irreversible = unit.undo == UndoKind::Irreversible;
        let mark = if irreversible { "⚠ " } else { "" };
        let mut text = label(&format!("{mark}{}", unit.title));
        if unit.kind != UnitKind::Step || irreversible {
            let kind = if irreversible { "can't be undone" } else { words::kind(unit.kind) };
            let _ = write!(text, "<br/>({})", label(kind));
        }
        let (open, close) = match unit.kind {
            UnitKind::Step => ("[", "]"),
            UnitKind::Check => ("{{", "}}"),
            UnitKind::Observe => ("([", "])"),
            UnitKind::Wait => ("[[", "]]"),
            UnitKind::Manual => ("[/", "\\]"),
        };
        self.line(depth, &format!("{id}{open}\"{text}\"{close}"));
        match unit.kind {
            UnitKind::Check | UnitKind::Observe | UnitKind::Wait => self.looks.push(id.clone()),
            UnitKind::Manual => self.people.push(id.clone()),
            UnitKind::Step => {}
        }
        if irreversible {
            self.forever.push(id.clone());
        }
        self.nodes.insert(unit.id.clone(), id.clone());
        self.flows.extend(unit.needs.iter().map(|need| (need.clone(), id.clone(), "")));
        id
    }

    fn data_flow(&mut self) {
        for (from, to, word) in std::mem::take(&mut self.flows) {
            let Some(from) = self.nodes.get(&from) else { continue };
            let word = if word.is_empty() { String::new() } else { format!("|\"{word}\"|") };
            self.edges.push(format!("{from} -.->{word} {to}"));
        }
    }
}

/// `text` inside a quoted label: every character that could mean something is its number.
fn label(text: &str) -> String {
    let text = one_line(text);
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, ' ' | ',' | ':') {
            let _ = write!(out, "#{};", c as u32);
        } else {
            out.push(c);
        }
    }
    if out.is_empty() { " ".into() } else { out }
}
