//! The commands on runs that were, or that wait, and on locks.

use std::sync::Arc;

use runbook_core::{
    Answer, Engine, Error, Event, JournalStore, Phase, Plan, QuestionKind, RunId, RunState, UnitId,
};
use serde::de::DeserializeOwned;

use super::args::Reply;
use super::commands::{Cli, fold, now};
use super::exit::Exit;
use super::io::{Io, operator};
use super::params::Given;
use super::runs::{self, Line};
use super::style::Mark;
use super::view::{self, Ending, Settled, ViewState};
use super::{place, text};

impl<E: DeserializeOwned + Send + Sync + 'static> Cli<'_, E> {
    /// The run that is meant, and its events.
    pub(super) fn read(
        &self,
        store: &dyn JournalStore,
        words: &str,
    ) -> Result<(RunId, Vec<Arc<Event>>), Error> {
        now(async {
            let run = place::find_run(store, words).await?;
            let events = store.read(&run).await?;
            Ok((run, events))
        })
    }

    pub(super) fn runs(&self, limit: usize, io: &mut Io) -> Result<Exit, Error> {
        let store = self.store(&io.surroundings)?;
        let (lines, older) = now(async {
            let runs = store.list().await?;
            let shown = if limit == 0 { runs.len() } else { limit.min(runs.len()) };
            let older = runs.len() - shown;
            let mut lines = Vec::with_capacity(shown);
            for run in runs.into_iter().rev().take(shown) {
                lines.push(Line::read(&*store, run).await);
            }
            Ok((lines, older))
        })?;
        if self.json() {
            return io.write_json(&lines).map(|()| Exit::Succeeded);
        }
        if lines.is_empty() {
            return io.write("there are no runs yet\n").map(|()| Exit::Succeeded);
        }
        let (columns, _) = io.surroundings.size();
        let mut page = runs::table(&lines, io.surroundings.style, columns).join("\n");
        page.push('\n');
        if older > 0 {
            page.push_str(&format!("and {older} older; --limit 0 shows all\n"));
        }
        io.write(&page).map(|()| Exit::Succeeded)
    }

    pub(super) fn runs_show(&self, words: &str, io: &mut Io) -> Result<Exit, Error> {
        let store = self.store(&io.surroundings)?;
        let (run, events) = self.read(&*store, words)?;
        if self.json() {
            return io.write_json(&events).map(|()| Exit::Succeeded);
        }
        let state = fold(&events)?;
        let style = io.surroundings.style;
        let (columns, _) = io.surroundings.size();
        let mut view = ViewState::new(self.global.verbose);
        let mut lines = Vec::new();
        for event in &events {
            view.apply(event);
            let again = !lines.is_empty();
            for what in view.take_settled() {
                if !(again && matches!(what, Settled::Head)) {
                    lines.extend(view::settled(&view, &what, columns, style));
                }
            }
        }
        let command = |words: &str| self.program.command(words);
        let ending = Ending { command: &command, columns, style };
        if matches!(state.phase(), Phase::Running | Phase::RollingBack) {
            let (word, _) = runs::status(&events, &state);
            if runs::is_alive(&events) == Some(true) {
                lines.push(String::new());
                lines.push(format!("{} {word}{}run {run}", style.mark(Mark::Running), style.dot()));
            } else {
                lines.extend(view::unfinished(&view, &word, &state.interrupted(), &ending));
            }
        } else {
            lines.extend(view::summary(&view, &ending));
        }
        io.write(&(lines.join("\n") + "\n")).map(|()| Exit::Succeeded)
    }

    pub(super) fn runs_verify(&self, words: &str, io: &mut Io) -> Result<Exit, Error> {
        let store = self.store(&io.surroundings)?;
        let (run, found) = now(async {
            let run = place::find_run(&*store, words).await?;
            let found = store.verify(&run).await?;
            Ok((run, found))
        })?;
        let exit = if found.fault.is_some() { Exit::Failed } else { Exit::Succeeded };
        if self.json() {
            let fault = found.fault.as_ref();
            let line = serde_json::json!({
                "run": run,
                "good_lines": found.good_lines,
                "torn_bytes": found.torn_bytes,
                "head": found.head,
                "fault": fault.map(|(line, how)| serde_json::json!({"line": line, "how": how})),
            });
            return io.write_json(&line).map(|()| exit);
        }
        let style = io.surroundings.style;
        let mut page = match &found.fault {
            None => format!("run {run}: {} lines, all as they were written\n", found.good_lines),
            Some((line, how)) => format!(
                "run {run}: {} {how}\n  the {} lines before it are as they were written\n",
                style.paint(&format!("line {line} was changed:"), super::style::Color::Red),
                found.good_lines
            ),
        };
        if found.torn_bytes > 0 {
            page.push_str(&format!(
                "  {} bytes of a last line that a crash cut short; nothing else is lost\n",
                found.torn_bytes
            ));
        }
        if !found.head.is_empty() {
            page.push_str(&format!("  head {}\n", found.head));
        }
        io.write(&page).map(|()| exit)
    }

    pub(super) fn report(
        &self,
        words: &str,
        format: &str,
        out: Option<&std::path::Path>,
        io: &mut Io,
    ) -> Result<Exit, Error> {
        use runbook_core::report;
        let store = self.store(&io.surroundings)?;
        let (run, events) = self.read(&*store, words)?;
        let state = fold(&events)?;
        let Some(start) = state.started() else {
            return Err(Error::usage(format!("run {run} never started; there is nothing to tell")));
        };
        let timeline = report::Timeline::of(&start.plan, &events);
        let page = match format {
            "html" => report::timeline_html(&timeline),
            "json" => report::json(&timeline),
            "junit" => report::junit(&timeline),
            _ => report::timeline_markdown(&timeline),
        };
        let Some(path) = out else {
            return io.write(&page).map(|()| Exit::Succeeded);
        };
        let path = io.surroundings.dir.join(path);
        std::fs::write(&path, page).map_err(|error| {
            Error::usage(format!("writing the report to {}: {error}", path.display()))
        })?;
        Ok(Exit::Succeeded)
    }

    pub(super) fn approve(
        &self,
        words: &str,
        unit: &str,
        reply: Reply,
        io: &mut Io,
    ) -> Result<Exit, Error> {
        let store = self.store(&io.surroundings)?;
        let (run, events) = self.read(&*store, words)?;
        let state = fold(&events)?;
        let unit = UnitId::new(unit);
        let waiting = state.waiting().iter().find(|waiting| waiting.unit == unit);
        let kind = waiting.map(|waiting| &waiting.question.kind);
        let answer = match (reply, kind) {
            (_, Some(QuestionKind::Interrupted)) => {
                return Err(Error::usage(format!(
                    "`{unit}` was interrupted, and an answer does not tell what to do with it: \
                     `{}`, or --skip, or --rollback",
                    self.program.command(&format!("resume {run} --retry"))
                )));
            }
            (Reply::Yes, Some(QuestionKind::Value { accepts })) => {
                return Err(Error::usage(format!(
                    "`{unit}` asks for a value: give --answer VALUE ({accepts})"
                )));
            }
            (Reply::Value(value), Some(QuestionKind::Approval | QuestionKind::Confirmation)) => {
                return Err(Error::usage(format!(
                    "`{unit}`: --answer {value:?}: expected no value; it asks for yes or no (--no)"
                )));
            }
            (Reply::Yes, _) => Answer::Yes,
            (Reply::No, _) => Answer::No,
            (Reply::Value(value), _) => {
                if let Some(plan) = waiting.and_then(|_| self.plan_again(&state, io))
                    && let Err(accepts) = plan.accepts(&unit, &value)
                {
                    return Err(Error::usage(format!("`{unit}`: {value:?}: expected {accepts}")));
                }
                Answer::Value(value)
            }
        };
        let by = operator().name;
        let engine = Engine::from_store(Arc::clone(&store));
        let events = now(async {
            engine.answer(&run, &unit, answer, &by).await?;
            Ok(store.read(&run).await?)
        })?;
        let state = fold(&events)?;
        let open: Vec<String> = state
            .waiting()
            .iter()
            .filter(|waiting| state.unit(&waiting.unit).is_none_or(|unit| unit.answer.is_none()))
            .flat_map(|waiting| view::question_commands(run.as_str(), waiting))
            .collect();
        let next = if open.is_empty() { vec![format!("resume {run}")] } else { open };
        let next: Vec<String> = next.iter().map(|words| self.program.command(words)).collect();
        if self.json() {
            let line = serde_json::json!({"run": run, "unit": unit, "next": next});
            return io.write_json(&line).map(|()| Exit::Succeeded);
        }
        let mut page = format!("noted for `{unit}` of run {run}; next:\n");
        for command in next {
            page.push_str(&format!("  {command}\n"));
        }
        io.write(&page).map(|()| Exit::Succeeded)
    }

    /// The plan of a run, if it can be had without asking anybody, and still is the one it was
    /// started with. Else `resume` finds out whether an answer fits.
    fn plan_again(&self, state: &RunState, io: &mut Io) -> Option<Plan> {
        let start = state.started()?;
        let params = &start.plan.params;
        if params.iter().any(|param| param.secret) {
            return None;
        }
        let env = self.environment(start.env.as_deref(), &io.surroundings).ok()?;
        let given = Given::again(self.catalog.spec(&start.plan.book).ok()?, params, &[]).ok()?;
        let plan = self.plan(&given, params, env.value(), io).ok()?;
        start.plan.first_difference(plan.outline()).is_none().then_some(plan)
    }

    pub(super) fn locks(&self, io: &mut Io) -> Result<Exit, Error> {
        let store = self.store(&io.surroundings)?;
        let locks = now(async { store.locks().list().await.map_err(Error::usage) })?;
        if self.json() {
            let lines: Vec<_> = locks
                .iter()
                .map(|(resource, held)| serde_json::json!({"resource": resource, "holder": held}))
                .collect();
            return io.write_json(&lines).map(|()| Exit::Succeeded);
        }
        if locks.is_empty() {
            return io.write("nothing is locked\n").map(|()| Exit::Succeeded);
        }
        let (columns, _) = io.surroundings.size();
        let lines = runs::lock_table(&locks, io.surroundings.style, columns);
        io.write(&(lines.join("\n") + "\n")).map(|()| Exit::Succeeded)
    }

    pub(super) fn unlock(&self, resource: &str, yes: bool, io: &mut Io) -> Result<Exit, Error> {
        let store = self.store(&io.surroundings)?;
        let locks = store.locks();
        let held = now(async { locks.list().await.map_err(Error::usage) })?;
        let Some((_, holder)) = held.iter().find(|(name, _)| name == resource) else {
            let names: Vec<_> = held.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::usage(match names.as_slice() {
                [] => format!("`{resource}` is not locked; nothing is"),
                _ => format!("`{resource}` is not locked; these are: {}", names.join(", ")),
            }));
        };
        if !yes {
            if !io.surroundings.answering {
                return Err(Error::usage(format!(
                    "`{resource}` is locked by {}; give --yes to take the lock away from it",
                    text::holder(holder)
                )));
            }
            let question = format!(
                "{resource} is locked by {}\nif that run is alive it will be cancelled and \
                 rolled back\ntake the lock away? [y]es, [n]o: ",
                text::holder(holder)
            );
            if !io.confirm(&question) {
                return io.write("the lock stays\n").map(|()| Exit::Succeeded);
            }
        }
        let whose = now(async { locks.break_lock(resource).await.map_err(Error::usage) })?;
        io.write(&match whose {
            Some(holder) => {
                format!("{resource} is free; it was locked by {}\n", text::holder(&holder))
            }
            None => format!("{resource} was given back in the meantime\n"),
        })
        .map(|()| Exit::Succeeded)
    }
}
