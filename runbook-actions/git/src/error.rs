//! [`Error`]: what goes wrong with a work tree, and what to do about it.

use runbook_core::{Failure, Output, Problem, scrub};

use crate::commit::Change;
use crate::repository::Git;

/// What goes wrong with a work tree.
///
/// Steps and checks fail with it as a [`Failure`], which carries its text and what to do next.
///
/// ```
/// use runbook_git::Error;
/// let error = Error::UnknownRevision {
///     place: "/srv/shop on web-1".into(),
///     revision: "v3".into(),
///     remote: "origin".into(),
/// };
/// assert_eq!(error.to_string(), "/srv/shop on web-1: there is no commit `v3`");
/// assert!(error.advice().starts_with("fetch it"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder is no work tree.
    #[error("{place}: it is no git work tree")]
    NoRepository {
        /// The folder and host.
        place: String,
    },
    /// The work tree is another user's.
    #[error("{place}: git refuses a work tree of another user")]
    OtherOwner {
        /// The folder and host.
        place: String,
    },
    /// A revision names no commit.
    #[error("{place}: there is no commit `{revision}`")]
    UnknownRevision {
        /// The folder and host.
        place: String,
        /// The revision.
        revision: String,
        /// The remote that may have it.
        remote: String,
    },
    /// Files were changed and not committed.
    #[error("{place}: {} changed and not committed: {}", count(changes), list(changes))]
    Dirty {
        /// The folder and host.
        place: String,
        /// Which.
        changes: Vec<Change>,
    },
    /// The branch and that of the remote went different ways.
    #[error("{place}: `{branch}` can't be fast-forwarded: it has commits that {upstream} has not")]
    Diverged {
        /// The folder and host.
        place: String,
        /// The branch.
        branch: String,
        /// What it was to be forwarded to.
        upstream: String,
    },
    /// No branch is checked out.
    #[error("{place}: no branch is checked out, but the commit {commit}")]
    NoBranch {
        /// The folder and host.
        place: String,
        /// The commit.
        commit: String,
    },
    /// The remote can't be reached, or lets us not in.
    #[error("{place}: the remote can't be used: {why}")]
    Remote {
        /// The folder and host.
        place: String,
        /// What git says.
        why: String,
    },
    /// A tag is there already, on another commit or with other words.
    #[error("{place}: the tag `{tag}` is there already, on the commit {commit}")]
    TagTaken {
        /// The folder and host.
        place: String,
        /// The tag.
        tag: String,
        /// What it names.
        commit: String,
    },
    /// Another program works in the work tree, or was killed there.
    #[error("{place}: the work tree is locked: {why}")]
    Locked {
        /// The folder and host.
        place: String,
        /// What git says; names the lock file.
        why: String,
    },
    /// Anything else.
    #[error("{place}: `{command}`: {why}")]
    Other {
        /// The folder and host.
        place: String,
        /// As a person would type it.
        command: String,
        /// How it ended, and what it said.
        why: String,
    },
}

fn count(changes: &[Change]) -> String {
    match changes.len() {
        1 => "1 file is".into(),
        n => format!("{n} files are"),
    }
}

fn list(changes: &[Change]) -> String {
    const SHOWN: usize = 5;
    let mut list: Vec<&str> =
        changes.iter().take(SHOWN).map(|change| change.path.as_str()).collect();
    if changes.len() > SHOWN {
        list.push("..");
    }
    list.join(", ")
}

impl Error {
    /// What a command that failed says.
    pub(crate) fn of(git: &Git, words: &[&str], output: &Output) -> Self {
        let place = git.to_string();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = scrub(stderr.trim()).replace('\n', "; ");
        let has = |needle: &str| said.contains(needle);
        let remote = [
            "Could not read from remote",
            "unable to access",
            "Authentication failed",
            "could not read Username",
            "does not appear to be a git repository",
            "Could not resolve host",
            "Permission denied (publickey",
        ];
        if has("not a git repository") {
            Self::NoRepository { place }
        } else if has("dubious ownership") {
            Self::OtherOwner { place }
        } else if remote.iter().any(|text| has(text)) {
            Self::Remote { place, why: said }
        } else if has(".lock': File exists") {
            Self::Locked { place, why: said }
        } else {
            let why = if said.is_empty() {
                output.exit.to_string()
            } else {
                format!("{}: {said}", output.exit)
            };
            Self::Other { place, command: format!("git {}", words.join(" ")), why }
        }
    }

    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::NoRepository { .. } => {
                "correct the folder that is configured, or clone the repository there".into()
            }
            Self::OtherOwner { .. } => {
                "act as its owner (a `Sudo` host), or add it to that user's safe.directory".into()
            }
            Self::UnknownRevision { remote, .. } => format!(
                "fetch it first, or check its name: `git log --oneline --all`, `git ls-remote \
                 {remote}`"
            ),
            Self::Dirty { .. } => {
                "commit them, or put them away (`git stash`); `git status` shows all".into()
            }
            Self::Diverged { branch, upstream, .. } => format!(
                "see what only it has (`git log {upstream}..{branch}`), push or drop that, and try \
                 again"
            ),
            Self::NoBranch { .. } => "check out a branch first (`git checkout main`)".into(),
            Self::Remote { .. } => "see whether the host reaches the remote, and whether its user \
                 has a key or token for it; git is never let ask"
                .into(),
            Self::TagTaken { tag, .. } => {
                format!("take another name, or look at what it is: `git show {tag}`")
            }
            Self::Locked { .. } => "wait until no other git works there; if none does, remove the \
                 lock file that it names"
                .into(),
            Self::Other { .. } => "run it by hand on the host to see more".into(),
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
