//! What the lists of known hosts say about a key: [`judge`].
//!
//! A pure function over the content of the files, so that its verdict can be compared with that of
//! `ssh` itself on any file. The rules, and where they are not obvious:
//!
//! - A line counts if one of its patterns matches and none of its negated ones does. A line that
//!   can't be read is skipped, as if it were not there.
//! - Any line with the very key is enough, wherever it stands: a host may have many keys.
//! - A revoked key is refused, whatever other lines and files say.
//! - Any other key of the host makes a key that is not listed a changed one, of whatever type it
//!   is. That is why the types that are listed are asked for first: see [`kinds`].
//! - A host on another port than 22 is `[host]:port`; a line for the bare host is good enough to
//!   know it, but does not make its key a changed one.
//! - Keys of certificate authorities don't matter: certificates are not asked for.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::key::PublicKey;

/// The content of a list of known hosts.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// Where it was read.
    pub(crate) path: PathBuf,
    /// All of it.
    pub(crate) content: Vec<u8>,
}

/// A line of a list of known hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// The first is 1.
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// What the lists say about a key of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is listed.
    Known(Place),
    /// The host is not listed.
    Unknown,
    /// The host is listed with other keys only: the first line that says so, and their types.
    Changed { place: Place, kinds: Vec<&'static str> },
    /// The key is marked as one that must not be trusted any more.
    Revoked(Place),
}

/// The names under which a host is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostNames {
    name: String,
    /// Without its port, if it has one of its own.
    bare: Option<String>,
}

impl HostNames {
    /// Of a host as `HostName` and `Port` have it.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase();
        if port == 22 {
            Self { name: host, bare: None }
        } else {
            Self { name: format!("[{host}]:{port}"), bare: Some(host) }
        }
    }

    /// Of a `HostKeyAlias`, which stands for host and port.
    pub(crate) fn alias(alias: &str) -> Self {
        Self { name: alias.to_ascii_lowercase(), bare: None }
    }
}

/// As lists and `ssh-keygen -R` name it: `host`, or `[host]:port`.
impl fmt::Display for HostNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What `lists` say about `key` as the key of `host`.
pub(crate) fn judge(lists: &[Listing], host: &HostNames, key: &PublicKey) -> Verdict {
    let bare = host.bare.as_deref().map(|bare| judge_name(lists, bare, key));
    match (judge_name(lists, &host.name, key), bare) {
        (Verdict::Revoked(place), _) | (_, Some(Verdict::Revoked(place))) => {
            Verdict::Revoked(place)
        }
        (Verdict::Unknown, Some(known @ Verdict::Known(_))) => known,
        (verdict, _) => verdict,
    }
}

/// The types of the keys by which `host` is known, in the order of the lists.
pub(crate) fn kinds(lists: &[Listing], host: &HostNames) -> Vec<&'static str> {
    let mut found = Vec::new();
    let names = [Some(host.name.as_str()), host.bare.as_deref()];
    for name in names.into_iter().flatten() {
        for entry in entries(lists, name) {
            if entry.mark == Mark::None && !found.contains(&entry.key.kind()) {
                found.push(entry.key.kind());
            }
        }
        // The bare name counts only for a host that is not listed otherwise.
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// The field of a line that stands for `name` without showing it.
pub(crate) fn hashed(name: &str, salt: &[u8; 20]) -> String {
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hmac(salt, name)))
}

fn judge_name(lists: &[Listing], name: &str, key: &PublicKey) -> Verdict {
    let mut known = None;
    let mut others: Option<(Place, Vec<&'static str>)> = None;
    for entry in entries(lists, name) {
        match entry.mark {
            Mark::Revoked if entry.key == *key => return Verdict::Revoked(entry.place()),
            Mark::Revoked | Mark::Authority => {}
            Mark::None if entry.key == *key => {
                known.get_or_insert_with(|| entry.place());
            }
            Mark::None => {
                let (_, kinds) = others.get_or_insert_with(|| (entry.place(), Vec::new()));
                if !kinds.contains(&entry.key.kind()) {
                    kinds.push(entry.key.kind());
                }
            }
        }
    }
    match (known, others) {
        (Some(place), _) => Verdict::Known(place),
        (None, Some((place, kinds))) => Verdict::Changed { place, kinds },
        (None, None) => Verdict::Unknown,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    Authority,
    Revoked,
}

struct Entry<'a> {
    path: &'a Path,
    line: usize,
    mark: Mark,
    key: PublicKey,
}

impl Entry<'_> {
    fn place(&self) -> Place {
        Place { path: self.path.to_owned(), line: self.line }
    }
}

/// The lines about `name` that can be read.
fn entries<'a>(lists: &'a [Listing], name: &'a str) -> impl Iterator<Item = Entry<'a>> {
    lists.iter().flat_map(move |list| {
        let lines = list.content.split(|byte| *byte == b'\n').enumerate();
        lines.filter_map(move |(index, line)| {
            let (mark, key) = entry(line, name)?;
            Some(Entry { path: &list.path, line: index + 1, mark, key })
        })
    })
}

fn entry(line: &[u8], name: &str) -> Option<(Mark, PublicKey)> {
    let mut rest = trim(line);
    let mut mark = Mark::None;
    if rest.first() == Some(&b'@') {
        let (word, tail) = word(rest);
        mark = match word {
            b"@revoked" => Mark::Revoked,
            b"@cert-authority" => Mark::Authority,
            _ => return None,
        };
        rest = tail;
    }
    let (hosts, rest) = word(rest);
    if hosts.is_empty() || hosts.starts_with(b"#") || !names(hosts, name) {
        return None;
    }
    // To a program in C, a NUL ends whatever it stands in.
    Some((mark, PublicKey::from_text(rest.split(|byte| *byte == 0).next()?)?))
}

/// Whether the field of a line stands for `name`.
fn names(field: &[u8], name: &str) -> bool {
    if field.starts_with(b"|") {
        return is_hash_of(field, name).unwrap_or(false);
    }
    let mut matched = false;
    for pattern in field.split(|byte| *byte == b',') {
        let (negated, pattern) = match pattern.strip_prefix(b"!") {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        if glob(pattern, name.as_bytes()) {
            if negated {
                return false;
            }
            matched = true;
        }
    }
    matched
}

/// `|1|salt|hash`, both in base64.
fn is_hash_of(field: &[u8], name: &str) -> Option<bool> {
    let (salt, hash) = std::str::from_utf8(field).ok()?.strip_prefix("|1|")?.split_once('|')?;
    let salt = STANDARD.decode(salt).ok().filter(|salt| salt.len() == 20)?;
    Some(STANDARD.decode(hash).ok()? == hmac(&salt, name))
}

fn hmac(salt: &[u8], name: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).expect("a key of any length is good");
    mac.update(name.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// `*` and `?`, in time that is bounded by the product of both lengths; `text` is in lower case.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut star = None;
    while position < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(byte) if *byte == b'?' || byte.to_ascii_lowercase() == text[position] => {
                at += 1;
                position += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (at, position) = (after + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// The first word, and what follows it without the blanks before.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b'\t' | 0)).unwrap_or(text.len());
    (&text[..end], trim(text.get(end + 1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
