//! Scripts that leave nothing behind, and the cache.

use runbook_core::{Context, Harmless, Result, Step};
use runbook_macros::step;

use crate::package::Npm;

impl Npm {
    /// Runs a script that changes nothing that matters: `typecheck`, `lint`, `test:unit`. For one
    /// that builds there is [`build`](Self::build).
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::Npm;
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("release");
    /// for script in ["typecheck", "lint", "test:unit"] {
    ///     b.step(shop.script(script));
    /// }
    /// ```
    pub fn script(&self, name: impl Into<String>) -> impl Step<Output = (), Rollback = Harmless> {
        script(self, &name.into())
    }

    /// Empties npm's cache of downloads; the next install downloads again.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::Npm;
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("clean-up");
    /// b.step(shop.clean_cache());
    /// ```
    #[must_use]
    pub fn clean_cache(&self) -> impl Step<Output = (), Rollback = Harmless> {
        clean_cache(self)
    }
}

/// Run the script
#[step(
    harmless,
    repeatable,
    id = "npm-script",
    title = "Run the script {name} of {npm}",
    preview = "npm run {name}"
)]
async fn script(cx: &Context, npm: &Npm, name: &str) -> Result<()> {
    npm.run(cx, &npm.command(&["run", name])).await.map(drop)
}

/// Empty the cache of downloads
#[step(
    harmless,
    repeatable,
    title = "Empty npm's cache on {npm}",
    preview = "npm cache clean --force"
)]
async fn clean_cache(cx: &Context, npm: &Npm) -> Result<()> {
    npm.run(cx, &npm.command(&["cache", "clean", "--force"])).await.map(drop)
}
