//! [`timeline_markdown`]: what happened in a run, as Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use super::text::{code, code_cell, day, duration, fenced, markdown, moment, shortened, time};
use super::timeline::{Look, Timeline, UnitLine, UnitStatus};
use super::words::{self, Tone};
use crate::check::Level;
use crate::error::Problem;
use crate::event::{Mode, Timestamp};
use crate::step::UndoKind;

/// What happened in a run, as Markdown for an incident review: first what a person needs to
/// know, then the failures with all that is known of them, every unit, and the log.
///
/// ```
/// use runbook_core::report::{Timeline, timeline_markdown};
/// assert!(timeline_markdown(&Timeline::new()).starts_with("# Not started"));
/// ```
#[must_use]
pub fn timeline_markdown(timeline: &Timeline) -> String {
    let summary = timeline.summary();
    let mut out = format!("# {}\n\n", markdown(&summary.headline));
    for line in &summary.lines {
        let _ = writeln!(out, "- **{}:** {}", markdown(&line.label), markdown(&line.text));
    }
    if !summary.lines.is_empty() {
        out.push('\n');
    }
    if !summary.next.is_empty() {
        let commands: Vec<String> = summary.next.iter().map(|c| super::text::one_line(c)).collect();
        let _ = writeln!(out, "**What to do next:**\n\n{}", fenced("sh", &commands.join("\n")));
    }
    out.push_str("| | |\n| --- | --- |\n");
    for (label, value) in facts(timeline) {
        let _ = writeln!(out, "| {label} | {value} |");
    }
    hosts(timeline, &mut out);
    failures(timeline, &mut out);
    units(timeline, &mut out);
    log(timeline, &mut out);
    out
}

/// The head of the report, as cells.
fn facts(timeline: &Timeline) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(head) = &timeline.head {
        facts.push(("Run", code_cell(head.run.as_str())));
    }
    if let Some(outline) = &timeline.outline {
        let mut text = code_cell(&outline.book);
        let mode = timeline.head.as_ref().map(|head| head.mode);
        text.push_str(match mode {
            Some(Mode::Check) => ", checks only",
            Some(Mode::Plan) => ", plan only",
            _ => "",
        });
        if let Some(env) = timeline.head.as_ref().and_then(|head| head.env.as_ref()) {
            let _ = write!(text, " in {}", code_cell(env));
        }
        if let Some(version) = timeline.head.as_ref().and_then(|head| head.version.as_ref()) {
            let _ = write!(text, ", version {}", code_cell(version));
        }
        facts.push(("Runbook", text));
        if !outline.params.is_empty() {
            let params: Vec<String> = outline
                .params
                .iter()
                .map(|param| {
                    format!("{} = {}", markdown(&param.name), code_cell(&param.values.join(" ")))
                })
                .collect();
            facts.push(("Parameters", params.join(", ")));
        }
    }
    if let Some(head) = &timeline.head {
        facts.push(("Started by", markdown(&head.by.to_string())));
        if let Some(reason) = &head.reason {
            facts.push(("Reason", markdown(reason)));
        }
        if let Some(began) = head.began {
            facts.push(("Began", moment(began)));
        }
    }
    if let Some(escalation) = timeline.escalation() {
        facts.push(("To call", markdown(&escalation.to_string())));
    }
    if let Some(started) = timeline.started {
        facts.push(("Started", moment(started)));
    }
    let took = duration(timeline.duration());
    match (timeline.ended, timeline.last) {
        (Some(ended), _) => facts.push(("Ended", format!("{}, after {took}", moment(ended)))),
        (None, Some(last)) => facts.push(("Last event", format!("{}, after {took}", moment(last)))),
        (None, None) => {}
    }
    facts
}

/// What became of each host of a fleet.
fn hosts(timeline: &Timeline, out: &mut String) {
    let hosts = timeline.hosts();
    if hosts.is_empty() || timeline.only_looks() {
        return;
    }
    out.push_str("\n## Hosts\n\n| Host | Batch | Status | |\n| --- | --- | --- | --- |\n");
    for host in &hosts {
        let status = match host.status.tone() {
            Tone::Bad => format!("**{}**", host.status.words()),
            _ => host.status.words().to_owned(),
        };
        let canary = if host.canary { ", canary" } else { "" };
        let _ = writeln!(
            out,
            "| {} | {}{canary} | {status} | {} |",
            markdown(&host.host),
            host.batch,
            markdown(&host.why())
        );
    }
}

/// All that is known of what went wrong.
fn failures(timeline: &Timeline, out: &mut String) {
    let mut first = true;
    for unit in timeline.chronological() {
        let troubled = unit.problem.is_some()
            || unit.undo_problem.is_some()
            || unit.status == UnitStatus::Interrupted;
        if !troubled {
            continue;
        }
        if std::mem::take(&mut first) {
            out.push_str("\n## What went wrong\n");
        }
        let _ = write!(out, "\n### {}\n\n", markdown(&timeline.name(unit)));
        let _ = writeln!(
            out,
            "{}, {}\n",
            code(unit.id.as_str()),
            words::status(unit, timeline.is_over())
        );
        if let Some(problem) = &unit.problem {
            write_problem(out, problem);
        }
        if let Some(problem) = &unit.undo_problem {
            out.push_str("Undoing it failed:\n\n");
            write_problem(out, problem);
        }
        details(unit, out);
    }
}

fn write_problem(out: &mut String, problem: &Problem) {
    let _ = writeln!(out, "{}", fenced("text", &shortened(&problem.message, 8000)));
    for cause in &problem.causes {
        let _ = writeln!(out, "- because: {}", markdown(&shortened(cause, 2000)));
    }
    if let Some(next) = &problem.next {
        let _ = writeln!(out, "- **advice:** {}", markdown(next));
    }
    if !problem.causes.is_empty() || problem.next.is_some() {
        out.push('\n');
    }
}

/// What its checks found, and the attempts before the last.
fn details(unit: &UnitLine, out: &mut String) {
    for retried in &unit.retries {
        let pause = duration(Duration::from_millis(retried.pause_ms));
        let _ = writeln!(
            out,
            "- {} attempt {}: {}; again after {pause}",
            time(retried.at),
            retried.attempt,
            markdown(&shortened(&retried.problem.message, 600))
        );
    }
    for look in &unit.looks {
        let _ = writeln!(out, "- {}", look_line(look));
    }
}

fn look_line(look: &Look) -> String {
    let level = match look.level {
        Level::Pass => "passed",
        Level::Warn => "**warned**",
        Level::Fail => "**did not pass**",
    };
    let times = if look.times > 1 { format!(" ({} times)", look.times) } else { String::new() };
    let mut line = format!(
        "{} {}{} {level}: {}{times}",
        time(look.at),
        words::role(look.role),
        markdown(&look.title),
        markdown(&look.why)
    );
    if let Some(evidence) = &look.evidence {
        let _ = write!(line, " {}", code(&shortened(evidence.get(), 300)));
    }
    line
}

fn units(timeline: &Timeline, out: &mut String) {
    if timeline.units.is_empty() {
        return;
    }
    out.push_str("\n## All units\n\n| Time | | Unit | Status | Took | |\n");
    out.push_str("| --- | --- | --- | --- | ---: | --- |\n");
    let over = timeline.is_over();
    let mut today = timeline.started.map(day);
    for unit in timeline.chronological().into_iter().filter(|unit| timeline.shows(unit)) {
        let at = unit.began().map_or(String::new(), |at| clock(at, &mut today));
        let status = words::status(unit, over);
        let status = match words::tone(unit) {
            Tone::Bad => format!("**{status}**"),
            _ => status.to_owned(),
        };
        let within = match unit.within.as_slice() {
            [] => String::new(),
            blocks => format!("{} › ", markdown(&blocks.join(" › "))),
        };
        let forever = if unit.undo == UndoKind::Irreversible { " (can't be undone)" } else { "" };
        let took = unit.worked().filter(|took| !took.is_zero()).map_or(String::new(), duration);
        let _ = writeln!(
            out,
            "| {at} | {} | {within}{}{forever} | {status} | {took} | {} |",
            words::mark(unit),
            markdown(&unit.title),
            markdown(&words::note(unit)),
        );
    }
}

fn log(timeline: &Timeline, out: &mut String) {
    let entries = words::log(timeline);
    if entries.is_empty() {
        return;
    }
    out.push_str("\n## Log (UTC)\n\n");
    let mut today = None;
    for entry in &entries {
        let text = markdown(&entry.text);
        let text = match entry.tone {
            Tone::Bad => format!("**{text}**"),
            _ => text,
        };
        let date = day(entry.at);
        if today.as_ref() != Some(&date) {
            let _ = writeln!(out, "- {date}");
            today = Some(date);
        }
        let _ = writeln!(out, "  - {} {text}", time(entry.at));
    }
}

/// The time, with the date where it differs from the one before.
fn clock(at: Timestamp, today: &mut Option<String>) -> String {
    let date = day(at);
    if today.as_ref() == Some(&date) {
        return time(at);
    }
    let text = format!("{date} {}", time(at));
    *today = Some(date);
    text
}
