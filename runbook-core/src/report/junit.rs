//! [`junit`]: a run for CI.

use std::fmt::Write as _;
use std::time::Duration;

use super::summary::Summary;
use super::text::{attribute, html};
use super::timeline::{Look, RunStatus, Timeline, UnitLine, UnitStatus};
use super::words;
use crate::error::{FailureKind, Problem};

/// A run as JUnit XML: one test case a unit; for a run that only checks, one a check.
///
/// A unit that failed is a `failure`; one that is in a state that nobody knows or wanted
/// (interrupted, not restored, waiting for a person) is an `error`; one that was left out or not
/// reached is `skipped`. A unit that was undone says so in `system-out`. A run that did not
/// succeed has at least one failure or error, if need be as a test case of its own: CI is never
/// green by mistake.
///
/// ```
/// use runbook_core::report::{Timeline, junit};
/// assert!(junit(&Timeline::new()).starts_with("<?xml"));
/// ```
#[must_use]
pub fn junit(timeline: &Timeline) -> String {
    let summary = timeline.summary();
    let units = timeline.units.iter();
    let mut cases: Vec<Case<'_>> = units
        .filter(|unit| timeline.shows(unit) || words::is_look(unit))
        .map(|unit| Case::of(timeline, unit))
        .collect();
    let red = cases.iter().any(|case| matches!(case.verdict, Some(Not::Failure | Not::Error)));
    if timeline.status != RunStatus::Succeeded && !red {
        cases.push(Case::of_run(timeline, &summary));
    }
    write(timeline, &summary, &cases)
}

/// One test case.
struct Case<'a> {
    name: &'a str,
    class: String,
    time: Duration,
    verdict: Option<Not>,
    /// Of the verdict: its kind, one line, and all there is to say.
    kind: &'static str,
    message: String,
    text: String,
    out: String,
}

/// What a test case is if it has not passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Not {
    Failure,
    Error,
    Skipped,
}

impl<'a> Case<'a> {
    fn of(timeline: &'a Timeline, unit: &'a UnitLine) -> Self {
        let book = timeline.outline.as_ref().map_or("run", |outline| outline.book.as_str());
        let mut class = book.to_owned();
        for block in &unit.within {
            class.push('.');
            class.push_str(block);
        }
        let mut case = Self {
            name: &unit.title,
            class,
            time: unit.worked().unwrap_or_default(),
            verdict: None,
            kind: "",
            message: String::new(),
            text: String::new(),
            out: out(unit),
        };
        case.judge(unit, timeline.is_over());
        case
    }

    fn judge(&mut self, unit: &UnitLine, over: bool) {
        let status = words::status(unit, over);
        match (unit.status, &unit.problem) {
            (UnitStatus::NotRestored, problem) => {
                let undo = unit.undo_problem.as_ref();
                let why = undo.map_or("its undoing failed", |problem| &problem.message);
                self.verdict = Some(Not::Error);
                self.kind = "not_restored";
                self.message = format!("not restored: {why}");
                self.text = undo.map(whole).unwrap_or_default();
                if let Some(problem) = problem {
                    let _ = write!(self.text, "\nbefore that it had failed:\n{}", whole(problem));
                }
            }
            (_, Some(problem)) => {
                self.verdict = Some(Not::Failure);
                self.kind = kind(problem.kind);
                self.message =
                    format!("{}: {}", words::failed(unit.kind, problem.kind), problem.message);
                self.text = whole(problem);
            }
            (UnitStatus::Interrupted | UnitStatus::Running | UnitStatus::Undoing, None) => {
                self.verdict = Some(Not::Error);
                self.kind = "interrupted";
                self.message = format!("{status}: its outcome is not known");
            }
            (UnitStatus::Asking, None) => {
                self.verdict = Some(Not::Error);
                self.kind = "waiting";
                let question = unit.question.as_ref().map_or("", |question| &question.text);
                self.message = format!("{status}: {question}");
            }
            (UnitStatus::Failed, None) => {
                self.verdict = Some(Not::Failure);
                self.kind = "failed";
                self.message = status.into();
            }
            // Of a step, a run of checks makes what it requires.
            (UnitStatus::Pending, None) if over && !unit.looks.is_empty() => {
                if let Some(look) = words::refused(unit) {
                    self.verdict = Some(Not::Failure);
                    self.kind = "refused";
                    self.message = format!("{}: {}", look.title, look.why);
                }
            }
            (UnitStatus::Pending, None) => {
                self.verdict = Some(Not::Skipped);
                self.message = status.into();
            }
            (UnitStatus::Skipped, None) => {
                self.verdict = Some(Not::Skipped);
                self.message = unit.skipped.as_ref().map_or(status, words::skipped).into();
            }
            (UnitStatus::Done | UnitStatus::Undone | UnitStatus::Previewed, None) => {}
        }
    }

    /// The run itself, where no unit shows why it is not good.
    fn of_run(timeline: &'a Timeline, summary: &Summary) -> Self {
        let first = summary.lines.first().map_or("", |line| &line.text);
        Self {
            name: "the run",
            class: timeline.outline.as_ref().map_or("run", |o| o.book.as_str()).to_owned(),
            time: Duration::ZERO,
            verdict: Some(Not::Error),
            kind: "run",
            message: format!("{}: {first}", summary.headline),
            text: summary.problem.as_ref().map(whole).unwrap_or_default(),
            out: String::new(),
        }
    }
}

fn kind(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Failed => "failed",
        FailureKind::TimedOut => "timed_out",
        FailureKind::Cancelled => "cancelled",
        FailureKind::Disconnected => "disconnected",
        FailureKind::Refused => "refused",
        FailureKind::Panicked => "panicked",
    }
}

/// A problem with all that is known of it.
fn whole(problem: &Problem) -> String {
    let mut text = problem.message.clone();
    for cause in &problem.causes {
        let _ = write!(text, "\nbecause: {cause}");
    }
    if let Some(next) = &problem.next {
        let _ = write!(text, "\nnext: {next}");
    }
    text
}

/// What else there is to say of a unit.
fn out(unit: &UnitLine) -> String {
    let mut text = String::new();
    for Look { role, title, level, why, times, .. } in &unit.looks {
        let times = if *times > 1 { format!(" ({times} times)") } else { String::new() };
        let verb = words::level(*level);
        let _ = writeln!(text, "{}{title} {verb}: {why}{times}", words::role(*role));
    }
    for retried in &unit.retries {
        let _ = writeln!(text, "attempt {} failed: {}", retried.attempt, retried.problem.message);
    }
    for answer in &unit.answers {
        let _ = writeln!(text, "{}", words::answered(&answer.by, &answer.answer));
    }
    for decided in &unit.decisions {
        let _ = writeln!(text, "{}: {}", decided.by, words::decision(decided.decision));
    }
    if unit.status == UnitStatus::Undone {
        text.push_str("undone\n");
    }
    text
}

fn write(timeline: &Timeline, summary: &Summary, cases: &[Case<'_>]) -> String {
    let number = |not: Not| cases.iter().filter(|case| case.verdict == Some(not)).count();
    let book = timeline.outline.as_ref().map_or("run", |outline| outline.book.as_str());
    let numbers = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\"",
        cases.len(),
        number(Not::Failure),
        number(Not::Error),
        number(Not::Skipped),
        seconds(timeline.duration()),
    );
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let name = attribute(book);
    // `testsuites` has no `skipped` in the usual schema.
    let outer = numbers.split(" skipped").next().unwrap_or_default();
    let time = seconds(timeline.duration());
    let _ = writeln!(xml, "<testsuites name=\"{name}\" {outer} time=\"{time}\">");
    let _ = write!(xml, "  <testsuite name=\"{name}\" {numbers}");
    if let Some(started) = timeline.started {
        // Whole seconds without a zone, as the schema has it; UTC.
        let stamp = started.to_string();
        let _ = write!(xml, " timestamp=\"{}\"", stamp.get(..19).unwrap_or(&stamp));
    }
    if let Some(head) = &timeline.head {
        let _ = write!(xml, " hostname=\"{}\"", attribute(&head.by.machine));
    }
    xml.push_str(">\n    <properties>\n");
    let mut property = |name: &str, value: &str| {
        let _ = writeln!(
            xml,
            "      <property name=\"{}\" value=\"{}\"/>",
            attribute(name),
            attribute(value)
        );
    };
    property("status", &summary.headline);
    if let Some(head) = &timeline.head {
        property("run", head.run.as_str());
        property("by", &head.by.to_string());
        for (name, value) in
            [("reason", &head.reason), ("environment", &head.env), ("version", &head.version)]
        {
            value.iter().for_each(|value| property(name, value));
        }
    }
    if let Some(severity) = timeline.severity() {
        property("severity", severity.name());
    }
    for param in timeline.outline.iter().flat_map(|outline| &outline.params) {
        property(&format!("parameter.{}", param.name), &param.values.join(" "));
    }
    let hosts = if timeline.only_looks() { Vec::new() } else { timeline.hosts() };
    for host in hosts {
        property(&format!("host.{}", host.host), host.status.words());
    }
    for command in &summary.next {
        property("next", command);
    }
    xml.push_str("    </properties>\n");
    for case in cases {
        write_case(&mut xml, case);
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn write_case(xml: &mut String, case: &Case<'_>) {
    let (name, class) = (attribute(case.name), attribute(&case.class));
    let time = seconds(case.time);
    let _ = write!(xml, "    <testcase name=\"{name}\" classname=\"{class}\" time=\"{time}\"");
    if case.verdict.is_none() && case.out.is_empty() {
        xml.push_str("/>\n");
        return;
    }
    xml.push_str(">\n");
    let message = attribute(&case.message);
    match case.verdict {
        Some(Not::Skipped) => {
            let _ = writeln!(xml, "      <skipped message=\"{message}\"/>");
        }
        Some(not) => {
            let tag = if not == Not::Failure { "failure" } else { "error" };
            let (kind, text) = (case.kind, html(&case.text));
            let _ =
                writeln!(xml, "      <{tag} message=\"{message}\" type=\"{kind}\">{text}</{tag}>");
        }
        None => {}
    }
    if !case.out.is_empty() {
        let _ = writeln!(xml, "      <system-out>{}</system-out>", html(&case.out));
    }
    xml.push_str("    </testcase>\n");
}

/// Seconds with three digits, as JUnit has them.
fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}
