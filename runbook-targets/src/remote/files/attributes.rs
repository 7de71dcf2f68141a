//! What `stat` says, as [`FileInfo`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use runbook_core::{Failure, FileInfo, FileKind, Result};

/// A line about it; then where a link points.
pub(super) fn one(path: &Path, said: &[u8]) -> Result<FileInfo> {
    let (about, link) = split(said, b'\n');
    info(path.to_owned(), about, link).ok_or_else(|| unreadable(about))
}

/// For each: a line about it, its path, NUL, where it points, NUL.
pub(super) fn many(folder: &Path, said: &[u8]) -> Result<Vec<FileInfo>> {
    let mut rest = said;
    let mut inside = Vec::new();
    while !rest.is_empty() {
        let (entry, after) = split(rest, 0);
        let (link, after) = split(after, 0);
        rest = after;
        let (about, file) = split(entry, b'\n');
        let name = file.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let info = info(folder.join(OsStr::from_bytes(name)), about, link);
        inside.push(info.ok_or_else(|| unreadable(about))?);
    }
    inside.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(inside)
}

fn unreadable(about: &[u8]) -> Failure {
    Failure::msg(format!("`stat` said `{}`", String::from_utf8_lossy(about).trim()))
        .next("it must be the `stat` of GNU or of BusyBox, which know `-c`")
}

fn split(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(at, bytes) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

/// From `%f %s %u %g %Y %y`: raw mode in hex, size, owner, group, seconds, and the same as a date
/// with the part below a second.
fn info(path: PathBuf, about: &[u8], link: &[u8]) -> Option<FileInfo> {
    let mut fields = std::str::from_utf8(about).ok()?.split(' ');
    let raw = u32::from_str_radix(fields.next()?, 16).ok()?;
    let size = fields.next()?.parse().ok()?;
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let seconds: i64 = fields.next()?.parse().ok()?;
    let part =
        fields.nth(1).and_then(|time| time.split_once('.')).map_or(0, |(_, part)| nanos(part));
    let kind = match raw & 0o170_000 {
        0o100_000 => FileKind::File,
        0o040_000 => FileKind::Dir,
        0o120_000 => FileKind::Link,
        _ => FileKind::Other,
    };
    let link = (kind == FileKind::Link).then(|| OsStr::from_bytes(link).into());
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let modified = if seconds < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
    let modified = modified + Duration::from_nanos(part);
    Some(FileInfo { path, kind, size, mode: raw & 0o7777, uid, gid, modified, link })
}

/// Nine digits, or fewer.
fn nanos(part: &str) -> u64 {
    let digits: String = part.chars().take_while(char::is_ascii_digit).take(9).collect();
    format!("{digits:0<9}").parse().unwrap_or_default()
}
