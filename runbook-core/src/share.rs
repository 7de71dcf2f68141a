//! [`Share`]: so many of a fleet, as a number or a percentage.

use std::fmt;

use crate::param::{Param, ParamKind};

/// So many hosts: `3`, or `25%` of them.
///
/// It can be a parameter of a runbook; [`Rolling`](crate::Rolling) takes the number that it comes
/// to.
///
/// ```
/// use runbook_core::{Param, Rolling, Share};
///
/// let hosts = ["web-1", "web-2", "web-3", "web-4", "web-5"];
/// let share = Share::parse("25%").unwrap();
/// let rolling = Rolling {
///     at_once: share.of(hosts.len()),
///     max_failed: share.within(hosts.len()),
///     ..Rolling::default()
/// };
/// assert_eq!((rolling.at_once, rolling.max_failed), (2, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// This number.
    Hosts(usize),
    /// This percentage of all, from 0 to 100.
    Percent(u8),
}

impl Share {
    /// How many of `all` that is, rounded up: for how many go at once, or first.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Hosts(n) => n,
            Self::Percent(percent) => all.saturating_mul(percent.into()).div_ceil(100),
        }
    }

    /// How many of `all` that is, rounded down: for how many may fail.
    #[must_use]
    pub fn within(self, all: usize) -> usize {
        match self {
            Self::Hosts(n) => n,
            Self::Percent(percent) => all.saturating_mul(percent.into()) / 100,
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(n) => write!(f, "{n}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Param for Share {
    fn kind() -> ParamKind {
        ParamKind {
            example: Some("1".into()),
            ..ParamKind::new("a number of hosts, or a percentage such as 25%", "string")
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let read = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|n| *n <= 100).map(Self::Percent),
            None => text.parse().ok().map(Self::Hosts),
        };
        read.ok_or_else(|| Self::kind().accepts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_or_a_percentage() {
        for (text, all, up, down) in [
            ("3", 50, 3, 3),
            ("10%", 5, 1, 0),
            ("0%", 5, 0, 0),
            ("100%", 7, 7, 7),
            ("34%", 3, 2, 1),
        ] {
            let share = Share::parse(text).unwrap();
            assert_eq!((share.of(all), share.within(all)), (up, down), "{text}");
            assert_eq!(share.to_string(), text);
        }
        for text in ["", "%", "101%", "-1", "half", "1.5", "5 %"] {
            assert_eq!(Share::parse(text), Err(Share::kind().accepts), "{text}");
        }
    }
}
