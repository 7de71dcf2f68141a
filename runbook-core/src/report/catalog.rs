//! [`catalog_page`], [`how_to_run`]: which runbooks there are, and how each is called.

use std::fmt::Write as _;

use super::text::{code, code_cell, embedded, fenced, markdown};
use crate::catalog::BookSpec;
use crate::param::ParamSpec;

/// The Markdown page of a catalog: its runbooks, and how each is called.
///
/// `program` is the name of the binary, `about` a sentence on what it is for.
///
/// ```
/// use runbook_core::{BookSpec, report};
/// let wave = BookSpec {
///     name: "wave".into(),
///     title: "Wave".into(),
///     doc: String::new(),
///     params: vec![],
/// };
/// let page = report::catalog_page("greetings", "All that is polite.", [&wave]);
/// assert!(page.contains("greetings run wave"));
/// ```
#[must_use]
pub fn catalog_page<'a>(
    program: &str,
    about: &str,
    books: impl IntoIterator<Item = &'a BookSpec>,
) -> String {
    let books: Vec<&BookSpec> = books.into_iter().collect();
    let mut out = format!("# Runbooks of {}\n\n", markdown(program));
    if !about.trim().is_empty() {
        let _ = writeln!(out, "{}", embedded(about));
    }
    if books.is_empty() {
        out.push_str("There are none.\n");
        return out;
    }
    out.push_str("| Runbook | What it does |\n| --- | --- |\n");
    for book in &books {
        let _ = writeln!(out, "| {} | {} |", code_cell(&book.name), markdown(&book.title));
    }
    for book in &books {
        let _ = write!(out, "\n## {}\n\n{}\n\n", code(&book.name), markdown(&book.title));
        if !book.doc.trim().is_empty() {
            let _ = writeln!(out, "{}", embedded(&book.doc));
        }
        out.push_str(&how_to_run(program, book));
    }
    out
}

/// How a runbook is run: its command line, and a table of its parameters. The end of a runbook's
/// page, where its [`page`](super::page()) is not about one set of parameters.
///
/// ```
/// use runbook_core::{BookSpec, report};
///
/// let wave = BookSpec {
///     name: "wave".into(),
///     title: "Wave".into(),
///     doc: String::new(),
///     params: vec![],
/// };
/// assert_eq!(report::how_to_run("greetings", &wave), "```sh\ngreetings run wave\n```\n");
/// ```
#[must_use]
pub fn how_to_run(program: &str, book: &BookSpec) -> String {
    let mut out = fenced("sh", &usage(program, book));
    if book.params.is_empty() {
        return out;
    }
    out.push_str("\n| Parameter | Takes | Default | Meaning |\n| --- | --- | --- | --- |\n");
    for param in &book.params {
        let default = match (&param.default, param.is_required()) {
            (Some(default), _) => code_cell(default),
            (None, true) => "**must be given**".into(),
            (None, false) => "none".into(),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {default} | {} |",
            code_cell(&format!("--{}", param.flag())),
            markdown(&takes(param)),
            markdown(&param.doc)
        );
    }
    out
}

/// The command line that runs a book.
fn usage(program: &str, book: &BookSpec) -> String {
    let mut line = format!("{program} run {}", book.name);
    for param in &book.params {
        let flag = match (param.kind.secret, param.kind.json_type.as_str()) {
            (true, _) => format!("--{} PATH", param.flag()),
            (_, "boolean") => format!("--{}", param.flag()),
            _ => format!("--{} {}", param.flag(), param.name.to_uppercase()),
        };
        let more = if param.kind.many { ".." } else { "" };
        let _ = if param.is_required() {
            write!(line, " {flag}{more}")
        } else {
            write!(line, " [{flag}]{more}")
        };
    }
    super::text::one_line(&line)
}

fn takes(param: &ParamSpec) -> String {
    if param.kind.secret {
        return "a file that holds the secret".into();
    }
    let mut text = if param.kind.choices.is_empty() {
        param.kind.accepts.clone()
    } else {
        let (last, first) = match param.kind.choices.split_last() {
            Some((last, first)) if !first.is_empty() => (last, first),
            _ => return param.kind.accepts.clone(),
        };
        format!("{} or {last}", first.join(", "))
    };
    if param.kind.many {
        text.push_str("; more than once");
    }
    text
}
