//! [`Document`]: a `.env` file as text with its assignments found, so that one can be changed and
//! everything else stays as it is.

use std::ops::Range;

/// A `.env` file.
pub(crate) struct Document {
    text: String,
    assignments: Vec<Assignment>,
}

/// `NAME=value`.
pub(crate) struct Assignment {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Where the value stands, with its quotes.
    at: Range<usize>,
    quote: Option<char>,
}

/// Why a file can't be understood, and where. Never says what stands there: it may be secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) line: usize,
    pub(crate) why: &'static str,
}

/// Why a value can't be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unwritable(pub(crate) &'static str);

impl Document {
    /// What all readers (dotenv, Compose, shells) agree upon: comments, `export`, values without
    /// quotes up to ` #`, in single quotes as they are, in double quotes with `\n`, `\r`, `\t`,
    /// `\\`, `\"`, `\$`; in quotes over several lines.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let mut assignments = Vec::new();
        // A mark of byte order is no part of a name.
        let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        while at < text.len() {
            let line_end = end_of_line(text, at);
            let line = &text[at..line_end];
            let malformed = |why| Malformed { line: line_number(text, at), why };
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                at = line_end + 1;
                continue;
            }
            let Some(equals) = line.find('=') else {
                // `NAME` alone: handed on from the environment by some, no assignment.
                let word = trimmed.strip_prefix("export ").unwrap_or(trimmed);
                if word.split_whitespace().all(is_name) {
                    at = line_end + 1;
                    continue;
                }
                return Err(malformed("it is no assignment: `NAME=value`"));
            };
            let left = line[..equals].trim();
            let name = match left.strip_prefix("export") {
                Some(rest) if rest.starts_with([' ', '\t']) => rest.trim(),
                _ => left,
            };
            if !is_name(name) {
                return Err(malformed("what stands before the `=` is no name"));
            }
            let rest = &text[at + equals + 1..line_end];
            let start = at + equals + 1 + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
            let quote = text[start..line_end].chars().next().filter(|c| "'\"`".contains(*c));
            let (value, end) = match quote {
                Some(quote) => {
                    quoted(text, start, quote).ok_or_else(|| malformed("a quote is not closed"))?
                }
                None => bare(text, start, line_end),
            };
            let line_end = end_of_line(text, end);
            let after = text[end..line_end].trim();
            if !(after.is_empty() || after.starts_with('#')) {
                return Err(malformed("something follows the closing quote"));
            }
            assignments.push(Assignment { name: name.into(), value, at: start..end, quote });
            at = line_end + 1;
        }
        Ok(Self { text: text.to_owned(), assignments })
    }

    /// The value that counts: of the last assignment.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let last = self.assignments.iter().rev().find(|one| one.name == name);
        last.map(|one| one.value.as_str())
    }

    /// How often it is assigned.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.assignments.iter().filter(|one| one.name == name).count()
    }

    #[cfg(test)]
    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.assignments.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect()
    }

    /// The text with another value of one variable, appended if it is not there.
    pub(crate) fn set(&self, name: &str, value: &str) -> Result<String, Unwritable> {
        let mut text = self.text.clone();
        match self.assignments.iter().rev().find(|one| one.name == name) {
            Some(one) => text.replace_range(one.at.clone(), &written(value, one.quote)?),
            None => {
                let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push_str(line_end);
                }
                text.push_str(&format!("{name}={}{line_end}", written(value, None)?));
            }
        }
        // Nothing else changed, and it reads as it was meant: proven, not believed.
        let others = |document: &Self| -> Vec<(String, String)> {
            let others = document.assignments.iter().filter(|one| one.name != name);
            others.map(|one| (one.name.clone(), one.value.clone())).collect()
        };
        match Self::parse(&text) {
            Ok(now) if now.get(name) == Some(value) && others(&now) == others(self) => Ok(text),
            _ => Err(Unwritable("it would not read back as it is")),
        }
    }
}

pub(crate) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn end_of_line(text: &str, from: usize) -> usize {
    text[from..].find('\n').map_or(text.len(), |at| from + at)
}

fn line_number(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// A value without quotes: up to a comment, without the white space around.
fn bare(text: &str, start: usize, line_end: usize) -> (String, usize) {
    let line = &text[start..line_end];
    let mut end = line.len();
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            end = at;
            break;
        }
        before = c;
    }
    let value = line[..end].trim_end();
    (value.to_owned(), start + value.len())
}

/// A value in quotes, and where it ends; none if they are not closed.
fn quoted(text: &str, start: usize, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text[start + 1..].char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((value, start + 1 + at + 1));
        }
        if c != '\\' || quote != '"' {
            value.push(c);
            continue;
        }
        match chars.next()?.1 {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            c @ ('\\' | '"' | '$' | '`') => value.push(c),
            other => value.extend(['\\', other]),
        }
    }
    None
}

/// A value so that all readers take it for the same: as it stood before if that fits.
fn written(value: &str, before: Option<char>) -> Result<String, Unwritable> {
    if value.contains(['\0', '\r']) {
        return Err(Unwritable("it holds a zero byte or a carriage return"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=?&~".contains(c);
    if value.chars().all(plain) {
        return Ok(match before {
            Some(quote) => format!("{quote}{value}{quote}"),
            None => value.to_owned(),
        });
    }
    if !value.contains(['\'', '\\']) {
        return Ok(format!("'{value}'"));
    }
    if !value.contains(['"', '\\', '$', '`', '\n']) {
        return Ok(format!("\"{value}\""));
    }
    Err(Unwritable(
        "it holds a backslash, or single quotes with what double quotes don't protect: programs \
         that read such files differ about these",
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "# The shop\nPORT=3000\n\nexport  HOST = shop.example.org # public\nEMPTY=\nURL=\"postgres://shop:a#b@db/shop\" # db\nKEY='-----BEGIN\nabc\n-----END'\nESC=\"a\\nb\\\"c\"\nHASH=a#b\nPASSED\n";

    #[test]
    fn all_that_stands_in_such_files() {
        let document = Document::parse(FILE).unwrap();
        assert_eq!(
            document.pairs(),
            [
                ("PORT", "3000"),
                ("HOST", "shop.example.org"),
                ("EMPTY", ""),
                ("URL", "postgres://shop:a#b@db/shop"),
                ("KEY", "-----BEGIN\nabc\n-----END"),
                ("ESC", "a\nb\"c"),
                ("HASH", "a#b"),
            ]
        );
    }

    #[test]
    fn one_value_changes_and_nothing_else() {
        let document = Document::parse(FILE).unwrap();
        let text = document.set("URL", "postgres://db").unwrap();
        assert_eq!(text, FILE.replace("\"postgres://shop:a#b@db/shop\"", "\"postgres://db\""));
        let text = document.set("HOST", "a b").unwrap();
        assert_eq!(text, FILE.replace("shop.example.org #", "'a b' #"));
        let text = document.set("EMPTY", "x").unwrap();
        assert_eq!(text, FILE.replace("EMPTY=", "EMPTY=x"));
        assert_eq!(document.set("NEW", "x").unwrap(), format!("{FILE}NEW=x\n"));
    }

    #[test]
    fn line_ends_stay_what_they_are() {
        let document = Document::parse("A=1\r\nB='2'\r\n").unwrap();
        assert_eq!(document.pairs(), [("A", "1"), ("B", "2")]);
        assert_eq!(document.set("A", "3").unwrap(), "A=3\r\nB='2'\r\n");
        assert_eq!(document.set("C", "3").unwrap(), "A=1\r\nB='2'\r\nC=3\r\n");
        assert_eq!(Document::parse("A=1").unwrap().set("B", "2").unwrap(), "A=1\nB=2\n");
    }

    #[test]
    fn what_is_malformed_is_named_by_its_line_and_never_shown() {
        for (text, line) in [("A=1\nB='x\n", 2), ("A=\"x\" y", 1), ("\n\n=x", 3), ("a b c!", 1)] {
            assert_eq!(Document::parse(text).map(|_| ()).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn values_that_readers_differ_about_are_refused() {
        let document = Document::parse("A=1\n").unwrap();
        assert!(document.set("A", "back\\slash").is_err());
        assert!(document.set("A", "both ' and \"").is_err());
        assert_eq!(document.set("A", "it's").unwrap(), "A=\"it's\"\n");
        assert_eq!(document.set("A", "$x").unwrap(), "A='$x'\n");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in "\\PC*", quote in prop::sample::select(vec!["", "'", "\"", "`"])) {
            let text = format!("# x\nA={quote}old{quote} # y\nB=2\n");
            let document = Document::parse(&text).unwrap();
            if let Ok(text) = document.set("A", &value) {
                let now = Document::parse(&text).unwrap();
                prop_assert_eq!(now.get("A"), Some(value.as_str()));
                prop_assert_eq!(now.get("B"), Some("2"));
                prop_assert!(text.starts_with("# x\nA=") && text.ends_with(" # y\nB=2\n"));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[A-C=#'\"`\\\\ \n\r$é]*") {
            let _ = Document::parse(&text);
        }
    }
}
