//! [`Selection`]: which hosts of an inventory, as an operator types it.

use std::fmt;
use std::str::FromStr;

use super::{ALL, Entry, Inventory};
use crate::error::Error;
use crate::param::{Param, ParamError, ParamKind};

/// Which hosts: names of hosts and groups and patterns, between commas; `!` leaves out.
///
/// | selection | selects |
/// | --- | --- |
/// | `web-1,db` | the host `web-1`, and the host or group `db` |
/// | `web,!web-3` | the group `web` without `web-3` |
/// | `web-*` | hosts whose names begin so; `?` stands for one sign |
/// | `!web-3` | all but `web-3` |
/// | `all` | all |
///
/// It can be a parameter of a runbook: `run restart --hosts 'web,!web-3'`. What it names must be
/// there, also what it leaves out: a slip of the pen selects nothing by accident.
///
/// ```
/// use runbook_core::{Entry, Inventory, Selection};
///
/// let names = ["web-1", "web-2", "web-3", "db"];
/// let inventory = Inventory::new(names.map(|name| Entry::new(name, ())))?;
/// let selection: Selection = "web-*,!web-3".parse()?;
/// assert_eq!(inventory.select(&selection)?.names().collect::<Vec<_>>(), ["web-1", "web-2"]);
/// # Ok::<(), runbook_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    leaves_out: bool,
    name: String,
}

impl Selection {
    /// All hosts.
    #[must_use]
    pub fn all() -> Self {
        let all = Term { leaves_out: false, name: ALL.into() };
        Self { text: ALL.into(), terms: vec![all] }
    }

    /// The hosts of `inventory` that it names, in the inventory's order.
    pub(super) fn of<'a, V>(
        &self,
        inventory: &'a Inventory<V>,
    ) -> Result<Vec<&'a Entry<V>>, String> {
        for term in &self.terms {
            if inventory.groups().any(|group| group == term.name) {
                continue;
            }
            if !inventory.hosts.iter().any(|entry| term.names(entry)) {
                let what =
                    if term.is_pattern() { "no host fits" } else { "no host or group is called" };
                return Err(format!("{what} `{}`; {}", term.name, inventory.what_there_is()));
            }
        }
        let only_out = self.terms.iter().all(|term| term.leaves_out);
        let named = |entry: &Entry<V>, leaves_out: bool| {
            self.terms.iter().any(|term| term.leaves_out == leaves_out && term.names(entry))
        };
        let selected = |entry: &&Entry<V>| (only_out || named(entry, false)) && !named(entry, true);
        let hosts: Vec<_> = inventory.hosts.iter().filter(selected).collect();
        if hosts.is_empty() {
            return Err(format!("`{self}` selects no host; {}", inventory.what_there_is()));
        }
        Ok(hosts)
    }
}

impl Term {
    fn is_pattern(&self) -> bool {
        self.name.contains(['*', '?'])
    }

    fn names<V>(&self, entry: &Entry<V>) -> bool {
        if self.is_pattern() {
            return fits(self.name.as_bytes(), entry.name().as_bytes());
        }
        entry.name() == self.name || entry.is_in(&self.name)
    }
}

/// Whether `name` fits a pattern of `*` and `?`; goes back to the latest `*` only, so that no
/// pattern takes more than their product.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(sign) if *sign == b'?' || *sign == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|sign| *sign == b'*')
}

const ACCEPTS: &str = "hosts and groups between commas, such as web,!web-3 or web-*";

impl FromStr for Selection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).map_err(|accepts| {
            Error::usage(format!("`{text}` selects nothing: expected {accepts}"))
        })
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Param for Selection {
    fn kind() -> ParamKind {
        ParamKind { many: true, example: Some(ALL.into()), ..ParamKind::new(ACCEPTS, "string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for word in text.split(',').map(str::trim) {
            let (leaves_out, name) = match word.strip_prefix('!') {
                Some(name) => (true, name.trim_start()),
                None => (false, word),
            };
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '!') {
                return Err(ACCEPTS.into());
            }
            terms.push(Term { leaves_out, name: name.into() });
        }
        Ok(Self { text: text.trim().into(), terms })
    }

    fn parse_all(values: &[String]) -> Result<Self, ParamError> {
        if values.is_empty() {
            return Err(ParamError::Missing);
        }
        let mut all = Self { text: values.join(","), terms: Vec::new() };
        for value in values {
            let refused = |accepts| ParamError::Refused { value: value.clone(), accepts };
            all.terms.extend(Self::parse(value).map_err(refused)?.terms);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_whole_names() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("web-*", "web-", true),
            ("web-*", "web", false),
            ("*-1", "web-11-1", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYcZ", false),
            ("?", "", false),
            ("w?b", "web", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn several_words_are_one_selection() {
        let words = ["web".to_owned(), "!web-3".to_owned()];
        assert_eq!(Selection::parse_all(&words).unwrap().to_string(), "web,!web-3");
        assert_eq!(Selection::parse_all(&[]), Err(ParamError::Missing));
    }
}
