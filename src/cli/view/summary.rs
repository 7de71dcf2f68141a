//! How a run ended: what was done, what failed and why, what was undone, what stays, and what to
//! do next.

use runbook_core::{
    FailureKind, Level, Mode, QuestionKind, SkipReason, Status, UndoKind, UnitId, UnitKind, Waiting,
};

use super::super::style::{Color, Mark, Style};
use super::super::text;
use super::node::{Node, State};
use super::settled::{problem_lines, without_title};
use super::state::ViewState;

/// What is known of the end besides the events.
pub(crate) struct Ending<'a> {
    /// Makes command lines: the program's name and the global options of this call.
    pub(crate) command: &'a dyn Fn(&str) -> String,
    pub(crate) columns: usize,
    pub(crate) style: Style,
}

/// The lines of the final summary.
pub(crate) fn summary(state: &ViewState, ending: &Ending<'_>) -> Vec<String> {
    let Some(head) = &state.head else { return Vec::new() };
    let style = ending.style;
    let status = state.end.as_ref().map_or(Status::Suspended, |end| end.status);
    let (mark, color) = match status {
        Status::Succeeded => (Mark::Done, Color::Green),
        Status::RolledBack => (Mark::Undone, Color::Yellow),
        Status::Failed | Status::Stuck => (Mark::Failed, Color::Red),
        Status::Suspended => (Mark::Asks, Color::Yellow),
    };
    let without = state.end.as_ref().is_some_and(|end| !end.without.is_empty());
    let (mark, color, word) = match status {
        Status::Succeeded if without => {
            (Mark::Warn, Color::Yellow, "succeeded, but not on every host".to_owned())
        }
        status => (mark, color, status.to_string()),
    };
    let mut facts = vec![style.paint(&style.bold(&word), color)];
    if let (Some(since), Some(last)) = (state.since, state.last) {
        facts.push(style.dim(&text::took(last.since(since))));
    }
    facts.push(style.dim(&format!("run {}", head.run)));
    let mut page = Page { lines: Vec::new(), ending };
    page.lines.push(String::new());
    let title = format!("{} {}", style.mark(mark), style.bold(&style.text(&head.plan.title)));
    let status = facts[0].clone();
    let rest = facts[1..].join(style.dot());
    let facts = facts.join(style.dot());
    if text::width(&title) + text::width(&facts) + 3 <= ending.columns {
        page.lines.push(format!("{title}{}{facts}", style.dot()));
    } else {
        page.lines.push(title);
        if text::width(&facts) + 2 <= ending.columns {
            page.lines.push(format!("  {facts}"));
        } else {
            page.lines.extend([format!("  {status}"), format!("  {rest}")]);
        }
    }
    page.why(state);
    page.people(state);
    if head.mode == Mode::Run {
        page.what(state);
    }
    page.next(state);
    page.lines
}

/// The command words that answer a question of a suspended run.
pub(crate) fn question_commands(run: &str, waiting: &Waiting) -> Vec<String> {
    let unit = runbook_core::quote(waiting.unit.as_str());
    match &waiting.question.kind {
        QuestionKind::Approval | QuestionKind::Confirmation => {
            vec![format!("approve {run} {unit}")]
        }
        QuestionKind::Value { .. } => vec![format!("approve {run} {unit} --answer VALUE")],
        QuestionKind::Interrupted => ["retry", "skip", "rollback"]
            .map(|decision| format!("resume {run} --{decision}"))
            .to_vec(),
    }
}

struct Page<'a> {
    lines: Vec<String>,
    ending: &'a Ending<'a>,
}

/// The column after the labels.
const LABELS: usize = 11;

impl Page<'_> {
    /// A label and lines beside it.
    fn part(&mut self, label: &str, lines: Vec<String>) {
        for (n, line) in lines.into_iter().enumerate() {
            let label = if n == 0 { label } else { "" };
            let pad = " ".repeat(LABELS.saturating_sub(text::width(label)));
            let label = self.ending.style.dim(label);
            self.lines.push(format!("  {label}{pad}{line}").trim_end().to_owned());
        }
    }

    fn room(&self) -> usize {
        self.ending.columns.saturating_sub(LABELS + 2).max(30)
    }

    fn wrapped(&self, said: &str) -> Vec<String> {
        text::wrap(&self.ending.style.text_lines(said), self.room())
    }

    /// The failure that decided it.
    fn why(&mut self, state: &ViewState) {
        let Some(end) = &state.end else { return };
        let Some(problem) = &end.problem else { return };
        let style = self.ending.style;
        let mut lines = Vec::new();
        let mut problem = problem.clone();
        if let Some(node) = end.unit.as_ref().and_then(|id| state.node(id)) {
            lines.push(style.bold(&style.text(&node.title)));
            problem.message = without_title(&problem.message, &node.title).to_owned();
        }
        lines.extend(problem_lines(&problem, self.room(), style));
        // Somebody asked for it: nothing failed.
        let asked = end.unit.is_none() && problem.kind == FailureKind::Cancelled;
        self.part(if asked { "because" } else { "failed" }, lines);
        if let (Status::Stuck, Some((first, problem))) = (end.status, &state.first_failure)
            && end.unit.as_ref() != Some(&state.nodes[*first].id)
        {
            let first = &state.nodes[*first];
            let lines = self.wrapped(&format!("{}: {}", first.title, problem.message));
            self.part("began with", lines);
        }
    }

    /// How grave it is, and whom to call as long as it is not solved.
    fn people(&mut self, state: &ViewState) {
        let style = self.ending.style;
        let Some(to_call) = state.to_call() else { return };
        let wrapped = |page: &Self, lines: &[String]| -> Vec<String> {
            lines.iter().flat_map(|line| page.wrapped(line)).collect()
        };
        let severity: Vec<String> = to_call.severity.into_iter().collect();
        self.part("severity", wrapped(self, &severity));
        let now = wrapped(self, &to_call.now);
        self.part("call now", now.iter().map(|line| style.paint(line, Color::Red)).collect());
        self.part("call later", wrapped(self, &to_call.later));
    }

    /// What was done, undone, and stays.
    fn what(&mut self, state: &ViewState) {
        let style = self.ending.style;
        let dot = style.dot();
        let mut facts = Vec::new();
        let units = |test: &dyn Fn(&Node) -> bool| state.units().filter(|node| test(node)).count();
        let mut fact = |n: usize, words: &str| {
            if n > 0 {
                facts.push(format!("{n} {words}"));
            }
        };
        fact(units(&|node| node.state == State::Done && node.is_step()), "done");
        let checked = |node: &Node| {
            node.state == State::Done
                && node
                    .unit()
                    .is_some_and(|unit| !matches!(unit.kind, UnitKind::Step | UnitKind::Manual))
        };
        fact(units(&checked), "checked");
        let by_hand = |node: &Node| {
            node.state == State::Done
                && node.unit().is_some_and(|unit| unit.kind == UnitKind::Manual)
        };
        fact(units(&by_hand), "by hand");
        fact(units(&|node| node.state == State::Skipped(SkipReason::Satisfied)), "already so");
        let left_out = |node: &Node| matches!(&node.state, State::Skipped(why) if *why != SkipReason::Satisfied);
        fact(units(&left_out), "left out");
        fact(units(&|node| node.state == State::Undone), "undone");
        fact(units(&|node| node.state == State::UndoFailed), "NOT undone");
        fact(units(&|node| node.state == State::Failed), "failed");
        fact(units(&|node| matches!(node.state, State::Pending | State::Active)), "not reached");
        let lines = self.wrapped(&facts.join(dot));
        self.part("units", lines);
        self.part("hosts", super::fleet::summary(state, self.room(), style));

        let warnings: Vec<String> = state
            .units()
            .filter(|node| node.state == State::Done && !(node.is_observation() && node.is_fail()))
            .filter_map(|node| {
                let verdict = node.verdict.as_ref().filter(|v| v.level != Level::Pass)?;
                Some(format!("{}: {}", node.title, verdict.why))
            })
            .chain(state.nodes.iter().filter(|node| node.state == State::Isolated).map(|node| {
                let why = node.problem.as_ref().map_or("", |problem| &problem.message);
                format!("{} failed and was undone: {why}", node.title)
            }))
            .flat_map(|line| self.wrapped(&line))
            .map(|line| style.paint(&line, Color::Yellow))
            .collect();
        self.part("warnings", warnings);

        let Some(end) = &state.end else { return };
        let titles = |ids: &[UnitId], say: &dyn Fn(&Node) -> String| -> Vec<String> {
            ids.iter().filter_map(|id| state.node(id)).flat_map(|n| self.wrapped(&say(n))).collect()
        };
        let undone = titles(&end.undone, &|node| node.title.clone());
        let not_restored = titles(&end.not_restored, &|node| match &node.problem {
            Some(problem) => format!("{}: {}", node.title, problem.message),
            None => node.title.clone(),
        });
        let kept = titles(&end.kept, &|node| match node
            .unit()
            .and_then(|unit| unit.irreversible_because.as_ref())
        {
            Some(why) => format!("{} ({why})", node.title),
            None => node.title.clone(),
        });
        let left: Vec<UnitId> = match end.status {
            Status::Failed => state
                .units()
                .filter(|node| {
                    let recorded = node.unit().is_some_and(|u| u.undo == UndoKind::Recorded);
                    recorded && node.started && !matches!(node.state, State::Undone)
                })
                .map(|node| node.id.clone())
                .collect(),
            _ => Vec::new(),
        };
        let left = titles(&left, &|node| node.title.clone());
        let red = |lines: Vec<String>| -> Vec<String> {
            lines.iter().map(|line| style.paint(line, Color::Red)).collect()
        };
        self.part("undone", undone);
        self.part("NOT undone", red(not_restored));
        self.part("left as is", left);
        self.part("kept", kept);
    }

    fn next(&mut self, state: &ViewState) {
        let style = self.ending.style;
        for waiting in &state.waiting {
            let title = state.node(&waiting.unit).map_or("", |node| node.title.as_str());
            let mut lines = vec![style.bold(&style.text(title))];
            if waiting.question.text != title {
                lines.extend(self.wrapped(&waiting.question.text));
            }
            if let QuestionKind::Value { accepts } = &waiting.question.kind {
                lines.extend(self.wrapped(&format!("({accepts})")));
            }
            self.part("waits for", lines);
        }
        let Some(head) = state.head.as_ref().filter(|head| head.mode == Mode::Run) else { return };
        let stuck = state.end.as_ref().is_some_and(|end| end.status == Status::Stuck);
        let lines = next_commands(state, head.run.as_str())
            .iter()
            .map(|words| {
                let command = style.paint(&(self.ending.command)(words), Color::Cyan);
                match meaning(words, stuck) {
                    Some(meaning) => format!("{command}  {}", style.dim(&format!("# {meaning}"))),
                    None => command,
                }
            })
            .collect();
        self.part("next", lines);
    }
}

/// What a decision means, as a comment that may be copied with its command.
fn meaning(words: &str, stuck: bool) -> Option<&'static str> {
    let (_, flag) = words.rsplit_once(" --")?;
    match (flag, stuck) {
        ("retry", true) => Some("undo it again"),
        ("skip", true) => Some("it was put back by hand"),
        ("retry", false) => Some("run it again"),
        ("skip", false) => Some("take it as done"),
        ("rollback", _) => Some("undo it, and the run with it"),
        _ => None,
    }
}

/// A run that no process is at work on and that has not ended: `word` says what it is, and what
/// was under way has no known outcome.
pub(crate) fn unfinished(
    state: &ViewState,
    word: &str,
    open: &[UnitId],
    ending: &Ending<'_>,
) -> Vec<String> {
    let Some(head) = &state.head else { return Vec::new() };
    let style = ending.style;
    let mut page = Page { lines: vec![String::new()], ending };
    let word = style.paint(&style.bold(word), Color::Red);
    page.lines.push(format!(
        "{} {word}{}{}",
        style.mark(Mark::Failed),
        style.dot(),
        style.dim(&format!("run {}", head.run))
    ));
    let titles = open.iter().filter_map(|id| state.node(id));
    let lines = titles.flat_map(|node| page.wrapped(&node.title)).collect();
    page.part("under way", lines);
    let lines = ["resume", "rollback"]
        .map(|words| format!("{words} {}", head.run))
        .iter()
        .map(|words| style.paint(&(ending.command)(words), Color::Cyan))
        .collect();
    page.part("next", lines);
    page.lines
}

/// What an operator can do now, as words after the program's name.
pub(crate) fn next_commands(state: &ViewState, run: &str) -> Vec<String> {
    let Some(end) = &state.end else {
        let mut commands: Vec<String> =
            state.waiting.iter().flat_map(|waiting| question_commands(run, waiting)).collect();
        if !state.waiting.is_empty() && !commands.iter().any(|c| c.starts_with("resume")) {
            commands.push(format!("resume {run}"));
        }
        return commands;
    };
    let mut commands = end.next.clone();
    let report = format!("report {run}");
    let all_well = end.status == Status::Succeeded && end.without.is_empty();
    if !all_well && !commands.contains(&report) {
        commands.push(report);
    }
    commands
}

/// What the checks of a runbook found, in one line and the failures.
pub(crate) fn check_summary(state: &ViewState, ending: &Ending<'_>) -> Vec<String> {
    let style = ending.style;
    let level = |wanted: Level| {
        let has = |node: &&Node| {
            node.verdict.as_ref().is_some_and(|verdict| {
                // What is only noted can't be wrong.
                let noted = node.is_observation() && verdict.level == Level::Fail;
                (if noted { Level::Pass } else { verdict.level }) == wanted
            })
        };
        state.units().filter(has).count()
    };
    let (pass, warn, fail) = (level(Level::Pass), level(Level::Warn), level(Level::Fail));
    let unknown =
        state.units().filter(|node| node.state == State::Skipped(SkipReason::NoInput)).count();
    let mut facts = vec![format!("{pass} passed")];
    let mut more = |n: usize, words: &str, color: Color| {
        if n > 0 {
            facts.push(style.paint(&format!("{n} {words}"), color));
        }
    };
    more(warn, "warned", Color::Yellow);
    more(fail, "failed", Color::Red);
    more(unknown, "can't be made before a run", Color::Yellow);
    let (mark, word) = match (fail, pass + warn) {
        (0, 0) => (Mark::Skipped, "no checks were made".to_owned()),
        (0, _) => (Mark::Done, style.paint("all well", Color::Green)),
        _ => (Mark::Failed, style.paint("not well", Color::Red)),
    };
    vec![
        String::new(),
        format!("{} {}{}{}", style.mark(mark), word, style.dot(), facts.join(style.dot())),
    ]
}
