//! File names made from run ids, unit ids and resources.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Longer ones are cut: file systems take 255 bytes, and endings are added.
const LONGEST: usize = 150;

/// A file name for any text: readable, different for different texts, never a path.
///
/// Letters, digits, `-`, `_` and inner dots stay, `/` becomes `+`, all else `%` and two hex digits
/// a byte. What gets too long is cut and told apart by a hash.
pub(crate) fn file_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => name.push('+'),
            b'-' | b'_' => name.push(char::from(byte)),
            b'.' if at > 0 => name.push('.'),
            _ if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            _ => push_hex(&mut name, '%', byte),
        }
    }
    if name.len() > LONGEST {
        name.truncate(LONGEST);
        name.push('=');
        for byte in Sha256::digest(text).iter().take(8) {
            let _ = write!(name, "{byte:02x}");
        }
    }
    name
}

fn push_hex(name: &mut String, mark: char, byte: u8) {
    let _ = write!(name, "{mark}{byte:02X}");
}

/// What is wrong with a run id as the name of a folder, if anything.
pub(super) fn bad_run_id(id: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() {
        Some("it is empty")
    } else if id.len() > LONGEST {
        Some("it is longer than 150 characters")
    } else if id.starts_with('.') {
        Some("it begins with a dot")
    } else if !id.chars().all(plain) {
        Some("it has other characters than letters, digits, `-`, `_` and `.`")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_ids_stay_readable() {
        assert_eq!(file_name("switch/point-current-at-release"), "switch+point-current-at-release");
        assert_eq!(file_name("database:shop"), "database%3Ashop");
        assert_eq!(file_name(".."), "%2E.");
        assert_eq!(file_name("a+b=c%"), "a%2Bb%3Dc%25");
    }

    #[test]
    fn long_ids_that_differ_at_their_end_get_different_names() {
        let long = "x".repeat(400);
        let (a, b) = (file_name(&format!("{long}a")), file_name(&format!("{long}b")));
        assert_ne!(a, b);
        assert!(a.len() < 200);
    }

    #[test]
    fn a_run_id_is_never_a_path() {
        for id in ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\0b", "a b"] {
            assert!(bad_run_id(id).is_some(), "{id:?}");
        }
        assert_eq!(bad_run_id("20260314-150926-k7xq"), None);
    }

    proptest! {
        #[test]
        fn names_are_distinct_and_safe(a in ".{0,80}", b in ".{0,80}") {
            prop_assert_eq!(file_name(&a) == file_name(&b), a == b);
            let name = file_name(&a);
            prop_assert!(!name.contains('/') && !name.contains('\0') && !name.starts_with('.'));
        }
    }
}
