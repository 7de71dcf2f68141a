//! [`Error`]: what goes wrong with PM2 and its apps, and what to do about it.

use runbook_core::{Failure, Output, Problem, scrub};

use crate::daemon::Pm2;

/// What goes wrong with PM2 and its apps.
///
/// Steps and checks fail with it as a [`Failure`], which carries its text and what to do next.
///
/// ```
/// use runbook_pm2::Error;
/// let error = Error::NoApp {
///     place: "PM2 on web-1".into(),
///     app: "shop".into(),
///     known: vec!["shop-api".into()],
/// };
/// assert_eq!(error.to_string(), "PM2 on web-1 has no app `shop`; it has: shop-api");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `pm2` or `node` is not in the host's `PATH`.
    #[error("{place}: there is no program `{program}`")]
    NoProgram {
        /// The host.
        place: String,
        /// Which.
        program: String,
    },
    /// No daemon runs.
    #[error("{place}: no daemon runs")]
    NoDaemon {
        /// The host and home.
        place: String,
    },
    /// The daemon knows no app of that name.
    #[error("{place} has no app `{app}`; it has: {}", or_none(known))]
    NoApp {
        /// The host and home.
        place: String,
        /// The app.
        app: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// Anything else.
    #[error("{place}: `{command}`: {why}")]
    Other {
        /// The host and home.
        place: String,
        /// As a person would type it.
        command: String,
        /// How it ended, and what it said.
        why: String,
    },
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

impl Error {
    /// What a command that failed says.
    pub(crate) fn of(pm2: &Pm2, words: &str, output: &Output) -> Self {
        let place = pm2.to_string();
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.trim().is_empty() {
            said = output.text();
        }
        let said = scrub(&plain(&said)).trim().replace('\n', "; ");
        for program in ["node".into(), pm2.program_name()] {
            // As `env` says it, and as node says it of a program that it was to run.
            let by_env = said.contains(&format!("{program}\u{2019}: No such file"))
                || said.contains(&format!("{program}': No such file"));
            if by_env || said.contains(&format!("spawnSync {program} ENOENT")) {
                return Self::NoProgram { place, program };
            }
        }
        let why = format!("{}: {said}", output.exit);
        Self::Other { place, command: format!("pm2 {words}"), why }
    }

    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::NoProgram { program, .. } => format!(
                "install it, or put it into the PATH of commands that are run without a login \
                 (`command -v {program}` as that user)"
            ),
            Self::NoDaemon { .. } => "bring the saved apps back (`pm2 resurrect`), or check the \
                 user and PM2_HOME that are configured"
                .into(),
            Self::NoApp { .. } => "start it from its file, or correct its name; `pm2 status` \
                 shows all"
                .into(),
            Self::Other { .. } => "look into the daemon's log, `pm2.log` in its home".into(),
        }
    }

    /// Whether the daemon started the app between the two halves of a restart.
    pub(crate) fn is_started_meanwhile(&self) -> bool {
        matches!(self, Self::Other { why, .. } if why.contains("already exists"))
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

/// Without the escape sequences that PM2 colours its words with.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |at| at + 1);
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn colours_are_taken_out() {
        assert_eq!(super::plain("\u{1b}[31m[PM2][ERROR] \u{1b}[39mno"), "[PM2][ERROR] no");
        assert_eq!(super::plain("a\u{1b}["), "a");
    }
}
