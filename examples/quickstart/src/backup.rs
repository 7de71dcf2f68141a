//! Backups: an archive with its checksum beside it. Only a verified one counts.

use std::path::PathBuf;

use runbook::{Context, Observer, Result, Rollback, Verdict, check, cmd, step};
use serde::{Deserialize, Serialize};

use crate::env::Site;

/// An archive of the site's data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Backup {
    /// The archive; its checksum stands beside it in `.sha256`.
    pub(crate) archive: PathBuf,
    /// Its size in bytes.
    pub(crate) bytes: u64,
}

/// The archives that were there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Archives(Vec<PathBuf>);

/// Back the site's data up
///
/// An archive of `shared/`, with its checksum in the format of `sha256sum`.
#[step(
    rollback = Archives,
    repeatable,
    preview = "tar -czf backups/data-N.tar.gz shared",
    preview = "sha256sum data-N.tar.gz"
)]
pub(crate) async fn back_up(cx: &Context, site: &Site) -> Result<Backup> {
    let host = cx.on(&site.host);
    host.create_dir(site.shared()).await?;
    host.create_dir(site.backups()).await?;
    let data = site.shared().join("visits");
    if !host.exists(&data).await? {
        host.write(data, "0\n").await?;
    }
    // The next number after all that are there.
    let number = host.list(site.backups()).await?.len() / 2 + 1;
    let name = format!("data-{number}.tar.gz");
    let archive = site.backups().join(&name);
    let root = &site.root;
    host.run(&cmd!("tar -czf {archive} -C {root} shared")).await?;
    let sum = host.run(&cmd!("sha256sum {name}").dir(site.backups())).await?;
    host.write(site.backups().join(format!("{name}.sha256")), sum.stdout).await?;
    let bytes = host.stat(&archive).await?.map_or(0, |info| info.size);
    Ok(Backup { archive, bytes })
}

impl Rollback<back_up> for Archives {
    async fn record(step: &back_up, cx: &Observer) -> Result<Self> {
        archives(cx, &step.site).await.map(Archives)
    }

    async fn rollback(&self, step: &back_up, _: Option<&Backup>, cx: &Context) -> Result<()> {
        for path in archives(cx, &step.site).await? {
            if !self.0.contains(&path) {
                cx.on(&step.site.host).remove(path).await?;
            }
        }
        Ok(())
    }
}

async fn archives(cx: &Observer, site: &Site) -> Result<Vec<PathBuf>> {
    let host = cx.on(&site.host);
    if !host.exists(site.backups()).await? {
        return Ok(Vec::new());
    }
    Ok(host.list(site.backups()).await?.into_iter().map(|info| info.path).collect())
}

/// The backup is as it was written and can be read
#[check(preview = "sha256sum -c data-N.tar.gz.sha256")]
pub(crate) async fn backup_is_good(
    cx: &Observer,
    site: &Site,
    backup: Backup,
) -> Result<Verdict<Backup>> {
    let host = cx.on(&site.host);
    let name = backup.archive.file_name().unwrap_or_default();
    let sum = format!("{}.sha256", name.display());
    let verify = cmd!("sha256sum -c {sum}").dir(site.backups()).read_only();
    let verified = host.status(&verify).await?;
    if !verified.exit.success() {
        return Ok(Verdict::fail(backup, verified.text()));
    }
    let archive = &backup.archive;
    let files = host.output(&cmd!("tar -tzf {archive}").read_only()).await?.text();
    let why = format!("{} bytes, {} entries", backup.bytes, files.lines().count());
    Ok(Verdict::pass(backup, why))
}
