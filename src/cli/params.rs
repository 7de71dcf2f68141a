//! The parameters of runbooks as flags, and the words given for them. Secrets never come from the
//! command line itself.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use runbook_core::{Args, BookSpec, Error, ParamGiven, ParamSpec};

use super::io::Surroundings;
use super::prompt::SecretPrompt;

/// A runbook and the words given for its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) book: String,
    words: Vec<(String, Vec<String>)>,
    secret_files: Vec<(String, PathBuf)>,
}

/// The variable that a secret parameter is taken from: `RUNBOOK_PARAM_DB_PASSWORD`.
pub(crate) fn variable(name: &str) -> String {
    format!("RUNBOOK_PARAM_{}", name.to_uppercase().replace('-', "_"))
}

/// A runbook as a subcommand that takes its parameters as flags. The page of a runbook can be
/// printed without the required ones (`relaxed`).
pub(crate) fn command(book: &BookSpec, relaxed: bool) -> Command {
    let mut command = Command::new(book.name.clone()).about(book.title.clone());
    if !book.doc.is_empty() {
        // Its documentation stands below its title, and not in the list of runbooks.
        command = command.before_help(book.doc.clone()).help_template(
            "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}",
        );
    }
    for spec in &book.params {
        command = command.arg(arg(spec, relaxed));
    }
    command
}

fn arg(spec: &ParamSpec, relaxed: bool) -> Arg {
    let flag = spec.flag();
    let mut notes = Vec::new();
    let arg = Arg::new(spec.name.clone())
        .long(flag.clone())
        .help_heading("Parameters")
        .value_name(flag.to_uppercase().replace('-', "_"));
    if spec.kind.secret {
        let need = if spec.is_required() { " [required]" } else { "" };
        return arg.value_name("PATH").value_parser(value_parser!(PathBuf)).help(format!(
            "{} [a secret: from ${}, from this file, or asked for]{need}",
            sentence(&spec.doc),
            variable(&spec.name)
        ));
    }
    let mut arg = arg.required(spec.is_required() && !relaxed);
    if spec.kind.choices.is_empty() {
        if spec.kind.accepts != "text" {
            notes.push(spec.kind.accepts.clone());
        }
    } else {
        arg = arg.value_parser(PossibleValuesParser::new(&spec.kind.choices));
    }
    if spec.kind.many {
        arg = arg.action(ArgAction::Append);
        notes.push("may be given more than once".into());
    }
    if spec.kind.json_type == "boolean" {
        // `--now` is `--now=true`.
        arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    } else {
        // Negative numbers are values.
        arg = arg.allow_hyphen_values(spec.kind.json_type != "string");
    }
    match &spec.default {
        Some(default) => notes.push(format!("default: {default}")),
        None if spec.is_required() => notes.push("required".into()),
        None => {}
    }
    let notes: String = notes.iter().map(|note| format!(" [{note}]")).collect();
    arg.help(format!("{}{notes}", sentence(&spec.doc)).trim_start().to_owned())
}

/// The documentation in one line, without its full stop.
fn sentence(doc: &str) -> String {
    let text = doc.split_whitespace().collect::<Vec<_>>().join(" ");
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

impl Given {
    /// What was given for `spec`.
    pub(crate) fn read(spec: &BookSpec, matches: &ArgMatches) -> Self {
        let mut given =
            Self { book: spec.name.clone(), words: Vec::new(), secret_files: Vec::new() };
        for param in &spec.params {
            if param.kind.secret {
                let path = matches.get_one::<PathBuf>(&param.name);
                given.secret_files.extend(path.map(|path| (param.name.clone(), path.clone())));
            } else if let Some(words) = matches.get_many::<String>(&param.name) {
                given.words.push((param.name.clone(), words.cloned().collect()));
            }
        }
        given
    }

    /// What a run was started with, as its journal has it; `files` are `NAME=PATH` for its
    /// secrets, which the journal does not have.
    ///
    /// # Errors
    /// One of `files` is not of that form, or names no secret of the run.
    pub(crate) fn again(
        spec: &BookSpec,
        params: &[ParamGiven],
        files: &[String],
    ) -> Result<Self, Error> {
        let words = params.iter().filter(|param| !param.secret);
        let mut given = Self {
            book: spec.name.clone(),
            words: words.map(|param| (param.name.clone(), param.values.clone())).collect(),
            secret_files: Vec::new(),
        };
        let secrets: Vec<&str> = spec
            .params
            .iter()
            .filter(|param| param.kind.secret)
            .map(|param| param.name.as_str())
            .collect();
        for file in files {
            let Some((name, path)) = file.split_once('=') else {
                return Err(Error::usage(format!("--secret-file {file:?}: expected NAME=PATH")));
            };
            let name = name.replace('-', "_");
            if !secrets.contains(&name.as_str()) {
                return Err(Error::usage(match secrets.as_slice() {
                    [] => format!("--secret-file {file:?}: `{}` takes no secret", spec.name),
                    _ => format!(
                        "--secret-file {file:?}: `{}` has no secret parameter called `{name}`; \
                         there is: {}",
                        spec.name,
                        secrets.join(", ")
                    ),
                }));
            }
            given.secret_files.push((name, path.into()));
        }
        Ok(given)
    }

    /// Puts placeholders where a page needs no value: `<release>`.
    pub(crate) fn fill_in(&mut self, spec: &BookSpec) {
        for param in &spec.params {
            let given = self.words.iter().any(|(name, _)| *name == param.name);
            if given || !param.is_required() {
                continue;
            }
            if let Some(choice) = param.kind.example.as_ref().or(param.kind.choices.first()) {
                self.words.push((param.name.clone(), vec![choice.clone()]));
            } else if param.kind.json_type == "string" {
                self.words.push((
                    param.name.clone(),
                    vec![format!("<{}>", param.name.replace('_', "-"))],
                ));
            }
        }
    }

    /// The arguments, with secrets from their variables, their files, or a person. `needed` are
    /// the secrets without which there is no going on: those required, or given at the start of
    /// the run.
    ///
    /// # Errors
    /// A file of a secret can't be read, or a secret is missing and nobody can be asked.
    pub(crate) fn args(
        &self,
        spec: &BookSpec,
        also_needed: &[ParamGiven],
        surroundings: &Surroundings,
        prompt: &mut dyn SecretPrompt,
    ) -> Result<Args, Error> {
        let mut args = Args::new();
        for (name, words) in &self.words {
            for word in words {
                args = args.with(name, word);
            }
        }
        for param in spec.params.iter().filter(|param| param.kind.secret) {
            // A placeholder stands for it on a page.
            if !args.get(&param.name).is_empty() {
                continue;
            }
            let needed =
                param.is_required() || also_needed.iter().any(|given| given.name == param.name);
            if let Some(secret) = self.secret(param, needed, surroundings, prompt)? {
                // Known to the scrubber before anything else sees it.
                let _ = runbook_core::Secret::new(secret.as_str());
                args = args.with(&param.name, secret);
            }
        }
        Ok(args)
    }

    fn secret(
        &self,
        param: &ParamSpec,
        needed: bool,
        surroundings: &Surroundings,
        prompt: &mut dyn SecretPrompt,
    ) -> Result<Option<String>, Error> {
        if let Some((_, path)) = self.secret_files.iter().find(|(name, _)| *name == param.name) {
            return read_secret_file(param, &surroundings.dir.join(path)).map(Some);
        }
        let variable = variable(&param.name);
        if let Some(value) = surroundings.var(&variable) {
            return Ok(Some(value));
        }
        if !needed {
            return Ok(None);
        }
        if surroundings.answering {
            let what = if param.doc.is_empty() { param.name.clone() } else { sentence(&param.doc) };
            return prompt.secret(&what).map(Some).map_err(|error| {
                Error::usage(format!("asking for the secret `{}`: {error}", param.name))
            });
        }
        Err(Error::usage(format!(
            "the secret `{name}` is missing: set ${variable} or give --{flag} PATH; secrets are \
             not taken from the command line, where every process could read them",
            name = param.name,
            flag = param.flag()
        )))
    }
}

/// The text of a file, without the line end that editors add.
fn read_secret_file(param: &ParamSpec, path: &Path) -> Result<String, Error> {
    let refuse = |why: &dyn std::fmt::Display| {
        Error::usage(format!("reading the secret `{}` from {}: {why}", param.name, path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(&error))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err(refuse(&"the file is empty")) } else { Ok(text.to_owned()) }
}
