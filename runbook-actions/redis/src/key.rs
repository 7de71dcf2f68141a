//! [`Key`]: the name of a key, which may be any bytes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a key. Any bytes may be in it; those that are no text are written as `\xff`, and a
/// backslash as `\\`.
///
/// ```
/// use runbook_redis::Key;
/// let key = Key::from("session:4711");
/// assert_eq!(key.to_string(), "session:4711");
/// assert_eq!(Key::from(vec![b'a', 0xff, b'\\']).to_string(), r"a\xff\\");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\\') {
            bytes.extend_from_slice(before.as_bytes());
            if let Some(after) = after.strip_prefix('\\') {
                bytes.push(b'\\');
                rest = after;
            } else {
                let after = after.strip_prefix('x')?;
                bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
                rest = &after[2..];
            }
        }
        bytes.extend_from_slice(rest.as_bytes());
        Some(Self(bytes))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for one in chunk.valid().chars() {
                match one {
                    '\\' => f.write_str("\\\\")?,
                    one if one.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(one))?,
                    one => write!(f, "{one}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("a backslash in a key is neither `\\\\` nor `\\x` and digits")
        })
    }
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Key {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<Vec<u8>> for Key {
    fn from(name: Vec<u8>) -> Self {
        Self(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn any_bytes_come_back_from_their_text() {
        for bytes in [&b"plain"[..], b"", b"\\x41", b"\xff\x00\\\\x", "Ä €\n".as_bytes(), b"\xc3"]
        {
            let key = Key::from(bytes.to_vec());
            let text = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key, "{text}");
        }
        assert!(serde_json::from_str::<Key>(r#""a\\q""#).is_err());
    }
}
