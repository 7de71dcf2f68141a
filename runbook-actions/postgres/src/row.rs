//! Rows as any type that serde can read: a struct by column names, a tuple by position, a single
//! value from a single column.

mod cell;

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use self::cell::Cell;

/// A row as `T`.
pub(crate) fn read<T: DeserializeOwned>(row: &Row) -> Result<T, RowError> {
    T::deserialize(RowReader(row))
}

/// Why a row is no `T`.
#[derive(Debug)]
pub(crate) struct RowError(pub(crate) String);

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RowError {}

impl de::Error for RowError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// The bytes of one value as the server sent them, or `NULL`; of any type.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }
    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

struct RowReader<'a>(&'a Row);

impl<'a> RowReader<'a> {
    fn cell(&self, index: usize) -> Result<Cell<'a>, RowError> {
        let raw: Raw<'a> = self.0.try_get(index).map_err(|error| RowError(error.to_string()))?;
        Ok(Cell { ty: self.0.columns()[index].type_(), raw: raw.0 })
    }

    /// The only value of the row.
    fn only(&self) -> Result<Cell<'a>, RowError> {
        if self.0.len() == 1 {
            return self.cell(0);
        }
        let columns: Vec<_> = self.0.columns().iter().map(|column| column.name()).collect();
        let (many, columns) = (self.0.len(), columns.join(", "));
        Err(RowError(format!("a single value was expected, and there are {many}: {columns}")))
    }

    /// `error`, with the column in which it happened.
    fn at(&self, index: usize, error: RowError) -> RowError {
        RowError(format!("column `{}`: {error}", self.0.columns()[index].name()))
    }
}

/// For each, the only value of the row.
macro_rules! only {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
            self.only()?.$method(visitor).map_err(|error| self.at(0, error))
        }
    )*};
}

impl<'de> Deserializer<'de> for RowReader<'de> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_map(Columns { row: self, next: 0 })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        if len != self.0.len() {
            let have = self.0.len();
            return Err(RowError(format!("{len} columns were expected, and there are {have}")));
        }
        visitor.visit_seq(Columns { row: self, next: 0 })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        let cell = self.only()?;
        cell.deserialize_enum(name, variants, visitor).map_err(|error| self.at(0, error))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }

    only! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_seq
    }

    forward_to_deserialize_any! { unit_struct map struct identifier ignored_any }
}

/// The columns of a row, one after the other.
struct Columns<'a> {
    row: RowReader<'a>,
    next: usize,
}

impl<'de> Columns<'de> {
    fn value<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, RowError> {
        let index = self.next;
        self.next += 1;
        let cell = self.row.cell(index)?;
        seed.deserialize(cell).map_err(|error| self.row.at(index, error))
    }
}

impl<'de> MapAccess<'de> for Columns<'de> {
    type Error = RowError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, RowError> {
        let Some(column) = self.row.0.columns().get(self.next) else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(column.name())).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, RowError> {
        self.value(seed)
    }
}

impl<'de> SeqAccess<'de> for Columns<'de> {
    type Error = RowError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, RowError> {
        if self.next == self.row.0.len() { Ok(None) } else { self.value(seed).map(Some) }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.row.0.len() - self.next)
    }
}
