//! [`Git`]: a work tree on a host.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runbook_core::{Command, Context, Exit, Host, Observer, Output, Result};

use crate::error::Error;

/// A work tree on a host.
///
/// ```
/// use runbook_core::{Host, testing::FakeTarget};
/// use runbook_git::Git;
/// let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop").remote("upstream");
/// assert_eq!(app.to_string(), "/srv/shop on web-1");
/// ```
///
/// Git refuses work trees of other users ("dubious ownership"): give it a host that acts as the
/// owner (`Sudo`).
#[derive(Clone)]
pub struct Git(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    host: Host,
    dir: PathBuf,
    remote: String,
}

impl Git {
    /// The work tree in the folder `dir`, whose remote is called `origin`.
    #[must_use]
    pub fn new(host: &Host, dir: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Inner { host: host.clone(), dir: dir.into(), remote: "origin".into() }))
    }

    /// The same, with a remote of another name.
    #[must_use]
    pub fn remote(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).remote = name.into();
        self
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// The folder of the work tree.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The name of the remote.
    #[must_use]
    pub fn remote_name(&self) -> &str {
        &self.0.remote
    }

    /// `git` with these words, in the work tree.
    fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("git");
        for word in words {
            command = command.arg(word.as_ref());
        }
        command
            .dir(&self.0.dir)
            // What is read is in English, and nothing waits for an answer that nobody gives.
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    }

    /// Looks; what it says.
    pub(crate) async fn look(&self, cx: &Observer, words: &[&str]) -> Result<String> {
        let output = self.status(cx, words).await?;
        self.said(words, output)
    }

    /// Looks; however it ends is fine.
    pub(crate) async fn status(&self, cx: &Observer, words: &[&str]) -> Result<Output> {
        // A look takes no locks, not even to refresh the index.
        let command = self.command(words).env("GIT_OPTIONAL_LOCKS", "0").read_only();
        cx.on(&self.0.host).status(&command).await
    }

    /// Does; what it says.
    pub(crate) async fn run(&self, cx: &Context, words: &[&str]) -> Result<String> {
        let output = cx.on(&self.0.host).run_unchecked(&self.command(words)).await?;
        self.said(words, output)
    }

    fn said(&self, words: &[&str], output: Output) -> Result<String> {
        if output.exit == Exit::Code(0) {
            return Ok(output.text());
        }
        Err(Error::of(self, words, &output).failure())
    }

    /// The commit that a revision names.
    pub(crate) async fn resolve(&self, cx: &Observer, revision: &str) -> Result<String> {
        let unknown = || Error::UnknownRevision {
            place: self.to_string(),
            revision: revision.to_owned(),
            remote: self.0.remote.clone(),
        };
        if revision.is_empty() || revision.starts_with('-') || revision.contains(['\0', '\n']) {
            return Err(unknown().failure());
        }
        let commit = format!("{revision}^{{commit}}");
        let words = ["rev-parse", "--verify", "--quiet", &commit];
        let output = self.status(cx, &words).await?;
        match output.exit {
            Exit::Code(0) => Ok(output.text().trim().to_owned()),
            // Quiet, and 1: it is no revision. All else git says aloud.
            Exit::Code(1) if output.stderr.is_empty() => Err(unknown().failure()),
            _ => Err(Error::of(self, &words, &output).failure()),
        }
    }

    /// The branch that is checked out; `None` if it is a commit.
    pub(crate) async fn branch(&self, cx: &Observer) -> Result<Option<String>> {
        let words = ["symbolic-ref", "--quiet", "--short", "HEAD"];
        let output = self.status(cx, &words).await?;
        match output.exit {
            Exit::Code(0) => Ok(Some(output.text().trim().to_owned())),
            Exit::Code(1) if output.stderr.is_empty() => Ok(None),
            _ => Err(Error::of(self, &words, &output).failure()),
        }
    }
}

impl fmt::Display for Git {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.0.dir.display(), self.0.host)
    }
}

impl fmt::Debug for Git {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Git({self})")
    }
}
