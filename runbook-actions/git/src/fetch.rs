//! Fetching: the remote's commits, branches and tags.

use runbook_core::{Context, Harmless, Result, Step};
use runbook_macros::step;

use crate::repository::Git;

impl Git {
    /// Fetches the remote's branches and tags. The work tree stays as it is.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_git::Git;
    /// # let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.step(app.fetch());
    /// ```
    #[must_use]
    pub fn fetch(&self) -> impl Step<Output = (), Rollback = Harmless> {
        fetch(self)
    }
}

/// Fetch
#[step(
    harmless,
    repeatable,
    title = "Fetch what the remote of {git} has",
    preview = "git fetch --tags"
)]
async fn fetch(cx: &Context, git: &Git) -> Result<()> {
    git.run(cx, &["fetch", "--tags", "--", git.remote_name()]).await.map(drop)
}
