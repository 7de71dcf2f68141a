//! [`UnitId`] and [`RunId`]: the names of units and runs.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The stable name of a unit or block in its plan, e.g. `switch/point-current-at-release`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(Arc<str>);

impl UnitId {
    /// The id `id`.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for UnitId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

impl From<&str> for UnitId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

/// The name of a run: its start in UTC and four random characters, e.g. `20260314-150926-k7xq`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Arc<str>);

impl RunId {
    /// A fresh one.
    #[must_use]
    pub fn fresh() -> Self {
        use std::hash::{BuildHasher, Hasher};
        let now = Timestamp::now().to_string();
        let digits: String = now.chars().filter(char::is_ascii_digit).take(14).collect();
        let mut noise = std::hash::RandomState::new().build_hasher().finish();
        let mut tail = String::with_capacity(4);
        for _ in 0..4 {
            tail.push(char::from(b"abcdefghjkmnpqrstuvwxyz23456789"[(noise % 31) as usize]));
            noise /= 31;
        }
        Self(format!("{}-{}-{tail}", &digits[..8], &digits[8..]).into())
    }

    /// The id `id`, as read from a journal or a command line.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
