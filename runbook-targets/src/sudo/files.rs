//! Files, by way of a shell of the other user.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use runbook_core::{
    BoxRead, Exit, Failure, FileInfo, FileKind, Process, Result, Spawn, Stdin, WriteOptions,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::end::SudoProcess;
use super::shell::{change, look, refused, why};
use super::{Sudo, plain, script};

/// Says `o` once the file is open, then its content.
const READ: &str = r#"
if [ -d "$1" ]; then echo "is a directory" >&2; exit 1; fi
if [ -e "$1" ] && [ ! -f "$1" ]; then echo "not an ordinary file" >&2; exit 1; fi
exec 3< "$1" && printf o && exec cat <&3
"#;

/// Fills a new file; `$1` is there for nobody else yet.
const FILL: &str = r#"umask 077; set -C; exec 3> "$1" && exec cat >&3"#;

/// Puts the file `$1` at `$2`: with the owner of a file there, and its mode; or with mode `$3`, if
/// it is given and a file there does not matter more (`$4` empty). `$5` is the folder.
const PUT: &str = r#"
set -e
mode=$3
if [ -d "$2" ] && [ ! -L "$2" ]; then echo "is a directory" >&2; exit 1; fi
if [ -f "$2" ] && [ ! -L "$2" ]; then
    was=$(stat -c %a "$2")
    if ! chown "$(stat -c %u:%g "$2")" "$1" 2>/dev/null; then was=$(printf %o $((0$was & 01777))); fi
    if [ -z "$4" ] || [ -z "$mode" ]; then mode=$was; fi
fi
if [ -z "$mode" ]; then mode=$(printf %o $((0644 & ~0$(umask)))); fi
chmod "$mode" "$1"
sync "$1" 2>/dev/null || sync
mv -fT "$1" "$2"
sync "$5" 2>/dev/null || :
"#;

const STAT: &str = r#"
export LC_ALL=C
stat -c '%f %s %u %g %Y' "$1" || exit 1
if [ -L "$1" ]; then readlink -n "$1"; fi
"#;

const LIST: &str = r#"
if [ -e "$1" ] && [ ! -d "$1" ]; then echo "not a directory" >&2; exit 1; fi
case $1 in /*) cd / ;; esac  # find comes back to where it was, where it may not be let in
exec find "$1/" -mindepth 1 -maxdepth 1 -exec sh -c '
    for file do
        about=$(stat -c "%f %s %u %g %Y" "$file" 2>/dev/null) || continue
        printf "%s\n%s\0" "$about" "$file"
        if [ -L "$file" ]; then readlink -n "$file"; fi
        printf "\0"
    done' sh {} +
"#;

/// A rename never copies.
const RENAME: &str = r#"
set -e
if [ "$(stat -c %d "$1")" != "$(stat -c %d "$3")" ]; then
    echo "they are on different file systems" >&2; exit 1
fi
mv -fT "$1" "$2"
"#;

const LINK: &str = r#"ln -s -- "$1" "$2" && { mv -fT "$2" "$3" || { rm -f "$2"; exit 1; } }"#;

const REMOVE: &str = r#"
if [ -d "$1" ] && [ ! -L "$1" ]; then exec rmdir "$1"; else exec rm -f "$1"; fi
"#;

fn doing<'a>(sudo: &'a Sudo, verb: &'a str, path: &'a Path) -> impl Fn() -> String + 'a {
    move || format!("{verb} {} on {}", path.display(), sudo.name)
}

pub(super) async fn read(sudo: &Sudo, path: &Path) -> Result<BoxRead> {
    let doing = doing(sudo, "reading", path);
    let path = plain(path);
    let command = script(READ, [path.as_os_str()]);
    let mut process = sudo.start(&command, &look()).await?;
    let (Some(mut stdout), Some(mut stderr)) = (process.stdout(), process.stderr()) else {
        return Err(Failure::msg("it has no output").while_doing(doing()));
    };
    let opened = stdout.read_u8().await.is_ok();
    let end = async move {
        let mut said = Vec::new();
        stderr.read_to_end(&mut said).await?;
        Ok::<_, Failure>((process.wait().await?, said))
    };
    if !opened {
        let (exit, said) = end.await.map_err(|failure| failure.while_doing(doing()))?;
        return Err(refused(sudo, exit, &said).while_doing(doing()));
    }
    let end = async move {
        match end.await {
            Ok((Exit::Code(0), _)) => Ok(()),
            Ok((exit, said)) => Err(std::io::Error::other(why(exit, &said))),
            Err(failure) => Err(std::io::Error::other(failure.to_string())),
        }
    };
    Ok(Box::new(Reading { from: stdout, end: Some(Box::pin(end)) }))
}

/// The content, and at its end whether that was all.
struct Reading {
    from: BoxRead,
    end: Option<Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>>,
}

impl AsyncRead for Reading {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.from).poll_read(cx, buffer))?;
        if buffer.filled().len() == before
            && buffer.remaining() > 0
            && let Some(end) = &mut self.end
        {
            let ended = ready!(end.as_mut().poll(cx));
            self.end = None;
            ended?;
        }
        Poll::Ready(Ok(()))
    }
}

pub(super) async fn write(
    sudo: &Sudo,
    path: &Path,
    content: BoxRead,
    options: &WriteOptions,
) -> Result<()> {
    let doing = doing(sudo, "writing", path);
    let temp = Some(beside(path)?);
    let mut new = New { sudo: sudo.clone(), process: None, temp, leaving: false };
    let written = match new.fill(content).await {
        Ok(()) => new.put(path, options).await,
        failed => failed,
    };
    if written.is_err() {
        new.remove().await;
    }
    written.map_err(|failure| failure.while_doing(doing()))
}

pub(super) async fn copy(sudo: &Sudo, from: &Path, to: &Path) -> Result<()> {
    let source = read(sudo, from).await?;
    let mode = stat_following(sudo, from).await?;
    write(sudo, to, source, &WriteOptions::mode(mode)).await
}

async fn stat_following(sudo: &Sudo, path: &Path) -> Result<u32> {
    let doing = doing(sudo, "looking at", path);
    let said = sudo.run(&doing, &look(), r#"stat -Lc %a "$1""#, [plain(path).as_os_str()]).await?;
    let mode = std::str::from_utf8(&said).ok().map(str::trim);
    mode.and_then(|mode| u32::from_str_radix(mode, 8).ok())
        .ok_or_else(|| Failure::msg("`stat` said no mode").while_doing(doing()))
}

/// A new file beside its place; removed when dropped before it was put there.
struct New {
    sudo: Sudo,
    process: Option<SudoProcess>,
    temp: Option<OsString>,
    /// It is being removed: if even that is dropped, nobody can.
    leaving: bool,
}

impl New {
    fn temp(&self) -> &OsStr {
        self.temp.as_deref().unwrap_or_default()
    }

    async fn fill(&mut self, mut content: BoxRead) -> Result<()> {
        let fill = script(FILL, [self.temp()]).stdin(Stdin::Piped);
        let process = self.sudo.start(&fill, &change()).await?;
        let process = self.process.insert(process);
        let (Some(mut to), Some(mut stderr)) = (process.stdin(), process.stderr()) else {
            return Err(Failure::msg("there is no way to hand the content over"));
        };
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = content.read(&mut buffer).await.map_err(|error| {
                Failure::from(error).while_doing("the content could not be read")
            })?;
            // It says itself why it does not take more.
            if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
        drop(to);
        let mut said = Vec::new();
        stderr.read_to_end(&mut said).await?;
        match process.wait().await? {
            Exit::Code(0) => Ok(()),
            exit => Err(refused(&self.sudo, exit, &said)),
        }
    }

    /// Gives the filled file its owner, mode and place.
    async fn put(&mut self, path: &Path, options: &WriteOptions) -> Result<()> {
        let mode = options.mode.map(|mode| format!("{mode:o}")).unwrap_or_default();
        let force = if options.force_mode { "yes" } else { "" };
        let place = plain(path);
        let folder = plain(path.parent().unwrap_or(Path::new(".")));
        let args = [self.temp(), &place, OsStr::new(&mode), OsStr::new(force), &folder];
        let said = self.sudo.say(&change(), PUT, args).await?;
        if said.exit != Exit::Code(0) {
            return Err(refused(&self.sudo, said.exit, &said.stderr));
        }
        self.temp = None;
        Ok(())
    }

    async fn remove(&mut self) {
        // First what might still make it.
        if let Some(mut process) = self.process.take() {
            let _ = process.kill(Duration::ZERO).await;
        }
        if let Some(temp) = self.temp.take() {
            let _ = self.sudo.say(&change(), r#"rm -f "$1""#, [temp.as_os_str()]).await;
        }
    }
}

impl Drop for New {
    fn drop(&mut self) {
        // A runtime that is shutting down drops what it is given at once.
        if self.temp.is_none() || self.leaving {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut left = Self {
            sudo: self.sudo.clone(),
            process: self.process.take(),
            temp: self.temp.take(),
            leaving: true,
        };
        runtime.spawn(async move { left.remove().await });
    }
}

/// A name beside `path` that nothing else has.
fn beside(path: &Path) -> Result<OsString> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(Failure::msg(format!("the path {} names no file", path.display())));
    };
    let mut temp = b".".to_vec();
    temp.extend_from_slice(&name.as_bytes()[..name.len().min(128)]);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    temp.extend_from_slice(format!(".runbook-{}-{count}", Spawn::this_process()).as_bytes());
    Ok(plain(&path.with_file_name(OsString::from_vec(temp))))
}

pub(super) async fn stat(sudo: &Sudo, path: &Path) -> Result<Option<FileInfo>> {
    let doing = doing(sudo, "looking at", path);
    let said = sudo.say(&look(), STAT, [plain(path).as_os_str()]).await;
    let said = said.map_err(|failure| failure.while_doing(doing()))?;
    if said.exit != Exit::Code(0) {
        let why = said.why();
        if why.ends_with("No such file or directory") || why.ends_with("Not a directory") {
            return Ok(None);
        }
        return Err(refused(sudo, said.exit, &said.stderr).while_doing(doing()));
    }
    let (about, link) = split(&said.stdout, b'\n');
    info(path.to_owned(), about, link)
        .map(Some)
        .ok_or_else(|| Failure::msg("`stat` said nothing that can be read").while_doing(doing()))
}

pub(super) async fn list(sudo: &Sudo, path: &Path) -> Result<Vec<FileInfo>> {
    let doing = doing(sudo, "listing", path);
    let said = sudo.run(&doing, &look(), LIST, [plain(path).as_os_str()]).await?;
    let mut rest = said.as_slice();
    let mut inside = Vec::new();
    while !rest.is_empty() {
        let (entry, after) = split(rest, 0);
        let (link, after) = split(after, 0);
        rest = after;
        let (about, file) = split(entry, b'\n');
        let name = file.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let info = info(path.join(OsStr::from_bytes(name)), about, link);
        inside.push(info.ok_or_else(|| {
            Failure::msg("`stat` said nothing that can be read").while_doing(doing())
        })?);
    }
    inside.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(inside)
}

fn split(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

/// From `%f %s %u %g %Y` of `stat`: raw mode in hex, size, owner, group, seconds.
fn info(path: PathBuf, about: &[u8], link: &[u8]) -> Option<FileInfo> {
    let mut fields = std::str::from_utf8(about).ok()?.split(' ');
    let raw = u32::from_str_radix(fields.next()?, 16).ok()?;
    let size = fields.next()?.parse().ok()?;
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let seconds: i64 = fields.next()?.parse().ok()?;
    let after = Duration::from_secs(seconds.unsigned_abs());
    let kind = match raw & 0o170_000 {
        0o100_000 => FileKind::File,
        0o040_000 => FileKind::Dir,
        0o120_000 => FileKind::Link,
        _ => FileKind::Other,
    };
    let link = (kind == FileKind::Link).then(|| OsStr::from_bytes(link).into());
    let modified = if seconds < 0 { UNIX_EPOCH - after } else { UNIX_EPOCH + after };
    Some(FileInfo { path, kind, size, mode: raw & 0o7777, uid, gid, modified, link })
}

pub(super) async fn create_dir(sudo: &Sudo, path: &Path) -> Result<()> {
    let doing = doing(sudo, "creating the folder", path);
    sudo.run(doing, &change(), r#"mkdir -p "$1""#, [plain(path).as_os_str()]).await.map(drop)
}

pub(super) async fn rename(sudo: &Sudo, from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("renaming {} to {} on {}", from.display(), to.display(), sudo.name);
    let folder = plain(to.parent().unwrap_or(Path::new(".")));
    let (from, to) = (plain(from), plain(to));
    sudo.run(doing, &change(), RENAME, [from.as_os_str(), &to, &folder]).await.map(drop)
}

pub(super) async fn symlink(sudo: &Sudo, to: &Path, link: &Path) -> Result<()> {
    let doing = || format!("linking {} to {} on {}", link.display(), to.display(), sudo.name);
    let (temp, link) = (beside(link)?, plain(link));
    sudo.run(doing, &change(), LINK, [to.as_os_str(), &temp, &link]).await.map(drop)
}

pub(super) async fn set_mode(sudo: &Sudo, path: &Path, mode: u32) -> Result<()> {
    let doing = doing(sudo, "setting the mode of", path);
    let mode = OsString::from(format!("{mode:o}"));
    sudo.run(doing, &change(), r#"chmod "$2" "$1""#, [plain(path).as_os_str(), &mode])
        .await
        .map(drop)
}

pub(super) async fn remove(sudo: &Sudo, path: &Path) -> Result<()> {
    let doing = doing(sudo, "removing", path);
    sudo.run(doing, &change(), REMOVE, [plain(path).as_os_str()]).await.map(drop)
}

pub(super) async fn remove_tree(sudo: &Sudo, path: &Path) -> Result<()> {
    let doing = doing(sudo, "removing all of", path);
    sudo.run(doing, &change(), r#"rm -rf "$1""#, [plain(path).as_os_str()]).await.map(drop)
}
