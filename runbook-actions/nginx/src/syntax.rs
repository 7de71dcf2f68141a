//! Nginx's configuration language, read without losing a byte: an edit is a change of a few bytes
//! of the operator's own text, so comments and formatting stay.

use std::fmt;
use std::ops::Range;

/// A configuration file that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    text: String,
    tokens: Vec<Token>,
    pub(crate) directives: Vec<Directive>,
}

/// A directive: up to its `;`, or up to the `}` of its block.
#[derive(Clone, Debug)]
pub(crate) struct Directive {
    pub(crate) name: String,
    /// Without quotes and escapes.
    pub(crate) args: Vec<String>,
    /// Where they stand.
    pub(crate) words: Vec<Range<usize>>,
    /// From the first byte of its name to the byte after its end.
    pub(crate) range: Range<usize>,
    pub(crate) block: Option<Block>,
}

/// What is between the braces.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Without the braces.
    pub(crate) range: Range<usize>,
    pub(crate) directives: Vec<Directive>,
}

/// Why a text is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) why: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    kind: Kind,
    range: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Space,
    Comment,
    Word,
    Open,
    Close,
    End,
}

impl Document {
    pub(crate) fn parse(text: impl Into<String>) -> Result<Self, SyntaxError> {
        let text = text.into();
        let tokens = tokens(&text)?;
        let mut parser = Parser { text: &text, tokens: &tokens, at: 0 };
        let directives = parser.directives(None)?;
        Ok(Self { tokens, directives, text })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Every directive, those inside of blocks after their own.
    pub(crate) fn walk(&self) -> Vec<&Directive> {
        let mut found = Vec::new();
        let mut left: Vec<&Directive> = self.directives.iter().rev().collect();
        while let Some(directive) = left.pop() {
            found.push(directive);
            if let Some(block) = &directive.block {
                left.extend(block.directives.iter().rev());
            }
        }
        found
    }
}

/// The text, token by token.
impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens.iter().try_for_each(|token| f.write_str(&self.text[token.range.clone()]))
    }
}

impl Directive {
    /// The directives of its block, if it has one.
    pub(crate) fn inside(&self) -> &[Directive] {
        self.block.as_ref().map_or(&[], |block| &block.directives)
    }
}

/// `word` as one argument of a directive.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=~^|,!*".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// As nginx's own reader does it; all bytes of the text are in a token.
fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let kind = match bytes[at] {
            byte if is_blank(byte) => {
                at += bytes[at..].iter().take_while(|byte| is_blank(**byte)).count();
                Kind::Space
            }
            b'#' => {
                at += bytes[at..].iter().take_while(|byte| **byte != b'\n').count();
                Kind::Comment
            }
            b';' => {
                at += 1;
                Kind::End
            }
            b'{' => {
                at += 1;
                Kind::Open
            }
            b'}' => {
                at += 1;
                Kind::Close
            }
            quote @ (b'"' | b'\'') => {
                at = end_of_quoted(bytes, at, quote)
                    .ok_or_else(|| error(text, start, "a quote is not closed"))?;
                // What nginx refuses as well; a `)` begins a word of its own.
                if bytes.get(at).is_some_and(|byte| !is_blank(*byte) && !b";{)".contains(byte)) {
                    return Err(error(text, at, "a blank is missing after a quote"));
                }
                Kind::Word
            }
            _ => {
                at = end_of_word(bytes, at);
                Kind::Word
            }
        };
        tokens.push(Token { kind, range: start..at });
    }
    Ok(tokens)
}

fn end_of_quoted(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            byte if byte == quote => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

fn end_of_word(bytes: &[u8], mut at: usize) -> usize {
    let mut after_dollar = false;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == b'{' && after_dollar {
            at += 1;
            continue;
        }
        after_dollar = byte == b'$';
        match byte {
            b'\\' => at += 1,
            b';' | b'{' => break,
            byte if is_blank(byte) => break,
            _ => {}
        }
        at += 1;
    }
    at.min(bytes.len())
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    /// The directives up to the end of the block that begins at `opened`, or of the file.
    fn directives(&mut self, opened: Option<usize>) -> Result<Vec<Directive>, SyntaxError> {
        let mut found = Vec::new();
        let mut words: Vec<Range<usize>> = Vec::new();
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            let here = token.range.start;
            match token.kind {
                Kind::Space | Kind::Comment => {}
                Kind::Word => words.push(token.range.clone()),
                Kind::End => {
                    let directive = self.directive(&mut words, token.range.end, None);
                    found.push(directive.ok_or_else(|| error(self.text, here, "unexpected `;`"))?);
                }
                Kind::Open => {
                    let Some(name) = words.first().map(|word| &self.text[word.clone()]) else {
                        return Err(error(self.text, here, "unexpected `{`"));
                    };
                    if name.ends_with("_by_lua_block") {
                        let why =
                            format!("`{name}` holds another language, which is not read here");
                        return Err(error(self.text, here, &why));
                    }
                    let directives = self.directives(Some(here))?;
                    let end = self.tokens[self.at - 1].range.clone();
                    let block = Block { range: here + 1..end.start, directives };
                    found.extend(self.directive(&mut words, end.end, Some(block)));
                }
                Kind::Close if !words.is_empty() => {
                    return Err(error(
                        self.text,
                        here,
                        "unexpected `}`: a `;` is missing before it",
                    ));
                }
                Kind::Close if opened.is_some() => return Ok(found),
                Kind::Close => return Err(error(self.text, here, "unexpected `}`")),
            }
        }
        match (opened, words.first()) {
            (Some(at), _) => Err(error(self.text, at, "a `{` is not closed")),
            (None, Some(word)) => Err(error(self.text, word.start, "a `;` is missing")),
            (None, None) => Ok(found),
        }
    }

    fn directive(
        &self,
        words: &mut Vec<Range<usize>>,
        end: usize,
        block: Option<Block>,
    ) -> Option<Directive> {
        let mut words = std::mem::take(words);
        if words.is_empty() {
            return None;
        }
        let name = words.remove(0);
        Some(Directive {
            name: value(&self.text[name.clone()]),
            args: words.iter().map(|word| value(&self.text[word.clone()])).collect(),
            words,
            range: name.start..end,
            block,
        })
    }
}

/// A word without its quotes and escapes.
fn value(word: &str) -> String {
    let inner = match word.as_bytes() {
        [quote @ (b'"' | b'\''), .., last] if quote == last => &word[1..word.len() - 1],
        _ => word,
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(c @ ('"' | '\'' | '\\')) => out.push(c),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('n') => out.push('\n'),
            // Nginx keeps the backslash of every other escape: it belongs to a regex.
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

fn error(text: &str, at: usize, why: &str) -> SyntaxError {
    let line = 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
    SyntaxError { line, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Document {
        Document::parse(text).unwrap_or_else(|error| panic!("{error:?} in {text}"))
    }

    #[test]
    fn directives_have_names_values_and_blocks() {
        let text = "http {\n  upstream app { server 10.0.0.1:80 weight=2; } # two\n  \
                    if ($uri ~ \"^/a{2}\\.b\") { return 200 'it''s'; }\n}\n";
        let error = Document::parse(text).unwrap_err();
        assert_eq!((error.line, error.why.as_str()), (3, "a blank is missing after a quote"));
        let fine = parse(&text.replace("'it''s'", "\"it's\""));
        let all = fine.walk();
        let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["http", "upstream", "server", "if", "return"]);
        assert_eq!(all[2].args, ["10.0.0.1:80", "weight=2"]);
        assert_eq!(all[3].args, ["($uri", "~", "^/a{2}\\.b", ")"]);
        assert_eq!(all[4].args, ["200", "it's"]);
    }

    #[test]
    fn words_end_where_nginx_ends_them() {
        for (text, args) in [
            ("a ${b}c{}", vec!["${b}c"]),
            ("a b#c;", vec!["b#c"]),
            ("a b\\;c \\#d;", vec!["b\\;c", "\\#d"]),
            ("a \"x;{}#\\\"\" 'y\\'';", vec!["x;{}#\"", "y'"]),
            ("a\tb\r\n c;", vec!["b", "c"]),
        ] {
            assert_eq!(parse(text).directives[0].args, args, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (text, line, why) in [
            ("a;\n}", 2, "unexpected `}`"),
            ("a {\n b;\n", 1, "a `{` is not closed"),
            ("a\nb", 1, "a `;` is missing"),
            ("a { b }", 1, "unexpected `}`: a `;` is missing before it"),
            ("\n\n;", 3, "unexpected `;`"),
            ("{}", 1, "unexpected `{`"),
            ("a \"b", 1, "a quote is not closed"),
            (
                "content_by_lua_block { x }",
                1,
                "`content_by_lua_block` holds another language, which is not read here",
            ),
        ] {
            let error = Document::parse(text).unwrap_err();
            assert_eq!((error.line, error.why.as_str()), (line, why), "{text}");
        }
    }

    #[test]
    fn debians_own_files_are_read_and_printed_unchanged() {
        let mut folders = vec![std::path::PathBuf::from("/etc/nginx")];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = std::fs::read_to_string(&path) {
                    // The charset maps, too: every file of the package.
                    assert_eq!(parse(&text).to_string(), text, "{}", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen >= 10, "nginx is installed: {seen} files");
    }

    /// Valid configuration text, with comments and odd formatting.
    fn configuration() -> impl Strategy<Value = String> {
        let blank = "[ \t]{1,3}|\n|\r\n| # comment \\{;\"'é\n";
        let word =
            "[a-z_$/.~:*é()]{1,8}|\"[a-z;{}# é]{0,6}\"|'[a-z;{}#\\$ ]{0,6}'|a\\$\\{b\\}|\\\\[;#{]x";
        let leaf = (word, prop::collection::vec((blank, word), 0..4), "[ \n]?", blank).prop_map(
            |(name, args, end, after)| {
                let args: String =
                    args.iter().map(|(blank, word)| format!("{blank}{word}")).collect();
                format!("{name}{args}{end};{after}")
            },
        );
        let block = leaf.prop_recursive(3, 24, 4, |inner| {
            ("[a-z]{1,6}", "[ \n]{1,2}", prop::collection::vec(inner, 0..4), "[ \n]?").prop_map(
                |(name, blank, inner, end)| format!("{name}{blank}{{{}{end}}}\n", inner.concat()),
            )
        });
        prop::collection::vec(block, 0..5).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn whatever_is_valid_is_printed_unchanged(text in configuration()) {
            prop_assert_eq!(parse(&text).to_string(), text);
        }

        #[test]
        fn whatever_it_is_nothing_is_lost(text in "([a-z{};#\"'$\\\\ \n]|é){0,80}") {
            if let Ok(document) = Document::parse(text.clone()) {
                prop_assert_eq!(document.to_string(), text);
            }
        }

        #[test]
        fn a_quoted_word_is_read_back(word in "([a-z \"'\\\\;{}#]|é){0,20}") {
            // Nginx has no way to write a backslash before these letters.
            prop_assume!(!word.contains('\\'));
            let document = parse(&format!("a {};", quoted(&word)));
            prop_assert_eq!(&document.directives[0].args, &[word]);
        }
    }
}
