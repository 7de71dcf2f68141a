//! [`Timestamp`]: a moment, as events and locks carry it; and durations in a person's words.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// A moment, in UTC, to the microsecond; `2026-03-14T15:09:26.535897Z` in journals and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Now, by the system clock.
    #[must_use]
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// So many microseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this; zero if the clock went back.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The moment so long after this one; at most the end of the year 9999, which is the last that
    /// can be written.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        const LAST: u64 = 253_402_300_799_999_999;
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros).min(LAST.max(self.0)))
    }

    /// The moment so long before this one.
    #[must_use]
    pub fn before(self, ago: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The same as a `SystemTime`.
    #[must_use]
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.0)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        Self(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_micros(self.to_system_time()).fmt(f)
    }
}

/// As it is written: `2026-03-14T15:09:26Z`.
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        humantime::parse_rfc3339(text)
            .map(Self::from)
            .map_err(|_| Error::usage(format!("`{text}` is no time such as 2026-03-14T15:09:26Z")))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time in UTC")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// `850 ms`, `2.3 s`, `1 min 04 s`, `2 h 05 min`, `3 d 04 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    // Rounded first, so that 59.97 s is a minute and never `60.0 s`.
    let tenths = (millis + 50) / 100;
    let seconds = (millis + 500) / 1000;
    match seconds {
        _ if duration.is_zero() => "0 s".into(),
        _ if millis == 0 => "<1 ms".into(),
        _ if millis < 1000 => format!("{millis} ms"),
        _ if tenths < 600 => format!("{}.{} s", tenths / 10, tenths % 10),
        _ if seconds < 3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => {
            format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60)
        }
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// As [`duration`], from milliseconds, and without digits that say nothing: `30 s`, `5 min`.
pub(crate) fn limit(millis: u64) -> String {
    match millis {
        0 => "0 s".into(),
        _ if millis < 60_000 && millis.is_multiple_of(1000) => format!("{} s", millis / 1000),
        _ if millis < 3_600_000 && millis.is_multiple_of(60_000) => {
            format!("{} min", millis / 60_000)
        }
        _ if millis.is_multiple_of(3_600_000) => format!("{} h", millis / 3_600_000),
        _ => duration(Duration::from_millis(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_a_person_says_them() {
        let said = |micros| duration(Duration::from_micros(micros));
        assert_eq!(said(0), "0 s");
        assert_eq!(said(12), "<1 ms");
        assert_eq!(said(850_000), "850 ms");
        assert_eq!(said(2_340_000), "2.3 s");
        assert_eq!(said(59_970_000), "1 min 00 s");
        assert_eq!(said(64_000_000), "1 min 04 s");
        assert_eq!(said(7_500_000_000), "2 h 05 min");
        assert_eq!(said(273_600_000_000), "3 d 04 h");
        assert_eq!(limit(30_000), "30 s");
        assert_eq!(limit(300_000), "5 min");
        assert_eq!(limit(90_000), "1 min 30 s");
        assert_eq!(limit(200), "200 ms");
    }
}
