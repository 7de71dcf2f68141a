//! [`Folder`]: clean-ups that list what they will remove, remove what they listed, and stay inside.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runbook_core::{
    Check, Context, IntoInput, Irreversible, Observer, Result, Rollback, Step, Verdict,
};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::error::Error;
use crate::machine::{Machine, script};

/// A folder of a host; from [`Machine::folder`]. Given as an absolute path without `..`, and no
/// link itself; links in it are neither followed nor removed, and other file systems mounted in it
/// are left alone.
///
/// ```
/// # use runbook_core::{Host, Runbook, testing::FakeTarget};
/// # use runbook_host::{Machine, Retention};
/// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
/// let logs = web.folder("/var/log/shop");
/// let mut b = Runbook::new("clean-up");
/// // A plan shows the list; the step removes what is on it, and nothing else.
/// let old = b.check(logs.list_old(Retention::days(30).keep_last(5).named("*.log")));
/// b.irreversible(logs.remove(old), "logs are kept for 30 days");
/// ```
#[derive(Clone)]
pub struct Folder {
    pub(crate) machine: Machine,
    pub(crate) path: PathBuf,
}

/// Which files of a folder are old: by age, by count, or both.
///
/// ```
/// use runbook_host::Retention;
/// let rule = Retention::days(14).keep_last(3).named("*.dump");
/// assert_eq!(rule.to_string(), "`*.dump` older than 14 days, but the newest 3");
/// assert_eq!(Retention::count(7).to_string(), "all but the newest 7");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    older_than: Duration,
    keep: usize,
    name: Option<String>,
    below: bool,
}

impl Retention {
    /// Files that were last changed more than so many days ago.
    #[must_use]
    pub fn days(days: u32) -> Self {
        Self::older_than(Duration::from_secs(u64::from(days) * 86_400))
    }

    /// Files that were last changed longer ago than this, in whole seconds.
    #[must_use]
    pub fn older_than(age: Duration) -> Self {
        Self { older_than: age, keep: 0, name: None, below: false }
    }

    /// All but the `keep` newest.
    #[must_use]
    pub fn count(keep: usize) -> Self {
        Self::older_than(Duration::ZERO).keep_last(keep)
    }

    /// The `keep` newest of those with the right name stay, however old they are.
    #[must_use]
    pub fn keep_last(mut self, keep: usize) -> Self {
        self.keep = keep;
        self
    }

    /// Only files whose name fits, with `*`, `?` and `[..]` as in a shell.
    #[must_use]
    pub fn named(mut self, pattern: impl Into<String>) -> Self {
        self.name = Some(pattern.into());
        self
    }

    /// Also those in folders below.
    #[must_use]
    pub fn with_folders_below(mut self) -> Self {
        self.below = true;
        self
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let seconds = self.older_than.as_secs();
        if seconds > 0 && seconds.is_multiple_of(86_400) {
            parts.push(format!("older than {} days", seconds / 86_400));
        } else if seconds > 0 {
            parts.push(format!("older than {seconds} s"));
        }
        if let Some(name) = &self.name {
            parts.insert(0, format!("`{name}`"));
        }
        let text = if parts.is_empty() { "all".into() } else { parts.join(" ") };
        let below = if self.below { " here and below" } else { "" };
        match (self.keep, parts.len()) {
            (0, _) => write!(f, "{text}{below}"),
            (keep, 0) => write!(f, "all{below} but the newest {keep}"),
            (keep, _) => write!(f, "{text}{below}, but the newest {keep}"),
        }
    }
}

/// Files that a check found to be old, each with what tells it from another of its name. Nothing
/// else makes one: what is removed was listed, and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldFiles {
    folder: String,
    files: Vec<OldFile>,
}

impl OldFiles {
    /// The files, oldest first.
    #[must_use]
    pub fn files(&self) -> &[OldFile] {
        &self.files
    }

    /// What they take together.
    #[must_use]
    pub fn size(&self) -> Bytes {
        Bytes::new(self.files.iter().map(|file| file.size.get()).sum())
    }

    fn shown(&self) -> String {
        const SHOWN: usize = 20;
        if self.files.is_empty() {
            return "none".into();
        }
        let names: Vec<_> =
            self.files.iter().take(SHOWN).map(|file| printable(&file.name)).collect();
        let more = self.files.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{} of {}: {}{more}", self.files.len(), self.size(), names.join(", "))
    }
}

/// A file that is old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OldFile {
    /// Its path in the folder.
    pub name: String,
    /// Its size.
    pub size: Bytes,
    /// When its content last changed, in seconds since 1970.
    pub modified: i64,
    device: u64,
    inode: u64,
}

impl OldFile {
    /// What `stat` says of it as long as it is the same.
    fn identity(&self) -> String {
        format!("{} {} {} {}", self.device, self.inode, self.modified, self.size.get())
    }
}

/// What files and their compressed ones were: how [`Folder::compress`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncompressed(Vec<(String, i64, Bytes)>);

/// Each action is done in the file's own folder, which is entered and then proven to be inside: a
/// link that is put in the way afterwards changes nothing. Says of each file: 0 done, 6 something
/// is in the way, 7 it is gone, 8 it was changed, 9 it is outside, else the action failed.
const ACT: &str = r#"action=$1; cd -P -- "$2" || exit 1; shift 2
top=$(pwd -P; printf x); top=${top%?x}
while [ $# -ge 2 ]; do
  (
    case $1 in ./*) ;; *) exit 9;; esac
    base=${1##*/}
    cd -P -- "${1%/*}" 2>/dev/null || exit 7
    here=$(pwd -P; printf x); here=${here%?x}
    case $here/ in "$top"/*) ;; *) exit 9;; esac
    gone() { [ ! -e "./$base" ] && [ ! -L "./$base" ]; }
    same() { [ "$(stat -c '%d %i %Y %s %F' -- "./$base" 2>/dev/null)" = "$1" ]; }
    case $action in
      look) gone && exit 7; same "$2" || exit 8;;
      remove) gone && exit 7; same "$2" || exit 8; rm -f -- "./$base" || exit 1;;
      compress) gone && exit 7; same "$2" || exit 8
        if [ -e "./$base.gz" ] || [ -L "./$base.gz" ]; then exit 6; fi
        gzip -- "./$base" || exit 1;;
      restore) [ -f "./$base.gz" ] && [ ! -L "./$base.gz" ] || exit 0
        if gone; then gzip -d -- "./$base.gz" || exit 1; else rm -f -- "./$base.gz" || exit 1; fi;;
    esac
  )
  printf '%s ' $?
  shift 2
done"#;

/// How many files one command is given: each takes two arguments, and there is a limit to them.
const BATCH: usize = 100;

impl Machine {
    /// A folder.
    pub fn folder(&self, path: impl Into<PathBuf>) -> Folder {
        Folder { machine: self.clone(), path: path.into() }
    }
}

impl Folder {
    /// The files that are old by a rule, oldest first; it always passes. Names that are not UTF-8
    /// are left alone: it warns of them.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Machine, Retention};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("clean-up");
    /// b.check(web.folder("/var/backups/shop").list_old(Retention::count(7)));
    /// ```
    #[must_use]
    pub fn list_old(&self, rule: Retention) -> impl Check<Evidence = OldFiles> {
        list_old(self, &rule)
    }

    /// Removes what was listed. Refuses, and removes nothing, if any of it was changed since or
    /// lies outside; each is looked at once more right before it is removed. Those that are gone
    /// are fine.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Machine, Retention};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("clean-up");
    /// let backups = web.folder("/var/backups/shop");
    /// let old = b.check(backups.list_old(Retention::days(30).keep_last(7)));
    /// b.irreversible(backups.remove(old), "30 days are kept");
    /// ```
    pub fn remove(
        &self,
        listed: impl IntoInput<OldFiles>,
    ) -> impl Step<Output = OldFiles, Rollback = Irreversible> {
        remove(self, listed)
    }

    /// Compresses what was listed with gzip, each to its name with `.gz`, which keeps its mode,
    /// owner and time; those that end in `.gz` stay as they are. Refuses as
    /// [`remove`](Self::remove) does, and if a compressed one is there already. A rollback
    /// uncompresses them.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Machine, Retention};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("clean-up");
    /// let logs = web.folder("/var/log/shop");
    /// let old = b.check(logs.list_old(Retention::days(7).named("*.log")));
    /// b.step(logs.compress(old));
    /// ```
    pub fn compress(
        &self,
        listed: impl IntoInput<OldFiles>,
    ) -> impl Step<Output = OldFiles, Rollback = Uncompressed> {
        compress(self, listed)
    }

    /// All files, and how many have names that are no UTF-8; and what time it is there.
    async fn files(&self, cx: &Observer, rule: &Retention) -> Result<(Vec<OldFile>, usize, i64)> {
        const SCRIPT: &str = r#"cd -P -- "$1" && date +%s || exit 1
name=$2; depth=$3; set -- .
[ -z "$depth" ] || set -- . -maxdepth "$depth"
set -- "$@" -xdev -type f
[ -z "$name" ] || set -- "$@" -name "$name"
if stat --printf '' . 2>/dev/null; then
  find "$@" -exec stat --printf '%d %i %Y %s %n\0' -- {} +
else
  find "$@" -exec sh -c 'for f do
    is=$(stat -c "%d %i %Y %s" -- "$f") || continue; printf "%s %s\0" "$is" "$f"
  done' sh {} +
fi"#;
        let depth = if rule.below { "" } else { "1" };
        let name = rule.name.as_deref().unwrap_or("");
        let look = script(SCRIPT).arg(&self.path).arg(name).arg(depth);
        let output = self.machine.look(cx, look).await?;
        let odd = || {
            let what = format!("the list of {}", self.path.display());
            self.machine.odd(&what, &output.text()).failure()
        };
        if output.dropped > 0 {
            return Err(odd());
        }
        let mut lines = output.stdout.splitn(2, |byte| *byte == b'\n');
        let now = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
        let now = now.ok_or_else(odd)?;
        let (mut files, mut unreadable) = (Vec::new(), 0);
        let records = lines.next().unwrap_or_default().split(|byte| *byte == 0);
        for record in records.filter(|record| !record.is_empty()) {
            match std::str::from_utf8(record) {
                Ok(text) => files.push(parse(text).ok_or_else(odd)?),
                Err(_) => unreadable += 1,
            }
        }
        Ok((files, unreadable, now))
    }

    /// Does something with each of these files; an error names those with which it could not.
    async fn act(&self, cx: &Context, action: &str, files: &[OldFile]) -> Result<()> {
        for batch in files.chunks(BATCH) {
            let output = self.machine.run(cx, self.acting(action, batch)).await?;
            self.judge(action, batch, &output.text())?;
        }
        Ok(())
    }

    fn acting(&self, action: &str, batch: &[OldFile]) -> runbook_core::Command {
        let mut command = script(ACT).arg(action).arg(&self.path);
        for file in batch {
            let kind = if file.size.get() == 0 { "regular empty file" } else { "regular file" };
            command =
                command.arg(format!("./{}", file.name)).arg(format!("{} {kind}", file.identity()));
        }
        command
    }

    fn judge(&self, action: &str, batch: &[OldFile], said: &str) -> Result<()> {
        let codes: Vec<&str> = said.split_whitespace().collect();
        if codes.len() != batch.len() {
            let what = format!("`{action}` in {}", self.path.display());
            return Err(self.machine.odd(&what, said).failure());
        }
        let troubles = batch.iter().zip(codes).filter_map(|(file, code)| {
            let name = printable(&file.name);
            match code {
                "0" | "7" => None,
                "6" => Some(format!("{name}.gz is there already")),
                "8" => Some(format!("{name} was changed since it was listed")),
                "9" => Some(format!("{name} is outside of the folder")),
                _ => Some(format!("could not {action} {name}")),
            }
        });
        let changed: Vec<String> = troubles.collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(Error::Changed { place: self.to_string(), changed }.failure())
    }

    /// An error if any of what was listed is another now.
    async fn unchanged(&self, cx: &Observer, listed: &OldFiles) -> Result<()> {
        self.machine.plain_folder(cx, &self.path).await?;
        if Path::new(&listed.folder) != self.path {
            let changed = vec![format!("the list is that of {}", listed.folder)];
            return Err(Error::Changed { place: self.to_string(), changed }.failure());
        }
        let whole = |file: &&OldFile| {
            let parts = Path::new(&file.name).components();
            file.name.is_empty()
                || parts.into_iter().any(|part| !matches!(part, std::path::Component::Normal(_)))
        };
        // A journal that was tampered with, or code of somebody else's.
        if let Some(file) = listed.files.iter().find(whole) {
            let changed = vec![format!("{} is outside of the folder", printable(&file.name))];
            return Err(Error::Changed { place: self.to_string(), changed }.failure());
        }
        for batch in listed.files.chunks(BATCH) {
            let output = self.machine.look(cx, self.acting("look", batch)).await?;
            self.judge("look", batch, &output.text())?;
        }
        Ok(())
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.path.display(), self.machine)
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({self})")
    }
}

/// `device inode modified size ./name`
fn parse(record: &str) -> Option<OldFile> {
    let mut fields = record.splitn(5, ' ');
    let device = fields.next()?.parse().ok()?;
    let inode = fields.next()?.parse().ok()?;
    let modified = fields.next()?.parse().ok()?;
    let size = Bytes::new(fields.next()?.parse().ok()?);
    let name = fields.next()?.strip_prefix("./")?.to_owned();
    Some(OldFile { name, size, modified, device, inode })
}

/// A name in one line.
fn printable(name: &str) -> String {
    if name.chars().any(char::is_control) { format!("{name:?}") } else { name.to_owned() }
}

/// Old files
#[check(title = "Files of {folder} that are old: {rule}", preview = "find {folder}")]
async fn list_old(cx: &Observer, folder: &Folder, rule: &Retention) -> Result<Verdict<OldFiles>> {
    folder.machine.plain_folder(cx, &folder.path).await?;
    let (mut files, unreadable, now) = folder.files(cx, rule).await?;
    // Newest first; of those of one second, the name decides, so that the list is the same twice.
    files.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| b.name.cmp(&a.name)));
    let age = i64::try_from(rule.older_than.as_secs()).unwrap_or(i64::MAX);
    let is_old = |file: &OldFile| age == 0 || now.saturating_sub(file.modified) > age;
    let mut files: Vec<OldFile> = files.into_iter().skip(rule.keep).filter(is_old).collect();
    files.reverse();
    let old = OldFiles { folder: folder.machine.text_of(&folder.path)?, files };
    let why = old.shown();
    if unreadable > 0 {
        let why = format!("{why}; {unreadable} are left alone: their names are not UTF-8");
        return Ok(Verdict::warn(old, why));
    }
    Ok(Verdict::pass(old, why))
}

/// Remove what was listed
#[step(
    irreversible,
    repeatable,
    title = "Remove old files of {folder}",
    preview = "rm the files that were listed"
)]
async fn remove(cx: &Context, folder: &Folder, listed: OldFiles) -> Result<OldFiles> {
    folder.unchanged(cx.observer(), &listed).await?;
    for file in &listed.files {
        cx.say(format!("removing {} ({})", printable(&file.name), file.size));
    }
    folder.act(cx, "remove", &listed.files).await?;
    Ok(listed)
}

/// Compress what was listed
#[step(rollback = Uncompressed, title = "Compress old files of {folder}", preview = "gzip the files that were listed")]
async fn compress(cx: &Context, folder: &Folder, listed: OldFiles) -> Result<OldFiles> {
    folder.unchanged(cx.observer(), &listed).await?;
    let listed = without_compressed(listed);
    folder.act(cx, "compress", &listed.files).await?;
    Ok(listed)
}

fn without_compressed(mut listed: OldFiles) -> OldFiles {
    listed.files.retain(|file| !file.name.ends_with(".gz"));
    listed
}

impl Rollback<compress> for Uncompressed {
    async fn record(step: &compress, cx: &Observer) -> Result<Self> {
        let folder = &step.folder;
        folder.machine.plain_folder(cx, &folder.path).await?;
        let listed = without_compressed(step.listed.get(cx)?);
        let everything = Retention::count(0).with_folders_below();
        let (now, _, _) = folder.files(cx, &everything).await?;
        let mut seen = Vec::new();
        for file in listed.files {
            let compressed = format!("{}.gz", file.name);
            if let Some(there) = now.iter().find(|one| one.name == compressed) {
                seen.push((there.name.clone(), there.modified, there.size));
            }
            if let Some(there) = now.iter().find(|one| one.name == file.name) {
                seen.push((there.name.clone(), there.modified, there.size));
            }
        }
        Ok(Self(seen))
    }

    async fn rollback(&self, step: &compress, _: Option<&OldFiles>, cx: &Context) -> Result<()> {
        let listed = without_compressed(step.listed.get(cx.observer())?);
        // Only those whose compressed one is ours.
        let ours = |file: &OldFile| {
            let compressed = format!("{}.gz", file.name);
            let was = |name: &str| self.0.iter().any(|(one, _, _)| one == name);
            was(&file.name) && !was(&compressed)
        };
        let files: Vec<OldFile> = listed.files.into_iter().filter(ours).collect();
        step.folder.act(cx, "restore", &files).await
    }
}
