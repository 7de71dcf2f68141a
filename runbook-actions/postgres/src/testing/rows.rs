//! [`FakeRows`]: what a statement gives, and how it is written for the wire.

use bytes::{BufMut as _, BytesMut};
use runbook_core::Timestamp;
use tokio_postgres::types::Type;

/// What a statement gives: columns of known types, and rows.
///
/// ```
/// use runbook_postgres::testing::{FakeRows, FakeType};
/// let orders = FakeRows::new([("id", FakeType::Int8), ("state", FakeType::Text)])
///     .row([7.into(), "open".into()])
///     .row([8.into(), None::<&str>.into()]);
/// # let _ = orders;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FakeRows {
    pub(super) columns: Vec<(String, FakeType)>,
    pub(super) rows: Vec<Vec<FakeValue>>,
}

impl FakeRows {
    /// No rows yet.
    #[must_use]
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, FakeType)>) -> Self {
        let columns = columns.into_iter().map(|(name, kind)| (name.into(), kind)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// With one more row.
    ///
    /// # Panics
    /// It has another number of values than there are columns.
    #[must_use]
    #[track_caller]
    pub fn row(mut self, values: impl IntoIterator<Item = FakeValue>) -> Self {
        let values: Vec<_> = values.into_iter().collect();
        assert_eq!(values.len(), self.columns.len(), "a value for each column");
        self.rows.push(values);
        self
    }
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FakeType {
    /// `boolean`
    Bool,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `double precision`
    Float8,
    /// `text`
    Text,
    /// `timestamp with time zone`
    Timestamptz,
    /// `integer[]`
    Int4Array,
    /// `bigint[]`
    Int8Array,
    /// `text[]`
    TextArray,
    /// `json`, as text.
    Json,
}

impl FakeType {
    pub(super) fn oid(self) -> u32 {
        let of = match self {
            Self::Bool => Type::BOOL,
            Self::Int4 => Type::INT4,
            Self::Int8 => Type::INT8,
            Self::Float8 => Type::FLOAT8,
            Self::Text => Type::TEXT,
            Self::Timestamptz => Type::TIMESTAMPTZ,
            Self::Int4Array => Type::INT4_ARRAY,
            Self::Int8Array => Type::INT8_ARRAY,
            Self::TextArray => Type::TEXT_ARRAY,
            Self::Json => Type::JSON,
        };
        of.oid()
    }

    /// Of which type the elements of an array are; else the type itself.
    fn member(self) -> Self {
        match self {
            Self::Int4Array => Self::Int4,
            Self::Int8Array => Self::Int8,
            Self::TextArray => Self::Text,
            other => other,
        }
    }
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FakeValue {
    /// `NULL`
    Null,
    /// Of a `boolean`.
    Bool(bool),
    /// Of an `integer` or a `bigint`.
    Int(i64),
    /// Of a `double precision`.
    Float(f64),
    /// Of a `text`.
    Text(String),
    /// Of a `timestamp with time zone`.
    Time(Timestamp),
    /// Of an array.
    List(Vec<FakeValue>),
}

macro_rules! values {
    ($($t:ty => $kind:ident),*) => {$(
        impl From<$t> for FakeValue {
            fn from(value: $t) -> Self {
                Self::$kind(value.into())
            }
        }
    )*};
}
values!(bool => Bool, i32 => Int, i64 => Int, u32 => Int, f64 => Float, &str => Text,
    String => Text, Timestamp => Time);

impl<T: Into<FakeValue>> From<Option<T>> for FakeValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<FakeValue>> From<Vec<T>> for FakeValue {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

/// Microseconds from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH: i64 = 946_684_800_000_000;

impl FakeValue {
    /// In the binary form of a type, with its length before it.
    ///
    /// # Panics
    /// It is no value of that type.
    pub(super) fn put(&self, kind: FakeType, out: &mut BytesMut) {
        let mut raw = BytesMut::new();
        match (self, kind) {
            (Self::Null, _) => return out.put_i32(-1),
            (Self::Bool(value), FakeType::Bool) => raw.put_u8((*value).into()),
            (Self::Int(value), FakeType::Int8) => raw.put_i64(*value),
            (Self::Int(value), FakeType::Int4) => match i32::try_from(*value) {
                Ok(value) => raw.put_i32(value),
                Err(_) => panic!("{value} is no `integer`"),
            },
            (Self::Float(value), FakeType::Float8) => raw.put_f64(*value),
            (Self::Text(value), FakeType::Text | FakeType::Json) => raw.put_slice(value.as_bytes()),
            (Self::Time(value), FakeType::Timestamptz) => {
                raw.put_i64(i64::try_from(value.as_micros()).unwrap_or(i64::MAX) - EPOCH);
            }
            (
                Self::List(values),
                FakeType::Int4Array | FakeType::Int8Array | FakeType::TextArray,
            ) => {
                let member = kind.member();
                raw.put_i32(1);
                raw.put_i32(values.contains(&Self::Null).into());
                raw.put_u32(member.oid());
                raw.put_i32(i32::try_from(values.len()).unwrap_or(i32::MAX));
                raw.put_i32(1);
                values.iter().for_each(|value| value.put(member, &mut raw));
            }
            (value, kind) => panic!("{value:?} is no value of a column of the type {kind:?}"),
        }
        out.put_i32(i32::try_from(raw.len()).unwrap_or(i32::MAX));
        out.put_slice(&raw);
    }
}
