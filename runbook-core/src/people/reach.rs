//! [`Reach`]: a way to reach somebody.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A way to reach somebody: what it is is seen from how it is written.
///
/// | | |
/// | --- | --- |
/// | `+33 1 23 45 67 89`, `112` | a phone number |
/// | `oncall@example.org` | a mail address |
/// | `#ops` | a chat channel |
/// | `https://status.example.org/support` | a page to open; never one that acts when it is opened, for contacts are no secrets |
///
/// ```
/// use runbook_core::{Reach, ReachKind};
/// let reach: Reach = "+1 (555) 0100".parse()?;
/// assert_eq!(reach.kind(), ReachKind::Phone);
/// assert!("+1 555 CALL".parse::<Reach>().is_err());
/// # Ok::<(), runbook_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reach {
    kind: ReachKind,
    to: String,
}

/// The sort of a [`Reach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReachKind {
    /// A phone number.
    Phone,
    /// A mail address.
    Mail,
    /// A chat channel.
    Chat,
    /// A page to open.
    Url,
}

impl Reach {
    /// What sort of way it is.
    #[must_use]
    pub fn kind(&self) -> ReachKind {
        self.kind
    }

    /// The number, address or name, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.to
    }

    pub(super) fn scrubbed(self) -> Self {
        Self { to: super::scrub(&self.to), ..self }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to)
    }
}

impl FromStr for Reach {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let to = text.trim();
        let (kind, checked) = if to.starts_with('#') {
            (ReachKind::Chat, channel(to).map_err(|why| ("chat channel", why)))
        } else if to.contains("://") {
            (ReachKind::Url, url(to).map_err(|why| ("URL", why)))
        } else if to.contains('@') {
            (ReachKind::Mail, mail(to).map_err(|why| ("mail address", why)))
        } else if to.starts_with(|c: char| c == '+' || c == '(' || c.is_ascii_digit()) {
            (ReachKind::Phone, phone(to).map_err(|why| ("phone number", why)))
        } else {
            return Err(Error::usage(format!(
                "`{to}` is no way to reach anybody: write a phone number (`+33 1 23 45 67 89`), a \
                 mail address, a chat channel (`#ops`) or a URL (`https://..`)"
            )));
        };
        checked.map_err(|(what, why)| Error::usage(format!("the {what} `{to}`: {why}")))?;
        Ok(Self { kind, to: to.to_owned() })
    }
}

fn channel(text: &str) -> Result<(), &'static str> {
    let name = &text[1..];
    if name.is_empty() {
        return Err("its name is missing after the `#`");
    }
    let bad = |c: char| c == '#' || c.is_whitespace() || c.is_control();
    if name.contains(bad) { Err("a name has no spaces and no second `#`") } else { Ok(()) }
}

fn phone(text: &str) -> Result<(), &'static str> {
    let number = text.strip_prefix('+').unwrap_or(text);
    if number.contains(|c: char| !(c.is_ascii_digit() || " -.()/".contains(c))) {
        return Err("a number has digits, spaces and any of `-.()/`, and a `+` only in front");
    }
    match number.bytes().filter(u8::is_ascii_digit).count() {
        // 112 is one; the longest in the world have 15.
        3..=15 => Ok(()),
        _ => Err("a number has 3 to 15 digits"),
    }
}

fn mail(text: &str) -> Result<(), &'static str> {
    let Some((local, domain)) = text.rsplit_once('@') else { return Err("it has no `@`") };
    if local.is_empty() || local.contains('@') {
        return Err("one name stands before one `@`");
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || "<>,;:".contains(c)) {
        return Err("an address alone, without spaces, brackets and commas");
    }
    if is_name(domain) { Ok(()) } else { Err("what follows the `@` is no host name") }
}

fn url(text: &str) -> Result<(), &'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return Err("it begins with neither `https://` nor `http://`") };
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URL has no spaces");
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err("it holds a user or password; contacts are shown to everybody");
    }
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => host,
    };
    if is_name(host) { Ok(()) } else { Err("its host is no host name") }
}

/// Whether it reads as the name or address of a host.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_known_from_how_it_is_written() {
        for (text, kind) in [
            ("+33 1 23 45 67 89", ReachKind::Phone),
            ("(555) 01.00", ReachKind::Phone),
            ("112", ReachKind::Phone),
            ("oncall+night@ops.example.org", ReachKind::Mail),
            ("#eaf-incidents", ReachKind::Chat),
            ("https://support.example.org:8443/tickets?new", ReachKind::Url),
        ] {
            let reach: Reach = format!(" {text} ").parse().unwrap();
            assert_eq!((reach.kind(), reach.as_str()), (kind, text));
        }
    }

    #[test]
    fn what_reaches_nobody_is_named_with_why() {
        let refused: Vec<String> = [
            "",
            "the usual number",
            "+1 555 CALL",
            "12",
            "+1234567890123456",
            "kim@",
            "@example.org",
            "Kim <kim@example.org>",
            "kim@example..org",
            "#",
            "#two words",
            "ftp://example.org",
            "https://",
            "https://kim:word@example.org/",
            "https://exa mple.org",
        ]
        .iter()
        .map(|text| text.parse::<Reach>().unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(refused.join("\n"));
    }
}
