//! Words of `sh` that mean exactly the given bytes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Appends `word`, quoted if it must be. It holds no NUL.
pub(super) fn push(line: &mut Vec<u8>, word: &[u8]) {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+".contains(byte);
    if !word.is_empty() && word.iter().all(plain) {
        line.extend_from_slice(word);
        return;
    }
    line.push(b'\'');
    for (index, part) in word.split(|byte| *byte == b'\'').enumerate() {
        if index > 0 {
            line.extend_from_slice(br"'\''");
        }
        line.extend_from_slice(part);
    }
    line.push(b'\'');
}

/// The same, after a space.
pub(super) fn push_next(line: &mut Vec<u8>, word: impl AsRef<OsStr>) {
    line.push(b' ');
    push(line, word.as_ref().as_bytes());
}

/// Appends a word that is the format by which `printf` says exactly `bytes`, be they any.
pub(super) fn push_format(line: &mut Vec<u8>, bytes: &[u8]) {
    line.push(b'\'');
    for byte in bytes {
        match byte {
            b'%' => line.extend_from_slice(b"%%"),
            b'\n' => line.extend_from_slice(br"\n"),
            b'\'' | b'\\' | b'-' | 0..0x20 | 0x7f.. => {
                let digit = |shift: u8| b'0' + (byte >> shift & 7);
                line.extend_from_slice(&[b'\\', digit(6), digit(3), digit(0)]);
            }
            byte => line.push(*byte),
        }
    }
    line.push(b'\'');
}

/// A path that no program takes for an option.
pub(crate) fn plain(path: &Path) -> OsString {
    let path: std::path::PathBuf = path.components().collect();
    if path.is_absolute() { path.into() } else { Path::new(".").join(path).into() }
}

/// A script as it is sent: without comments and indentation.
pub(super) fn compact(script: &str) -> String {
    let mut compact = String::with_capacity(script.len());
    let lines = script.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        compact.push_str(line);
        compact.push('\n');
    }
    compact
}

/// Whether `sh` can have a variable of this name without a meaning of its own to it.
pub(super) fn is_variable(name: &[u8]) -> bool {
    /// Some shells don't let them be assigned, or read a meaning into them.
    const TAKEN: [&[u8]; 22] = [
        b"_",
        b"UID",
        b"EUID",
        b"PPID",
        b"GROUPS",
        b"SHELLOPTS",
        b"SECONDS",
        b"RANDOM",
        b"SRANDOM",
        b"LINENO",
        b"OPTIND",
        b"OPTARG",
        b"OPTERR",
        b"IFS",
        b"PWD",
        b"OLDPWD",
        b"DIRSTACK",
        b"FUNCNAME",
        b"FUNCNEST",
        b"HISTCMD",
        b"POSIXLY_CORRECT",
        b"PIPESTATUS",
    ];
    let first = name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    first
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && !TAKEN.contains(&name)
        && ![&b"BASH"[..], b"COMP", b"EPOCH", b"_n", b"_p"]
            .iter()
            .any(|taken| name.starts_with(taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_indentation_are_not_sent() {
        assert_eq!(
            compact("# why\nf() {\n    true # not this\n\n}\n"),
            "f() {\ntrue # not this\n}\n"
        );
    }

    #[test]
    fn a_format_has_no_byte_of_its_own_meaning() {
        let mut line = Vec::new();
        push_format(&mut line, b"-%'\\\n\0\xff");
        assert_eq!(line, br"'\055%%\047\134\n\000\377'");
    }
}
