//! Public keys, as servers show them and files list them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

/// A public key: its wire form and the type that it names itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    kind: &'static str,
    blob: Vec<u8>,
}

/// The types, and of how many strings each consists beside its name.
const KINDS: [(&str, usize); 8] = [
    ("ssh-ed25519", 1),
    ("ecdsa-sha2-nistp256", 2),
    ("ecdsa-sha2-nistp384", 2),
    ("ecdsa-sha2-nistp521", 2),
    ("sk-ssh-ed25519@openssh.com", 2),
    ("sk-ecdsa-sha2-nistp256@openssh.com", 3),
    ("ssh-rsa", 2),
    ("ssh-dss", 4),
];

impl PublicKey {
    /// The key of this wire form; `None` if it is none, or of a type that is not known.
    pub(crate) fn from_blob(blob: &[u8]) -> Option<Self> {
        let mut rest = blob;
        let name = string(&mut rest)?;
        let (kind, strings) = KINDS.iter().find(|(kind, _)| kind.as_bytes() == name)?;
        for index in 0..*strings {
            let part = string(&mut rest)?;
            if index == 0 && kind.ends_with("ed25519") && part.len() != 32 {
                return None;
            }
        }
        rest.is_empty().then(|| Self { kind, blob: blob.to_vec() })
    }

    /// Reads `type base64`, as files hold it; what follows is a comment.
    pub(crate) fn from_text(text: &[u8]) -> Option<Self> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let mut words = text.split(blank).filter(|word| !word.is_empty());
        let (kind, base64) = (words.next()?, words.next()?);
        // As OpenSSH's own decoder, which has to read files of other systems' line ends.
        let base64: Vec<u8> =
            base64.iter().copied().filter(|byte| !matches!(byte, b'\r' | 0x0b | 0x0c)).collect();
        let key = Self::from_blob(&STANDARD.decode(base64).ok()?)?;
        (key.kind.as_bytes() == kind).then_some(key)
    }

    /// The public half that a private key in OpenSSH's own format shows without its passphrase.
    pub(crate) fn of_private(text: &str) -> Option<Self> {
        Self::from_blob(openssh_format(text)?.1.as_slice())
    }

    /// `ssh-ed25519` and so on.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The wire form.
    #[cfg(test)]
    pub(crate) fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// As `ssh-keygen -l` prints it: `SHA256:` and base64.
    pub(crate) fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }
}

/// As files hold it: `type base64`.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, STANDARD.encode(&self.blob))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.fingerprint())
    }
}

/// Whether the private key in `text` can be read with a passphrase only.
pub(crate) fn is_encrypted(text: &str) -> bool {
    match openssh_format(text) {
        Some((cipher, _)) => cipher != b"none",
        None => {
            text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
                || text.lines().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCR"))
        }
    }
}

/// The name of the cipher and the public key of a private key in OpenSSH's format.
fn openssh_format(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN OPENSSH PRIVATE KEY-----")?;
    let (base64, _) = rest.split_once("-----END OPENSSH PRIVATE KEY-----")?;
    let base64: String = base64.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(base64).ok()?;
    let mut rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    let cipher = string(&mut rest)?;
    let (_kdf, _options) = (string(&mut rest)?, string(&mut rest)?);
    let (_count, mut rest) = rest.split_at_checked(4)?;
    Some((cipher.to_vec(), string(&mut rest)?.to_vec()))
}

/// Takes a string of SSH's wire format: four bytes of length, and as many bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (found, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some(found)
}
