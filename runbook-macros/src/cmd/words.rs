//! The words of a command line: quotes group, braces interpolate, nothing else is special, and
//! what a shell would act on is refused.

use std::ops::Range;

/// One argument, or a list of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// One argument.
    Joined { pieces: Vec<Piece>, at: Range<usize> },
    /// `{name...}`: an argument for each item.
    Splice { name: String, at: Range<usize> },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Value(String),
}

/// What is wrong, and where in the literal's value, in bytes.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) at: Range<usize>,
    pub(super) message: String,
}

impl Word {
    pub(super) fn range(&self) -> &Range<usize> {
        match self {
            Self::Joined { at, .. } | Self::Splice { at, .. } => at,
        }
    }

    /// The names that it interpolates.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let (pieces, splice) = match self {
            Self::Joined { pieces, .. } => (pieces.as_slice(), None),
            Self::Splice { name, .. } => (&[][..], Some(name.as_str())),
        };
        let values = pieces.iter().filter_map(|piece| match piece {
            Piece::Value(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        });
        values.chain(splice)
    }
}

/// Splits a command line.
pub(super) fn split(line: &str) -> Result<Vec<Word>, Vec<Problem>> {
    let mut splitter =
        Splitter { line, at: 0, words: Vec::new(), word: None, problems: Vec::new() };
    splitter.run();
    let Splitter { words, mut problems, .. } = splitter;
    if problems.is_empty() {
        match words.first() {
            None => problems.push(Problem {
                at: 0..line.len(),
                message: "the command is empty: it starts with a program, as in \
                          `cmd!(\"ls -l {dir}\")`"
                    .into(),
            }),
            Some(Word::Splice { name, at }) => problems.push(Problem {
                at: at.clone(),
                message: format!(
                    "a command starts with one program, and `{{{name}...}}` is a list; use \
                     `Command::new(program).args(list)`"
                ),
            }),
            Some(Word::Joined { pieces, at }) => match pieces.first() {
                Some(Piece::Text(text)) if assignment(&line[at.clone()]).is_some() => {
                    let name = text.split('=').next().unwrap_or_default();
                    problems.push(Problem {
                        at: at.clone(),
                        message: format!(
                            "there is no shell that reads `{name}=..` as a variable: set it with \
                             `.env(\"{name}\", value)`"
                        ),
                    });
                }
                None => problems.push(Problem {
                    at: at.clone(),
                    message: "the program is an empty word".into(),
                }),
                _ => {}
            },
        }
    }
    if problems.is_empty() { Ok(words) } else { Err(problems) }
}

/// `NAME` of `NAME=value`, unquoted.
fn assignment(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(name)
}

struct Splitter<'a> {
    line: &'a str,
    at: usize,
    words: Vec<Word>,
    /// The word under way and where it starts; a pair of quotes begins one, though it be empty.
    word: Option<(usize, Vec<Piece>, Option<String>)>,
    problems: Vec<Problem>,
}

impl Splitter<'_> {
    fn run(&mut self) {
        while let Some(c) = self.peek() {
            let start = self.at;
            if c.is_whitespace() {
                self.at += c.len_utf8();
                self.end_word(start);
                continue;
            }
            match c {
                '\'' | '"' => self.quoted(c),
                '{' | '}' => self.brace(None),
                _ => match self.shell_only() {
                    Some((length, message)) => {
                        self.problem(start..start + length, message);
                        self.at += length;
                    }
                    None => {
                        self.at += c.len_utf8();
                        self.push(start, c);
                    }
                },
            }
        }
        self.end_word(self.at);
    }

    fn peek(&self) -> Option<char> {
        self.line[self.at..].chars().next()
    }

    fn problem(&mut self, at: Range<usize>, message: String) {
        self.problems.push(Problem { at, message });
    }

    fn pieces(&mut self, start: usize) -> &mut Vec<Piece> {
        &mut self.word.get_or_insert_with(|| (start, Vec::new(), None)).1
    }

    fn push(&mut self, start: usize, c: char) {
        let pieces = self.pieces(start);
        if let Some(Piece::Text(text)) = pieces.last_mut() {
            text.push(c);
        } else {
            pieces.push(Piece::Text(c.into()));
        }
    }

    fn end_word(&mut self, end: usize) {
        if let Some((start, pieces, splice)) = self.word.take() {
            let at = start..end;
            match splice {
                None => self.words.push(Word::Joined { pieces, at }),
                Some(name) if pieces.is_empty() => self.words.push(Word::Splice { name, at }),
                Some(name) => self.problem(
                    at,
                    format!(
                        "`{{{name}...}}` becomes several arguments, so it is a word of its own: \
                         put blanks around it"
                    ),
                ),
            }
        }
    }

    fn quoted(&mut self, quote: char) {
        let start = self.at;
        self.at += 1;
        self.pieces(start);
        loop {
            let here = self.at;
            match self.peek() {
                None => {
                    let rest = excerpt(&self.line[start..]);
                    self.problem(
                        start..self.line.len(),
                        format!("the quote that opens at `{rest}` is not closed"),
                    );
                    return;
                }
                Some(c) if c == quote => {
                    self.at += 1;
                    return;
                }
                Some('{' | '}') => self.brace(Some(start)),
                Some('$' | '`') if quote == '"' && self.expands() => {
                    let rest = excerpt(&self.line[here..]);
                    self.problem(
                        here..here + 1,
                        format!(
                            "there is no shell that expands `{rest}`: run that first and \
                             interpolate what it gave, `{{name}}`; or put it in single quotes if \
                             the program is to see it as it stands"
                        ),
                    );
                    self.at += 1;
                }
                Some(c) => {
                    self.at += c.len_utf8();
                    self.push(start, c);
                }
            }
        }
    }

    /// At a brace: doubled, it is a character; else an interpolation. `quote` is where the quote
    /// around it starts.
    fn brace(&mut self, quote: Option<usize>) {
        let start = self.at;
        let rest = &self.line[start..];
        let word_start = quote.unwrap_or(start);
        for brace in ['{', '}'] {
            if rest.starts_with(brace) && rest[1..].starts_with(brace) {
                self.at += 2;
                self.push(word_start, brace);
                return;
            }
        }
        if rest.starts_with('}') {
            self.at += 1;
            self.problem(
                start..start + 1,
                "a `}` without its `{`; a brace that is meant as text is doubled: `}}`".into(),
            );
            return;
        }
        let Some(length) = rest.find('}') else {
            self.at = self.line.len();
            self.problem(
                start..self.line.len(),
                format!(
                    "the brace that opens at `{}` is not closed; a brace that is meant as text is \
                     doubled: `{{{{`",
                    excerpt(rest)
                ),
            );
            return;
        };
        let at = start..start + length + 1;
        self.at = at.end;
        let inside = rest[1..length].trim();
        let (name, list) = match inside.strip_suffix("...") {
            Some(name) => (name.trim_end(), true),
            None => (inside, false),
        };
        if let Some(message) = not_a_name(inside, name) {
            self.pieces(word_start);
            self.problem(at, message);
        } else if !list {
            self.pieces(word_start).push(Piece::Value(name.to_owned()));
        } else if quote.is_some() {
            self.problem(
                at,
                format!(
                    "`{{{name}...}}` becomes several arguments, so it can't stand in quotes, \
                     which make one"
                ),
            );
        } else if self.word.as_ref().is_some_and(|word| word.2.is_some()) {
            self.problem(at, "two lists in one word: put blanks between them".into());
        } else {
            self.pieces(word_start);
            if let Some(word) = &mut self.word {
                word.2 = Some(name.to_owned());
            }
        }
    }

    /// Whether a shell would expand what starts here with `$` or a backtick.
    fn expands(&self) -> bool {
        let rest = &self.line[self.at..];
        rest.starts_with('`')
            || rest[1..].starts_with(|c: char| {
                c.is_ascii_alphanumeric() || ['_', '(', '{', '@', '*', '#', '?'].contains(&c)
            })
    }

    /// What starts here, unquoted, if a shell would act on it: its length, and what to do.
    fn shell_only(&self) -> Option<(usize, String)> {
        let rest = &self.line[self.at..];
        let starts = |text: &str| rest.starts_with(text);
        let (text, advice) = if starts("||") || starts("&&") {
            (
                &rest[..2],
                "make it two commands; the code between them decides whether the second runs",
            )
        } else if starts("|") {
            ("|", "run the first command, then give its output to the second with `.stdin(..)`")
        } else if starts(">") || starts("2>") && self.word.is_none() {
            let text = if starts("2>") { "2>" } else { ">" };
            (
                text,
                "a command's output is captured: take it from what `run(&command)` gives, and write it to a file with `write`",
            )
        } else if starts("<") {
            ("<", "give the command its input with `.stdin(..)`")
        } else if starts(";") {
            (";", "make it two commands")
        } else if starts("&") {
            ("&", "start it with `spawn(&command)`, which does not wait")
        } else if starts("`") || starts("$(") {
            let text = if starts("`") { "`" } else { "$(" };
            (text, "run that command first and interpolate what it gave: `{name}`")
        } else if starts("$") && self.expands() {
            (
                "$",
                "interpolate a Rust variable, `{name}`, or set one for the command with `.env(..)`",
            )
        } else if starts("*") || starts("?") {
            (&rest[..1], "list the folder and interpolate what fits, `{files...}`")
        } else if starts("~") && self.word.is_none() {
            ("~", "interpolate the path, `{home}`")
        } else if starts("(") {
            ("(", "make it several commands")
        } else if starts("\\") {
            ("\\", "what belongs together is grouped with quotes")
        } else if starts("#") && self.word.is_none() {
            ("#", "write a comment beside the command")
        } else {
            return None;
        };
        let (mark, quoted) = if text == "`" {
            ("a backtick".to_owned(), "put it in single quotes".to_owned())
        } else {
            (format!("`{text}`"), format!("quote it: `'{text}'`"))
        };
        Some((
            text.len(),
            format!(
                "there is no shell here that acts on {mark}: {advice}\nif the program itself is to \
                 get it, {quoted}"
            ),
        ))
    }
}

/// Why `name` is no variable, if it is none.
fn not_a_name(inside: &str, name: &str) -> Option<String> {
    let bare = name.strip_prefix("r#").unwrap_or(name);
    let mut letters = bare.chars();
    let fits = letters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && letters.all(|c| c.is_alphanumeric() || c == '_')
        && bare != "_";
    if fits {
        return None;
    }
    if name.is_empty() {
        return Some(
            "an interpolation has a name: `{name}`, of a variable or of an argument after the \
             literal; braces that are meant as text are doubled: `{{}}`"
                .into(),
        );
    }
    if let Some((variable, _)) = inside.split_once(':')
        && not_a_name(variable, variable).is_none()
    {
        return Some(format!(
            "an argument is the value itself, without a format: `{{{variable}}}`; to format it, \
             name it after the literal: `{variable} = format!(..)`"
        ));
    }
    Some(format!(
        "`{{{inside}}}` is not a variable; to use an expression, name it after the literal: \
         `cmd!(\"ls {{dir}}\", dir = path.join(\"x\"))`; a brace that is meant as text is doubled: \
         `{{{{`"
    ))
}

/// The start of a text, to show where in the literal something is.
fn excerpt(text: &str) -> String {
    const MOST: usize = 24;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(line: &str) -> Vec<String> {
        split(line)
            .unwrap_or_else(|problems| panic!("{line}: {problems:?}"))
            .iter()
            .map(|word| match word {
                Word::Splice { name, .. } => format!("*{name}"),
                Word::Joined { pieces, .. } => pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Text(text) => text.clone(),
                        Piece::Value(name) => format!("<{name}>"),
                    })
                    .collect(),
            })
            .collect()
    }

    fn problem(line: &str) -> String {
        let problems = split(line).expect_err(line);
        problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn blanks_separate_and_quotes_group() {
        assert_eq!(shown("ls  -l\n\t/tmp "), ["ls", "-l", "/tmp"]);
        assert_eq!(shown(r#"echo 'a b' "c d" e'f g'"h""#), ["echo", "a b", "c d", "ef gh"]);
        assert_eq!(shown("echo '' x"), ["echo", "", "x"]);
        assert_eq!(shown(r#"echo '"' "'""#), ["echo", "\"", "'"]);
    }

    #[test]
    fn braces_interpolate_in_and_out_of_quotes() {
        assert_eq!(shown("ls {dir}"), ["ls", "<dir>"]);
        assert_eq!(shown("ls --port={port} '{dir}/x y'"), ["ls", "--port=<port>", "<dir>/x y"]);
        assert_eq!(shown("rm {files...} {r#type}"), ["rm", "*files", "<r#type>"]);
        assert_eq!(shown("awk '{{print $1}}'"), ["awk", "{print $1}"]);
    }

    #[test]
    fn what_a_shell_would_act_on_is_refused_unless_quoted() {
        for (line, advice) in [
            ("dump | gzip", "`.stdin(..)`"),
            ("dump > file", "`write`"),
            ("dump 2>/dev/null", "captured"),
            ("cat < file", "`.stdin(..)`"),
            ("a; b", "two commands"),
            ("a && b", "two commands"),
            ("a || b", "two commands"),
            ("sleep 1 &", "`spawn(&command)`"),
            ("echo $(date)", "run that command first"),
            ("echo `date`", "run that command first"),
            ("echo \"it is `date`\"", "single quotes"),
            ("echo $HOME", "`.env(..)`"),
            ("echo \"$HOME\"", "single quotes"),
            ("ls *.rs", "list the folder"),
            ("ls ~/x", "interpolate the path"),
            (r"echo a\ b", "grouped with quotes"),
            ("ls # all", "a comment"),
            ("PORT=1 serve", "`.env(\"PORT\", value)`"),
        ] {
            let message = problem(line);
            assert!(message.contains(advice), "{line}: {message}");
        }
        assert_eq!(
            shown("sh '|' '>' '*.rs' a~b C# 'x;y&z' '$HOME' '`' \"100$\""),
            ["sh", "|", ">", "*.rs", "a~b", "C#", "x;y&z", "$HOME", "`", "100$"]
        );
    }

    #[test]
    fn what_is_not_closed_empty_or_no_name_is_refused() {
        assert!(problem("echo 'a b").contains("opens at `'a b` is not closed"));
        assert!(problem("echo {a").contains("opens at `{a` is not closed"));
        assert!(problem("echo a}").contains("without its `{`"));
        assert!(problem("  ").contains("empty"));
        assert!(problem("''").contains("empty word"));
        assert!(problem("ls {}").contains("has a name"));
        assert!(problem("ls {a.b}").contains("not a variable"));
        assert!(problem("ls {a:?}").contains("without a format"));
        assert!(problem("ls x{files...}").contains("a word of its own"));
        assert!(problem("ls '{files...}'").contains("in quotes"));
        assert!(problem("{all...}").contains("one program"));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        assert_eq!(split("a | b > c").expect_err("refused").len(), 2);
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in ".*", shell in "[ '\"{}$`|>&.a\u{e9}]*") {
            let _ = split(&line);
            let _ = split(&shell);
        }

        #[test]
        fn whatever_stands_in_single_quotes_is_one_word(text in "[^']*") {
            let doubled = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(shown(&format!("echo '{doubled}' x")), ["echo", &text, "x"]);
        }
    }
}
