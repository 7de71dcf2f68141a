//! The words of the command line, as a typed [`Request`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use runbook_core::{BookSpec, Decision, Param, Timestamp};

use super::params::{self, Given};

/// What was asked for.
pub(crate) struct Request {
    pub(crate) global: Global,
    pub(crate) action: Action,
}

/// The options that every command takes.
#[derive(Clone, Default)]
pub(crate) struct Global {
    pub(crate) env: Option<String>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) output: Option<Output>,
    pub(crate) verbose: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Pretty,
    Plain,
    Json,
}

pub(crate) enum Action {
    List,
    Show {
        book: Given,
        format: String,
    },
    Plan {
        book: Given,
    },
    Run {
        book: Given,
        options: RunFlags,
    },
    Check {
        book: Given,
    },
    Resume {
        run: String,
        decision: Option<Decision>,
        units: Vec<String>,
        secrets: Vec<String>,
        yes: bool,
    },
    Rollback {
        run: String,
        secrets: Vec<String>,
        yes: bool,
    },
    Runs {
        limit: usize,
    },
    RunsShow {
        run: String,
    },
    RunsVerify {
        run: String,
    },
    Report {
        run: String,
        format: String,
        out: Option<PathBuf>,
    },
    Approve {
        run: String,
        unit: String,
        answer: Reply,
    },
    Locks,
    Unlock {
        resource: String,
        yes: bool,
    },
    Completions {
        shell: Shell,
    },
}

/// The flags of `run` besides the runbook's own.
pub(crate) struct RunFlags {
    pub(crate) yes: bool,
    pub(crate) keep: bool,
    pub(crate) reason: Option<String>,
    pub(crate) began: Option<Timestamp>,
}

/// What `approve` says.
pub(crate) enum Reply {
    Yes,
    No,
    Value(String),
}

/// What the command line is about: the catalog, without its environment's type.
pub(crate) struct About<'a> {
    /// How the program was called.
    pub(crate) program: &'a str,
    pub(crate) name: &'a str,
    pub(crate) doc: &'a str,
    pub(crate) version: Option<&'a str>,
    pub(crate) books: Vec<&'a BookSpec>,
    pub(crate) width: usize,
}

/// Reads the words.
pub(crate) fn parse(about: &About<'_>, words: &[OsString]) -> Result<Request, clap::Error> {
    let matches = build(about, Some(words)).try_get_matches_from(words)?;
    Ok(request(about, &matches))
}

/// The whole command line, for completions.
pub(crate) fn command(about: &About<'_>) -> Command {
    build(about, None)
}

/// The command line as far as these words need it: with many runbooks, to build all their flags
/// under every command would take longer than all else before a run starts.
fn build(about: &About<'_>, words: Option<&[OsString]>) -> Command {
    let with_books = |name: &'static str, title: &'static str, relaxed: bool| {
        let said = |what: &str| words.is_none_or(|words| words.iter().any(|word| word == what));
        let mut command = Command::new(name)
            .about(title)
            .subcommand_value_name("BOOK")
            .subcommand_help_heading("Runbooks")
            .subcommand_required(true)
            .disable_help_subcommand(true)
            .arg_required_else_help(true);
        for book in about.books.iter().filter(|_| said(name)) {
            command = command.subcommand(if said(&book.name) {
                params::command(book, relaxed)
            } else {
                Command::new(book.name.clone()).about(book.title.clone())
            });
        }
        command
    };
    let run = || {
        Arg::new("RUN").required(true).help("A run: its id, the beginning or end of one, or `last`")
    };
    let mut command = Command::new(about.program.to_owned())
        .bin_name(about.program.to_owned())
        .about(about.doc.to_owned())
        .term_width(about.width.clamp(50, 100))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .after_help(EXIT_CODES)
        .args(global_args(about.name))
        .subcommands([
            Command::new("list").about("List the runbooks"),
            with_books("show", "Print the page of a runbook", true)
                .mut_subcommands(|book| book.arg(format_arg(&["markdown", "mermaid", "json"]))),
            with_books("plan", "Show what a run would do, with every check made", false)
                .long_about(
                    "Show what a run would do. Checks are made; steps only say what they would do. \
                     Nothing is changed.",
                ),
            with_books("run", "Run a runbook", false).mut_subcommands(|book| {
                book.args([
                    yes_arg(),
                    flag("keep-on-failure").help(
                        "Leave what was done as it is if the run fails; `rollback RUN` undoes it",
                    ),
                    Arg::new("reason").long("reason").value_name("TEXT").help(
                        "Why it is run; kept in the journal and shown to whoever meets its locks",
                    ),
                    Arg::new("began").long("began").value_name("WHEN").value_parser(began).help(
                        "When the incident began: `20m` for 20 minutes ago, or \
                         `2026-03-14T02:40:00Z`; whom to call counts from then [default: now]",
                    ),
                ].map(|arg| arg.help_heading("Run options")))
            }),
            with_books("check", "Make the checks of a runbook, and nothing else", false),
            Command::new("resume")
                .about("Go on with a run that was suspended, interrupted or failed")
                .args([
                    run(),
                    flag("retry").help("Run what was interrupted or failed again"),
                    flag("skip")
                        .help(
                            "Take what was interrupted or failed as done; of a stuck rollback: as \
                             put back by hand",
                        )
                        .conflicts_with("retry"),
                    flag("rollback")
                        .help("Undo what was interrupted, and the run with it")
                        .conflicts_with_all(["retry", "skip"]),
                    Arg::new("unit")
                        .long("unit")
                        .value_name("ID")
                        .action(ArgAction::Append)
                        .requires("decision")
                        .help(
                            "Decide so about this unit, or those of this host, and about no other; \
                             may be given more than once",
                        ),
                    yes_arg(),
                    secret_file_arg(),
                ])
                .group(ArgGroup::new("decision").args(["retry", "skip", "rollback"])),
            Command::new("rollback").about("Undo what a run has done").args([
                run(),
                yes_arg(),
                secret_file_arg(),
            ]),
            Command::new("runs")
                .about("List the runs, latest first")
                .arg(
                    Arg::new("limit")
                        .long("limit")
                        .value_name("N")
                        .value_parser(value_parser!(usize))
                        .default_value("20")
                        .help("How many, 0 for all"),
                )
                .subcommands([
                    Command::new("show").about("Show what a run did").arg(run()),
                    Command::new("verify")
                        .about("Check that the journal of a run was not changed")
                        .arg(run()),
                ]),
            Command::new("report").about("Print the report of a run").args([
                run(),
                format_arg(&["markdown", "html", "json", "junit"]),
                Arg::new("out")
                    .long("out")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("Write it to a file"),
            ]),
            Command::new("approve")
                .about("Answer a question of a suspended run: approve, confirm, or give a value")
                .args([
                    run(),
                    Arg::new("UNIT").required(true).help("The unit that asks"),
                    Arg::new("answer")
                        .long("answer")
                        .value_name("VALUE")
                        .allow_hyphen_values(true)
                        .help("The value that it asks for"),
                    flag("no").help("Say no: the unit fails").conflicts_with("answer"),
                ]),
            Command::new("locks").about("List the locks that runs hold"),
            Command::new("unlock").about("Take a lock away from the run that holds it").args([
                Arg::new("RESOURCE").required(true).help("What is locked, as `locks` shows it"),
                flag("yes").short('y').help("Do not ask"),
            ]),
            Command::new("completions")
                .about("Print the completions for a shell")
                .arg(Arg::new("SHELL").required(true).value_parser(value_parser!(Shell))),
        ]);
    if let Some(version) = about.version {
        command = command
            .version(version.to_owned())
            .arg(flag("version").short('V').action(ArgAction::Version).help("Print the version"));
    }
    command
}

/// A moment that has passed: how long ago, or when.
fn began(word: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let at = match <std::time::Duration as Param>::parse(word) {
        Ok(ago) => now.before(ago),
        Err(_) => {
            word.parse().map_err(|_| "write `20m` for 20 minutes ago, or `2026-03-14T02:40:00Z`")?
        }
    };
    if at > now { Err("that is still to come".into()) } else { Ok(at) }
}

const EXIT_CODES: &str = "\
Exit codes: 0 succeeded; 1 failed and rolled back, or failed with nothing to undo; 2 usage or \
configuration; 3 stuck, a person is needed; 4 a check failed; 5 suspended; 6 succeeded, \
but not on every host; 130 interrupted";

fn global_args(name: &str) -> [Arg; 6] {
    let heading = "Global options";
    [
        Arg::new("env").long("env").value_name("NAME").help("The environment to work in"),
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(format!("The environments, in TOML [default: {name}.toml, if it is there]")),
        Arg::new("journal")
            .long("journal")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help("Where runs are recorded [default: the state folder of the user]"),
        Arg::new("output")
            .long("output")
            .value_name("HOW")
            .value_parser(["pretty", "plain", "json"])
            .hide_possible_values(true)
            .help("pretty, plain or json [default: pretty on a terminal, else plain]"),
        flag("verbose").short('v').help("Show the output of every command"),
        flag("help").short('h').action(ArgAction::Help).help("Print help"),
    ]
    .map(|arg| arg.global(true).help_heading(heading))
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

fn yes_arg() -> Arg {
    flag("yes").short('y').help("Approve every confirmation beforehand")
}

fn secret_file_arg() -> Arg {
    Arg::new("secret-file")
        .long("secret-file")
        .value_name("NAME=PATH")
        .action(ArgAction::Append)
        .help("A secret parameter of the run, from a file; else from its variable or a prompt")
}

fn format_arg(formats: &[&'static str]) -> Arg {
    Arg::new("format")
        .long("format")
        .value_name("FORMAT")
        .value_parser(PossibleValuesParser::new(formats.iter().copied()))
        .default_value(formats[0])
        .help("What to write")
}

fn request(about: &About<'_>, matches: &ArgMatches) -> Request {
    let text = |m: &ArgMatches, name: &str| m.get_one::<String>(name).cloned();
    let needed = |m: &ArgMatches, name: &str| text(m, name).unwrap_or_default();
    let many = |m: &ArgMatches, name: &str| -> Vec<String> {
        m.get_many::<String>(name).unwrap_or_default().cloned().collect()
    };
    let (name, m) = matches.subcommand().unwrap_or(("list", matches));
    let book = |m: &ArgMatches| -> Option<(Given, ArgMatches)> {
        let (name, m) = m.subcommand()?;
        let spec = about.books.iter().find(|spec| spec.name == name)?;
        Some((Given::read(spec, m), m.clone()))
    };
    let action = match (name, book(m)) {
        ("show", Some((book, m))) => Action::Show { book, format: needed(&m, "format") },
        ("plan", Some((book, _))) => Action::Plan { book },
        ("check", Some((book, _))) => Action::Check { book },
        ("run", Some((book, m))) => Action::Run {
            book,
            options: RunFlags {
                yes: m.get_flag("yes"),
                keep: m.get_flag("keep-on-failure"),
                reason: text(&m, "reason"),
                began: m.get_one::<Timestamp>("began").copied(),
            },
        },
        ("resume", _) => Action::Resume {
            run: needed(m, "RUN"),
            decision: [
                ("retry", Decision::Retry),
                ("skip", Decision::Skip),
                ("rollback", Decision::Rollback),
            ]
            .into_iter()
            .find_map(|(flag, decision)| m.get_flag(flag).then_some(decision)),
            units: many(m, "unit"),
            secrets: many(m, "secret-file"),
            yes: m.get_flag("yes"),
        },
        ("rollback", _) => Action::Rollback {
            run: needed(m, "RUN"),
            secrets: many(m, "secret-file"),
            yes: m.get_flag("yes"),
        },
        ("runs", _) => match m.subcommand() {
            Some(("show", m)) => Action::RunsShow { run: needed(m, "RUN") },
            Some((_, m)) => Action::RunsVerify { run: needed(m, "RUN") },
            None => Action::Runs { limit: m.get_one("limit").copied().unwrap_or(20) },
        },
        ("report", _) => Action::Report {
            run: needed(m, "RUN"),
            format: needed(m, "format"),
            out: m.get_one::<PathBuf>("out").cloned(),
        },
        ("approve", _) => Action::Approve {
            run: needed(m, "RUN"),
            unit: needed(m, "UNIT"),
            answer: match text(m, "answer") {
                Some(value) => Reply::Value(value),
                None if m.get_flag("no") => Reply::No,
                None => Reply::Yes,
            },
        },
        ("locks", _) => Action::Locks,
        ("unlock", _) => Action::Unlock { resource: needed(m, "RESOURCE"), yes: m.get_flag("yes") },
        ("completions", _) => {
            Action::Completions { shell: m.get_one("SHELL").copied().unwrap_or(Shell::Bash) }
        }
        _ => Action::List,
    };
    // Global options are handed down to the innermost command.
    let mut innermost = matches;
    while let Some((_, inner)) = innermost.subcommand() {
        innermost = inner;
    }
    let global = Global {
        env: text(innermost, "env"),
        config: innermost.get_one::<PathBuf>("config").cloned(),
        journal: innermost.get_one::<PathBuf>("journal").cloned(),
        output: text(innermost, "output").map(|how| match how.as_str() {
            "pretty" => Output::Pretty,
            "json" => Output::Json,
            _ => Output::Plain,
        }),
        verbose: innermost.get_flag("verbose"),
    };
    Request { global, action }
}

/// The text of a refusal. A name that stands where a runbook is expected is said to be no runbook,
/// and the runbooks are listed; the rest is clap's own.
pub(crate) fn refusal(
    about: &About<'_>,
    words: &[OsString],
    error: &clap::Error,
) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let at = words.iter().position(|word| word.to_str() == Some(name))?;
    let takes_a_book =
        |word: &OsString| matches!(word.to_str(), Some("run" | "plan" | "check" | "show"));
    if !words[..at].iter().any(takes_a_book) {
        let book = about.books.iter().find(|book| book.name == *name)?;
        return Some(format!(
            "`{0}` is a runbook, not a command: `{1} run {0}` runs it, `{1} plan {0}` shows what \
             it would do",
            book.name, about.program
        ));
    }
    let mut text = format!("no runbook is called `{name}`");
    match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(near)) if !near.is_empty() => {
            text.push_str(&format!("; did you mean `{}`?", near[0]));
        }
        _ => {}
    }
    let names: Vec<_> = about.books.iter().map(|book| book.name.as_str()).collect();
    if names.is_empty() {
        text.push_str("\n  there are no runbooks in this program");
    } else {
        text.push_str(&format!("\n  there is: {}", names.join(", ")));
    }
    Some(text)
}
