//! Operational runbooks as typed Rust: a runbook that compiles, journals before it acts, and undoes
//! what it did.
//!
//! A runbook is ordinary code that adds typed steps and checks to a builder. From that one source
//! come a runner, a dry-run plan, the Markdown page, a CI test and the incident timeline.
//!
//! # A first runbook
//!
//! A step is an async fn that says how it is undone; leaving that out does not compile. Borrowed
//! arguments (`&Host`) are fixed when the runbook is built. Owned ones can be wired from the output
//! of an earlier step.
//!
//! ```
//! use runbook::prelude::*;
//!
//! /// The disk has room
//! #[check]
//! async fn disk_has_room(cx: &Observer, host: &Host, megabytes: u64) -> Result<Verdict<u64>> {
//!     let df = cx.on(host).output(&cmd!("df -Pm /").read_only()).await?.text();
//!     let free = df.split_whitespace().rev().nth(2).unwrap_or("0").parse()?;
//!     Ok(Verdict::pass_if(free >= megabytes, free, format!("{free} MiB are free")))
//! }
//!
//! /// Write the message of the day
//! #[step(before = message, rollback = put_back)]
//! async fn announce(cx: &Context, host: &Host, file: &Path, text: String) -> Result<()> {
//!     cx.on(host).write(file, text).await
//! }
//!
//! /// What stood there before: journaled before the step starts.
//! async fn message(cx: &Observer, host: &Host, file: &Path, _: &String) -> Result<Option<String>> {
//!     Ok(if cx.on(host).exists(file).await? { Some(cx.on(host).read_text(file).await?) } else { None })
//! }
//!
//! async fn put_back(
//!     cx: &Context,
//!     before: &Option<String>,
//!     _: Option<&()>,
//!     host: &Host,
//!     file: &Path,
//!     _: &String,
//! ) -> Result<()> {
//!     match before {
//!         Some(text) => cx.on(host).write(file, text.as_str()).await,
//!         None => cx.on(host).remove(file).await,
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::result::Result<(), runbook::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let motd = folder.path().join("motd");
//! let host = Host::new(Local::new());
//! let mut b = Runbook::new("announce");
//! b.check(disk_has_room(&host, 10));
//! b.step(announce(&host, &motd, "maintenance at noon"));
//! let plan = b.build()?;
//!
//! let engine = Engine::new(MemoryStore::new());
//! let outcome = engine.run(&plan, RunOptions::new()).outcome().await?;
//! assert_eq!(outcome.status, Status::Succeeded);
//! # assert!(motd.exists());
//! # Ok(()) }
//! ```
//!
//! # A program for operators
//!
//! `#[runbook]` makes a fn an entry of a [`Catalog`]; its parameters become command-line flags, and
//! [`cli::main`](crate::cli) gives the program its whole command line: `list`, `show`, `plan`,
//! `run`, `check`, `resume`, `rollback`, `runs`, `report`, `approve`, `locks` and more.
//!
//! ```no_run
//! use runbook::prelude::*;
//!
//! /// Greet somebody
//! #[runbook]
//! fn greet(
//!     b: &mut Runbook,
//!     /// Whom to greet
//!     #[param(default = "world")]
//!     name: String,
//! ) {
//!     b.manual(Manual::new(format!("Say hello to {name}")));
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     runbook::cli::main(Catalog::<()>::new("greetings").env("here", ()).book::<greet>())
//! }
//! ```
//!
//! # What to read next
//!
//! - [`Step`], [`Rollback`], [`Check`]: the contracts, written by hand.
//! - [`Runbook`]: everything that the builder can express.
//! - [`Engine`]: running plans from code, with [events](EventKind) and answers.
//! - `testing`: fake targets, faults, crashes.
//! - `report`: pages, timelines, JUnit, graphs.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! | --- | --- | --- |
//! | `cli` | yes | the operator's command line |
//! | `local` | yes | `targets::Local`: this machine |
//! | `decorators` | yes | `targets::Sudo` and others that wrap any target |
//! | `ssh` | no | `targets::Ssh`: a host over SSH (libssh2 and OpenSSL) |
//! | `container` | no | `targets::Container`: a running container of any host |
//! | `git`, `host`, `http`, `mail`, `nginx`, `node`, `pm2`, `postgres`, `redis` | no | the action crates: `runbook::git` and so on |
//! | `report` | with `cli` | `report`: pages, timelines, JUnit, graphs |
//! | `harness` | no | `harness`: a catalog as a test program, for dev-dependencies |
//! | `testing` | no | `testing`: fakes (also `postgres::testing`, `redis::testing`, `http::testing`) and fault injection, for dev-dependencies |

pub use runbook_core::*;
pub use runbook_macros::*;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "harness")]
pub mod harness;

/// Where commands run.
#[cfg(any(feature = "container", feature = "decorators", feature = "local", feature = "ssh"))]
pub mod targets {
    pub use runbook_targets::*;
}

#[cfg(feature = "git")]
#[doc(inline)]
pub use runbook_git as git;
#[cfg(feature = "host")]
#[doc(inline)]
pub use runbook_host as host;
#[cfg(feature = "http")]
#[doc(inline)]
pub use runbook_http as http;
#[cfg(feature = "mail")]
#[doc(inline)]
pub use runbook_mail as mail;
#[cfg(feature = "nginx")]
#[doc(inline)]
pub use runbook_nginx as nginx;
#[cfg(feature = "node")]
#[doc(inline)]
pub use runbook_node as node;
#[cfg(feature = "pm2")]
#[doc(inline)]
pub use runbook_pm2 as pm2;
#[cfg(feature = "postgres")]
#[doc(inline)]
pub use runbook_postgres as postgres;
#[cfg(feature = "redis")]
#[doc(inline)]
pub use runbook_redis as redis;

/// What most runbooks use.
///
/// ```
/// use runbook::prelude::*;
/// let b = Runbook::new("empty");
/// assert!(b.build().is_ok());
/// ```
pub mod prelude {
    pub use std::path::{Path, PathBuf};
    pub use std::time::Duration;

    pub use runbook_core::{
        Catalog, Check, Command, Contact, Context, During, Engine, Escalation, Failure, FileStore,
        Host, Input, IntoInput, Lock, Manual, MemoryStore, Observer, Out, Result, Retry, Rollback,
        Rolling, RunOptions, Runbook, Secret, Severity, Status, Step, Verdict, Wait,
    };
    pub use runbook_macros::{Param, check, cmd, runbook, step};

    #[cfg(feature = "container")]
    pub use crate::targets::Container;
    #[cfg(feature = "local")]
    pub use crate::targets::Local;
    #[cfg(feature = "ssh")]
    pub use crate::targets::Ssh;
}
