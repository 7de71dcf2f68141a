//! One value of a row, in the binary form in which the server sends it.

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use tokio_postgres::types::{Kind, Type};

use super::RowError;

type Result<T> = std::result::Result<T, RowError>;

/// One value.
pub(super) struct Cell<'a> {
    pub(super) ty: &'a Type,
    pub(super) raw: Option<&'a [u8]>,
}

/// A value, read.
enum Read<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'a str),
    /// Text that was made of something else; a number if `number`.
    Text {
        text: String,
        number: bool,
    },
    Bytes(&'a [u8]),
    Json(&'a [u8]),
    Array(&'a Type, &'a [u8]),
}

impl<'a> Cell<'a> {
    fn read(&self) -> Result<Read<'a>> {
        let Some(raw) = self.raw else { return Ok(Read::Null) };
        let text = |text| Read::Text { text, number: false };
        if let Kind::Domain(inner) = self.ty.kind() {
            return Cell { ty: inner, raw: self.raw }.read();
        }
        if let Kind::Array(member) = self.ty.kind() {
            return Ok(Read::Array(member, raw));
        }
        if let Kind::Enum(_) = self.ty.kind() {
            return str_of(raw).map(Read::Str);
        }
        Ok(match *self.ty {
            Type::BOOL => Read::Bool(fixed::<1>(raw)?[0] != 0),
            Type::INT2 => Read::Int(i16::from_be_bytes(fixed(raw)?).into()),
            Type::INT4 => Read::Int(i32::from_be_bytes(fixed(raw)?).into()),
            Type::INT8 => Read::Int(i64::from_be_bytes(fixed(raw)?)),
            Type::OID | Type::XID => Read::Int(u32::from_be_bytes(fixed(raw)?).into()),
            Type::FLOAT4 => Read::Float(f32::from_be_bytes(fixed(raw)?).into()),
            Type::FLOAT8 => Read::Float(f64::from_be_bytes(fixed(raw)?)),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::XML => {
                Read::Str(str_of(raw)?)
            }
            Type::CHAR => text(char::from(fixed::<1>(raw)?[0]).to_string()),
            Type::BYTEA => Read::Bytes(raw),
            Type::JSON => Read::Json(raw),
            // One byte of version before it.
            Type::JSONB => Read::Json(raw.get(1..).ok_or_else(short)?),
            Type::UUID => text(uuid(fixed(raw)?)),
            Type::NUMERIC => numeric(raw)?,
            Type::DATE => text(date(i32::from_be_bytes(fixed(raw)?).into())),
            Type::TIMESTAMP => text(timestamp(i64::from_be_bytes(fixed(raw)?), "")),
            Type::TIMESTAMPTZ => text(timestamp(i64::from_be_bytes(fixed(raw)?), "Z")),
            Type::TIME => text(time_of_day(i64::from_be_bytes(fixed(raw)?))),
            Type::PG_LSN => {
                let at = u64::from_be_bytes(fixed(raw)?);
                text(format!("{:X}/{:X}", at >> 32, at & 0xffff_ffff))
            }
            Type::VOID => Read::Null,
            _ => {
                let name = self.ty.name();
                let why = format!("values of the type {name} are not read: cast it, e.g. to text");
                return Err(RowError(why));
            }
        })
    }

    /// As a number that is parsed from text, where the server sends it so (`numeric`).
    fn number<V: Visitor<'a>>(self, visitor: V, whole: bool) -> Result<V::Value> {
        match self.read()? {
            Read::Text { text, number: true } => {
                if whole && let Ok(number) = text.parse::<i64>() {
                    return visitor.visit_i64(number);
                }
                if whole && let Ok(number) = text.parse::<u64>() {
                    return visitor.visit_u64(number);
                }
                if !whole && let Ok(number) = text.parse::<f64>() {
                    return visitor.visit_f64(number);
                }
                visitor.visit_string(text)
            }
            Read::Int(number) if !whole => visitor.visit_f64(number as f64),
            other => visit(other, visitor),
        }
    }
}

fn visit<'a, V: Visitor<'a>>(read: Read<'a>, visitor: V) -> Result<V::Value> {
    match read {
        Read::Null => visitor.visit_unit(),
        Read::Bool(value) => visitor.visit_bool(value),
        Read::Int(value) => visitor.visit_i64(value),
        Read::Float(value) => visitor.visit_f64(value),
        Read::Str(value) => visitor.visit_borrowed_str(value),
        Read::Text { text, .. } => visitor.visit_string(text),
        Read::Bytes(value) => visitor.visit_borrowed_bytes(value),
        Read::Json(json) => {
            let mut reader = serde_json::Deserializer::from_slice(json);
            reader.deserialize_any(visitor).map_err(|error| RowError(error.to_string()))
        }
        Read::Array(member, raw) => visitor.visit_seq(Elements::new(member, raw)?),
    }
}

macro_rules! numbers {
    ($whole:literal: $($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.number(visitor, $whole)
        }
    )*};
}

impl<'de> Deserializer<'de> for Cell<'de> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visit(self.read()?, visitor)
    }

    numbers! { true: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
    deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 }
    numbers! { false: deserialize_f32 deserialize_f64 }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.raw.is_none() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    /// Bytes where bytes are wanted, also as a sequence (`Vec<u8>`).
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.read()? {
            Read::Bytes(bytes) => {
                let bytes = bytes.iter().copied();
                visitor.visit_seq(serde::de::value::SeqDeserializer::new(bytes))
            }
            other => visit(other, visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let word = match self.read()? {
            Read::Str(text) => text.to_owned(),
            Read::Text { text, .. } => text,
            Read::Json(json) => {
                let mut reader = serde_json::Deserializer::from_slice(json);
                let read = reader.deserialize_enum(name, variants, visitor);
                return read.map_err(|error| RowError(error.to_string()));
            }
            _ => return Err(RowError(format!("a word for `{name}` was expected"))),
        };
        visitor.visit_enum(StringDeserializer::new(word))
    }

    forward_to_deserialize_any! {
        bool char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// The elements of an array of one dimension.
struct Elements<'a> {
    member: &'a Type,
    rest: &'a [u8],
    left: usize,
}

impl<'a> Elements<'a> {
    fn new(member: &'a Type, raw: &'a [u8]) -> Result<Self> {
        let (dimensions, rest) = int(raw)?;
        if dimensions == 0 {
            return Ok(Self { member, rest: &[], left: 0 });
        }
        if dimensions != 1 {
            return Err(RowError(format!("an array of {dimensions} dimensions is not read")));
        }
        // Whether there are nulls, the type of the elements, how many, and the first index.
        let (_, rest) = int(rest)?;
        let (_, rest) = int(rest)?;
        let (len, rest) = int(rest)?;
        let (_, rest) = int(rest)?;
        Ok(Self { member, rest, left: usize::try_from(len).unwrap_or(0) })
    }
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = RowError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let (len, rest) = int(self.rest)?;
        let raw = match usize::try_from(len) {
            Ok(len) => {
                let (raw, rest) = rest.split_at_checked(len).ok_or_else(short)?;
                self.rest = rest;
                Some(raw)
            }
            Err(_) => {
                self.rest = rest;
                None
            }
        };
        seed.deserialize(Cell { ty: self.member, raw }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

fn short() -> RowError {
    RowError("the server sent a value of the wrong length".into())
}

fn fixed<const N: usize>(raw: &[u8]) -> Result<[u8; N]> {
    raw.try_into().map_err(|_| short())
}

fn int(raw: &[u8]) -> Result<(i32, &[u8])> {
    let (head, rest) = raw.split_first_chunk().ok_or_else(short)?;
    Ok((i32::from_be_bytes(*head), rest))
}

fn str_of(raw: &[u8]) -> Result<&str> {
    std::str::from_utf8(raw).map_err(|_| RowError("it is not UTF-8".into()))
}

fn uuid(raw: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(raw));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// `numeric`: groups of four decimal digits, the first worth `10000 ^ weight`.
fn numeric<'a>(raw: &[u8]) -> Result<Read<'a>> {
    let words: Vec<u16> =
        raw.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
    let [_, weight, sign, scale, digits @ ..] = words.as_slice() else { return Err(short()) };
    let weight = i32::from(weight.cast_signed());
    let special = match sign {
        0xC000 => Some("NaN"),
        0xD000 => Some("inf"),
        0xF000 => Some("-inf"),
        _ => None,
    };
    if let Some(text) = special {
        return Ok(Read::Text { text: text.into(), number: true });
    }
    let group =
        |at: i32| usize::try_from(at).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
    let mut text = if *sign == 0x4000 { "-".to_owned() } else { String::new() };
    if weight < 0 {
        text.push('0');
    }
    for at in 0..=weight {
        let group = group(at);
        text.push_str(&if at == 0 { group.to_string() } else { format!("{group:04}") });
    }
    let scale = usize::from(*scale);
    if scale > 0 {
        let groups = i32::try_from(scale.div_ceil(4)).unwrap_or(0);
        let fraction: String =
            (1..=groups).map(|at| format!("{:04}", group(weight + at))).collect();
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Ok(Read::Text { text, number: true })
}

/// `2026-03-14`, from days since 2000-01-01.
fn date(days: i64) -> String {
    match i32::try_from(days) {
        Ok(i32::MAX) => return "infinity".into(),
        Ok(i32::MIN) => return "-infinity".into(),
        _ => {}
    }
    // Days since 0000-03-01, in eras of 400 years that begin in March.
    let days = days + 730_425;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// RFC 3339, from microseconds since 2000-01-01.
fn timestamp(micros: i64, zone: &str) -> String {
    const DAY: i64 = 86_400_000_000;
    match micros {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        _ => {
            let time = time_of_day(micros.rem_euclid(DAY));
            format!("{}T{time}{zone}", date(micros.div_euclid(DAY)))
        }
    }
}

fn time_of_day(micros: i64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        assert_eq!(date(0), "2000-01-01");
        assert_eq!(date(59), "2000-02-29");
        assert_eq!(date(-1), "1999-12-31");
        assert_eq!(timestamp(-1, "Z"), "1999-12-31T23:59:59.999999Z");
        assert_eq!(timestamp(i64::MAX, "Z"), "infinity");
    }

    #[test]
    fn numbers_of_any_size_keep_their_digits() {
        let raw =
            |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
        let text = |words: &[u16]| match numeric(&raw(words)) {
            Ok(Read::Text { text, .. }) => text,
            _ => panic!("no number"),
        };
        assert_eq!(text(&[0, 0, 0, 0]), "0");
        assert_eq!(text(&[2, 1, 0, 0, 1, 2]), "10002");
        assert_eq!(text(&[1, 1, 0, 0, 5]), "50000");
        assert_eq!(text(&[2, 0, 0x4000, 3, 3, 1415]), "-3.141");
        assert_eq!(text(&[1, (-2i16).cast_unsigned(), 0, 8, 42]), "0.00000042");
    }
}
