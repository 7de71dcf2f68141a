//! The forms in which a secret shows up in text.

use std::fmt::Write as _;

use crate::command::quote;

/// Shorter lines of a secret of several lines say too little, and would hit innocent text.
const LINE: usize = 8;
/// Shorter pieces of base64 would hit innocent text.
const PIECE: usize = 6;

/// Every form of `secret` to look for, itself first.
pub(super) fn variants(secret: &str) -> Vec<String> {
    let mut all = Vec::new();
    forms(secret, &mut all);
    let trimmed = secret.trim();
    if trimmed != secret && trimmed.chars().count() >= 4 {
        forms(trimmed, &mut all);
    }
    if trimmed.contains('\n') {
        // Programs print line by line. The frame of a PEM file is no secret.
        let lines = trimmed.lines().map(str::trim);
        for line in lines.filter(|line| line.len() >= LINE && !line.starts_with("-----")) {
            forms(line, &mut all);
        }
    }
    all
}

fn forms(text: &str, all: &mut Vec<String>) {
    let mut add = |form: String| {
        if !all.contains(&form) {
            all.push(form);
        }
    };
    add(text.to_owned());
    // JSON, with and without letters beyond ASCII; the way `{:?}` prints, as panics do.
    if let Ok(json) = serde_json::to_string(text) {
        let json = &json[1..json.len() - 1];
        add(json.to_owned());
        add(ascii_json(json));
        add(json.replace('/', "\\/"));
    }
    add(text.escape_debug().to_string());
    // A shell word: as `'..'`, and as `printf %q` and shells with tracing on write it.
    let quoted = quote(text);
    let inner = quoted.strip_prefix('\'').and_then(|quoted| quoted.strip_suffix('\''));
    add(inner.unwrap_or(&quoted).to_owned());
    add(backslashed(text));
    // A part of a URL: all that must be, what JavaScript leaves, and the way forms do it.
    for also_plain in ["", "!'()*"] {
        let upper = percent(text, also_plain, false);
        add(upper.replace("%20", "+"));
        add(upper);
        add(percent(text, also_plain, true));
    }
    for (before, alphabet) in [0, 1, 2].into_iter().flat_map(|n| [(n, STANDARD), (n, URL)]) {
        for piece in base64_pieces(text.as_bytes(), before, alphabet) {
            if piece.len() >= PIECE {
                add(piece);
            }
        }
    }
}

fn ascii_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

fn backslashed(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !"-_./:=,@%+".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn percent(text: &str, also_plain: &str, lower: bool) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        let c = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-_.~".contains(c) || also_plain.contains(c) {
            out.push(c);
        } else if lower {
            let _ = write!(out, "%{byte:02x}");
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What `secret` looks like inside of base64, where `before` (0, 1 or 2) bytes stand before it in
/// its first group of three: the digits that depend on it alone; those and the last digit, if it
/// stands at the end; and the same with padding.
fn base64_pieces(secret: &[u8], before: usize, alphabet: &[u8; 64]) -> [String; 3] {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret);
    let bits = bytes.len() * 8;
    let digit = |at: usize| {
        let (byte, shift) = (at * 6 / 8, at * 6 % 8);
        let high = u16::from(bytes[byte]) << 8;
        let pair = high | u16::from(bytes.get(byte + 1).copied().unwrap_or(0));
        char::from(alphabet[usize::from((pair >> (10 - shift)) & 63)])
    };
    // The first digits carry bits of what stands before.
    let first = (before * 8).div_ceil(6);
    let inner: String = (first..bits / 6).map(digit).collect();
    let whole: String = (first..bits.div_ceil(6)).map(digit).collect();
    let padding = "=".repeat((3 - bytes.len() % 3) % 3);
    let padded = format!("{whole}{padding}");
    [inner, whole, padded]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(bytes: &[u8]) -> String {
        let [_, _, padded] = base64_pieces(bytes, 0, STANDARD);
        padded
    }

    #[test]
    fn base64_is_the_usual_one() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(b"\xfb\xff"), "+/8=");
    }

    #[test]
    fn a_piece_of_base64_is_found_at_every_alignment() {
        let secret = "hunter2-hunter2";
        for before in 0..7 {
            for after in 0..4 {
                let text = format!("{}{secret}{}", "u".repeat(before), "v".repeat(after));
                let encoded = base64(text.as_bytes());
                let found = variants(secret).iter().any(|form| encoded.contains(form.as_str()));
                assert!(found, "{before} bytes before and {after} after: {encoded}");
            }
        }
    }

    #[test]
    fn each_form_is_listed_once() {
        let mut all = variants("pässword with $igns/and 'quotes'\n");
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
