//! [`FileWas`]: what a file was before a step, with a copy beside it that it is put back from.

use std::path::{Path, PathBuf};

use runbook_core::{Context, FileInfo, FileKind, Observer, Result, WriteOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::machine::{Machine, script};

/// What a file was: how changes of files are undone.
///
/// It holds no content, which may be secret, but its hash; the content is in a copy beside the
/// file, which only its owner may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileWas {
    path: String,
    backup: String,
    /// None if it was not there.
    was: Option<Was>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Was {
    sha256: String,
    mode: u32,
}

impl FileWas {
    /// What it is now. Refuses a link: what it points to would not be what is put back.
    pub(crate) async fn of(machine: &Machine, cx: &Observer, path: &Path) -> Result<Self> {
        let was = match machine.plain_file(cx, path).await? {
            Some(info) => {
                let content = cx.on(machine.host()).read(path).await?;
                Some(Was { sha256: hex(&Sha256::digest(&content)), mode: info.mode })
            }
            None => None,
        };
        Ok(Self {
            path: machine.text_of(path)?,
            backup: machine.text_of(&backup_of(cx, path))?,
            was,
        })
    }

    /// The copy beside it, made unless it is there already: then an earlier attempt made it, of
    /// what was there before any.
    pub(crate) async fn keep(machine: &Machine, cx: &Context, path: &Path) -> Result<PathBuf> {
        let backup = backup_of(cx.observer(), path);
        if !cx.on(machine.host()).exists(&backup).await? {
            let content = cx.on(machine.host()).read(path).await?;
            cx.on(machine.host()).write_with(&backup, content, &WriteOptions::mode(0o600)).await?;
        }
        Ok(backup)
    }

    /// Puts it back, and removes the copy.
    pub(crate) async fn back(&self, machine: &Machine, cx: &Context) -> Result<()> {
        let host = cx.on(machine.host());
        let now = Self::of(machine, cx.observer(), Path::new(&self.path)).await?;
        match &self.was {
            None => host.remove(&self.path).await?,
            Some(was) if now.was.as_ref() == Some(was) => {}
            Some(was) => {
                let no_way = |why: String| {
                    let place = format!("{} on {machine}", self.path);
                    Error::NoWayBack { place, why }.failure()
                };
                if !host.exists(&self.backup).await? {
                    return Err(no_way(format!("the copy {} is gone", self.backup)));
                }
                let content = host.read(&self.backup).await?;
                if hex(&Sha256::digest(&content)) != was.sha256 {
                    return Err(no_way(format!("the copy {} was changed", self.backup)));
                }
                host.write_with(&self.path, content, &WriteOptions::mode(was.mode)).await?;
            }
        }
        host.remove(&self.backup).await
    }
}

fn backup_of(cx: &Observer, path: &Path) -> PathBuf {
    beside(cx, path, "before")
}

/// Beside it, called after the run and unit: each has its own, and finds it again when resumed.
pub(crate) fn beside(cx: &Observer, path: &Path, word: &str) -> PathBuf {
    let unit = hex(&Sha256::digest(cx.unit_id().as_str()));
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{word}-{}-{}", cx.run_id(), unit.get(..8).unwrap_or(&unit)));
    name.into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Machine {
    /// What is at a path: an ordinary file, or nothing.
    pub(crate) async fn plain_file(&self, cx: &Observer, path: &Path) -> Result<Option<FileInfo>> {
        self.refuse_path(path)?;
        let Some(info) = cx.on(self.host()).stat(path).await? else { return Ok(None) };
        if info.kind == FileKind::File {
            return Ok(Some(info));
        }
        let found = match (&info.link, info.kind) {
            (Some(to), _) => format!("a link to {}", to.display()),
            (None, FileKind::Dir) => "a folder".into(),
            _ => "something else".into(),
        };
        let place = format!("{} on {self}", path.display());
        Err(Error::NotA { place, wanted: "a file".into(), found }.failure())
    }

    /// A folder, not a link to one.
    pub(crate) async fn plain_folder(&self, cx: &Observer, path: &Path) -> Result<()> {
        self.refuse_path(path)?;
        let found = match cx.on(self.host()).stat(path).await? {
            Some(info) if info.kind == FileKind::Dir => return Ok(()),
            Some(FileInfo { link: Some(to), .. }) => format!("a link to {}", to.display()),
            Some(_) => "a file".into(),
            None => "not there".into(),
        };
        let place = format!("{} on {self}", path.display());
        Err(Error::NotA { place, wanted: "a folder".into(), found }.failure())
    }

    /// An error unless it is absolute, without `..`, and not the root.
    pub(crate) fn refuse_path(&self, path: &Path) -> Result<()> {
        use std::path::Component;
        let why = if !path.is_absolute() {
            "it is relative"
        } else if path.components().any(|part| part == Component::ParentDir) {
            "it holds `..`"
        } else if path.parent().is_none() {
            "it is the root of all"
        } else if path.as_os_str().as_encoded_bytes().contains(&0) {
            "it holds a zero byte"
        } else {
            return Ok(());
        };
        let place = format!("{} on {self}", path.display());
        Err(Error::BadPath { place, why: why.into() }.failure())
    }

    /// A path as text, for the journal.
    pub(crate) fn text_of(&self, path: &Path) -> Result<String> {
        path.to_str().map(str::to_owned).ok_or_else(|| {
            let place = format!("{} on {self}", path.display());
            Error::BadPath { place, why: "it is not UTF-8".into() }.failure()
        })
    }

    /// The SHA-256 of a file's content, counted on the host.
    pub(crate) async fn sha256(&self, cx: &Observer, path: &Path) -> Result<String> {
        // From its standard input: of a name with odd characters it would print something else.
        const SCRIPT: &str = r#"if command -v sha256sum >/dev/null 2>&1; then exec sha256sum <"$1"
else exec shasum -a 256 <"$1"; fi"#;
        let text = self.look(cx, script(SCRIPT).arg(path)).await?.text();
        let sum = text.split_whitespace().next().unwrap_or("");
        if sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(sum.to_ascii_lowercase());
        }
        Err(self.odd("`sha256sum`", &text).failure())
    }
}
