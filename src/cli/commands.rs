//! The commands, each a few lines over the library.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use runbook_core::{
    Args, BlockOutcome, BookSpec, Catalog, Decision, Engine, Error, Event, FileStore, JournalStore,
    Outcome, ParamGiven, Plan, ResumeOptions, RunHandle, RunId, RunOptions, RunState, Stage,
    Status, UnitId,
};
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::args::{About, Action, Global, Output, RunFlags};
use super::env::{self, Environment};
use super::exit::Exit;
use super::follow::{Followed, follow};
use super::io::{Io, Surroundings, operator, share};
use super::params::Given;
use super::program::Program;
use super::prompt::{Lines, Terminal};
use super::reporter::Reporter;
use super::style::Style;
use super::view::ViewState;
use super::{complain, place, text};

/// One call of the command line.
pub(crate) struct Cli<'a, E> {
    pub(crate) catalog: &'a Catalog<E>,
    pub(crate) global: Global,
    pub(crate) program: Program,
    pub(crate) about: &'a About<'a>,
}

impl<E: DeserializeOwned + Send + Sync + 'static> Cli<'_, E> {
    /// Does what was asked; says on standard error why it could not.
    pub(crate) fn execute(&self, action: Action, mut io: Io) -> Exit {
        let err_style = io.surroundings.err_style;
        let done = match action {
            Action::List => self.list(&mut io),
            Action::Show { book, format } => self.show(book, &format, &mut io),
            Action::Plan { book } => return self.look(book, true, io),
            Action::Check { book } => return self.look(book, false, io),
            Action::Run { book, options } => return self.run(book, options, io),
            Action::Resume { run, decision, units, secrets, yes } => {
                let how = Taken { decision, units, back: false };
                return self.resume(&run, how, &secrets, yes, io);
            }
            Action::Rollback { run, secrets, yes } => {
                let how = Taken { decision: None, units: Vec::new(), back: true };
                return self.resume(&run, how, &secrets, yes, io);
            }
            Action::Runs { limit } => self.runs(limit, &mut io),
            Action::RunsShow { run } => self.runs_show(&run, &mut io),
            Action::RunsVerify { run } => self.runs_verify(&run, &mut io),
            Action::Report { run, format, out } => {
                self.report(&run, &format, out.as_deref(), &mut io)
            }
            Action::Approve { run, unit, answer } => self.approve(&run, &unit, answer, &mut io),
            Action::Locks => self.locks(&mut io),
            Action::Unlock { resource, yes } => self.unlock(&resource, yes, &mut io),
            Action::Completions { shell } => {
                let mut command = super::args::command(self.about);
                let name = self.program.name().rsplit('/').next().unwrap_or_default().to_owned();
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut command, name, &mut script);
                io.write(&String::from_utf8_lossy(&script)).map(|()| Exit::Succeeded)
            }
        };
        done.unwrap_or_else(|error| {
            complain(&mut io.err, err_style, &error.to_string());
            Exit::Usage
        })
    }

    pub(super) fn json(&self) -> bool {
        self.global.output == Some(Output::Json)
    }

    fn output(&self, surroundings: &Surroundings) -> Output {
        self.global.output.unwrap_or(match surroundings.terminal {
            true => Output::Pretty,
            false => Output::Plain,
        })
    }

    pub(super) fn store(
        &self,
        surroundings: &Surroundings,
    ) -> Result<Arc<dyn JournalStore>, Error> {
        let dir = place::journal_dir(self.catalog.name(), &self.global, surroundings)?;
        Ok(Arc::new(FileStore::new(dir)))
    }

    fn list(&self, io: &mut Io) -> Result<Exit, Error> {
        if self.json() {
            let books: Vec<&BookSpec> = self.catalog.books().collect();
            return io.write_json(&books).map(|()| Exit::Succeeded);
        }
        let style = io.surroundings.style;
        let (columns, _) = io.surroundings.size();
        let widest = self.catalog.books().map(|book| book.name.len()).max().unwrap_or(0);
        let mut page = String::new();
        for book in self.catalog.books() {
            let room = columns.saturating_sub(widest + 2).max(20);
            for (n, line) in text::wrap(&style.text(&book.title), room).iter().enumerate() {
                let name = if n == 0 { book.name.as_str() } else { "" };
                let pad = " ".repeat(widest - name.len() + 2);
                page.push_str(&format!("{}{pad}{line}\n", style.bold(name)));
            }
        }
        if page.is_empty() {
            page.push_str("there are no runbooks in this program\n");
        }
        io.write(&page).map(|()| Exit::Succeeded)
    }

    fn show(&self, mut given: Given, format: &str, io: &mut Io) -> Result<Exit, Error> {
        let spec = self.catalog.spec(&given.book)?;
        given.fill_in(spec);
        let env = self.environment(None, &io.surroundings)?;
        let plan = self.plan(&given, &[], env.value(), io)?;
        let outline = plan.outline();
        let page = match format {
            "mermaid" => runbook_core::report::mermaid(outline),
            "json" => return io.write_json(&**outline).map(|()| Exit::Succeeded),
            _ => {
                let page = runbook_core::report::page(outline);
                let run = runbook_core::report::how_to_run(self.catalog.name(), spec);
                format!("{page}\n## Run it\n\n{run}")
            }
        };
        io.write(&page).map(|()| Exit::Succeeded)
    }

    pub(super) fn environment(
        &self,
        of_run: Option<&str>,
        surroundings: &Surroundings,
    ) -> Result<Environment<'_, E>, Error> {
        let wanted = of_run.or(self.global.env.as_deref());
        env::pick(self.catalog, &self.global, wanted, surroundings)
    }

    pub(super) fn plan(
        &self,
        given: &Given,
        params: &[ParamGiven],
        env: &E,
        io: &mut Io,
    ) -> Result<Plan, Error> {
        let spec = self.catalog.spec(&given.book)?;
        let Io { input, err, surroundings, .. } = io;
        let mut prompt = Terminal { input: &mut **input, out: &mut **err, surroundings };
        let args: Args = given.args(spec, params, surroundings, &mut prompt)?;
        self.catalog.plan(&given.book, env, &args)
    }

    /// `plan` and `check`.
    fn look(&self, given: Given, whole: bool, mut io: Io) -> Exit {
        let prepared = self.environment(None, &io.surroundings).and_then(|env| {
            let plan = self.plan(&given, &[], env.value(), &mut io)?;
            Ok((plan, env.name().map(str::to_owned)))
        });
        let (plan, env) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return self.refuse(&error, io),
        };
        // Nothing is kept of a look.
        let engine = Engine::new(runbook_core::MemoryStore::new());
        let mut options = self.options(false, &io.surroundings);
        options.env = env;
        let asked = Asked { run: None, back: false };
        self.follow(ViewState::new(self.global.verbose), io, &asked, || {
            if whole { engine.plan(&plan, options) } else { engine.check(&plan, options) }
        })
    }

    fn run(&self, given: Given, flags: RunFlags, mut io: Io) -> Exit {
        let prepared = self.environment(None, &io.surroundings).and_then(|env| {
            let plan = self.plan(&given, &[], env.value(), &mut io)?;
            Ok((plan, env.name().map(str::to_owned), self.store(&io.surroundings)?))
        });
        let (plan, env, store) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return self.refuse(&error, io),
        };
        let mut options = self.options(flags.yes, &io.surroundings);
        options.env = env;
        options.reason = flags.reason;
        options.began = flags.began;
        options.undo = !flags.keep;
        let run = RunId::fresh();
        options.run = Some(run.clone());
        let engine = Engine::from_store(store);
        let asked = Asked { run: Some(run), back: false };
        self.follow(ViewState::new(self.global.verbose), io, &asked, || engine.run(&plan, options))
    }

    /// `resume` and `rollback`.
    fn resume(&self, words: &str, how: Taken, secrets: &[String], yes: bool, mut io: Io) -> Exit {
        let Taken { decision, units, back } = how;
        let prepared = self.store(&io.surroundings).and_then(|store| {
            let (run, events) = self.read(&*store, words)?;
            let state = fold(&events)?;
            let Some(start) = state.started() else {
                return Err(Error::usage(format!("run {run} never started; nothing was changed")));
            };
            if let (Some(wanted), Some(env)) = (&self.global.env, &start.env)
                && wanted != env
            {
                return Err(Error::usage(format!(
                    "run {run} was started in the environment `{env}` and goes on there; leave \
                     --env {wanted} out"
                )));
            }
            let env = self.environment(start.env.as_deref(), &io.surroundings)?;
            let params = &start.plan.params;
            let given = Given::again(self.catalog.spec(&start.plan.book)?, params, secrets)?;
            let plan = self.plan(&given, params, env.value(), &mut io)?;
            let Some(decision) = decision.filter(|_| !units.is_empty()) else {
                return Ok((store, run, events, plan));
            };
            let engine = Engine::from_store(Arc::clone(&store));
            for (unit, decision) in open_units(&state, &units, decision)? {
                now(engine.decide(&run, &unit, decision, &operator().name))?;
            }
            let (run, events) = self.read(&*store, run.as_str())?;
            Ok((store, run, events, plan))
        });
        let (store, run, events, plan) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return self.refuse(&error, io),
        };
        let options = self.options(yes, &io.surroundings);
        let mut options = match back {
            true => ResumeOptions::rollback(options),
            false => ResumeOptions::forward(options),
        };
        options.interrupted = decision.filter(|_| units.is_empty());
        let mut view = ViewState::new(self.global.verbose);
        view.replay(events.iter().map(|event| &**event));
        let engine = Engine::from_store(store);
        let back = back || decision == Some(Decision::Rollback);
        let asked = Asked { run: Some(run.clone()), back };
        self.follow(view, io, &asked, || engine.resume(&run, &plan, options))
    }

    fn options(&self, yes: bool, surroundings: &Surroundings) -> RunOptions {
        let mut options = RunOptions::new();
        options.by = operator();
        options.yes = yes;
        options.version = self.catalog.version_text().map(str::to_owned);
        options.unattended = self.json() || !surroundings.answering;
        options
    }

    /// Starts what `start` gives, follows it to its end, and says how it ended.
    fn follow(
        &self,
        view: ViewState,
        io: Io,
        asked: &Asked,
        start: impl FnOnce() -> RunHandle,
    ) -> Exit {
        let Io { input, out, err, surroundings } = io;
        let output = self.output(&surroundings);
        let answers = surroundings.answering && output != Output::Json;
        let command = |words: &str| self.program.command(words);
        let runtime = surroundings.runtime();
        let (runtime, err_style) = match runtime {
            Ok(runtime) => (runtime, surroundings.err_style),
            Err(error) => {
                let mut err = err;
                let text = format!("starting the threads that a run needs: {error}");
                complain(&mut err, surroundings.err_style, &text);
                return Exit::Usage;
            }
        };
        let (beside, mut err) = share(err);
        let mut reporter = Reporter::new(output, view, (out, beside), &surroundings, &command);
        let by = operator().name;
        let lines = answers.then(|| Lines::new(input));
        let (followed, signalled) = runtime.block_on(async {
            let handle = start();
            follow(handle, &mut reporter, lines, &by).await
        });
        let exit = match followed {
            Followed::Ended(ended) => match *ended {
                Ok(outcome) => {
                    let exit = asked.exit(&outcome);
                    reporter.finish(&outcome, exit.code());
                    exit
                }
                Err(error) => asked.fail(&error, signalled, &mut reporter, &mut err, err_style),
            },
            Followed::Interrupted => asked.interrupt(&mut reporter, &mut err, err_style),
        };
        // Gives what was running the time to end its processes, and no more: a thread that waits
        // for the keyboard never ends.
        runtime.shutdown_timeout(match exit {
            Exit::Interrupted => Duration::from_millis(500),
            _ => Duration::ZERO,
        });
        exit
    }

    fn refuse(&self, error: &Error, mut io: Io) -> Exit {
        let text = error.to_string();
        if self.json() {
            let line = serde_json::json!({
                "at": runbook_core::Timestamp::now(), "error": text, "exit_code": Exit::Usage.code(),
            });
            let _ = writeln!(io.out, "{line}");
        }
        complain(&mut io.err, io.surroundings.err_style, &text);
        Exit::Usage
    }
}

/// How a run is taken up again.
struct Taken {
    decision: Option<Decision>,
    /// What it is about; all that is open if none is named.
    units: Vec<String>,
    back: bool,
}

/// The open units that are named, by themselves or by a block around them, and what is decided.
fn open_units(
    state: &RunState,
    named: &[String],
    decision: Decision,
) -> Result<Vec<(UnitId, Decision)>, Error> {
    let plan = state.started().map(|start| Arc::clone(&start.plan));
    let units = plan.iter().flat_map(|plan| plan.units());
    // A host that the run went on without is past deciding.
    let is_over = |id: &UnitId| {
        let blocks = id.as_str().match_indices('/').map(|(at, _)| UnitId::new(&id.as_str()[..at]));
        blocks
            .into_iter()
            .any(|block| matches!(state.block(&block), Some(BlockOutcome::Isolated { .. })))
    };
    let open: Vec<(UnitId, Decision)> = units
        .filter(|unit| !is_over(&unit.id))
        .filter_map(|unit| match (state.unit(&unit.id)?.stage, decision) {
            (Stage::Undoing | Stage::UndoFailed, Decision::Skip) => {
                Some((unit.id.clone(), Decision::Restored))
            }
            (Stage::Started | Stage::Failed | Stage::Undoing | Stage::UndoFailed, decision) => {
                Some((unit.id.clone(), decision))
            }
            _ => None,
        })
        .collect();
    let is_named = |id: &UnitId, name: &String| {
        id.as_str().strip_prefix(name.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/'))
    };
    if let Some(name) = named.iter().find(|name| !open.iter().any(|(id, _)| is_named(id, name))) {
        let ids: Vec<&str> = open.iter().map(|(id, _)| id.as_str()).collect();
        let open = if ids.is_empty() { "nothing is".into() } else { ids.join(", ") };
        return Err(Error::usage(format!("nothing of `{name}` is to be decided; open: {open}")));
    }
    Ok(open.into_iter().filter(|(id, _)| named.iter().any(|name| is_named(id, name))).collect())
}

/// What was asked for, as far as it decides how it is to end.
struct Asked {
    /// The run, if it leaves a journal.
    run: Option<RunId>,
    /// To be rolled back is a success.
    back: bool,
}

impl Asked {
    fn exit(&self, outcome: &Outcome) -> Exit {
        match (&self.run, outcome.status) {
            (None, _) if outcome.checks_failed => Exit::ChecksFailed,
            (Some(_), Status::RolledBack) if self.back => Exit::Succeeded,
            (Some(_), Status::Succeeded)
                if outcome.finished.as_ref().is_some_and(|end| !end.without.is_empty()) =>
            {
                Exit::NotEverywhere
            }
            (_, status) => status.into(),
        }
    }

    /// The run could not be run, or could not go on.
    fn fail(
        &self,
        error: &Error,
        signalled: bool,
        reporter: &mut Reporter<'_>,
        err: &mut dyn Write,
        style: Style,
    ) -> Exit {
        let text = error.to_string();
        match &self.run {
            // A journal that takes nothing more stops a run where it is.
            Some(run) if error.is_journal() && reporter.view.head.is_some() => {
                complain(err, style, &format!("{text}; the run stopped where it was"));
                reporter.interrupted(run, Exit::Stuck.code());
                Exit::Stuck
            }
            None if signalled => self.interrupt(reporter, err, style),
            _ => {
                reporter.abandon(&text, Exit::Usage.code());
                complain(err, style, &text);
                Exit::Usage
            }
        }
    }

    /// The operator wanted to stop at once.
    fn interrupt(&self, reporter: &mut Reporter<'_>, err: &mut dyn Write, style: Style) -> Exit {
        let exit = Exit::Interrupted;
        match &self.run {
            Some(run) => reporter.interrupted(run, exit.code()),
            None => {
                let text = "stopped; nothing was changed";
                reporter.abandon(text, exit.code());
                complain(err, style, text);
            }
        }
        exit
    }
}

pub(super) fn fold(events: &[Arc<Event>]) -> Result<RunState, Error> {
    RunState::fold(events).map_err(|error| Error::from(runbook_core::JournalError::from(error)))
}

/// Does something short, on this thread.
pub(super) fn now<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::usage(format!("starting the runtime: {error}")))?;
    runtime.block_on(work)
}
