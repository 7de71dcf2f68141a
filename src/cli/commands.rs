//! The commands, each a few lines over the library.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use runbook_core::{
    Answer, Args, BookSpec, Catalog, Decision, Engine, Error, Event, FileStore, JournalStore,
    ParamGiven, Phase, Plan, QuestionKind, ResumeOptions, RunHandle, RunId, RunOptions, RunState,
    UnitId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::args::{About, Action, Global, Output, Reply, RunFlags};
use super::env::{self, Environment};
use super::exit::Exit;
use super::follow::{Followed, follow};
use super::io::{Io, Surroundings, operator};
use super::params::Given;
use super::program::Program;
use super::prompt::{Lines, Terminal};
use super::reporter::Reporter;
use super::runs::{self, Line};
use super::style::Mark;
use super::view::{self, Ending, Settled, ViewState};
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
            Action::Resume { run, decision, secrets, yes } => {
                return self.resume(&run, decision, false, &secrets, yes, io);
            }
            Action::Rollback { run, secrets, yes } => {
                return self.resume(&run, None, true, &secrets, yes, io);
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

    fn json(&self) -> bool {
        self.global.output == Some(Output::Json)
    }

    fn output(&self, surroundings: &Surroundings) -> Output {
        self.global.output.unwrap_or(match surroundings.terminal {
            true => Output::Pretty,
            false => Output::Plain,
        })
    }

    fn store(&self, surroundings: &Surroundings) -> Result<Arc<dyn JournalStore>, Error> {
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
            _ => runbook_core::report::page(outline),
        };
        io.write(&page).map(|()| Exit::Succeeded)
    }

    fn environment(
        &self,
        of_run: Option<&str>,
        surroundings: &Surroundings,
    ) -> Result<Environment<'_, E>, Error> {
        let wanted = of_run.or(self.global.env.as_deref());
        env::pick(self.catalog, &self.global, wanted, surroundings)
    }

    fn plan(
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
        self.follow(ViewState::new(self.global.verbose), io, None, || {
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
        options.undo = !flags.keep;
        let run = RunId::fresh();
        options.run = Some(run.clone());
        let engine = Engine::from_store(store);
        self.follow(ViewState::new(self.global.verbose), io, Some(run), || {
            engine.run(&plan, options)
        })
    }

    /// `resume` and `rollback`.
    fn resume(
        &self,
        words: &str,
        decision: Option<Decision>,
        back: bool,
        secrets: &[String],
        yes: bool,
        mut io: Io,
    ) -> Exit {
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
        options.interrupted = decision;
        let mut view = ViewState::new(self.global.verbose);
        view.replay(events.iter().map(|event| &**event));
        let engine = Engine::from_store(store);
        self.follow(view, io, Some(run.clone()), || engine.resume(&run, &plan, options))
    }

    fn options(&self, yes: bool, surroundings: &Surroundings) -> RunOptions {
        let mut options = RunOptions::new();
        options.by = operator();
        options.yes = yes;
        options.version = self.catalog.version_text().map(str::to_owned);
        options.unattended = self.json() || !surroundings.answering;
        options
    }

    /// Starts what `start` gives, follows it to its end, and says how it ended. `kept` is the run
    /// if it leaves a journal.
    fn follow(
        &self,
        view: ViewState,
        io: Io,
        kept: Option<RunId>,
        start: impl FnOnce() -> RunHandle,
    ) -> Exit {
        let Io { input, out, err, surroundings } = io;
        let output = self.output(&surroundings);
        let answers = surroundings.answering && output != Output::Json;
        let command = |words: &str| self.program.command(words);
        // The view has the calling thread to itself; runs have two of their own, so that a step
        // that blocks its thread does not hold the others up.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("runbook")
            .enable_all()
            .build();
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
                    let exit = match (&kept, outcome.checks_failed) {
                        (None, true) => Exit::ChecksFailed,
                        _ => Exit::from(outcome.status),
                    };
                    reporter.finish(&outcome, exit.code());
                    exit
                }
                Err(error) => {
                    let began = reporter.view.head.is_some() && kept.is_some();
                    let exit = match (signalled && kept.is_none(), error.is_journal() && began) {
                        (true, _) => Exit::Interrupted,
                        (_, true) => Exit::Stuck,
                        _ => Exit::Usage,
                    };
                    let mut text = error.to_string();
                    if let (Exit::Stuck, Some(run)) = (exit, &kept) {
                        text.push_str("; the run stopped where it was");
                        complain(&mut err, err_style, &text);
                        reporter.interrupted(run, exit.code());
                    } else {
                        reporter.abandon(&text, exit.code());
                        complain(&mut err, err_style, &text);
                    }
                    exit
                }
            },
            Followed::Interrupted => {
                let exit = Exit::Interrupted;
                match &kept {
                    Some(run) => reporter.interrupted(run, exit.code()),
                    None => {
                        let text = "stopped; nothing was changed";
                        reporter.abandon(text, exit.code());
                        complain(&mut err, err_style, text);
                    }
                }
                Exit::Interrupted
            }
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

    /// The run that is meant, and its events.
    fn read(
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

    fn runs(&self, limit: usize, io: &mut Io) -> Result<Exit, Error> {
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

    fn runs_show(&self, words: &str, io: &mut Io) -> Result<Exit, Error> {
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

    fn runs_verify(&self, words: &str, io: &mut Io) -> Result<Exit, Error> {
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

    fn report(
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

    fn approve(&self, words: &str, unit: &str, reply: Reply, io: &mut Io) -> Result<Exit, Error> {
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
            (Reply::Value(value), _) => Answer::Value(value),
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

    fn locks(&self, io: &mut Io) -> Result<Exit, Error> {
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

    fn unlock(&self, resource: &str, yes: bool, io: &mut Io) -> Result<Exit, Error> {
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
                    "`{resource}` is locked by {holder}; give --yes to take the lock away from it"
                )));
            }
            let question = format!(
                "{resource} is locked by {holder}\nif that run is alive it will be cancelled and \
                 rolled back\ntake the lock away? [y]es, [n]o: "
            );
            if !io.confirm(&question) {
                return io.write("the lock stays\n").map(|()| Exit::Succeeded);
            }
        }
        let whose = now(async { locks.break_lock(resource).await.map_err(Error::usage) })?;
        io.write(&match whose {
            Some(holder) => format!("{resource} is free; it was locked by {holder}\n"),
            None => format!("{resource} was given back in the meantime\n"),
        })
        .map(|()| Exit::Succeeded)
    }
}

fn fold(events: &[Arc<Event>]) -> Result<RunState, Error> {
    RunState::fold(events).map_err(|error| Error::from(runbook_core::JournalError::from(error)))
}

/// Does something short, on this thread.
fn now<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::usage(format!("starting the runtime: {error}")))?;
    runtime.block_on(work)
}

/// Two ways to the same output.
fn share(out: Box<dyn Write + Send>) -> (Box<dyn Write + Send>, Box<dyn Write + Send>) {
    use std::sync::{Mutex, PoisonError};
    struct Shared(Arc<Mutex<Box<dyn Write + Send>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
        }
    }
    let shared = Arc::new(Mutex::new(out));
    (Box::new(Shared(Arc::clone(&shared))), Box::new(Shared(shared)))
}

impl Io {
    /// A result; a reader that went away, as `head` does, is no error.
    fn write(&mut self, page: &str) -> Result<(), Error> {
        match self.out.write_all(page.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::usage(format!("writing to standard output: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn write_json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::usage(format!("writing JSON: {error}")))?;
        self.write(&(text + "\n"))
    }

    /// Whether a person says yes.
    fn confirm(&mut self, question: &str) -> bool {
        loop {
            let _ = self.err.write_all(question.as_bytes());
            let _ = self.err.flush();
            let mut line = String::new();
            if !matches!(self.input.read_line(&mut line), Ok(n) if n > 0) {
                return false;
            }
            match super::prompt::read_answer(&QuestionKind::Approval, &line) {
                Ok(answer) => return answer == Answer::Yes,
                Err(accepted) => {
                    let _ = writeln!(self.err, "{accepted}");
                }
            }
        }
    }
}
