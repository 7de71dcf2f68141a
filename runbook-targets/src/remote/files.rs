//! Files, by the tools over there: each operation is one frame of a shell, large content aside.

mod attributes;
pub(super) mod scripts;
mod small;

use std::ffi::OsString;
use std::io::{Cursor, Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runbook_core::{BoxRead, Exit, Failure, FileInfo, Process, Result, Spawn, WriteOptions};
use rustix::io::Errno;
use tokio::io::AsyncReadExt;

use self::scripts::{self as script, Script};
pub(super) use self::small::{Temp, arguments, beside};
use super::channel::Channels;
use super::process::{Frame, Pooled};
use super::target::Inner;
use super::upload;
use super::words::{plain, push_format, push_next};
use crate::refused::Doing;

/// Up to here content goes in the frame, and a file comes in one answer; more has a channel of its
/// own.
const SMALL: usize = 32 << 10;

/// The most that is taken of what a tool says: a folder of a million files fits.
const MOST: u64 = 256 << 20;

/// What a script said and how it ended.
pub(super) struct Said {
    pub(super) exit: Exit,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Runs the script with the arguments.
pub(super) async fn call<C: Channels, const N: usize>(
    inner: &Arc<Inner<C>>,
    script: &Script,
    arguments: [OsString; N],
) -> Result<Said> {
    call_with(inner, script, arguments, None).await
}

/// The same; `content` is one argument more, the format by which `printf` says it.
async fn call_with<C: Channels, const N: usize>(
    inner: &Arc<Inner<C>>,
    script: &Script,
    arguments: [OsString; N],
    content: Option<&[u8]>,
) -> Result<Said> {
    if arguments.iter().any(|word| word.as_encoded_bytes().contains(&0)) {
        return Err(Error::new(ErrorKind::InvalidInput, "a NUL byte in the path").into());
    }
    let Script { name, text, inline } = *script;
    let mut call = format!("{}_{name}", if inline { "" } else { "(" }).into_bytes();
    arguments.iter().for_each(|word| push_next(&mut call, word));
    if let Some(content) = content {
        call.push(b' ');
        push_format(&mut call, content);
    }
    // A number right before a redirection would be taken for a part of it.
    call.push(if inline { b' ' } else { b')' });
    let frame = Frame::of(&call);
    // In no environment: the lifeline finds it below its shell.
    let command = Spawn::new(String::new()).command;
    let mut process = Pooled::start(inner, Some((name, text)), &frame, &command, None).await?;
    // It removes what it has begun.
    process.patience = Duration::from_secs(2);
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let (out, err, exit) = tokio::join!(all(stdout), all(stderr), process.wait());
    Ok(Said { exit: exit?, stdout: out?, stderr: err? })
}

/// All of a stream.
pub(super) async fn all(from: Option<BoxRead>) -> Result<Vec<u8>> {
    let mut said = Vec::new();
    if let Some(from) = from {
        let read = from.take(MOST).read_to_end(&mut said).await?;
        if read as u64 == MOST {
            return Err(Failure::msg("there is too much to say"));
        }
    }
    Ok(said)
}

impl Said {
    /// What it said, or why not.
    pub(super) fn ok(self) -> std::io::Result<Vec<u8>> {
        if self.exit == Exit::Code(0) {
            Ok(self.stdout)
        } else {
            Err(error(self.exit, &self.stderr))
        }
    }
}

/// What a tool says when it gives up, as the error that the system gave it.
pub(super) fn error(exit: Exit, stderr: &[u8]) -> Error {
    const ERRORS: [(&str, Errno); 27] = [
        ("path has non-directory component", Errno::NOTDIR),
        ("no such file or directory", Errno::NOENT),
        ("no such file", Errno::NOENT),
        ("directory nonexistent", Errno::NOENT),
        ("nonexistent directory", Errno::NOENT),
        ("permission denied", Errno::ACCESS),
        ("operation not permitted", Errno::PERM),
        ("file exists", Errno::EXIST),
        ("cannot overwrite existing file", Errno::EXIST),
        ("not a directory", Errno::NOTDIR),
        ("is a directory", Errno::ISDIR),
        ("no space left on device", Errno::NOSPC),
        ("disk quota exceeded", Errno::DQUOT),
        ("file too large", Errno::FBIG),
        ("file size limit exceeded", Errno::FBIG),
        ("read-only file system", Errno::ROFS),
        ("directory not empty", Errno::NOTEMPTY),
        ("cross-device link", Errno::XDEV),
        ("too many levels of symbolic links", Errno::LOOP),
        ("file name too long", Errno::NAMETOOLONG),
        ("text file busy", Errno::TXTBSY),
        ("input/output error", Errno::IO),
        ("i/o error", Errno::IO),
        ("invalid argument", Errno::INVAL),
        ("device or resource busy", Errno::BUSY),
        ("resource busy", Errno::BUSY),
        ("too many links", Errno::MLINK),
    ];
    let said = String::from_utf8_lossy(stderr);
    let line = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    match line {
        // The scripts' own words.
        "is a directory" => return ErrorKind::IsADirectory.into(),
        "not an ordinary file" => return Error::new(ErrorKind::InvalidInput, line),
        _ => {}
    }
    let lower = line.to_ascii_lowercase();
    for (text, errno) in ERRORS {
        if lower.ends_with(text) {
            return errno.into();
        }
    }
    // Its own words; a failure adds nothing to them.
    let why = if line.is_empty() { exit.to_string() } else { line.to_owned() };
    Error::other(runbook_core::scrub(&why).into_owned())
}

fn doing<'a, C: Channels>(inner: &'a Inner<C>, verb: &'static str, path: &'a Path) -> Doing<'a> {
    Doing { verb, path, host: inner.name() }
}

pub(super) fn folder(path: &Path) -> OsString {
    match path.parent() {
        Some(folder) => plain(folder),
        None => plain(path),
    }
}

/// Runs a script about one path.
async fn about<C: Channels, const N: usize>(
    inner: &Arc<Inner<C>>,
    doing: Doing<'_>,
    script: &Script,
    arguments: [OsString; N],
) -> Result<Vec<u8>> {
    let said = call(inner, script, arguments).await;
    let said = said.map_err(|failure| failure.while_doing(&doing))?;
    said.ok().map_err(|error| doing.failed(&error))
}

pub(super) async fn read<C: Channels>(inner: &Arc<Inner<C>>, path: &Path) -> Result<BoxRead> {
    let doing = doing(inner, "reading", path);
    let size = OsString::from((SMALL + 1).to_string());
    let content = about(inner, doing, &script::READ, [plain(path), size]).await?;
    if content.len() <= SMALL {
        return Ok(Box::new(Cursor::new(content)));
    }
    upload::download(inner, path).await
}

pub(super) async fn write<C: Channels>(
    inner: &Arc<Inner<C>>,
    path: &Path,
    mut content: BoxRead,
    options: &WriteOptions,
) -> Result<()> {
    let doing = doing(inner, "writing", path);
    let mut begin = Vec::new();
    let read = (&mut content).take(SMALL as u64 + 1).read_to_end(&mut begin).await;
    read.map_err(|error| doing.source_failed(&error))?;
    if begin.len() > SMALL {
        let content = Cursor::new(begin).chain(content);
        return upload::upload(inner, path, Box::new(content), options).await;
    }
    let temp = beside(path).map_err(|error| doing.failed(&error))?;
    let arguments = small::arguments(temp, path, options);
    let said = call_with(inner, &script::WRITE, arguments, Some(&begin)).await;
    let said = said.map_err(|failure| failure.while_doing(&doing))?;
    said.ok().map(drop).map_err(|error| doing.failed(&error))
}

pub(super) async fn copy<C: Channels>(inner: &Arc<Inner<C>>, from: &Path, to: &Path) -> Result<()> {
    let (reading, writing) = (doing(inner, "reading", from), doing(inner, "writing", to));
    let temp = beside(to).map_err(|error| writing.failed(&error))?;
    let arguments = [temp, plain(to), folder(to), plain(from)];
    let said = call(inner, &script::COPY, arguments).await;
    let said = said.map_err(|failure| failure.while_doing(&writing))?;
    // What went wrong with the first file has a code of its own.
    let source = said.exit == Exit::Code(3);
    said.ok()
        .map(drop)
        .map_err(|error| if source { reading.failed(&error) } else { writing.failed(&error) })
}

pub(super) async fn stat<C: Channels>(
    inner: &Arc<Inner<C>>,
    path: &Path,
) -> Result<Option<FileInfo>> {
    let doing = doing(inner, "looking at", path);
    let said = call(inner, &script::STAT, [plain(path)]).await;
    match said.map_err(|failure| failure.while_doing(&doing))?.ok() {
        Ok(said) => {
            attributes::one(path, &said).map(Some).map_err(|failure| failure.while_doing(&doing))
        }
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(doing.failed(&error)),
    }
}

pub(super) async fn list<C: Channels>(inner: &Arc<Inner<C>>, path: &Path) -> Result<Vec<FileInfo>> {
    let said = about(inner, doing(inner, "listing", path), &script::LIST, [plain(path)]).await?;
    attributes::many(path, &said)
        .map_err(|failure| failure.while_doing(doing(inner, "listing", path)))
}

pub(super) async fn create_dir<C: Channels>(inner: &Arc<Inner<C>>, path: &Path) -> Result<()> {
    let doing = doing(inner, "creating the folder", path);
    about(inner, doing, &script::MKDIR, [plain(path)]).await.map(drop)
}

pub(super) async fn rename<C: Channels>(
    inner: &Arc<Inner<C>>,
    from: &Path,
    to: &Path,
) -> Result<()> {
    let doing = doing(inner, "renaming", from);
    let arguments = [plain(from), plain(to), folder(from), folder(to)];
    let said = call(inner, &script::RENAME, arguments).await;
    let failed = |error| doing.failed_to(to, &error);
    said.and_then(|said| said.ok().map(drop).map_err(failed))
}

pub(super) async fn symlink<C: Channels>(
    inner: &Arc<Inner<C>>,
    to: &Path,
    link: &Path,
) -> Result<()> {
    let doing = doing(inner, "linking", link);
    let failed = |error| doing.failed_to(to, &error);
    let temp = beside(link).map_err(failed)?;
    let arguments = [to.into(), temp, plain(link), folder(link)];
    let said = call(inner, &script::LINK, arguments).await;
    said.and_then(|said| said.ok().map(drop).map_err(failed))
}

pub(super) async fn set_mode<C: Channels>(
    inner: &Arc<Inner<C>>,
    path: &Path,
    mode: u32,
) -> Result<()> {
    let doing = doing(inner, "setting the mode of", path);
    let mode = OsString::from(format!("{:04o}", mode & 0o7777));
    about(inner, doing, &script::CHMOD, [plain(path), mode]).await.map(drop)
}

pub(super) async fn remove<C: Channels>(inner: &Arc<Inner<C>>, path: &Path) -> Result<()> {
    unless_gone(inner, doing(inner, "removing", path), &script::REMOVE).await
}

pub(super) async fn remove_tree<C: Channels>(inner: &Arc<Inner<C>>, path: &Path) -> Result<()> {
    unless_gone(inner, doing(inner, "removing all of", path), &script::REMOVE_TREE).await
}

async fn unless_gone<C: Channels>(
    inner: &Arc<Inner<C>>,
    doing: Doing<'_>,
    script: &Script,
) -> Result<()> {
    let said = call(inner, script, [plain(doing.path)]).await;
    match said.map_err(|failure| failure.while_doing(&doing))?.ok() {
        Err(error) if !is_absent(&error) => Err(doing.failed(&error)),
        _ => Ok(()),
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
