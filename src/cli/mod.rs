//! The operator's command line, given to any catalog in one line.
//!
//! ```no_run
//! use runbook::Catalog;
//!
//! fn catalog() -> Catalog {
//!     Catalog::new("shop").doc("Runbooks of the shop")
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     runbook::cli::main(catalog())
//! }
//! ```
//!
//! It gives `list`, `show`, `plan`, `run`, `check`, `resume`, `rollback`, `runs`, `report`,
//! `approve`, `locks`, `unlock` and `completions`; each tells more with `--help`. The parameters of
//! a runbook are flags of its own, documented by `run BOOK --help`.
//!
//! # Environments
//!
//! Those built into the catalog with [`Catalog::env`], and the tables of a TOML file: `--config
//! FILE`, or `NAME.toml` in the current folder, where `NAME` is the catalog's. The file goes before
//! what is built in. `--env` picks one; without it the first that is built in is taken, or the only
//! one of the file.
//!
//! # Hosts
//!
//! An environment that holds an [`Inventory`](crate::Inventory) reads its hosts and groups from
//! tables of its own:
//!
//! ```toml
//! [staging.hosts.web-1]
//! address = "192.0.2.11"
//! groups = ["web"]
//!
//! [staging.hosts.web-2]
//! groups = ["web"]
//! weight = 5            # goes before its group's
//!
//! [staging.groups.web]
//! weight = 1
//! ```
//!
//! ```
//! use runbook::prelude::*;
//! use runbook::{Inventory, Selection};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Shop {
//!     #[serde(flatten)]
//!     fleet: Inventory<Web>,
//! }
//!
//! #[derive(Deserialize)]
//! struct Web {
//!     weight: u8,
//! }
//!
//! /// Restart the web servers
//! #[runbook]
//! fn restart(
//!     b: &mut Runbook,
//!     env: &Shop,
//!     /// Which hosts
//!     hosts: Selection,
//! ) -> Result<()> {
//!     let rolling = Rolling { canary: 1, at_once: 2, max_failed: 1, ..Rolling::default() };
//!     b.each(env.fleet.select(&hosts)?.iter(), rolling, |host, b| {
//!         b.manual(Manual::new(format!("Restart {host}, of weight {}", host.values().weight)));
//!     });
//!     Ok(())
//! }
//! # let shop: Shop = serde_json::from_str(r#"{"hosts": {"web-1": {"weight": 1}}}"#).unwrap();
//! # let catalog = Catalog::new("shop").book::<restart>();
//! # let plan = |hosts: &str| catalog.plan("restart", &shop, &runbook::Args::new().with("hosts", hosts));
//! # assert_eq!(plan("web-1").unwrap().outline().units().count(), 1);
//! # assert!(plan("web-2").unwrap_err().to_string().contains("hosts: web-1; groups: all"));
//! ```
//!
//! A parameter of type [`Selection`](crate::Selection) takes hosts, groups and patterns (`run
//! restart --hosts 'web,!web-3'`); names that are not there are refused with those that are. A run
//! that went on without a host that failed ends with exit code 6.
//!
//! # Where runs are recorded
//!
//! In `--journal DIR`, else in the catalog's folder under `$XDG_STATE_HOME`, for root under
//! `/var/lib`, else under `~/.local/state`.
//!
//! # Secrets
//!
//! A secret parameter is never taken from the command line, where every process of the machine
//! could read it: it comes from the variable `RUNBOOK_PARAM_NAME`, from a file (`--NAME-file PATH`),
//! or from a prompt that shows nothing.
//!
//! # Questions
//!
//! Approvals, manual steps and their questions are asked at the terminal. Without one, or with
//! `--output json`, the run suspends with exit code 5, and says with which `approve` and `resume`
//! commands it goes on.
//!
//! # Signals
//!
//! Ctrl-C once, SIGTERM or a terminal that goes away: the run is cancelled and rolled back. Ctrl-C
//! twice: it stops where it is, and `resume` or `rollback` takes it up.

mod args;
mod commands;
mod env;
mod exit;
mod follow;
mod history;
mod io;
mod painter;
mod params;
mod place;
mod plain;
mod plan_page;
mod program;
mod prompt;
mod reporter;
mod runs;
mod style;
mod text;
mod view;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use runbook_core::Catalog;
use serde::de::DeserializeOwned;

use self::args::About;
use self::commands::Cli;
pub use self::exit::Exit;
pub use self::io::{Captured, Io};
#[cfg(feature = "harness")]
pub(crate) use self::params::variable;
use self::program::Program;
use self::style::{Color, Style};

/// Runs the command line of a catalog with the process's own arguments, input and output.
///
/// Builds the tokio runtime that it needs, so that it is called from an ordinary `main`. See the
/// [module](self) for an example.
pub fn main<E>(catalog: Catalog<E>) -> ExitCode
where
    E: DeserializeOwned + Send + Sync + 'static,
{
    run(&catalog, std::env::args_os(), Io::process()).into()
}

/// Runs the command line of a catalog with these words, the program's name first.
///
/// ```
/// use runbook::{Args, Book, BookSpec, Catalog, Error, Runbook};
/// use runbook::cli::{self, Exit, Io};
///
/// struct Deploy;
/// impl Book<()> for Deploy {
///     fn spec() -> BookSpec {
///         let (name, title) = ("deploy".into(), "Deploy a release".into());
///         BookSpec { name, title, doc: String::new(), params: vec![] }
///     }
///     fn fill(_: &mut Runbook, _: &(), _: &Args) -> Result<(), Error> {
///         Ok(())
///     }
/// }
///
/// let catalog = Catalog::new("shop").book::<Deploy>();
/// let (io, captured) = Io::captured("");
/// assert_eq!(cli::run(&catalog, ["shop", "run", "deplyo"], io), Exit::Usage);
/// assert!(captured.err().contains("did you mean `deploy`?"));
/// ```
pub fn run<E, W>(catalog: &Catalog<E>, words: W, io: Io) -> Exit
where
    E: DeserializeOwned + Send + Sync + 'static,
    W: IntoIterator,
    W::Item: Into<OsString>,
{
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let program = Program::named(words.first(), catalog.name(), &io.surroundings);
    let about = About {
        program: program.name(),
        name: catalog.name(),
        doc: catalog.about(),
        version: catalog.version_text(),
        books: catalog.books().collect(),
        width: io.surroundings.size().0,
    };
    match args::parse(&about, &words) {
        Ok(request) => {
            let program = program.clone().with(&request.global);
            let cli = Cli { catalog, global: request.global, program, about: &about };
            cli.execute(request.action, io)
        }
        Err(error) => refuse(&about, &words, &error, io),
    }
}

/// Help and version go to the output and are a success; the rest is an error.
fn refuse(about: &About<'_>, words: &[OsString], error: &clap::Error, mut io: Io) -> Exit {
    let (out, style) = if error.use_stderr() {
        (&mut io.err, io.surroundings.err_style)
    } else {
        (&mut io.out, io.surroundings.style)
    };
    if let Some(text) = args::refusal(about, words, error) {
        complain(out, style, &text);
    } else {
        let text = error.render();
        let _ = if style.color { write!(out, "{}", text.ansi()) } else { write!(out, "{text}") };
    }
    let _ = out.flush();
    if error.use_stderr() { Exit::Usage } else { Exit::Succeeded }
}

/// `error: `, and what is wrong.
fn complain(err: &mut dyn Write, style: Style, what: &str) {
    let word = style.paint(&style.bold("error:"), Color::Red);
    let _ = writeln!(err, "{word} {}", style.text_lines(what));
    let _ = err.flush();
}
