//! The macros of `runbook`: [`macro@step`], [`macro@check`], [`macro@runbook`], [`cmd!`] and the
//! derive of `Param`.
//!
//! They are used through the facade crate `runbook`. What they expand to names nothing but
//! `::runbook`; a crate that depends on `runbook-core` alone writes
//! `extern crate runbook_core as runbook;` at its root.

mod attribute;
mod check;
mod cmd;
mod docs;
mod errors;
mod param;
mod runbook;
mod signature;
mod spans;
mod step;
mod template;
mod types;
mod unit;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemFn, parse_macro_input};

/// Turns an async fn into a step.
///
/// ```
/// # extern crate runbook_core as runbook;
/// # use runbook::{Command, Context, Host, Result, Runbook};
/// # use runbook_macros::{cmd, step};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Dump {
///     path: String,
/// }
///
/// /// Dumps a database.
/// ///
/// /// Readers and writers go on while it runs.
/// #[step(harmless, preview = "pg_dump -Fc {db}")]
/// async fn dump(cx: &Context, host: &Host, db: String) -> Result<Dump> {
///     let path = format!("/var/backups/{db}.dump");
///     cx.on(host).run(&cmd!("pg_dump -Fc -f {path} {db}")).await?;
///     Ok(Dump { path })
/// }
///
/// /// Restores a database.
/// #[step(irreversible, title = "Restore {db} on {host}")]
/// async fn restore(cx: &Context, host: &Host, db: String, dump: Dump) -> Result<()> {
///     let path = &dump.path;
///     cx.on(host).run(&cmd!("pg_restore -c -d {db} {path}")).await?;
///     Ok(())
/// }
///
/// fn move_shop(b: &mut Runbook, from: &Host, to: &Host) {
///     let dump = b.step(dump(from, "shop"));
///     b.irreversible(restore(to, "shop", dump), "the new host holds nothing yet");
/// }
/// # fn main() {}
/// ```
///
/// # What it makes
///
/// - A fn of the same name, which takes the same arguments but the context and makes the step; it
///   runs nothing.
/// - A struct of the same name, which implements `Step`. It has braces, so the two live in
///   different namespaces, and one `use` imports both. (A module of that name beside it would not
///   fit.)
/// - The body, as `name::call(..)`, unchanged: to be called on its own, e.g. in a unit test.
///
/// # The fn
///
/// Its first argument is `cx: &Context`, left out if it is not needed. Of the other arguments,
///
/// - **borrowed** ones (`&Host`, `&str`, `&[T]`, `&Path`, any `&T`) are cloned when the runbook is
///   built: what is there beforehand. Plans show those that implement `Display`; a `&Secret` is
///   never shown.
/// - **owned** ones (`String`, `Dump`) are inputs: the maker takes a value, or the `Out` of an
///   earlier unit. They implement `Clone` and serde's `Serialize`, and plans show them, as
///   `‹known after the run›` if that is so. What is shown is part of the plan's fingerprint.
///
/// It gives back a `Result` with any error that becomes a `Failure`, which every
/// `std::error::Error` does. What it gives goes to the journal and to later units: it implements
/// `Clone` and serde's `Serialize` and `Deserialize`.
///
/// The first paragraph of the doc comment is the title in plans and pages, the rest is the text.
///
/// # Options
///
/// How it is undone has to be said, in one of four ways:
///
/// | option | meaning |
/// | --- | --- |
/// | `harmless` | nothing has to be undone |
/// | `irreversible` | it can't be undone; it is added with `Runbook::irreversible`, and a reason |
/// | `rollback = Record` | `Record` implements `Rollback<name>` |
/// | `before = look, rollback = put_back` | two async fns: see below |
///
/// And there may be:
///
/// | option | meaning |
/// | --- | --- |
/// | `satisfied = is_so` | an async fn that says whether what the step brings about is already so: see below |
/// | `title = "Dump {db}"` | the title, with arguments |
/// | `preview = "pg_dump {db}"` | what would run, shown by `plan`; more than one, or a list |
/// | `id = "dump"` | the id, by default the name with dashes |
/// | `repeatable` | it may run again when it is not known how far it got |
///
/// # The fns named in the options
///
/// They take the context, then what is theirs, then **all arguments of the step in the same order,
/// owned ones by reference** (`&str` will do for a `String`):
///
/// ```
/// # extern crate runbook_core as runbook;
/// # use runbook::{Context, Observer, Result};
/// # use runbook_macros::step;
/// use std::path::Path;
///
/// /// Before the step: looks at what is there. What it gives goes to the journal, and is compared
/// /// with a second look after a rollback.
/// async fn read(_: &Observer, file: &Path, _line: &str) -> Result<Option<String>> {
///     Ok(std::fs::read_to_string(file).ok())
/// }
///
/// /// Puts it back. `done` is what the step gave, `None` if it may be half done. It may have to
/// /// run again, if it is interrupted itself.
/// async fn put_back(
///     _: &Context,
///     was: &Option<String>,
///     _done: Option<&usize>,
///     file: &Path,
///     _line: &str,
/// ) -> Result<()> {
///     match was {
///         Some(text) => std::fs::write(file, text)?,
///         None if file.exists() => std::fs::remove_file(file)?,
///         None => {}
///     }
///     Ok(())
/// }
///
/// /// Whether it is already so, and then with which output.
/// async fn has_line(_: &Observer, file: &Path, line: &str) -> Result<Option<usize>> {
///     let text = std::fs::read_to_string(file).unwrap_or_default();
///     Ok(text.lines().any(|one| one == line).then_some(text.len()))
/// }
///
/// /// Adds a line to a file.
/// #[step(before = read, rollback = put_back, satisfied = has_line)]
/// async fn add_line(file: &Path, line: String) -> Result<usize> {
///     let mut text = std::fs::read_to_string(file).unwrap_or_default();
///     text.push_str(&line);
///     text.push('\n');
///     std::fs::write(file, &text)?;
///     Ok(text.len())
/// }
/// # fn main() {}
/// ```
///
/// # When it does not do what you expect
///
/// With `RUNBOOK_MACROS_DEBUG=1` in the environment of the compiler, its expansion is printed.
#[proc_macro_attribute]
pub fn step(args: TokenStream, item: TokenStream) -> TokenStream {
    on_fn("step", args, item, step::expand)
}

/// Turns an async fn into a check.
///
/// As [`macro@step`], but for an observation: its context is `cx: &Observer`, which can change
/// nothing, and it gives back a `Result<Verdict<..>>`.
///
/// ```
/// # extern crate runbook_core as runbook;
/// # use runbook::{Host, Observer, Result, Runbook, Verdict};
/// # use runbook_macros::{check, cmd};
/// /// Enough memory is free.
/// #[check(title = "{host} has {least} MiB free", preview = "free -m")]
/// async fn memory(cx: &Observer, host: &Host, least: u64) -> Result<Verdict<u64>> {
///     let text = cx.on(host).output(&cmd!("free -m").read_only()).await?.text();
///     let free = text.split_whitespace().nth(12).unwrap_or("0").parse()?;
///     Ok(Verdict::pass_if(free >= least, free, format!("{free} MiB are free")))
/// }
///
/// fn before(b: &mut Runbook, host: &Host) {
///     b.check(memory(host, 512u64));
/// }
/// # fn main() {}
/// ```
///
/// Its options are `title`, `preview` and `id`.
#[proc_macro_attribute]
pub fn check(args: TokenStream, item: TokenStream) -> TokenStream {
    on_fn("check", args, item, check::expand)
}

/// Turns a fn that fills a builder into an entry of a catalog.
///
/// ```
/// # extern crate runbook_core as runbook;
/// # use runbook::{Args, Catalog, Host, Manual, Result, Runbook};
/// # use runbook_macros::{Param, runbook};
/// struct Env {
///     site: String,
/// }
///
/// #[derive(Param)]
/// enum Strategy {
///     /// All hosts at the same time.
///     AllAtOnce,
///     /// One host after the other.
///     Rolling,
/// }
///
/// /// Deploys a release.
/// ///
/// /// Old releases are cleaned up afterwards.
/// #[runbook]
/// fn deploy(
///     b: &mut Runbook,
///     env: &Env,
///     /// The release, as `git describe` prints it.
///     release: String,
///     /// How many old releases to keep.
///     #[param(default = 3)]
///     keep: u32,
///     #[param(default = "rolling")] strategy: Strategy,
/// ) -> Result<()> {
///     if keep == 0 {
///         return Err(runbook::Failure::msg("a rollback needs one old release at least"));
///     }
///     b.manual(Manual::new(format!("Deploy {release} to {}", env.site)));
///     # let _ = strategy;
///     Ok(())
/// }
///
/// let catalog = Catalog::new("shop").book::<deploy>();
/// let args = Args::new().with("release", "v2");
/// let plan = catalog.plan("deploy", &Env { site: "shop".into() }, &args)?;
/// assert_eq!(plan.outline().title, "Deploys a release");
/// # Ok::<(), runbook::Error>(())
/// ```
///
/// The fn stays what it is, so that one runbook can call another. Beside it there is a struct of
/// the same name, for `Catalog::book`.
///
/// Its first argument is the builder, `b: &mut Runbook`; its second may be the environment,
/// borrowed. The others are the parameters: flags of the command line, with their doc comments as
/// help. Their types implement `Param`. `#[param(default = ..)]` gives a default, as a literal. It
/// gives back nothing, or a `Result<()>`.
///
/// Its one option is `name = "deploy-shop"`; by default the name is the fn's, with dashes.
#[proc_macro_attribute]
pub fn runbook(args: TokenStream, item: TokenStream) -> TokenStream {
    on_fn("runbook", args, item, runbook::expand)
}

/// A command, written as a line and split when it is compiled. No shell ever sees it.
///
/// ```
/// # extern crate runbook_core as runbook;
/// # use runbook_macros::cmd;
/// # use std::path::Path;
/// let (port, db) = (5432, "shop; rm -rf /");
/// let files = ["a b", "c"];
///
/// // A value is one argument, or part of one, whatever it holds.
/// let dump = cmd!("pg_dump --port={port} {db}");
/// assert_eq!(dump.to_string(), "pg_dump --port=5432 'shop; rm -rf /'");
///
/// // A list becomes several arguments.
/// assert_eq!(cmd!("rm -f {files...}").to_string(), "rm -f 'a b' c");
///
/// // Quotes group; an expression gets a name; a brace that is meant as text is doubled.
/// let dir = Path::new("/srv");
/// let list = cmd!("awk '{{print $1}}' '{dir}/my list' {log}", log = dir.join("log"));
/// assert_eq!(list.arguments().len(), 3);
/// assert_eq!(list.arguments()[1], "/srv/my list");
/// ```
///
/// What a shell would act on does not compile unless it is quoted: `|`, `>`, `<`, `;`, `&`, `$(..)`,
/// backticks, `$NAME`, `*`, `?`, `~`. (In double quotes `$NAME`, `$(..)` and backticks neither;
/// single quotes leave them as text.) The message says what to do instead.
///
/// The result is a `Command`: `.env(..)`, `.stdin(..)`, `.dir(..)` and `.read_only()` follow. A
/// `Secret` can't be interpolated, since arguments are visible to everybody on the host.
#[proc_macro]
pub fn cmd(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as cmd::Input);
    shown("cmd", cmd::expand(&input))
}

/// Makes an enum of bare variants a set of words that an operator can type.
///
/// ```
/// # extern crate runbook_core as runbook;
/// use runbook::Param as _;
/// use runbook_macros::Param;
///
/// #[derive(Param, Debug, PartialEq)]
/// enum Strategy {
///     /// All hosts at the same time.
///     AllAtOnce,
///     Rolling,
/// }
///
/// assert_eq!(Strategy::parse("all-at-once"), Ok(Strategy::AllAtOnce));
/// assert_eq!(
///     Strategy::parse("never"),
///     Err("all-at-once (All hosts at the same time) or rolling".into())
/// );
/// ```
#[proc_macro_derive(Param)]
pub fn derive_param(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    shown("derive(Param)", param::expand(&input))
}

fn on_fn(
    attribute: &str,
    args: TokenStream,
    item: TokenStream,
    expand: fn(proc_macro2::TokenStream, &ItemFn) -> proc_macro2::TokenStream,
) -> TokenStream {
    let unchanged = proc_macro2::TokenStream::from(item.clone());
    match syn::parse::<ItemFn>(item) {
        Ok(item) => shown(attribute, expand(args.into(), &item)),
        Err(error) => {
            // The item stays, so that the compiler says what is wrong with its syntax, and nothing
            // that uses it fails as well.
            let error = syn::Error::new(error.span(), format!("`#[{attribute}]` goes on a fn"))
                .to_compile_error();
            quote::quote! { #unchanged #error }.into()
        }
    }
}

/// Prints an expansion to standard error if `RUNBOOK_MACROS_DEBUG` is set.
fn shown(what: &str, expansion: proc_macro2::TokenStream) -> TokenStream {
    if std::env::var_os("RUNBOOK_MACROS_DEBUG").is_some_and(|value| value == "1") {
        use std::io::Write;
        // Not being able to print is no reason to fail the build.
        let _ = writeln!(std::io::stderr(), "// {what}\n{expansion}\n");
    }
    expansion.into()
}
