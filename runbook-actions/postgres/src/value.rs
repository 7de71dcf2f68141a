//! [`Value`]: a parameter of a statement.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

/// A parameter of a statement: `$1`, `$2` ..
///
/// It travels as text beside the statement, never inside of it, and the server reads it as
/// whatever type the statement has in that place; write `$1::date` where it can't know.
///
/// ```
/// use runbook_postgres::Value;
/// let parameters: [Value; 3] = [7.into(), "o'brien".into(), Value::null()];
/// assert_eq!(format!("{:?}", parameters[1]), "Value(Some(\"o'brien\"))");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Value(Option<String>);

impl Value {
    /// `NULL`.
    #[must_use]
    pub fn null() -> Self {
        Self(None)
    }
}

macro_rules! values {
    ($($t:ty),*) => {$(
        impl From<$t> for Value {
            fn from(value: $t) -> Self {
                Self(Some(value.to_string()))
            }
        }
    )*};
}
values!(bool, i16, i32, i64, u16, u32, u64, usize, f32, f64, &str);

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self(Some(value))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::null, Into::into)
    }
}

impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(match &self.0 {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                IsNull::No
            }
            None => IsNull::Yes,
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("NULL"))
    }
}
