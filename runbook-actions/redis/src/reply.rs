//! [`Reply`]: what a server answers to a command of one's own.

use deadpool_redis::redis::{FromRedisValue, ParsingError, Value};
use serde::{Deserialize, Serialize};

/// What a server answers to a command of one's own.
///
/// ```
/// use runbook_redis::Reply;
/// let reply = Reply::List(vec![Reply::Integer(3), Reply::Data(b"three".to_vec())]);
/// assert_eq!(reply.list().unwrap()[1].text(), Some("three"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// There is nothing.
    Nil,
    /// A number.
    Integer(i64),
    /// A value, or a word such as `OK`.
    Data(Vec<u8>),
    /// Several.
    List(Vec<Reply>),
}

impl Reply {
    /// The number, also where it is written out in digits.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => self.text()?.parse().ok(),
        }
    }

    /// The text, unless it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(self.data()?).ok()
    }

    /// The bytes.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        match self {
            Self::Data(data) => Some(data),
            _ => None,
        }
    }

    /// The parts.
    #[must_use]
    pub fn list(&self) -> Option<&[Reply]> {
        match self {
            Self::List(parts) => Some(parts),
            _ => None,
        }
    }
}

impl FromRedisValue for Reply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        Ok(match value {
            Value::Nil => Self::Nil,
            Value::Int(number) => Self::Integer(number),
            Value::Okay => Self::Data(b"OK".to_vec()),
            Value::SimpleString(text) => Self::Data(text.into()),
            Value::BulkString(data) => Self::Data(data),
            Value::Array(parts) => {
                Self::List(parts.into_iter().map(Self::from_redis_value).collect::<Result<_, _>>()?)
            }
            // We ask for the second version of the protocol, which has no other kinds.
            other => return Err(format!("unexpected kind of answer: {other:?}").into()),
        })
    }
}
