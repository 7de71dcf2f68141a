//! Installing exactly what the lock file says.

use std::path::Path;

use runbook_core::{Context, FileKind, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::kept;
use crate::package::Npm;

const MODULES: &str = "node_modules";

/// What was installed before, by npm's own list of it: how [`Npm::install`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    there: bool,
    list: Option<String>,
}

impl Npm {
    /// Installs exactly what `package-lock.json` says (`npm ci`). What was installed before is kept
    /// beside it; a rollback puts that back, without the registry.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::Npm;
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.step(shop.install());
    /// ```
    #[must_use]
    pub fn install(&self) -> impl Step<Output = (), Rollback = Installed> {
        install(self)
    }
}

/// Install the packages
#[step(title = "Install the packages of {npm}", rollback = Installed, repeatable, preview = "npm ci")]
async fn install(cx: &Context, npm: &Npm) -> Result<()> {
    let host = cx.on(npm.host());
    let modules = npm.dir().join(MODULES);
    kept::begin(npm, cx).await?;
    let kept = kept::place(npm, cx.observer(), Path::new(MODULES));
    // The first one is the one to go back to, should this run again.
    if host.exists(&modules).await? && !host.exists(&kept).await? {
        host.rename(&modules, &kept).await?;
    }
    npm.run(cx, &npm.command(&["ci"])).await.map(drop)
}

impl Rollback<install> for Installed {
    async fn record(step: &install, cx: &Observer) -> Result<Self> {
        let host = cx.on(step.npm.host());
        let modules = step.npm.dir().join(MODULES);
        let there = host.stat(&modules).await?.is_some_and(|info| info.kind == FileKind::Dir);
        let list = modules.join(".package-lock.json");
        let list = match host.exists(&list).await? {
            true => Some(sha256(&host.read(&list).await?)),
            false => None,
        };
        Ok(Self { there, list })
    }

    async fn rollback(&self, step: &install, _: Option<&()>, cx: &Context) -> Result<()> {
        let host = cx.on(step.npm.host());
        let modules = step.npm.dir().join(MODULES);
        let kept = kept::place(&step.npm, cx.observer(), Path::new(MODULES));
        if host.exists(&kept).await? {
            host.remove_tree(&modules).await?;
            return host.rename(&kept, &modules).await;
        }
        if !self.there {
            return host.remove_tree(&modules).await;
        }
        Ok(())
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
