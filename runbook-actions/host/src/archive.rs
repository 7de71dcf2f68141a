//! Archives of folders: made whole or not at all, verified, and unpacked with a way back.

use std::path::{Path, PathBuf};

use runbook_core::{Check, Context, IntoInput, Observer, Result, Rollback, Step, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::error::Error;
use crate::folder::Folder;
use crate::kept::beside;
use crate::machine::{Machine, script};

/// A compressed tar archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Archive {
    /// Where it is.
    pub path: String,
    /// The SHA-256 of the whole.
    pub sha256: String,
    /// Its size.
    pub size: Bytes,
    /// How many files and folders are in it.
    pub entries: u64,
}

/// An archive that was read to its end and is what was made. Only
/// [`Machine::verify_archive`] gives one; what replaces a folder takes nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedArchive(Archive);

impl VerifiedArchive {
    /// The archive.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.0
    }
}

/// That no archive was there: how [`Folder::archive`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotThere {
    part: String,
}

/// Which folder was there, if any: how [`Folder::unpack`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderWas {
    /// Its device and inode.
    identity: Option<String>,
    aside: String,
    fresh: String,
}

impl Folder {
    /// Packs the folder, with all below it, into a compressed tar archive that only its owner may
    /// read. It is written under another name, read to its end, and then called `to`; refuses if
    /// that is there already. A rollback removes it.
    ///
    /// A file that changes while it is packed makes it fail: stop who writes, or `.retry(..)`.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("backup");
    /// let uploads = web.folder("/srv/shop/uploads");
    /// let archive = b.step(uploads.archive("/var/backups/shop/uploads.tar.gz"));
    /// b.check(web.verify_archive(archive));
    /// ```
    pub fn archive(
        &self,
        to: impl IntoInput<PathBuf>,
    ) -> impl Step<Output = Archive, Rollback = NotThere> {
        archive(self, to)
    }

    /// Makes the folder what is in an archive. It is unpacked beside and then changes places with
    /// the folder, which is kept; its output is where. A rollback puts that back.
    ///
    /// ```
    /// # use runbook_core::{Host, Out, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Archive, Machine};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # fn restore(b: &mut Runbook, web: &Machine, archive: Out<Archive>) {
    /// let verified = b.check(web.verify_archive(archive));
    /// b.step(web.folder("/srv/shop/uploads").unpack(verified));
    /// # }
    /// ```
    pub fn unpack(
        &self,
        archive: impl IntoInput<VerifiedArchive>,
    ) -> impl Step<Output = Option<String>, Rollback = FolderWas> {
        unpack(self, archive)
    }

    async fn was(&self, cx: &Observer) -> Result<FolderWas> {
        let there = cx.on(self.machine.host()).exists(&self.path).await?;
        let identity = if there {
            self.machine.plain_folder(cx, &self.path).await?;
            let stat = script(r#"exec stat -c "%d %i" -- "$1""#).arg(&self.path);
            Some(self.machine.look(cx, stat).await?.text())
        } else {
            self.machine.refuse_path(&self.path)?;
            None
        };
        let text = |word| self.machine.text_of(&beside(cx, &self.path, word));
        Ok(FolderWas { identity, aside: text("before")?, fresh: text("new")? })
    }
}

impl Machine {
    /// An archive is what it was when it was made, and can be read to its end.
    ///
    /// ```
    /// # use runbook_core::{Host, Out, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Archive, Machine};
    /// # fn verify(b: &mut Runbook, web: &Machine, archive: Out<Archive>) {
    /// b.check(web.verify_archive(archive));
    /// # }
    /// ```
    pub fn verify_archive(
        &self,
        archive: impl IntoInput<Archive>,
    ) -> impl Check<Evidence = VerifiedArchive> {
        verify_archive(self, archive)
    }

    /// Reads an archive to its end.
    async fn examine(&self, cx: &Observer, path: &Path) -> Result<Archive> {
        // From standard input: tar takes a colon in a name for another host's.
        const SCRIPT: &str = r#"gzip -t <"$1" && tar -tzf - <"$1" >/dev/null || exit 3
tar -tzf - <"$1" | wc -l; wc -c <"$1""#;
        let output = self.glance(cx, script(SCRIPT).arg(path)).await?;
        let place = || format!("{} on {self}", path.display());
        if !output.exit.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            return Err(Error::Damaged { place: place(), why }.failure());
        }
        let text = output.text();
        let numbers: Vec<u64> =
            text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [entries, size] = numbers[..] else {
            return Err(self.odd("`wc`", &text).failure());
        };
        let sha256 = self.sha256(cx, path).await?;
        Ok(Archive { path: self.text_of(path)?, sha256, size: Bytes::new(size), entries })
    }
}

/// Pack a folder
#[step(rollback = NotThere, title = "Pack {folder} into {to}", preview = "tar -czf {to} -C {folder} .")]
async fn archive(cx: &Context, folder: &Folder, to: PathBuf) -> Result<Archive> {
    let machine = &folder.machine;
    machine.plain_folder(cx.observer(), &folder.path).await?;
    if to.starts_with(&folder.path) {
        let (place, why) = (format!("{} on {machine}", to.display()), "it lies in what is packed");
        return Err(Error::BadPath { place, why: why.into() }.failure());
    }
    let part = beside(cx.observer(), &to, "part");
    let packed = async {
        const SCRIPT: &str = r#"umask 077; exec tar -czf - -C "$1" . >"$2""#;
        machine.run(cx, script(SCRIPT).arg(&folder.path).arg(&part)).await?;
        let mut archive = machine.examine(cx.observer(), &part).await?;
        if cx.on(machine.host()).exists(&to).await? {
            return Err(Error::Exists { place: format!("{} on {machine}", to.display()) }.failure());
        }
        cx.on(machine.host()).rename(&part, &to).await?;
        archive.path = machine.text_of(&to)?;
        Ok(archive)
    };
    match packed.await {
        Ok(archive) => Ok(archive),
        Err(failure) => {
            // What failed first is what is told; a rollback tries to remove it once more.
            let _ = cx.on(machine.host()).remove(&part).await;
            Err(failure)
        }
    }
}

impl Rollback<archive> for NotThere {
    async fn record(step: &archive, cx: &Observer) -> Result<Self> {
        let (machine, to) = (&step.folder.machine, step.to.get(cx)?);
        machine.refuse_path(&to)?;
        if cx.on(machine.host()).exists(&to).await? {
            return Err(Error::Exists { place: format!("{} on {machine}", to.display()) }.failure());
        }
        Ok(Self { part: machine.text_of(&beside(cx, &to, "part"))? })
    }

    async fn rollback(&self, step: &archive, done: Option<&Archive>, cx: &Context) -> Result<()> {
        let host = cx.on(step.folder.machine.host());
        host.remove(&self.part).await?;
        match done {
            Some(archive) => host.remove(&archive.path).await,
            None => host.remove(step.to.get(cx)?).await,
        }
    }
}

/// The archive is whole
#[check(title = "The archive is whole, on {machine}", preview = ["sha256sum", "tar -tzf"])]
async fn verify_archive(
    cx: &Observer,
    machine: &Machine,
    archive: Archive,
) -> Result<Verdict<VerifiedArchive>> {
    let now = machine.examine(cx, Path::new(&archive.path)).await?;
    let why = if now == archive {
        format!("{}: {}, {} entries", now.path, now.size, now.entries)
    } else {
        format!("{} was changed since it was made: its SHA-256 is {}", now.path, now.sha256)
    };
    Ok(Verdict::pass_if(now == archive, VerifiedArchive(archive), why))
}

/// Unpack an archive
#[step(rollback = FolderWas, title = "Make {folder} what is in an archive", preview = "tar -xzf")]
async fn unpack(cx: &Context, folder: &Folder, archive: VerifiedArchive) -> Result<Option<String>> {
    let machine = &folder.machine;
    let host = cx.on(machine.host());
    let was = folder.was(cx.observer()).await?;
    let path = Path::new(&archive.0.path);
    if machine.sha256(cx.observer(), path).await? != archive.0.sha256 {
        let (place, why) = (format!("{} on {machine}", path.display()), "it was changed");
        return Err(Error::Damaged { place, why: why.into() }.failure());
    }
    // Of an earlier attempt.
    host.remove_tree(&was.fresh).await?;
    host.create_dir(&was.fresh).await?;
    machine.run(cx, script(r#"exec tar -xzf - -C "$1" <"$2""#).arg(&was.fresh).arg(path)).await?;
    let kept = was.identity.is_some();
    if kept {
        host.rename(&folder.path, &was.aside).await?;
    }
    host.rename(&was.fresh, &folder.path).await?;
    Ok(kept.then_some(was.aside))
}

impl Rollback<unpack> for FolderWas {
    async fn record(step: &unpack, cx: &Observer) -> Result<Self> {
        step.folder.was(cx).await
    }

    async fn rollback(
        &self,
        step: &unpack,
        _: Option<&Option<String>>,
        cx: &Context,
    ) -> Result<()> {
        let host = cx.on(step.folder.machine.host());
        let path = &step.folder.path;
        host.remove_tree(&self.fresh).await?;
        if self.identity.is_none() {
            return host.remove_tree(path).await;
        }
        if host.exists(&self.aside).await? {
            host.remove_tree(path).await?;
            host.rename(&self.aside, path).await?;
        }
        Ok(())
    }
}
