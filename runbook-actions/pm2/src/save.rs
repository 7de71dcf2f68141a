//! Saving the list of apps, which PM2 brings back after a reboot.

use std::path::{Path, PathBuf};

use runbook_core::{Command, HostView};
use runbook_core::{Context, Failure, FileKind, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::daemon::Pm2;

/// The saved list as it was, by its checksum: how [`Pm2::save`] is undone. The list itself stays
/// on the host, since it holds the environment of all apps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedList(Option<String>);

impl Pm2 {
    /// Saves the list of apps, so that they come back after a reboot. A rollback puts back the list
    /// that was there.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("deploy");
    /// b.step(pm2.save());
    /// ```
    #[must_use]
    pub fn save(&self) -> impl Step<Output = (), Rollback = SavedList> {
        save(self)
    }

    async fn saved_list(&self, cx: &Observer) -> Result<PathBuf> {
        let home = match self.home_dir() {
            Some(home) => home.to_owned(),
            None => {
                let ask = Command::new("printenv").arg("HOME").read_only();
                let home = cx.on(self.host()).output(&ask).await?.text();
                PathBuf::from(home.trim_end_matches('\n')).join(".pm2")
            }
        };
        Ok(home.join("dump.pm2"))
    }
}

async fn checksum(host: &HostView<'_>, path: &Path) -> Result<Option<String>> {
    if !host.stat(path).await?.is_some_and(|info| info.kind == FileKind::File) {
        return Ok(None);
    }
    let output = host.output(&Command::new("sha256sum").arg("--").arg(path).read_only()).await?;
    Ok(output.text().split_whitespace().next().map(str::to_owned))
}

/// Where a run keeps the list that was there before it.
fn kept(list: &Path, cx: &Observer) -> PathBuf {
    list.with_extension(format!("pm2.before-{}", cx.run_id()))
}

/// Save the list of apps
#[step(title = "Save the list of {pm2}", rollback = SavedList, repeatable, preview = "pm2 save")]
async fn save(cx: &Context, pm2: &Pm2) -> Result<()> {
    let list = pm2.saved_list(cx.observer()).await?;
    let host = cx.on(pm2.host());
    let kept = kept(&list, cx.observer());
    // The first copy is the one to go back to, should this run again.
    if host.exists(&list).await? && !host.exists(&kept).await? {
        host.copy(&list, &kept).await?;
    }
    pm2.run(cx, None, &["save", "--force"]).await?;
    host.remove(&kept).await
}

impl Rollback<save> for SavedList {
    async fn record(step: &save, cx: &Observer) -> Result<Self> {
        let list = step.pm2.saved_list(cx).await?;
        checksum(&cx.on(step.pm2.host()), &list).await.map(SavedList)
    }

    async fn rollback(&self, step: &save, _: Option<&()>, cx: &Context) -> Result<()> {
        let list = step.pm2.saved_list(cx.observer()).await?;
        let host = cx.on(step.pm2.host());
        let Some(was) = &self.0 else { return host.remove(&list).await };
        // PM2 keeps the list before the last as `dump.pm2.bak`.
        let kept = kept(&list, cx.observer());
        for copy in [kept.clone(), list.with_extension("pm2.bak")] {
            if checksum(&host, &copy).await?.as_ref() == Some(was) {
                host.copy(&copy, &list).await?;
                return host.remove(&kept).await;
            }
        }
        if checksum(&host, &list).await?.as_ref() == Some(was) {
            return Ok(());
        }
        Err(Failure::msg(format!("the list of {} that was saved before is gone", step.pm2))
            .next("save it again once the apps are as they should be: `pm2 save`"))
    }
}
