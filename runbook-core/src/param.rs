//! [`Param`]: a value that an operator types: a runbook's parameter, or the answer to a question.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// A type whose values an operator can type.
///
/// Implemented for text, numbers, `bool`, paths, durations (`90s`, `5m`), IP addresses,
/// [`Secret`], hosts ([`Selection`](crate::Selection)), shares ([`Share`](crate::Share)), and `Option` and `Vec` of these; derive it for an enum of bare variants.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a parameter of a runbook",
    label = "not a supported parameter type",
    note = "supported: String, integers, floats, bool, PathBuf, Duration, IpAddr, Secret, Selection, Share, Option<T>, Vec<T>, and enums with `#[derive(Param)]`"
)]
pub trait Param: Sized {
    /// What sort of value it is.
    fn kind() -> ParamKind;

    /// Reads one typed word.
    ///
    /// # Errors
    /// What is accepted, e.g. `a whole number from 0 to 65535`.
    fn parse(text: &str) -> Result<Self, String>;

    /// Reads all values given, in order.
    ///
    /// # Errors
    /// The value that was refused, and what is accepted.
    fn parse_all(values: &[String]) -> Result<Self, ParamError> {
        match values {
            [] => Err(ParamError::Missing),
            [one] => Self::parse(one)
                .map_err(|accepts| ParamError::Refused { value: one.clone(), accepts }),
            [.., last] => {
                Err(ParamError::Refused { value: last.clone(), accepts: "one value only".into() })
            }
        }
    }
}

/// Why values were refused for a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParamError {
    /// None was given, and there is no default.
    Missing,
    /// This one is not accepted.
    Refused {
        /// The value as typed.
        value: String,
        /// What is accepted.
        accepts: String,
    },
}

/// What sort of value a parameter takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamKind {
    /// What is accepted, in words: `a whole number from 0 to 65535`.
    pub accepts: String,
    /// The JSON Schema type: `string`, `integer`, `number` or `boolean`.
    pub json_type: String,
    /// The only values accepted, if they can be listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Whether a value must be given.
    pub required: bool,
    /// Whether it may be given more than once.
    pub many: bool,
    /// Whether its value is never shown.
    pub secret: bool,
    /// What the page of a runbook is made with where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

impl ParamKind {
    /// A required single value.
    pub fn new(accepts: impl Into<String>, json_type: impl Into<String>) -> Self {
        Self {
            accepts: accepts.into(),
            json_type: json_type.into(),
            choices: Vec::new(),
            required: true,
            many: false,
            secret: false,
            example: None,
        }
    }

    /// Only these values.
    #[must_use]
    pub fn choices(mut self, choices: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.choices = choices.into_iter().map(Into::into).collect();
        self
    }
}

/// Flags that the command line has of its own.
const TAKEN: [&str; 12] = [
    "env",
    "config",
    "journal",
    "output",
    "verbose",
    "help",
    "version",
    "yes",
    "reason",
    "format",
    "keep-on-failure",
    "secret-file",
];

/// One parameter of a runbook, as flags, documentation and schema show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamSpec {
    /// Its name, as in the code.
    pub name: String,
    /// What it means; from the doc comment.
    pub doc: String,
    /// What sort of value it takes.
    pub kind: ParamKind,
    /// The default, as it would be typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

impl ParamSpec {
    /// Whether a value must be given.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.kind.required && self.default.is_none()
    }

    /// Its flag on a command line, without the dashes: `keep_last` becomes `keep-last`. A name that
    /// the command line uses itself gets `param-` put before it. A secret is never a word of a
    /// command line, where every process of the machine could read it: its flag names a file that
    /// holds it, and ends in `-file`.
    ///
    /// ```
    /// use runbook_core::{Param, ParamSpec, Secret};
    /// let spec = |name: &str, kind| ParamSpec { name: name.into(), doc: String::new(), kind, default: None };
    /// assert_eq!(spec("keep_last", u8::kind()).flag(), "keep-last");
    /// assert_eq!(spec("reason", String::kind()).flag(), "param-reason");
    /// assert_eq!(spec("db_password", Secret::kind()).flag(), "db-password-file");
    /// ```
    #[must_use]
    pub fn flag(&self) -> String {
        let mut flag = self.name.replace('_', "-");
        if TAKEN.contains(&flag.as_str()) {
            flag.insert_str(0, "param-");
        }
        if self.kind.secret {
            flag.push_str("-file");
        }
        flag
    }
}

impl Param for String {
    fn kind() -> ParamKind {
        ParamKind::new("text", "string")
    }
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Param for PathBuf {
    fn kind() -> ParamKind {
        ParamKind::new("a path", "string")
    }
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a path".into()) } else { Ok(text.into()) }
    }
}

impl Param for bool {
    fn kind() -> ParamKind {
        ParamKind {
            required: false,
            ..ParamKind::new("true or false", "boolean").choices(["true", "false"])
        }
    }
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" | "yes" => Ok(true),
            "false" | "no" => Ok(false),
            _ => Err("true or false".into()),
        }
    }
    fn parse_all(values: &[String]) -> Result<Self, ParamError> {
        match values {
            [] => Ok(false),
            [one] => Self::parse(one)
                .map_err(|accepts| ParamError::Refused { value: one.clone(), accepts }),
            [.., last] => {
                Err(ParamError::Refused { value: last.clone(), accepts: "one value only".into() })
            }
        }
    }
}

macro_rules! numbers {
    ($words:literal, $json:literal: $($t:ty),*) => {$(
        impl Param for $t {
            fn kind() -> ParamKind {
                ParamKind::new(format!($words, <$t>::MIN, <$t>::MAX), $json)
            }
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| Self::kind().accepts)
            }
        }
    )*};
}
numbers!("a whole number from {} to {}", "integer": u8, u16, u32, i8, i16, i32);

// Bounds of twenty digits tell an operator nothing.
macro_rules! large_numbers {
    ($words:literal: $($t:ty),*) => {$(
        impl Param for $t {
            fn kind() -> ParamKind {
                ParamKind::new($words, "integer")
            }
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| $words.into())
            }
        }
    )*};
}
large_numbers!("a whole number, 0 or more": u64, usize);
large_numbers!("a whole number": i64, isize);

macro_rules! floats {
    ($($t:ty),*) => {$(
        impl Param for $t {
            fn kind() -> ParamKind {
                ParamKind::new("a number", "number")
            }
            fn parse(text: &str) -> Result<Self, String> {
                text.parse::<$t>().ok().filter(|n| n.is_finite()).ok_or_else(|| "a number".into())
            }
        }
    )*};
}
floats!(f32, f64);

impl Param for Duration {
    fn kind() -> ParamKind {
        ParamKind::new("a duration such as 90s, 5m or 2h", "string")
    }
    fn parse(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|_| Self::kind().accepts)
    }
}

impl Param for IpAddr {
    fn kind() -> ParamKind {
        ParamKind::new("an IP address", "string")
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| Self::kind().accepts)
    }
}

impl Param for Secret {
    fn kind() -> ParamKind {
        ParamKind { secret: true, ..ParamKind::new("a secret", "string") }
    }
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a secret that is not empty".into()) } else { Ok(Self::new(text)) }
    }
}

impl<T: Param> Param for Option<T> {
    fn kind() -> ParamKind {
        ParamKind { required: false, ..T::kind() }
    }
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }
    fn parse_all(values: &[String]) -> Result<Self, ParamError> {
        if values.is_empty() { Ok(None) } else { T::parse_all(values).map(Some) }
    }
}

impl<T: Param> Param for Vec<T> {
    fn kind() -> ParamKind {
        ParamKind { required: false, many: true, ..T::kind() }
    }
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(|one| vec![one])
    }
    fn parse_all(values: &[String]) -> Result<Self, ParamError> {
        values
            .iter()
            .map(|value| {
                T::parse(value)
                    .map_err(|accepts| ParamError::Refused { value: value.clone(), accepts })
            })
            .collect()
    }
}
