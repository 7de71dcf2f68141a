//! [`Commit`] and [`Change`]: what git says, typed.

use runbook_core::{Failure, Result};
use serde::{Deserialize, Serialize};

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Commit {
    /// Its whole hash.
    pub id: String,
    /// When it was committed, RFC 3339.
    pub at: String,
    /// Who wrote it.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
}

impl Commit {
    /// What `git log` is asked to print of each: fields end in a zero byte, which no field holds.
    pub(crate) const FORMAT: &str = "--format=%H%x00%cI%x00%an%x00%s%x00";

    /// The first ten characters of its hash.
    ///
    /// ```
    /// # use runbook_git::Commit;
    /// # let json = r#"{"id":"0123456789abcdef","at":"","author":"","subject":""}"#;
    /// let commit: Commit = serde_json::from_str(json).unwrap();
    /// assert_eq!(commit.short(), "0123456789");
    /// ```
    #[must_use]
    pub fn short(&self) -> &str {
        short(&self.id)
    }

    /// What `git log` printed.
    pub(crate) fn parse(text: &str) -> Vec<Self> {
        let fields: Vec<&str> = text.split('\0').collect();
        let commits = fields.chunks_exact(4).map(|fields| Self {
            id: fields[0].trim().to_owned(),
            at: fields[1].to_owned(),
            author: fields[2].to_owned(),
            subject: fields[3].to_owned(),
        });
        commits.collect()
    }

    /// The only one that `git log` printed.
    pub(crate) fn parse_one(text: &str) -> Result<Self> {
        Self::parse(text)
            .into_iter()
            .next()
            .ok_or_else(|| Failure::msg(format!("git log printed no commit but {text:?}")))
    }
}

/// The start of a hash.
pub(crate) fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}

/// A file that was changed and not committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// Its path in the work tree.
    pub path: String,
    /// The two letters of `git status --short`: what changed in the index and in the work tree.
    pub status: String,
}

impl Change {
    /// What `git status --porcelain -z` printed.
    pub(crate) fn parse(text: &str) -> Vec<Self> {
        let mut changes = Vec::new();
        let mut entries = text.split('\0').filter(|entry| !entry.is_empty());
        while let Some(entry) = entries.next() {
            let (Some(status), Some(path)) = (entry.get(..2), entry.get(3..)) else { continue };
            if status.contains(['R', 'C']) {
                // Followed by what it was called before.
                entries.next();
            }
            changes.push(Self { path: path.to_owned(), status: status.to_owned() });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_file_is_one_change() {
        let changes = Change::parse("R  new name\0old\0 M a\0?? b c\0");
        let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["new name", "a", "b c"]);
    }

    #[test]
    fn a_subject_may_hold_anything_but_a_zero_byte() {
        let text = "abc\x002026-01-02T03:04:05+00:00\0Kim \"K\"\0it's\t%H; $(x)\0\n";
        let commits = Commit::parse(text);
        assert_eq!(commits.len(), 1);
        assert_eq!(commits[0].subject, "it's\t%H; $(x)");
    }
}
