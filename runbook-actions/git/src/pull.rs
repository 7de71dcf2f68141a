//! Pulling: fetch, and fast-forward the branch, or not at all.

use runbook_core::{Context, Observer, Result, Rollback, Step};
use runbook_macros::step;

use crate::checkout::Was;
use crate::commit::{Commit, short};
use crate::error::Error;
use crate::repository::Git;

impl Git {
    /// Fetches, and forwards the branch that is checked out to `branch` of the remote. Refuses if
    /// files are changed and not committed, if no branch is checked out, and if the two went
    /// different ways. A rollback goes back to the commit that it came from.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_git::Git;
    /// # let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// let release = b.step(app.pull("main"));
    /// ```
    pub fn pull(&self, branch: impl Into<String>) -> impl Step<Output = Commit, Rollback = Was> {
        pull(self, branch.into())
    }
}

/// Pull
#[step(
    title = "Pull {branch} into {git}",
    rollback = Was,
    repeatable,
    preview = "git pull --ff-only"
)]
async fn pull(cx: &Context, git: &Git, branch: String) -> Result<Commit> {
    let looks = cx.observer();
    git.refuse_changes(looks).await?;
    let before = git.resolve(looks, "HEAD").await?;
    let Some(here) = git.branch(looks).await? else {
        let commit = short(&before).to_owned();
        return Err(Error::NoBranch { place: git.to_string(), commit }.failure());
    };
    let upstream = format!("{}/{branch}", git.remote_name());
    let refspec = format!("+refs/heads/{branch}:refs/remotes/{upstream}");
    git.run(cx, &["fetch", "--tags", "--", git.remote_name(), &refspec]).await?;
    let wanted = git.resolve(looks, &format!("refs/remotes/{upstream}")).await?;
    let behind = ["merge-base", "--is-ancestor", &before, &wanted];
    if !git.status(looks, &behind).await?.exit.success() {
        return Err(Error::Diverged { place: git.to_string(), branch: here, upstream }.failure());
    }
    git.run(cx, &["merge", "--quiet", "--ff-only", &wanted]).await?;
    let commit = git.commit(looks, "HEAD").await?;
    cx.say(if commit.id == before {
        format!("{} was up to date", commit.short())
    } else {
        format!("{} to {}: {}", short(&before), commit.short(), commit.subject)
    });
    Ok(commit)
}

impl Rollback<pull> for Was {
    async fn record(step: &pull, cx: &Observer) -> Result<Self> {
        Was::of(&step.git, cx).await
    }

    async fn rollback(&self, step: &pull, _: Option<&Commit>, cx: &Context) -> Result<()> {
        self.back(&step.git, cx).await
    }
}
