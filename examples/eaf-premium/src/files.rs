//! The site's files: archived, verified, and brought back.

use std::path::{Path, PathBuf};

use runbook::{
    Command, Context, Failure, FileKind, Host, Observer, Result, Rollback, Verdict, check, step,
};
use serde::{Deserialize, Serialize};

/// What is archived, below the work tree.
pub(crate) const FILES: &str = ".data";

/// An archive of the site's files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Archive {
    pub(crate) path: PathBuf,
    sha256: String,
}

/// An archive that was read to its end; only [`archive_is_good`] makes one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GoodArchive {
    archive: Archive,
    files: usize,
}

/// Archive the site's files
///
/// Under another name until it is complete, and with its checksum beside it.
#[step(
    title = "Archive the files of {tree}",
    rollback = PartialArchive,
    repeatable,
    preview = "tar -czf {folder}/files-RUN.tar.gz .data"
)]
pub(crate) async fn archive_files(
    cx: &Context,
    host: &Host,
    tree: &Path,
    folder: &Path,
) -> Result<Archive> {
    let path = archive_of(cx.observer(), folder);
    let partial = path.with_extension("partial");
    let on = cx.on(host);
    on.create_dir(folder).await?;
    let tar = Command::new("tar").arg("-C").arg(tree).arg("-czf").arg(&partial).args(["--", FILES]);
    on.run(&tar).await?;
    let sha256 = checksum(cx.observer(), host, &partial).await?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    on.write(sidecar(&path), format!("{sha256}  {name}\n")).await?;
    on.rename(&partial, &path).await?;
    Ok(Archive { path, sha256 })
}

/// Nothing: the name of an archive is the run's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PartialArchive;

impl Rollback<archive_files> for PartialArchive {
    async fn record(_: &archive_files, _: &Observer) -> Result<Self> {
        Ok(Self)
    }

    async fn rollback(
        &self,
        step: &archive_files,
        _: Option<&Archive>,
        cx: &Context,
    ) -> Result<()> {
        let path = archive_of(cx.observer(), &step.folder);
        let on = cx.on(&step.host);
        for path in [path.with_extension("partial"), sidecar(&path), path] {
            on.remove(path).await?;
        }
        Ok(())
    }
}

/// The archive can be read to its end, and is as it was written
#[check(title = "The archive is whole", preview = "sha256sum -c; tar -tzf")]
pub(crate) async fn archive_is_good(
    cx: &Observer,
    host: &Host,
    archive: Archive,
) -> Result<Verdict<GoodArchive>> {
    let now = checksum(cx, host, &archive.path).await?;
    let same = now == archive.sha256;
    let shown = archive.path.display().to_string();
    if !same {
        let why = format!("{shown}: its SHA-256 is {now}, and was {}", archive.sha256);
        return Ok(Verdict::fail(GoodArchive { archive, files: 0 }, why));
    }
    let list = Command::new("tar").arg("-tzf").arg(&archive.path).read_only();
    let output = cx.on(host).output(&list).await?;
    let files = output.text().lines().filter(|line| !line.ends_with('/')).count();
    let why = format!("{shown}: {files} files, its checksum is right");
    Ok(Verdict::pass_if(files > 0, GoodArchive { archive, files }, why))
}

/// The latest archive
#[check(title = "There is an archive in {folder}")]
pub(crate) async fn latest_archive(
    cx: &Observer,
    host: &Host,
    folder: &Path,
) -> Result<Verdict<Archive>> {
    let on = cx.on(host);
    let list = if on.exists(folder).await? { on.list(folder).await? } else { Vec::new() };
    let newest = list
        .into_iter()
        .filter(|info| info.path.to_string_lossy().ends_with(".tar.gz"))
        .max_by(|a, b| a.path.cmp(&b.path));
    let Some(info) = newest else {
        return Err(Failure::msg(format!("{} holds no archive", folder.display()))
            .next("run `backup`, or look where the backups are"));
    };
    let path = info.path;
    let recorded = on.read_text(sidecar(&path)).await?;
    let sha256 = recorded.split_whitespace().next().unwrap_or_default().to_owned();
    let why = path.display().to_string();
    Ok(Verdict::pass(Archive { path, sha256 }, why))
}

/// Bring the site's files back
///
/// What is there now is moved aside, and comes back if this is undone.
#[step(
    title = "Bring the files of {tree} back",
    rollback = Files,
    repeatable,
    preview = "tar -xzf ARCHIVE"
)]
pub(crate) async fn bring_files_back(
    cx: &Context,
    host: &Host,
    tree: &Path,
    aside: &Path,
    archive: GoodArchive,
) -> Result<usize> {
    let on = cx.on(host);
    let (now, kept) = (tree.join(FILES), kept_files(cx.observer(), aside));
    on.create_dir(aside).await?;
    // The first one is the one to go back to, should this run again.
    if on.exists(&kept).await? {
        on.remove_tree(&now).await?;
    } else if on.exists(&now).await? {
        on.run(&Command::new("mv").args(["-T", "--"]).arg(&now).arg(&kept)).await?;
    }
    on.run(&Command::new("tar").arg("-C").arg(tree).arg("-xzf").arg(&archive.archive.path)).await?;
    Ok(archive.files)
}

/// A checksum over names and contents of all files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Files(Option<String>);

impl Rollback<bring_files_back> for Files {
    async fn record(step: &bring_files_back, cx: &Observer) -> Result<Self> {
        let dir = step.tree.join(FILES);
        let info = cx.on(&step.host).stat(&dir).await?;
        if !info.is_some_and(|info| info.kind == FileKind::Dir) {
            return Ok(Self(None));
        }
        let script = "cd -- \"$1\" && find . -type f -print0 | LC_ALL=C sort -z | \
                      xargs -0 -r sha256sum -- | sha256sum";
        let sum = Command::new("sh").args(["-c", script, "sh"]).arg(&dir).read_only();
        Ok(Self(Some(cx.on(&step.host).output(&sum).await?.text())))
    }

    async fn rollback(
        &self,
        step: &bring_files_back,
        _: Option<&usize>,
        cx: &Context,
    ) -> Result<()> {
        let on = cx.on(&step.host);
        let (now, kept) = (step.tree.join(FILES), kept_files(cx.observer(), &step.aside));
        if on.exists(&kept).await? {
            on.remove_tree(&now).await?;
            on.run(&Command::new("mv").args(["-T", "--"]).arg(&kept).arg(&now)).await?;
        } else if self.0.is_none() {
            on.remove_tree(&now).await?;
        }
        Ok(())
    }
}

/// Runs are named by their start, so that the last name is the newest.
fn archive_of(cx: &Observer, folder: &Path) -> PathBuf {
    folder.join(format!("files-{}.tar.gz", cx.run_id()))
}

fn kept_files(cx: &Observer, aside: &Path) -> PathBuf {
    aside.join(format!("files-{}", cx.run_id()))
}

fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

async fn checksum(cx: &Observer, host: &Host, path: &Path) -> Result<String> {
    let sum = Command::new("sha256sum").arg("--").arg(path).read_only();
    let output = cx.on(host).output(&sum).await?.text();
    Ok(output.split_whitespace().next().unwrap_or_default().to_owned())
}
