//! [`timeline_html`]: what happened in a run, as one page without any outside resource or script.

mod axis;

use std::fmt::Write as _;
use std::time::Duration;

use self::axis::Axis;
use super::text::{Piece, day, duration, html, moment, one_line, pieces, shortened, time};
use super::timeline::{Activity, Look, RunStatus, SpanEnd, Timeline, UnitLine, UnitStatus};
use super::words::{self, Tone};
use crate::error::Problem;
use crate::event::{Mode, Timestamp};

/// What happened in a run, as one self-contained HTML page: no script, no outside resource,
/// readable on a phone, in the dark and on paper.
///
/// The page forbids itself to load or run anything (`Content-Security-Policy`), so that even a
/// flaw in its escaping could not.
///
/// ```
/// use runbook_core::report::{Timeline, timeline_html};
/// assert!(timeline_html(&Timeline::new()).starts_with("<!DOCTYPE html>"));
/// ```
#[must_use]
pub fn timeline_html(timeline: &Timeline) -> String {
    let summary = timeline.summary();
    let title = html(&one_line(&summary.headline));
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n");
    out.push_str("<meta charset=\"utf-8\"/>\n");
    out.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'; base-uri 'none'; form-action 'none'\"/>\n",
    );
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    out.push_str("<meta name=\"color-scheme\" content=\"light dark\"/>\n");
    let _ = writeln!(out, "<title>{title}</title>");
    let _ =
        writeln!(out, "<style>\n{}</style>\n</head>\n<body>\n<main>", include_str!("style.css"));
    head(timeline, &summary, &mut out);
    hosts(timeline, &mut out);
    units(timeline, &mut out);
    log(timeline, &mut out);
    footer(timeline, &mut out);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// The class that gives a status its colour.
fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
        Tone::People => "people",
    }
}

/// User text in content: kept apart from the direction of the text around it; words between
/// backticks are code.
fn text(text: &str) -> String {
    let mut out = String::from("<bdi>");
    for piece in pieces(text) {
        match piece {
            Piece::Plain(text) => out.push_str(&html(text)),
            Piece::Code(text) => {
                let _ = write!(out, "<code>{}</code>", html(text));
            }
        }
    }
    out.push_str("</bdi>");
    out
}

fn head(timeline: &Timeline, summary: &super::Summary, out: &mut String) {
    let (tone, mark) = match timeline.status {
        RunStatus::Succeeded if !timeline.is_everywhere() => (Tone::Warn, "✓"),
        RunStatus::Succeeded => (Tone::Good, "✓"),
        RunStatus::RolledBack => (Tone::Warn, "↩"),
        RunStatus::Failed => (Tone::Bad, "✗"),
        RunStatus::Stuck => (Tone::Bad, "!"),
        RunStatus::Suspended => (Tone::People, "?"),
        RunStatus::Running | RunStatus::RollingBack => (Tone::Warn, "▶"),
        RunStatus::Interrupted => (Tone::Bad, "‖"),
        RunStatus::NotStarted => (Tone::Plain, "·"),
    };
    let _ = writeln!(out, "<header class=\"{}\">", class(tone));
    let (what, of) = summary.headline.split_once(": ").unwrap_or((&summary.headline, ""));
    let _ = writeln!(
        out,
        "<p class=\"status\"><span class=\"mark\" aria-hidden=\"true\">{mark}</span>{}</p>\n\
         <h1>{}</h1>",
        html(what),
        text(of)
    );
    if !summary.lines.is_empty() {
        out.push_str("<dl class=\"first\">\n");
        for line in &summary.lines {
            let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", html(&line.label), text(&line.text));
        }
        out.push_str("</dl>\n");
    }
    if !summary.next.is_empty() {
        out.push_str("<div class=\"next\"><h2>What to do next</h2>\n");
        for command in &summary.next {
            let _ = writeln!(out, "<pre>{}</pre>", html(&one_line(command)));
        }
        out.push_str("</div>\n");
    }
    out.push_str("</header>\n<dl class=\"facts\">\n");
    for (label, value) in facts(timeline) {
        let _ = writeln!(out, "<div><dt>{label}</dt><dd>{value}</dd></div>");
    }
    out.push_str("</dl>\n");
    let counts = [
        (summary.done, "done", Tone::Good),
        (summary.skipped, "skipped", Tone::Plain),
        (summary.failed, "failed", Tone::Bad),
        (summary.undone, "undone", Tone::Warn),
        (summary.not_restored, "not restored", Tone::Bad),
        (summary.interrupted, "interrupted", Tone::Warn),
        (summary.open, "open", Tone::People),
        (summary.previewed, "previewed", Tone::Plain),
        (
            if timeline.only_looks() { 0 } else { summary.pending },
            if timeline.is_over() { "not reached" } else { "to do" },
            Tone::Plain,
        ),
    ];
    out.push_str("<ul class=\"counts\">\n");
    for (n, word, tone) in counts.into_iter().filter(|(n, ..)| *n > 0) {
        let _ = writeln!(out, "<li class=\"{}\"><b>{n}</b> {word}</li>", class(tone));
    }
    out.push_str("</ul>\n");
}

/// The head of the report; the values are HTML.
fn facts(timeline: &Timeline) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let code = |value: &str| format!("<code>{}</code>", html(value));
    if let Some(head) = &timeline.head {
        facts.push(("Run", code(head.run.as_str())));
    }
    if let Some(outline) = &timeline.outline {
        let mode = match timeline.head.as_ref().map(|head| head.mode) {
            Some(Mode::Check) => ", checks only",
            Some(Mode::Plan) => ", plan only",
            _ => "",
        };
        facts.push(("Runbook", format!("{}{mode}", code(&outline.book))));
    }
    if let Some(head) = &timeline.head {
        head.env.iter().for_each(|env| facts.push(("Environment", text(env))));
        facts.push(("Started by", text(&head.by.to_string())));
        head.reason.iter().for_each(|reason| facts.push(("Reason", text(reason))));
        head.began.iter().for_each(|at| facts.push(("Began", moment(*at))));
        head.version.iter().for_each(|version| facts.push(("Version", code(version))));
    }
    if let Some(outline) = timeline.outline.as_ref().filter(|outline| !outline.params.is_empty()) {
        let params: Vec<String> = outline
            .params
            .iter()
            .map(|param| format!("{} = {}", text(&param.name), code(&param.values.join(" "))))
            .collect();
        facts.push(("Parameters", params.join("<br/>")));
    }
    if let Some(escalation) = timeline.escalation() {
        let levels = escalation.levels().iter().map(|level| text(&level.to_string()));
        facts.push(("To call", levels.collect::<Vec<_>>().join("<br/>")));
    }
    timeline.started.into_iter().for_each(|at| facts.push(("Started", moment(at))));
    match (timeline.ended, timeline.last) {
        (Some(ended), _) => facts.push(("Ended", moment(ended))),
        (None, Some(last)) => facts.push(("Last event", moment(last))),
        (None, None) => {}
    }
    let took = if timeline.ended.is_some() { "Took" } else { "So far" };
    facts.push((took, duration(timeline.duration())));
    facts
}

/// What became of each host of a fleet.
fn hosts(timeline: &Timeline, out: &mut String) {
    let hosts = timeline.hosts();
    if hosts.is_empty() || timeline.only_looks() {
        return;
    }
    out.push_str(
        "<section>\n<h2>Hosts</h2>\n<table class=\"hosts\">\n<thead><tr><th>Host</th>\
         <th>Batch</th><th>Status</th><th></th></tr></thead>\n<tbody>\n",
    );
    for host in &hosts {
        let canary = if host.canary { ", canary" } else { "" };
        let _ = writeln!(
            out,
            "<tr class=\"{}\"><td>{}</td><td>{}{canary}</td><td class=\"badge\">{}</td>\
             <td>{}</td></tr>",
            class(host.status.tone()),
            text(&host.host),
            host.batch,
            host.status.words(),
            text(&host.why())
        );
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
}

fn units(timeline: &Timeline, out: &mut String) {
    if timeline.units.is_empty() {
        return;
    }
    let axis = Axis::of(timeline);
    out.push_str("<section>\n<h2>Units</h2>\n<p class=\"legend\">");
    let mut keys = vec![
        ("work", "at work"),
        ("ask", "waits for a person"),
        ("undo", "undone"),
        ("failed", "failed or interrupted"),
    ];
    if !axis.gaps().is_empty() {
        keys.push(("gap", "nobody at work on the run (not to scale)"));
    }
    for (key, word) in keys {
        let _ = write!(out, "<span><i class=\"key {key}\"></i>{word}</span> ");
    }
    out.push_str("</p>\n<div class=\"units\">\n");
    ruler(&axis, out);
    let mut place = String::new();
    let mut today = timeline.started.map(day);
    // In the plan's order, which keeps blocks together; the bars show what ran when.
    for unit in timeline.units.iter().filter(|unit| timeline.shows(unit)) {
        // The place is said once for units that stand together.
        let here = match (unit.within.as_slice(), unit.finally) {
            ([], true) => "At the end, come what may".to_owned(),
            (within, _) => within.join(" › "),
        };
        if here != place {
            place = here;
            if !place.is_empty() {
                let _ = writeln!(out, "<p class=\"place\">{}</p>", text(&place));
            }
        }
        let when = unit.began().map_or(String::new(), |at| clock(at, &mut today));
        row(timeline, unit, &when, &axis, out);
    }
    out.push_str("</div>\n</section>\n");
}

fn ruler(axis: &Axis, out: &mut String) {
    out.push_str("<div class=\"ruler\" aria-hidden=\"true\"><div class=\"bar\">");
    for (left, label) in axis.ticks() {
        let _ = write!(out, "<i style=\"left:{left:.2}%\">{label}</i>");
    }
    gaps(axis, out);
    out.push_str("</div></div>\n");
}

fn gaps(axis: &Axis, out: &mut String) {
    for gap in axis.gaps() {
        let _ = write!(
            out,
            "<b class=\"gap {}\" style=\"left:{:.2}%;width:{:.2}%\" title=\"{}\"></b>",
            if gap.interrupted { "interrupted" } else { "waited" },
            gap.left,
            gap.width,
            html(&gap.words)
        );
    }
}

fn row(timeline: &Timeline, unit: &UnitLine, when: &str, axis: &Axis, out: &mut String) {
    let tone = words::tone(unit);
    let quiet = unit.status == UnitStatus::Pending;
    let details = details(unit);
    let troubled = unit.problem.is_some()
        || unit.undo_problem.is_some()
        || matches!(unit.status, UnitStatus::Interrupted | UnitStatus::Asking);
    let (tag, open) = match (details.is_empty(), troubled) {
        (true, _) => ("div", ""),
        (false, true) => ("details", " open=\"open\""),
        (false, false) => ("details", ""),
    };
    let class = class(tone);
    let quiet = if quiet { " quiet" } else { "" };
    let inner = if unit.within.is_empty() && !unit.finally { "" } else { " inner" };
    let _ = writeln!(out, "<{tag} class=\"unit {class}{quiet}{inner}\"{open}>");
    let summary = if tag == "details" { "summary" } else { "div" };
    let took = unit.worked().filter(|took| !took.is_zero()).map_or(String::new(), duration);
    // What went wrong stands below in full.
    let note = if open.is_empty() { words::note(unit) } else { words::short_note(unit) };
    let _ = write!(
        out,
        "<{summary} class=\"row\"><span class=\"mark\" aria-hidden=\"true\">{}</span>\
         <span class=\"what\"><span class=\"title\">{}</span> <span class=\"badge\">{}</span>{}\
         <span class=\"note\">{}</span></span><span class=\"when\">{when}</span>\
         <span class=\"took\">{took}</span>",
        words::mark(unit),
        text(&unit.title),
        words::status(unit, timeline.is_over()),
        if unit.undo == crate::step::UndoKind::Irreversible {
            " <span class=\"forever\">can't be undone</span>"
        } else {
            ""
        },
        text(&note),
    );
    bars(unit, axis, out);
    let _ = writeln!(out, "</{summary}>");
    if !details.is_empty() {
        let _ = writeln!(out, "<div class=\"more\">\n{details}</div>");
    }
    let _ = writeln!(out, "</{tag}>");
}

fn bars(unit: &UnitLine, axis: &Axis, out: &mut String) {
    out.push_str("<span class=\"bar\" aria-hidden=\"true\">");
    gaps(axis, out);
    for span in &unit.spans {
        let kind = match (span.activity, span.end) {
            (_, SpanEnd::Failed) => "failed",
            (_, SpanEnd::Interrupted) => "failed cut",
            (Activity::Work, _) => "work",
            (Activity::Ask, _) => "ask",
            (Activity::Undo, _) => "undo",
        };
        let open = if span.end == SpanEnd::Open { " open" } else { "" };
        let until = span.until.unwrap_or(axis.end());
        let left = axis.place(span.from);
        let width = axis.place(until) - left;
        let _ = write!(
            out,
            "<b class=\"{kind}{open}\" style=\"left:{left:.2}%;width:{width:.2}%\"></b>"
        );
    }
    if unit.spans.is_empty()
        && let Some(at) = unit.began()
    {
        let _ = write!(out, "<b class=\"tick\" style=\"left:{:.2}%\"></b>", axis.place(at));
    }
    out.push_str("</span>");
}

/// What can be unfolded; empty if there is nothing more to say.
fn details(unit: &UnitLine) -> String {
    let mut out = String::new();
    if let Some(problem) = &unit.problem {
        write_problem(&mut out, "Why it failed", problem);
    }
    if let Some(problem) = &unit.undo_problem {
        write_problem(&mut out, "Why it was not restored", problem);
    }
    let mut items: Vec<(Timestamp, &str, String)> = Vec::new();
    for retried in &unit.retries {
        let pause = duration(Duration::from_millis(retried.pause_ms));
        let message = text(&shortened(&retried.problem.message, 2000));
        let line = format!("attempt {} failed, again after {pause}: {message}", retried.attempt);
        items.push((retried.at, "warn", line));
    }
    // The one look of a check with nothing to show beyond its note says nothing new.
    let told = unit.looks.len() == 1 && words::is_look(unit) && unit.looks[0].evidence.is_none();
    if !told || unit.looks[0].times > 1 {
        items.extend(unit.looks.iter().map(|look| (look.at, look_class(look), look_line(look))));
    }
    for answer in &unit.answers {
        let asked = answer
            .question
            .as_ref()
            .map_or(String::new(), |question| format!("asked: {}; ", text(&question.text)));
        let line = format!("{asked}{}", text(&words::answered(&answer.by, &answer.answer)));
        items.push((answer.at, "people", line));
    }
    for decided in &unit.decisions {
        let line = format!("{}: {}", text(&decided.by), words::decision(decided.decision));
        items.push((decided.at, "people", line));
    }
    items.sort_by_key(|(at, ..)| *at);
    if !items.is_empty() {
        out.push_str("<ul>\n");
        for (at, class, line) in items {
            let _ = writeln!(out, "<li class=\"{class}\"><time>{}</time> {line}</li>", time(at));
        }
        out.push_str("</ul>\n");
    }
    if let Some(output) = &unit.output {
        let output = html(&shortened(output.get(), 600));
        let _ = writeln!(out, "<p class=\"gave\">gave <code>{output}</code></p>");
    }
    if !out.is_empty() {
        let _ = writeln!(out, "<p class=\"id\"><code>{}</code></p>", html(unit.id.as_str()));
    }
    out
}

fn look_class(look: &Look) -> &'static str {
    match look.level {
        crate::check::Level::Pass => "good",
        crate::check::Level::Warn => "warn",
        crate::check::Level::Fail => "bad",
    }
}

fn look_line(look: &Look) -> String {
    let times = match (look.times, look.last) {
        (times, Some(last)) if times > 1 => {
            format!(" <small>({times} times in {})</small>", duration(last.since(look.at)))
        }
        _ => String::new(),
    };
    let evidence = look.evidence.as_ref().map_or(String::new(), |evidence| {
        format!(" <code>{}</code>", html(&shortened(evidence.get(), 600)))
    });
    format!(
        "{}{} {}: {}{times}{evidence}",
        words::role(look.role),
        text(&look.title),
        words::level(look.level),
        text(&look.why)
    )
}

fn write_problem(out: &mut String, label: &str, problem: &Problem) {
    let message = html(&shortened(&problem.message, 8000));
    let _ = writeln!(out, "<h3>{label}</h3>\n<pre>{message}</pre>");
    if !problem.causes.is_empty() {
        out.push_str("<ul>\n");
        for cause in &problem.causes {
            let _ = writeln!(out, "<li>because: {}</li>", text(&shortened(cause, 2000)));
        }
        out.push_str("</ul>\n");
    }
    if let Some(next) = &problem.next {
        let _ = writeln!(out, "<p class=\"advice\"><b>Advice:</b> {}</p>", text(next));
    }
}

fn log(timeline: &Timeline, out: &mut String) {
    let entries = words::log(timeline);
    if entries.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Log</h2>\n");
    let mut today = None;
    for entry in &entries {
        let date = day(entry.at);
        if today.as_ref() != Some(&date) {
            let close = if today.is_some() { "</ol>\n" } else { "" };
            let _ = writeln!(out, "{close}<h3>{date}, UTC</h3>\n<ol class=\"log\">");
            today = Some(date);
        }
        let _ = writeln!(
            out,
            "<li class=\"{}\"><time datetime=\"{}\">{}</time> <span>{}</span></li>",
            class(entry.tone),
            entry.at,
            time(entry.at),
            text(&entry.text)
        );
    }
    out.push_str("</ol>\n</section>\n");
}

fn footer(timeline: &Timeline, out: &mut String) {
    if let Some(outline) = &timeline.outline {
        let _ = writeln!(
            out,
            "<footer>All times in UTC. Plan <code>{}</code></footer>",
            html(outline.fingerprint.get(..16).unwrap_or(&outline.fingerprint))
        );
    }
}

/// The time, with the date where it differs from the one before.
fn clock(at: Timestamp, today: &mut Option<String>) -> String {
    let date = Some(day(at));
    let stamp = if *today == date { time(at) } else { format!("{}<br/>{}", day(at), time(at)) };
    *today = date;
    format!("<time datetime=\"{at}\">{stamp}</time>")
}
