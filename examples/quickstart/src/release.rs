//! Releases of the site: what is in them, unpacking, switching, cleaning up.

use std::path::PathBuf;

use runbook::{Context, Observer, Param, Result, Rollback, step};
use serde::{Deserialize, Serialize};

use crate::env::Site;

/// A release of the small site. On a real host this would be a tag and an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Param, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Release {
    /// The first release: works
    V1,
    /// The second release: works
    V2,
    /// Starts, and its health check says no
    V3Broken,
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3Broken => "v3-broken",
        })
    }
}

/// The files of a release.
pub(crate) fn files_of(release: Release) -> Vec<(&'static str, String)> {
    let database = match release {
        Release::V1 | Release::V2 => "shared",
        Release::V3Broken => "unreachable",
    };
    vec![
        ("index.html", format!("<!doctype html><title>Site</title><h1>This is {release}</h1>\n")),
        ("site.conf", format!("greeting = hello\ndatabase = {database}\n")),
    ]
}

/// The release that `current` points at.
pub(crate) async fn current(cx: &Observer, site: &Site) -> Result<Option<String>> {
    let link = cx.on(&site.host).stat(site.current()).await?.and_then(|info| info.link);
    Ok(link.and_then(|to| to.file_name().map(|name| name.to_string_lossy().into_owned())))
}

/// The releases that are installed, oldest first.
pub(crate) async fn installed(cx: &Observer, site: &Site) -> Result<Vec<String>> {
    let host = cx.on(&site.host);
    if !host.exists(site.releases()).await? {
        return Ok(Vec::new());
    }
    let mut all = host.list(site.releases()).await?;
    all.sort_by_key(|info| info.modified);
    let name = |info: runbook::FileInfo| info.path.file_name()?.to_str().map(str::to_owned);
    Ok(all.into_iter().filter_map(name).collect())
}

/// Whether the folder of the release was there before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WasThere(bool);

/// Unpack the release
///
/// Into a folder of its own beside the others; nothing serves from it yet.
#[step(title = "Unpack {release}", rollback = WasThere, repeatable)]
pub(crate) async fn unpack(cx: &Context, site: &Site, release: Release) -> Result<String> {
    let host = cx.on(&site.host);
    let folder = site.release(&release.to_string());
    host.create_dir(&folder).await?;
    for (name, text) in files_of(release) {
        cx.say(format!("{name}: {} bytes", text.len()));
        host.write(folder.join(name), text).await?;
    }
    Ok(release.to_string())
}

impl Rollback<unpack> for WasThere {
    async fn record(step: &unpack, cx: &Observer) -> Result<Self> {
        let folder = step.site.release(&step.release.get(cx)?.to_string());
        Ok(WasThere(cx.on(&step.site.host).exists(folder).await?))
    }

    async fn rollback(&self, step: &unpack, _: Option<&String>, cx: &Context) -> Result<()> {
        let folder = step.site.release(&step.release.get(cx)?.to_string());
        if !self.0 {
            cx.on(&step.site.host).remove_tree(folder).await?;
        }
        Ok(())
    }
}

/// Where `current` pointed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PointedAt(Option<PathBuf>);

/// Point `current` at the release
///
/// One rename: whoever looks sees the old release or the new one, never none.
#[step(title = "Point current at {release}", rollback = PointedAt, repeatable)]
pub(crate) async fn switch(cx: &Context, site: &Site, release: String) -> Result<String> {
    cx.on(&site.host).symlink(site.release(&release), site.current()).await?;
    Ok(release)
}

impl Rollback<switch> for PointedAt {
    async fn record(step: &switch, cx: &Observer) -> Result<Self> {
        let link = cx.on(&step.site.host).stat(step.site.current()).await?;
        Ok(PointedAt(link.and_then(|info| info.link)))
    }

    async fn rollback(&self, step: &switch, _: Option<&String>, cx: &Context) -> Result<()> {
        let host = cx.on(&step.site.host);
        match &self.0 {
            Some(to) => host.symlink(to, step.site.current()).await,
            None => host.remove(step.site.current()).await,
        }
    }
}

/// Remove old releases
///
/// Never the one that is current.
#[step(title = "Remove all but the last {keep} releases", irreversible, repeatable)]
pub(crate) async fn remove_old(cx: &Context, site: &Site, keep: usize) -> Result<Vec<String>> {
    let current = current(cx, site).await?;
    let all = installed(cx, site).await?;
    let too_many = all.len().saturating_sub(keep.max(1));
    let old: Vec<String> =
        all.into_iter().take(too_many).filter(|name| Some(name) != current.as_ref()).collect();
    for name in &old {
        cx.say(format!("removing {name}"));
        cx.on(&site.host).remove_tree(site.release(name)).await?;
    }
    Ok(old)
}
