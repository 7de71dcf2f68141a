//! [`Reporter`]: tells what a run does, as a live view, as plain lines, or as JSON.

use std::io::Write;

use runbook_core::{Event, EventKind, Mode, Outcome, Question, Timestamp};
use serde::Serialize;

use super::args::Output;
use super::io::Surroundings;
use super::painter::Painter;
use super::style::{Mark, Style};
use super::view::{self, Ending, ViewState};
use super::{plain, prompt, text};

/// Tells what a run does.
pub(crate) struct Reporter<'a> {
    pub(crate) view: ViewState,
    how: How,
    surroundings: &'a Surroundings,
    /// Makes whole command lines of the words after the program's name.
    command: &'a dyn Fn(&str) -> String,
    /// A question stands on the screen, so that nothing else is drawn.
    paused: bool,
    /// Lines that are to scroll by with the next frame.
    lines: Vec<String>,
    err: Box<dyn Write + Send>,
}

enum How {
    Pretty(Painter),
    Plain(Box<dyn Write + Send>),
    Json(Box<dyn Write + Send>),
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(
        output: Output,
        view: ViewState,
        (out, err): (Box<dyn Write + Send>, Box<dyn Write + Send>),
        surroundings: &'a Surroundings,
        command: &'a dyn Fn(&str) -> String,
    ) -> Self {
        let how = match output {
            Output::Pretty => How::Pretty(Painter::new(out)),
            Output::Plain => How::Plain(out),
            Output::Json => How::Json(out),
        };
        Self { view, how, surroundings, command, paused: false, lines: Vec::new(), err }
    }

    /// Whether it has to be drawn from time to time.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.how, How::Pretty(_))
    }

    pub(crate) fn event(&mut self, event: &Event) {
        let again =
            self.view.is_cancelling() && matches!(event.event, EventKind::CancelRequested { .. });
        self.view.apply(event);
        match &mut self.how {
            // Put into words now, as later events may change what it says; drawn with the next
            // frame.
            How::Pretty(_) => {
                let (columns, _) = self.surroundings.size();
                for what in self.view.take_settled() {
                    let style = self.surroundings.style;
                    self.lines.extend(view::settled(&self.view, &what, columns, style));
                }
            }
            How::Plain(out) => {
                drop(self.view.take_settled());
                if again {
                    return;
                }
                if let Some(line) = plain::line(&self.view, event, self.surroundings.style) {
                    let _ = writeln!(out, "{} {line}", text::time(event.at));
                    let _ = out.flush();
                }
            }
            How::Json(out) => {
                drop(self.view.take_settled());
                json_line(out, event);
            }
        }
    }

    /// A signal was handed to the run: said at once, since a unit may take its time to end.
    pub(crate) fn cancelled(&mut self, by: &str) {
        let known = self.view.is_cancelling();
        if !known && !matches!(self.how, How::Json(_)) {
            self.event(&Event::now(EventKind::CancelRequested { by: by.to_owned() }));
        }
    }

    /// Draws the next frame, if something changed.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        let How::Pretty(painter) = &mut self.how else { return };
        if self.paused {
            return;
        }
        let (columns, height) = self.surroundings.size();
        let live = view::frame(&self.view, now, columns, height, self.surroundings.style);
        painter.paint(&std::mem::take(&mut self.lines), live, columns);
    }

    /// Puts a question on the screen; nothing else is drawn until [`answered`](Self::answered).
    pub(crate) fn ask(&mut self, unit: usize, question: &Question) {
        self.tick(Timestamp::now());
        self.paused = true;
        let style = self.style();
        let (columns, _) = self.surroundings.size();
        let node = &self.view.nodes[unit];
        let room = columns.saturating_sub(3).max(30);
        let mut page =
            format!("{} {}\n", style.mark(Mark::Asks), style.bold(&style.text(&node.title)));
        let mut add = |said: &str, dim: bool| {
            for line in text::wrap(&style.text_lines(said), room) {
                let line = if dim { style.dim(&line) } else { line };
                page.push_str(&format!("  {line}\n"));
            }
        };
        if let Some(unit) = node.unit() {
            add(&unit.doc, true);
            for (name, value) in &unit.args {
                add(&format!("{name} = {value}"), true);
            }
            if unit.args.is_empty() {
                for line in &unit.preview {
                    add(line, true);
                }
            }
        }
        if question.text != node.title {
            add(&question.text, false);
        }
        self.say(&page);
        self.ask_again(question, None);
    }

    /// The line at which the answer is typed, after why the last one was not taken.
    pub(crate) fn ask_again(&mut self, question: &Question, refused: Option<&str>) {
        let style = self.style();
        let mut line = String::new();
        if let Some(refused) = refused {
            let refused = style.text_lines(refused);
            line.push_str(&format!("  {}\n", style.paint(&refused, super::style::Color::Red)));
        }
        line.push_str(&format!("  {}", style.bold(&style.text(&prompt::cue(&question.kind)))));
        self.say(&line);
    }

    /// The question is answered, or nobody wants the answer any more.
    pub(crate) fn answered(&mut self, typed: bool) {
        if !typed {
            self.say("\n");
        }
        self.paused = false;
    }

    fn style(&self) -> Style {
        if self.is_live() { self.surroundings.style } else { self.surroundings.err_style }
    }

    /// Beside the view, or on standard error where standard output goes somewhere else.
    fn say(&mut self, said: &str) {
        let (columns, _) = self.surroundings.size();
        if let How::Pretty(painter) = &mut self.how {
            painter.ask(said, columns);
        } else {
            let _ = self.err.write_all(said.as_bytes());
            let _ = self.err.flush();
        }
    }

    /// The run is over: its summary, or its last JSON line.
    pub(crate) fn finish(&mut self, outcome: &Outcome, code: u8) {
        self.paused = false;
        self.tick(Timestamp::now());
        let (columns, _) = self.surroundings.size();
        let ending = Ending { command: self.command, columns, style: self.surroundings.style };
        let mode = self.view.head.as_ref().map(|head| head.mode);
        let lines = match mode {
            Some(Mode::Plan) => super::plan_page::page(&self.view, &ending),
            Some(Mode::Check) => view::check_summary(&self.view, &ending),
            _ => view::summary(&self.view, &ending),
        };
        match &mut self.how {
            How::Pretty(painter) => painter.paint(&lines, Vec::new(), columns),
            How::Plain(out) => {
                for line in lines {
                    let _ = writeln!(out, "{line}");
                }
                let _ = out.flush();
            }
            How::Json(out) => {
                let run = outcome.run.as_str();
                let next: Vec<String> = view::next_commands(&self.view, run)
                    .iter()
                    .map(|words| (self.command)(words))
                    .collect();
                json_line(
                    out,
                    &LastLine {
                        at: Timestamp::now(),
                        outcome: JsonOutcome {
                            run,
                            status: outcome.status,
                            exit_code: code,
                            checks_failed: outcome.checks_failed,
                            finished: outcome.finished.as_ref(),
                            waiting: &self.view.waiting,
                            next,
                        },
                    },
                );
            }
        }
    }

    /// The run was stopped where it was: what is under way, and how to go on.
    pub(crate) fn interrupted(&mut self, run: &runbook_core::RunId, code: u8) {
        let (columns, _) = self.surroundings.size();
        let ending = Ending { command: self.command, columns, style: self.surroundings.style };
        let open: Vec<_> = self
            .view
            .units()
            .filter(|node| node.started && !node.is_over())
            .map(|node| node.id.clone())
            .collect();
        self.paused = false;
        self.lines.extend(view::unfinished(&self.view, "interrupted", &open, &ending));
        let lines = std::mem::take(&mut self.lines);
        match &mut self.how {
            How::Pretty(painter) => painter.paint(&lines, Vec::new(), columns),
            How::Plain(out) => {
                for line in lines {
                    let _ = writeln!(out, "{line}");
                }
                let _ = out.flush();
            }
            How::Json(out) => {
                let next =
                    ["resume", "rollback"].map(|words| (self.command)(&format!("{words} {run}")));
                let line = serde_json::json!({"at": Timestamp::now(), "outcome": {
                    "run": run, "status": "interrupted", "exit_code": code, "under_way": open,
                    "next": next,
                }});
                json_line(out, &line);
            }
        }
    }

    /// The run did not come to an end of its own.
    pub(crate) fn abandon(&mut self, why: &str, code: u8) {
        self.paused = false;
        match &mut self.how {
            How::Pretty(painter) => {
                let (columns, _) = self.surroundings.size();
                painter.paint(&std::mem::take(&mut self.lines), Vec::new(), columns);
            }
            How::Plain(_) => {}
            How::Json(out) => {
                let line = serde_json::json!({
                    "at": Timestamp::now(), "error": why, "exit_code": code,
                });
                json_line(out, &line);
            }
        }
    }
}

#[derive(Serialize)]
struct LastLine<'a> {
    at: Timestamp,
    outcome: JsonOutcome<'a>,
}

#[derive(Serialize)]
struct JsonOutcome<'a> {
    run: &'a str,
    status: runbook_core::Status,
    exit_code: u8,
    checks_failed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished: Option<&'a runbook_core::RunFinished>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    waiting: &'a [runbook_core::Waiting],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    next: Vec<String>,
}

/// One line a value, each written whole.
fn json_line(out: &mut Box<dyn Write + Send>, value: &impl Serialize) {
    if let Ok(mut line) = serde_json::to_vec(value) {
        line.push(b'\n');
        let _ = out.write_all(&line);
        let _ = out.flush();
    }
}
