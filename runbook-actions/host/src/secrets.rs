//! [`Generate`]: new secrets.

use std::fmt;
use std::io::Read as _;

use base64::Engine as _;
use runbook_core::{Result, Secret};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How a new secret is made: of so many random bytes, written so.
///
/// ```
/// use runbook_host::Generate;
/// let secret = Generate::hex(32).secret()?;
/// assert_eq!(secret.expose().len(), 64);
/// assert_eq!(format!("{secret:?}"), "***");
/// assert!(Generate::base64url(8).secret().is_err(), "too short to be one");
/// # Ok::<(), runbook_core::Failure>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generate {
    bytes: usize,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Base64url,
    Hex,
}

impl Generate {
    /// The fewest random bytes that make a secret: 128 bits.
    pub const LEAST: usize = 16;
    /// The most: what a variable is read for by nobody.
    pub const MOST: usize = 1024;

    /// As base64 of the kind that fits into URLs, without `=`: four characters for three bytes.
    #[must_use]
    pub fn base64url(bytes: usize) -> Self {
        Self { bytes, form: Form::Base64url }
    }

    /// As hexadecimal digits: two a byte.
    #[must_use]
    pub fn hex(bytes: usize) -> Self {
        Self { bytes, form: Form::Hex }
    }

    /// A new one, from the system's random source. Each call gives another: in a runbook's code it
    /// is made when the runbook is built, and a resumed run has another one than the first;
    /// [`EnvFile::rotate`](crate::EnvFile::rotate) makes its own when it runs.
    ///
    /// # Errors
    /// Fewer than 16 bytes or more than 1024, or there is no random source.
    pub fn secret(&self) -> Result<Secret> {
        let no = |why: String| Error::NoSecret { why }.failure();
        if !(Self::LEAST..=Self::MOST).contains(&self.bytes) {
            let (least, most) = (Self::LEAST, Self::MOST);
            let why = format!("{} random bytes are not between {least} and {most}", self.bytes);
            return Err(no(why));
        }
        let mut bytes = vec![0; self.bytes];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut bytes))
            .map_err(|error| no(format!("reading /dev/urandom: {error}")))?;
        Ok(Secret::new(match self.form {
            Form::Base64url => base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes),
            Form::Hex => crate::kept::hex(&bytes),
        }))
    }
}

impl fmt::Display for Generate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::Base64url => "base64url",
            Form::Hex => "hex",
        };
        write!(f, "{} random bytes as {form}", self.bytes)
    }
}
