//! Building, and having the old build back at once.

use std::path::{Path, PathBuf};

use runbook_core::{Command, Context, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::kept;
use crate::package::Npm;

/// What a build had made before, by checksums: how [`Npm::build`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built(Vec<Option<String>>);

impl Npm {
    /// Runs a script that builds, and writes into these folders. What they held is copied beside
    /// first; a rollback puts that back, without building.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::Npm;
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.step(shop.build("build", [".next"]));
    /// ```
    pub fn build<P: Into<PathBuf>>(
        &self,
        script: impl Into<String>,
        outputs: impl IntoIterator<Item = P>,
    ) -> impl Step<Output = (), Rollback = Built> {
        let outputs = Outputs(outputs.into_iter().map(Into::into).collect());
        build(self, &script.into(), &outputs)
    }
}

/// The folders that a build writes into.
#[derive(Clone, Debug)]
struct Outputs(Vec<PathBuf>);

/// Build
#[step(
    title = "Build {npm} with its script {script}",
    rollback = Built,
    repeatable,
    preview = "npm run {script}"
)]
async fn build(cx: &Context, npm: &Npm, script: &str, outputs: &Outputs) -> Result<()> {
    let host = cx.on(npm.host());
    kept::begin(npm, cx).await?;
    for output in &outputs.0 {
        let (from, kept) = (npm.dir().join(output), kept::place(npm, cx.observer(), output));
        if host.exists(&from).await? && !host.exists(&kept).await? {
            // Copied under another name first: half a copy is never taken for the whole.
            let half = kept.with_extension("half");
            host.remove_tree(&half).await?;
            host.run(&Command::new("cp").args(["-a", "--"]).arg(&from).arg(&half)).await?;
            host.rename(&half, &kept).await?;
        }
    }
    npm.run(cx, &npm.command(&["run", script])).await.map(drop)
}

impl Rollback<build> for Built {
    async fn record(step: &build, cx: &Observer) -> Result<Self> {
        let host = cx.on(step.npm.host());
        let mut sums = Vec::new();
        for output in &step.outputs.0 {
            sums.push(kept::checksum(&host, &step.npm.dir().join(output)).await?);
        }
        Ok(Self(sums))
    }

    async fn rollback(&self, step: &build, _: Option<&()>, cx: &Context) -> Result<()> {
        let host = cx.on(step.npm.host());
        for (output, was) in step.outputs.0.iter().zip(&self.0) {
            put_back(step, cx, output, was.is_some()).await?;
        }
        let _ = host;
        Ok(())
    }
}

async fn put_back(step: &build, cx: &Context, output: &Path, was_there: bool) -> Result<()> {
    let host = cx.on(step.npm.host());
    let (to, kept) = (step.npm.dir().join(output), kept::place(&step.npm, cx.observer(), output));
    if host.exists(&kept).await? {
        host.remove_tree(&to).await?;
        return host.rename(&kept, &to).await;
    }
    // Nothing was kept: it was not there, or the build never began.
    if was_there { Ok(()) } else { host.remove_tree(&to).await }
}
