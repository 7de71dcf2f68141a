//! Checks: where the work tree is, whether it is clean, what was committed.

use runbook_core::{Check, IntoInput, Observer, Result, Verdict};
use runbook_macros::check;

use crate::commit::{Change, Commit, short};
use crate::error::Error;
use crate::repository::Git;

impl Git {
    /// No file that git knows is changed; files that it does not know are none of its business.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_git::Git;
    /// # let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.check(app.is_clean());
    /// ```
    #[must_use]
    pub fn is_clean(&self) -> impl Check<Evidence = Vec<Change>> {
        is_clean(self)
    }

    /// Which commit is checked out; it always passes.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_git::Git;
    /// # let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// let before = b.check(app.head());
    /// let id = before.map(|commit| commit.id.clone());
    /// ```
    #[must_use]
    pub fn head(&self) -> impl Check<Evidence = Commit> {
        head(self)
    }

    /// The commit that is checked out is `revision`: a hash, a tag, a branch.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_git::Git;
    /// # let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.check(app.is_at("v2"));
    /// ```
    pub fn is_at(&self, revision: impl IntoInput<String>) -> impl Check<Evidence = Commit> {
        is_at(self, revision)
    }

    /// There is such a commit.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_git::Git;
    /// # let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.check(app.has("v2"));
    /// ```
    pub fn has(&self, revision: impl IntoInput<String>) -> impl Check<Evidence = Commit> {
        has(self, revision)
    }

    /// The last `n` commits, newest first; it always passes. To find what to go back to.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_git::Git;
    /// # let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.check(app.log(5));
    /// ```
    #[must_use]
    pub fn log(&self, n: u32) -> impl Check<Evidence = Vec<Commit>> {
        log(self, n)
    }

    /// The files that are changed and that git knows.
    pub(crate) async fn changes(&self, cx: &Observer) -> Result<Vec<Change>> {
        let words = ["status", "--porcelain=v1", "-z", "--untracked-files=no"];
        Ok(Change::parse(&self.look(cx, &words).await?))
    }

    /// An error if there are any.
    pub(crate) async fn refuse_changes(&self, cx: &Observer) -> Result<()> {
        let changes = self.changes(cx).await?;
        if changes.is_empty() {
            return Ok(());
        }
        Err(Error::Dirty { place: self.to_string(), changes }.failure())
    }

    /// The commit that a revision names.
    pub(crate) async fn commit(&self, cx: &Observer, revision: &str) -> Result<Commit> {
        let id = self.resolve(cx, revision).await?;
        Commit::parse_one(&self.look(cx, &["log", "-1", Commit::FORMAT, &id, "--"]).await?)
    }
}

/// The work tree is clean
#[check(title = "{git} has no uncommitted changes", preview = "git status --porcelain")]
async fn is_clean(cx: &Observer, git: &Git) -> Result<Verdict<Vec<Change>>> {
    let changes = git.changes(cx).await?;
    if changes.is_empty() {
        return Ok(Verdict::pass(changes, "nothing is changed"));
    }
    let dirty = Error::Dirty { place: git.to_string(), changes: changes.clone() };
    Ok(Verdict::fail(changes, dirty.to_string()))
}

/// The commit that is checked out
#[check(title = "What {git} is at", preview = "git log -1")]
async fn head(cx: &Observer, git: &Git) -> Result<Verdict<Commit>> {
    let commit = git.commit(cx, "HEAD").await?;
    let branch = git.branch(cx).await?;
    let on = branch.map(|branch| format!(" on {branch}")).unwrap_or_default();
    let why = format!("{}{on}: {}", commit.short(), commit.subject);
    Ok(Verdict::pass(commit, why))
}

/// The commit that is checked out is the one that was asked for
#[check(title = "{git} is at {revision}", preview = "git rev-parse HEAD")]
async fn is_at(cx: &Observer, git: &Git, revision: String) -> Result<Verdict<Commit>> {
    let wanted = git.resolve(cx, &revision).await?;
    let commit = git.commit(cx, "HEAD").await?;
    let at = commit.id == wanted;
    let why = if at {
        format!("it is: {}", commit.subject)
    } else {
        format!("it is at {} ({}), not {}", commit.short(), commit.subject, short(&wanted))
    };
    Ok(Verdict::pass_if(at, commit, why))
}

/// There is such a commit
#[check(title = "{git} has the commit {revision}", preview = "git rev-parse {revision}")]
async fn has(cx: &Observer, git: &Git, revision: String) -> Result<Verdict<Commit>> {
    let commit = git.commit(cx, &revision).await?;
    let why = format!("{}: {}", commit.short(), commit.subject);
    Ok(Verdict::pass(commit, why))
}

/// The last commits
#[check(title = "The last {n} commits of {git}", preview = "git log -n {n}")]
async fn log(cx: &Observer, git: &Git, n: u32) -> Result<Verdict<Vec<Commit>>> {
    let count = format!("-n{n}");
    let commits = Commit::parse(&git.look(cx, &["log", &count, Commit::FORMAT]).await?);
    let shown: Vec<_> =
        commits.iter().map(|commit| format!("{} {}", commit.short(), commit.subject)).collect();
    Ok(Verdict::pass(commits, shown.join("; ")))
}
