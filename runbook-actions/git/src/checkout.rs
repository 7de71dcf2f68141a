//! Checking a revision out, and going back to where it was.

use runbook_core::{Context, IntoInput, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::commit::Commit;
use crate::repository::Git;

/// Where a work tree was: how [`Git::checkout`] and [`Git::pull`] are undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    pub(crate) commit: String,
    pub(crate) branch: Option<String>,
}

impl Was {
    pub(crate) async fn of(git: &Git, cx: &Observer) -> Result<Self> {
        Ok(Self { commit: git.resolve(cx, "HEAD").await?, branch: git.branch(cx).await? })
    }

    /// Back to that branch and commit. Changes that somebody made since stay, or it is refused.
    pub(crate) async fn back(&self, git: &Git, cx: &Context) -> Result<()> {
        match &self.branch {
            Some(branch) => {
                if git.branch(cx.observer()).await?.as_ref() != Some(branch) {
                    git.run(cx, &["checkout", "--quiet", branch, "--"]).await?;
                }
                git.run(cx, &["reset", "--quiet", "--keep", &self.commit, "--"]).await?;
            }
            None => {
                git.run(cx, &["checkout", "--quiet", "--detach", &self.commit, "--"]).await?;
            }
        }
        Ok(())
    }
}

impl Git {
    /// Checks a revision out: a branch, a tag or a commit. Refuses if files are changed and not
    /// committed. A rollback goes back to the branch and commit that it came from.
    ///
    /// A name that is no local branch is checked out as the commit that it names.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_git::Git;
    /// # let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// let release = b.step(app.checkout("v2"));
    /// ```
    pub fn checkout(
        &self,
        revision: impl IntoInput<String>,
    ) -> impl Step<Output = Commit, Rollback = Was> {
        checkout(self, revision)
    }

    /// Whether there is a local branch of that name.
    async fn is_branch(&self, cx: &Observer, name: &str) -> Result<bool> {
        let reference = format!("refs/heads/{name}");
        let words = ["show-ref", "--verify", "--quiet", &reference];
        Ok(self.status(cx, &words).await?.exit.success())
    }
}

async fn is_there(cx: &Observer, git: &Git, revision: &str) -> Result<Option<Commit>> {
    let wanted = git.resolve(cx, revision).await?;
    let now = Was::of(git, cx).await?;
    let branch = git.is_branch(cx, revision).await?.then(|| revision.to_owned());
    let there = now.commit == wanted && now.branch == branch;
    if there && git.changes(cx).await?.is_empty() {
        return git.commit(cx, "HEAD").await.map(Some);
    }
    Ok(None)
}

/// Check the revision out
#[step(
    title = "Check {revision} out in {git}",
    rollback = Was,
    satisfied = is_there,
    repeatable,
    preview = "git checkout {revision}"
)]
async fn checkout(cx: &Context, git: &Git, revision: String) -> Result<Commit> {
    let commit = git.resolve(cx.observer(), &revision).await?;
    git.refuse_changes(cx.observer()).await?;
    if git.is_branch(cx.observer(), &revision).await? {
        git.run(cx, &["checkout", "--quiet", &revision, "--"]).await?;
    } else {
        git.run(cx, &["checkout", "--quiet", "--detach", &commit, "--"]).await?;
    }
    git.commit(cx.observer(), "HEAD").await
}

impl Rollback<checkout> for Was {
    async fn record(step: &checkout, cx: &Observer) -> Result<Self> {
        Was::of(&step.git, cx).await
    }

    async fn rollback(&self, step: &checkout, _: Option<&Commit>, cx: &Context) -> Result<()> {
        self.back(&step.git, cx).await
    }
}
