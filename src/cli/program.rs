//! [`Program`]: the words with which an operator calls this program again.

use std::ffi::OsString;
use std::path::Path;

use runbook_core::quote;

use super::args::Global;
use super::io::Surroundings;

/// How the program was called: its name, and the options that the next call needs as well.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    name: String,
    options: String,
}

impl Program {
    /// The name as it was typed, so that it can be typed again; a full path only if the shell would
    /// not find the program by its name.
    pub(crate) fn named(
        word: Option<&OsString>,
        catalog: &str,
        surroundings: &Surroundings,
    ) -> Self {
        let typed = word.and_then(|word| word.to_str()).filter(|word| !word.is_empty());
        let typed = typed.unwrap_or(catalog);
        let path = Path::new(typed);
        let on_path = path.is_absolute()
            && surroundings.var("PATH").is_some_and(|dirs| {
                std::env::split_paths(&dirs).any(|dir| path.parent() == Some(&dir))
            });
        let name = match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if on_path => name,
            _ => typed,
        };
        Self { name: name.to_owned(), options: String::new() }
    }

    /// With the options of this call that decide where runs and environments are.
    pub(crate) fn with(mut self, global: &Global) -> Self {
        for (flag, path) in [("--journal", &global.journal), ("--config", &global.config)] {
            if let Some(path) = path {
                let path = path.display().to_string();
                self.options.push_str(&format!("{flag} {} ", quote(&path)));
            }
        }
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A whole command line.
    pub(crate) fn command(&self, words: &str) -> String {
        format!("{} {}{words}", quote(&self.name), self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::io::Io;

    #[test]
    fn commands_can_be_typed_as_they_are_shown() {
        let (io, _) = Io::captured("");
        let io = io.var("PATH", "/usr/bin:/opt/shop/bin");
        let name = |word: &str| {
            Program::named(Some(&word.into()), "shop", &io.surroundings).command("runs")
        };
        assert_eq!(name("/opt/shop/bin/shop"), "shop runs");
        assert_eq!(name("target/debug/shop"), "target/debug/shop runs");
        assert_eq!(name("/tmp/my tools/shop"), "'/tmp/my tools/shop' runs");
        assert_eq!(name(""), "shop runs");
        let global = Global { journal: Some("/tmp/j".into()), ..Global::default() };
        let program = Program::named(None, "shop", &io.surroundings).with(&global);
        assert_eq!(program.command("resume last"), "shop --journal /tmp/j resume last");
    }
}
