//! [`page`]: a runbook as the Markdown page that an operator reads.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::text::{code, code_cell, count, embedded, fenced, limit, listed, markdown};
use crate::people::Escalation;
use crate::plan::{BlockKind, BlockOutline, Outline, OutlineNode, UnitKind, UnitOutline};
use crate::policy::Rolling;
use crate::step::UndoKind;

/// The Markdown page of a runbook: what it does, in order, and how each step is undone.
///
/// ```
/// use runbook_core::{Manual, Runbook, report};
/// let mut b = Runbook::new("greet");
/// b.title("Greet the neighbours");
/// b.manual(Manual::new("Wave"));
/// let page = report::page(b.build()?.outline());
/// assert!(page.starts_with("# Greet the neighbours\n"));
/// # Ok::<(), runbook_core::Error>(())
/// ```
#[must_use]
pub fn page(outline: &Outline) -> String {
    let mut page = Page { out: String::new(), numbers: HashMap::new() };
    page.number(&outline.nodes, "", 1);
    // What is done at the end goes on counting where the procedure stops.
    let end = 1 + numbered(&outline.nodes, "", 1).filter(|(n, _)| !n.is_empty()).count();
    page.number(&outline.finally, "", end);
    page.head(outline);
    if !outline.nodes.is_empty() {
        page.line("## Procedure");
    }
    page.nodes(&outline.nodes, "", 1, 3);
    if !outline.finally.is_empty() {
        page.line("## At the end, come what may");
        page.line(
            "After a success and after a rollback alike. Nothing here is undone; what needs \
             something that never came is skipped.",
        );
        page.nodes(&outline.finally, "", end, 3);
    }
    page.out.truncate(page.out.trim_end().len());
    page.out.push('\n');
    page.out
}

struct Page {
    out: String,
    /// The number and title of every unit, for references.
    numbers: HashMap<String, (String, String)>,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push_str("\n\n");
    }

    fn head(&mut self, outline: &Outline) {
        self.line(&format!("# {}", markdown(&outline.title)));
        if !outline.doc.trim().is_empty() {
            self.line(embedded(&outline.doc).trim_end());
        }
        self.people(outline);
        let mut facts = vec![format!("Runbook {}", code(&outline.book)), kinds(outline)];
        facts.retain(|fact| !fact.is_empty());
        self.line(&format!("{}.", facts.join(": ")));
        let irreversible: Vec<String> = outline
            .units()
            .filter(|unit| unit.undo == UndoKind::Irreversible)
            .map(|unit| format!("{} {}", self.number_of(unit), markdown(&unit.title)))
            .collect();
        if irreversible.is_empty() {
            self.line("If it fails, everything that it changed is put back.");
        } else {
            let what = if irreversible.len() == 1 {
                "one thing that can't be undone".to_owned()
            } else {
                format!("{} things that can't be undone", irreversible.len())
            };
            self.line(&format!(
                "If it fails, what it changed is put back, except for **{what}**: {}.",
                listed(&irreversible)
            ));
        }
        if !outline.params.is_empty() {
            self.out.push_str("| Parameter | Value |\n| --- | --- |\n");
            for param in &outline.params {
                let values: Vec<String> =
                    param.values.iter().map(|value| code_cell(value)).collect();
                let secret = if param.secret { " (secret)" } else { "" };
                let name = markdown(&param.name);
                let _ = writeln!(self.out, "| {name} | {}{secret} |", values.join(", "));
            }
            self.out.push('\n');
        }
        let mut locks = Vec::new();
        lock_names(&outline.nodes, &mut locks);
        if !locks.is_empty() {
            self.line(&format!(
                "Holds the {} on {} to its end, so that no other run works on it meanwhile.",
                if locks.len() == 1 { "lock" } else { "locks" },
                listed(&locks)
            ));
        }
    }

    /// How grave it is, and whom to call.
    fn people(&mut self, outline: &Outline) {
        if outline.severity.is_none() && outline.escalation.is_none() {
            return;
        }
        self.line(match (&outline.severity, &outline.escalation) {
            (Some(_), Some(_)) => "## Severity, and whom to call",
            (Some(_), None) => "## Severity",
            (None, _) => "## Whom to call",
        });
        if let Some(severity) = &outline.severity {
            let name = markdown(severity.name());
            let within = limit(crate::plan::millis(severity.respond_within()));
            self.line(&format!(
                "**{name}**: {}. An answer is due within {within}.",
                markdown(severity.meaning())
            ));
        }
        if let Some(escalation) = &outline.escalation {
            self.levels(escalation);
        }
    }

    fn levels(&mut self, escalation: &Escalation) {
        self.out.push_str("| If it is not solved | Call | How |\n| --- | --- | --- |\n");
        for level in escalation.levels() {
            for (n, contact) in level.call.iter().enumerate() {
                let when = if n == 0 { level.when() } else { String::new() };
                let mut who = format!("**{}**", markdown(&contact.name));
                for more in [&contact.role, &contact.hours] {
                    if !more.is_empty() {
                        let _ = write!(who, ", {}", markdown(more));
                    }
                }
                let how: Vec<String> =
                    contact.reach.iter().map(|reach| code_cell(reach.as_str())).collect();
                let _ = writeln!(self.out, "| {when} | {who} | {} |", how.join(", "));
            }
        }
        self.out.push('\n');
    }

    /// Things that people do, each with a box to tick.
    fn checklist(&mut self, block: &BlockOutline, number: &str) {
        self.line("*A checklist, in any order; each is confirmed by itself:*");
        for (number, node) in numbered(&block.children, number, 1) {
            let OutlineNode::Unit(unit) = node else { continue };
            let _ = writeln!(self.out, "- [ ] **{number}. {}**", markdown(&unit.title));
            let doc = embedded(&unit.doc);
            if !doc.trim().is_empty() {
                self.out.push('\n');
            }
            for line in doc.trim().lines() {
                let line = if line.is_empty() { String::new() } else { format!("  {line}") };
                let _ = writeln!(self.out, "{line}");
            }
        }
        self.out.push('\n');
    }

    /// Numbers nodes `3`, `3.1`, `3.1.2`; locks have none.
    fn number(&mut self, nodes: &[OutlineNode], under: &str, from: usize) {
        for (number, node) in numbered(nodes, under, from) {
            match node {
                OutlineNode::Unit(unit) => {
                    let title = unit.title.clone();
                    self.numbers.insert(unit.id.to_string(), (number, title));
                }
                OutlineNode::Block(block) => self.number(&block.children, &number, 1),
                OutlineNode::Lock { .. } => {}
            }
        }
    }

    fn number_of(&self, unit: &UnitOutline) -> &str {
        self.numbers.get(unit.id.as_str()).map_or("", |(number, _)| number)
    }

    fn nodes(&mut self, nodes: &[OutlineNode], under: &str, from: usize, level: usize) {
        for (number, node) in numbered(nodes, under, from) {
            match node {
                OutlineNode::Unit(unit) => self.unit(unit, &number, level),
                OutlineNode::Block(block) => self.block(block, &number, level),
                OutlineNode::Lock { resource } => {
                    self.line(&format!("*Takes the lock on {}.*", code(resource)));
                }
            }
        }
    }

    /// Markdown has six levels of headings; below that a bold line must do.
    fn heading(&mut self, level: usize, text: &str) {
        if level <= 6 {
            self.line(&format!("{} {text}", "#".repeat(level)));
        } else {
            self.line(&format!("**{text}**"));
        }
    }

    fn block(&mut self, block: &BlockOutline, number: &str, level: usize) {
        let title = markdown(&super::block_title(block));
        self.heading(level, &format!("{number}. {title}"));
        match &block.kind {
            BlockKind::Group | BlockKind::Branch | BlockKind::Remedy => {}
            BlockKind::Parallel => self.line("*All of this at the same time:*"),
            BlockKind::Checklist => return self.checklist(block, number),
            BlockKind::When { needs } => {
                let needs: Vec<String> = needs.iter().map(|id| self.reference(id)).collect();
                let by = match needs.as_slice() {
                    [] => "the parameters say so".to_owned(),
                    needs => format!("{} says so", listed(needs)),
                };
                self.line(&format!("*Only if {by}; else it is skipped:*"));
            }
            BlockKind::Each(rolling) => {
                self.line(&format!("*{}*", markdown(&rolling_words(rolling))));
                if let Some(batches) = batches(block, rolling) {
                    self.out.push_str(&batches);
                }
                if let Some(branch) = the_same_for_all(block) {
                    if block.children.len() > 1 {
                        let shown = markdown(&branch.title);
                        self.line(&format!("*Shown for {shown}; it is the same for the others.*"));
                    }
                    self.nodes(&branch.children, &format!("{number}.1"), 1, level + 1);
                    return;
                }
            }
            BlockKind::Ladder { check, escalate, call } => {
                let mut text = format!(
                    "*Remedies, tried in order until “{}” passes; nothing is done if it passes at \
                     once. A remedy that fails is undone before the next is tried.*",
                    markdown(check)
                );
                if let Some(to) = escalate {
                    let _ = write!(text, "\n\n**If none helps:** {}", markdown(to));
                }
                self.line(&text);
                if let Some(call) = call {
                    self.levels(call);
                }
            }
        }
        self.nodes(&block.children, number, 1, level + 1);
    }

    fn unit(&mut self, unit: &UnitOutline, number: &str, level: usize) {
        let title = markdown(&unit.title);
        let mark = if unit.undo == UndoKind::Irreversible { " — can't be undone" } else { "" };
        self.heading(level, &format!("{number}. {title}"));
        self.line(&format!("*{}{mark}*", kind_words(unit.kind)));
        if !unit.doc.trim().is_empty() {
            self.line(embedded(&unit.doc).trim_end());
        }
        if !unit.preview.is_empty() {
            self.line(fenced("sh", &unit.preview.join("\n")).trim_end());
        }
        let mut facts: Vec<(&str, String)> = Vec::new();
        let titles = |checks: &[String]| {
            let checks: Vec<String> = checks.iter().map(|title| markdown(title)).collect();
            listed(&checks)
        };
        if !unit.args.is_empty() && unit.preview.is_empty() {
            let given =
                |(name, value): &(String, String)| format!("{} = {}", markdown(name), code(value));
            facts.push(("With", unit.args.iter().map(given).collect::<Vec<_>>().join(", ")));
        }
        if !unit.needs.is_empty() {
            let needs: Vec<String> = unit.needs.iter().map(|id| self.reference(id)).collect();
            facts.push(("Uses what came of", listed(&needs)));
        }
        if let Some(question) = &unit.question {
            let label = if unit.kind == UnitKind::Manual { "Asks" } else { "Asks first" };
            // A confirmation repeats the title, which stands just above.
            if *question != unit.title {
                facts.push((label, markdown(question)));
            }
        }
        if !unit.requires.is_empty() {
            facts.push(("Checked before", titles(&unit.requires)));
        }
        if !unit.verify.is_empty() {
            facts.push(("Checked after", titles(&unit.verify)));
        }
        if let Some(limits) = limits(unit) {
            facts.push(("Limits", limits));
        }
        match unit.undo {
            UndoKind::ReadOnly => {}
            UndoKind::Harmless => facts.push(("Undo", "nothing to undo".into())),
            UndoKind::Recorded => facts
                .push(("Undo", "what was there before is recorded, put back and verified".into())),
            UndoKind::Irreversible => {
                let why = unit.irreversible_because.as_deref().map(markdown);
                let why = why.unwrap_or_else(|| "no reason was given".into());
                facts.push(("Can't be undone", why));
            }
        }
        for (label, text) in &facts {
            let _ = writeln!(self.out, "- **{label}:** {text}");
        }
        if !facts.is_empty() {
            self.out.push('\n');
        }
    }

    /// `2.1 Dump the database`.
    fn reference(&self, id: &crate::event::UnitId) -> String {
        match self.numbers.get(id.as_str()) {
            Some((number, title)) => format!("{number} {}", markdown(title)),
            None => code(id.as_str()),
        }
    }
}

/// Nodes with their numbers; a lock has none.
fn numbered<'a>(
    nodes: &'a [OutlineNode],
    under: &str,
    from: usize,
) -> impl Iterator<Item = (String, &'a OutlineNode)> {
    let mut n = from.saturating_sub(1);
    nodes.iter().map(move |node| {
        if matches!(node, OutlineNode::Lock { .. }) {
            return (String::new(), node);
        }
        n += 1;
        (if under.is_empty() { n.to_string() } else { format!("{under}.{n}") }, node)
    })
}

/// `8 steps, 4 checks and 1 wait`.
fn kinds(outline: &Outline) -> String {
    let number = |kind| outline.units().filter(|unit| unit.kind == kind).count();
    let words = [
        (number(UnitKind::Step), "step", "steps"),
        (number(UnitKind::Check), "check", "checks"),
        (number(UnitKind::Observe), "observation", "observations"),
        (number(UnitKind::Wait), "wait", "waits"),
        (number(UnitKind::Manual), "thing done by hand", "things done by hand"),
    ];
    let words: Vec<String> = words
        .into_iter()
        .filter(|(n, ..)| *n > 0)
        .map(|(n, one, many)| count(n, one, many))
        .collect();
    listed(&words)
}

/// The kind of a unit as the page has it below the title.
fn kind_words(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Step => "step",
        UnitKind::Check => "check: it must pass, or the run ends here",
        UnitKind::Observe => "observation: what it finds is only noted",
        UnitKind::Wait => "wait: looked at again and again until it passes",
        UnitKind::Manual => "by hand: a person does it and says so",
    }
}

fn limits(unit: &UnitOutline) -> Option<String> {
    let attempts = unit.attempts.filter(|attempts| *attempts > 1);
    let time = unit.timeout_ms.map(limit);
    match (attempts, time, unit.kind) {
        (None, None, _) => None,
        (None, Some(time), UnitKind::Wait) => Some(format!("gives up after {time}")),
        (None, Some(time), _) => Some(format!("at most {time}")),
        (Some(n), None, _) => Some(format!("{n} attempts, with growing pauses")),
        (Some(n), Some(time), _) => {
            Some(format!("{n} attempts of at most {time}, with growing pauses"))
        }
    }
}

fn rolling_words(rolling: &Rolling) -> String {
    let mut words = Vec::new();
    match rolling.canary {
        0 => {}
        1 => words.push("the first one goes alone, the rest only if it succeeds".to_owned()),
        n => words.push(format!("the first {n} go alone, the rest only if all of them succeed")),
    }
    words.push(match rolling.at_once {
        0 | 1 => "one after the other".to_owned(),
        n => format!("{n} at the same time"),
    });
    if !rolling.pause.is_zero() {
        let pause = limit(crate::plan::millis(rolling.pause));
        words.push(format!("with a pause of {pause} between batches"));
    }
    words.push(match rolling.max_failed {
        0 => "the first failure ends the run".to_owned(),
        1 => "one may fail and is undone by itself, the next failure ends the run".to_owned(),
        n => format!("{n} may fail, each undone by itself, before the run fails"),
    });
    let text = words.join("; ");
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

/// Which hosts go when, where that is not one after the other.
fn batches(each: &BlockOutline, rolling: &Rolling) -> Option<String> {
    let hosts: Vec<String> = super::fleet::branches(each).map(|b| markdown(&b.title)).collect();
    let batches: Vec<_> = rolling.batches(hosts.len()).collect();
    if batches.iter().all(|batch| batch.len() == 1) {
        return None;
    }
    let mut out = String::from("| Batch | Hosts |\n| --- | --- |\n");
    for (n, batch) in batches.into_iter().enumerate() {
        let canary = if batch.start < rolling.canary { ", canary" } else { "" };
        let _ = writeln!(out, "| {}{canary} | {} |", n + 1, hosts[batch].join(", "));
    }
    out.push('\n');
    Some(out)
}

fn lock_names(nodes: &[OutlineNode], names: &mut Vec<String>) {
    for node in nodes {
        match node {
            OutlineNode::Lock { resource } => names.push(code(resource)),
            OutlineNode::Block(block) => lock_names(&block.children, names),
            OutlineNode::Unit(_) => {}
        }
    }
}

/// The first branch, if the others say the same of another host.
fn the_same_for_all(each: &BlockOutline) -> Option<&BlockOutline> {
    let mut branches = each.children.iter().map(|child| match child {
        OutlineNode::Block(branch) => Some(branch),
        _ => None,
    });
    let first = branches.next()??;
    let shape = shape(first);
    for branch in branches {
        if self::shape(branch?) != shape {
            return None;
        }
    }
    Some(first)
}

/// What a branch says, with the name of its host taken out.
fn shape(branch: &BlockOutline) -> String {
    let mut said = String::new();
    shape_of(&branch.children, &mut said);
    // Its id stands for the name in ids, where the name is written as a slug.
    let said = said.replace(branch.id.as_str(), "\u{0}");
    if branch.title.is_empty() { said } else { said.replace(&branch.title, "\u{0}") }
}

fn shape_of(nodes: &[OutlineNode], said: &mut String) {
    for node in nodes {
        match node {
            OutlineNode::Lock { resource } => {
                let _ = writeln!(said, "lock {resource}");
            }
            OutlineNode::Unit(unit) => {
                // Which hosts they are is what tells branches from each other, and no more.
                let unit =
                    UnitOutline { fingerprint: String::new(), hosts: Vec::new(), ..unit.clone() };
                let _ = writeln!(said, "{unit:?}");
            }
            OutlineNode::Block(block) => {
                let _ = writeln!(said, "{} {:?} {:?} {{", block.id, block.kind, block.title);
                shape_of(&block.children, said);
                said.push_str("}\n");
            }
        }
    }
}
