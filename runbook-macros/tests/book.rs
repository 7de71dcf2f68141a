//! What `#[runbook]` and `#[derive(Param)]` make of a fn and an enum.

extern crate runbook_core as runbook;

use runbook_core::{Args, Catalog, Param, Result, Runbook, Secret};
use runbook_macros::{Param, runbook, step};

struct Env {
    site: String,
}

/// How a release is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Param)]
enum Strategy {
    /// All at once.
    AllAtOnce,
    Rolling,
}

#[step(harmless, title = "{what}")]
async fn note(what: String) -> Result<()> {
    drop(what);
    Ok(())
}

/// Deploys a release
/// of the site.
///
/// Then looks whether it answers.
#[runbook]
fn deploy(
    b: &mut Runbook,
    env: &Env,
    /// The release to deploy.
    /// As `git describe` prints it.
    release: String,
    #[param(default = 3)] keep: u32,
    /// How.
    #[param(default = "rolling")]
    strategy: Strategy,
    #[param(default = -1.5)] weight: f64,
    token: Option<Secret>,
    hosts: Vec<String>,
    dry: bool,
) -> Result<()> {
    b.step(note(format!(
        "{} {release} {keep} {strategy:?} {weight} {} {hosts:?} {dry}",
        env.site,
        token.is_some()
    )));
    clean_up(b, "old".into());
    Ok(())
}

#[runbook(name = "clean")]
fn clean_up(b: &mut Runbook, what: String) {
    b.step(note(what));
}

mod elsewhere {
    #[super::runbook]
    pub(crate) fn refuse(_b: &mut super::Runbook) -> Result<(), std::num::ParseIntError> {
        "x".parse::<u8>().map(drop)
    }
}

fn catalog() -> Catalog<Env> {
    Catalog::new("shop").book::<deploy>().book::<clean_up>().book::<elsewhere::refuse>()
}

fn titles(book: &str, args: &Args) -> std::result::Result<Vec<String>, runbook_core::Error> {
    let plan = catalog().plan(book, &Env { site: "shop".into() }, args)?;
    Ok(plan.outline().units().map(|unit| unit.title.clone()).collect())
}

#[test]
fn name_title_and_documentation_come_from_the_fn() {
    let catalog = catalog();
    let spec = catalog.spec("deploy").expect("it is there");
    assert_eq!(spec.title, "Deploys a release of the site");
    assert_eq!(spec.doc, "Then looks whether it answers.");
    let names: Vec<_> = catalog.books().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["deploy", "clean", "refuse"]);
    assert_eq!(catalog.spec("clean").expect("it is there").title, "Clean up");
}

#[test]
fn parameters_have_their_doc_comment_kind_and_default() {
    let catalog = catalog();
    let params = &catalog.spec("deploy").expect("it is there").params;
    let short: Vec<_> = params
        .iter()
        .map(|p| (p.name.as_str(), p.doc.as_str(), p.default.as_deref(), p.is_required()))
        .collect();
    assert_eq!(
        short,
        [
            ("release", "The release to deploy. As `git describe` prints it", None, true),
            ("keep", "", Some("3"), false),
            ("strategy", "How", Some("rolling"), false),
            ("weight", "", Some("-1.5"), false),
            ("token", "", None, false),
            ("hosts", "", None, false),
            ("dry", "", None, false),
        ]
    );
    assert!(params[4].kind.secret && params[5].kind.many);
    assert_eq!(params[2].kind.accepts, "all-at-once (All at once) or rolling");
    assert_eq!(params[2].kind.choices, ["all-at-once", "rolling"]);
}

#[test]
fn a_plan_is_filled_from_the_words_given_and_the_defaults() {
    let args = Args::new().with("release", "v2");
    assert_eq!(
        titles("deploy", &args).expect("it is filled"),
        ["shop v2 3 Rolling -1.5 false [] false", "old"]
    );
    let args = args
        .with("keep", "5")
        .with("strategy", "all-at-once")
        .with("weight", "2")
        .with("token", "a long token")
        .with("hosts", "a")
        .with("hosts", "b")
        .with("dry", "true");
    assert_eq!(
        titles("deploy", &args).expect("it is filled"),
        ["shop v2 5 AllAtOnce 2 true [\"a\", \"b\"] true", "old"]
    );
}

#[test]
fn what_is_missing_or_refused_is_named() {
    let missing = titles("deploy", &Args::new()).expect_err("no release").to_string();
    assert_eq!(
        missing,
        "--release is missing: The release to deploy. As `git describe` prints it (text)"
    );
    let args = Args::new().with("release", "v2").with("strategy", "blue");
    let refused = titles("deploy", &args).expect_err("no such strategy").to_string();
    assert_eq!(refused, "--strategy \"blue\": expected all-at-once (All at once) or rolling");
}

#[test]
fn an_error_of_the_body_is_a_usage_error() {
    assert!(titles("refuse", &Args::new()).expect_err("it refuses").is_usage());
}

#[test]
fn the_fn_stays_a_fn_so_that_runbooks_compose() {
    let mut b = Runbook::new("both");
    clean_up(&mut b, "one".into());
    clean_up(&mut b, "two".into());
    assert_eq!(b.build().expect("it is wired rightly").outline().units().count(), 2);
}

#[test]
fn a_derived_parameter_takes_its_words_only() {
    assert_eq!(Strategy::parse("all-at-once"), Ok(Strategy::AllAtOnce));
    assert!(Strategy::parse("AllAtOnce").is_err());
}
