//! [`Error`]: what goes wrong with packages, and what to do about it.

use runbook_core::{Command, Failure, Output, Problem, scrub};

use crate::package::Npm;

/// Lines of what a program said that are worth showing: its last ones.
const SHOWN: usize = 12;

/// What goes wrong with packages.
///
/// Steps and checks fail with it as a [`Failure`], which carries its text and what to do next.
///
/// ```
/// use runbook_node::Error;
/// let error = Error::NoScript { place: "/srv/shop on web-1".into(), script: "biuld".into() };
/// assert_eq!(error.to_string(), "/srv/shop on web-1 has no script `biuld`");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder has no `package.json`.
    #[error("{place}: there is no package.json")]
    NoPackage {
        /// The folder and host.
        place: String,
    },
    /// `package.json` names no such script.
    #[error("{place} has no script `{script}`")]
    NoScript {
        /// The folder and host.
        place: String,
        /// The script.
        script: String,
    },
    /// The lock file is missing, or says something else than `package.json`.
    #[error("{place}: package-lock.json is missing or does not fit package.json: {why}")]
    Lock {
        /// The folder and host.
        place: String,
        /// What npm says.
        why: String,
    },
    /// The registry can't be reached, or refuses.
    #[error("{place}: the registry of packages can't be used: {why}")]
    Registry {
        /// The folder and host.
        place: String,
        /// What npm says.
        why: String,
    },
    /// The disk is full.
    #[error("{place}: no space is left on the disk: {why}")]
    DiskFull {
        /// The folder and host.
        place: String,
        /// What npm says.
        why: String,
    },
    /// Anything else: most often the script's own failure.
    #[error("{place}: `{command}` failed ({exit}): {why}")]
    Failed {
        /// The folder and host.
        place: String,
        /// As a person would type it.
        command: String,
        /// How it ended.
        exit: String,
        /// The end of what it said.
        why: String,
    },
}

impl Error {
    /// What a command that failed says.
    pub(crate) fn of(npm: &Npm, command: &Command, output: &Output) -> Self {
        let place = npm.to_string();
        let text = String::from_utf8_lossy(&output.stderr);
        let said = if text.trim().is_empty() { output.text() } else { text.into_owned() };
        let has = |needle: &str| said.contains(needle);
        let why = scrub(&last_lines(&said)).into_owned();
        if has("Missing script:") {
            let script = said.split("Missing script:").nth(1).unwrap_or_default();
            let script = script.trim().trim_start_matches('"');
            let script = script.split(['"', '\n']).next().unwrap_or_default().to_owned();
            Self::NoScript { place, script }
        } else if has("ENOSPC") {
            Self::DiskFull { place, why }
        } else if has("code EUSAGE") {
            Self::Lock { place, why }
        } else if has("package.json") && has("ENOENT") {
            Self::NoPackage { place }
        } else if ["ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "code E4", "code E5"]
            .iter()
            .any(|code| has(code))
            && has("npm error")
        {
            // One line says it, among those that show where npm's own code was.
            let line =
                said.lines().find(|line| line.contains("request to") || line.contains(" - "));
            let why = line.map_or(why, |line| scrub(&last_lines(line)).into_owned());
            Self::Registry { place, why }
        } else {
            Self::Failed { place, command: command.to_string(), exit: output.exit.to_string(), why }
        }
    }

    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::NoPackage { .. } => "correct the folder that is configured".into(),
            Self::NoScript { .. } => "`npm run` lists those that it has".into(),
            Self::Lock { .. } => {
                "run `npm install` where the code is written, and commit package-lock.json".into()
            }
            Self::Registry { .. } => "see whether the host reaches it (`npm ping`), and what \
                 `npm config get registry` says"
                .into(),
            Self::DiskFull { .. } => "make room (`df -h`), then resume".into(),
            Self::Failed { .. } => {
                "run it where the code is written; all that it said is with the \
                 run"
                .into()
            }
        }
    }

    /// As what steps and checks fail with.
    pub(crate) fn failure(self) -> Failure {
        let advice = self.advice();
        Failure::from(self).next(advice)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        error.failure().to_problem()
    }
}

/// The last lines, without those that only name npm's own log.
fn last_lines(text: &str) -> String {
    let noise = ["A complete log of this run", "npm error\u{20}\n"];
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim_end().trim_start_matches("npm error").trim_start_matches("npm ERR!"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !noise.iter().any(|noise| line.contains(noise)))
        .filter(|line| !line.ends_with("-debug-0.log"))
        .collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("; ")
}
