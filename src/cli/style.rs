//! How things look: colours and symbols, or none of them.

use std::borrow::Cow;

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Colours; off for `NO_COLOR`, dumb terminals and pipes.
    pub(crate) color: bool,
    /// Anything but ASCII.
    pub(crate) unicode: bool,
}

/// The state of a unit, as one symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Done,
    Failed,
    Running,
    Pending,
    Skipped,
    Undone,
    Asks,
    Warn,
    /// Looked at, not so, and that is no fault.
    Noted,
    Block,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

impl Style {
    /// Neither colours nor symbols.
    pub(crate) const PLAIN: Self = Self { color: false, unicode: false };

    /// What the surroundings say: `NO_COLOR`, `TERM`, and the locale.
    pub(crate) fn detect(terminal: bool, var: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let utf8 = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self { color: terminal && !dumb && set("NO_COLOR").is_none(), unicode: utf8 }
    }

    pub(crate) fn mark(self, mark: Mark) -> String {
        let (symbol, ascii, color) = match mark {
            Mark::Done => ("✓", "+", Some(Color::Green)),
            Mark::Failed => ("✗", "x", Some(Color::Red)),
            Mark::Running => ("●", ">", Some(Color::Cyan)),
            Mark::Pending => ("·", ".", None),
            Mark::Skipped => ("–", "-", None),
            Mark::Undone => ("↶", "<", Some(Color::Yellow)),
            Mark::Asks => ("?", "?", Some(Color::Yellow)),
            Mark::Warn => ("!", "!", Some(Color::Yellow)),
            Mark::Noted => ("○", "o", None),
            Mark::Block => ("▾", "=", None),
        };
        let symbol = if self.unicode { symbol } else { ascii };
        match color {
            Some(color) => self.paint(symbol, color),
            None => self.dim(symbol),
        }
    }

    pub(crate) fn paint(self, text: &str, color: Color) -> String {
        self.escape(text, color as u8)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.escape(text, 1)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.escape(text, 2)
    }

    fn escape(self, text: &str, code: u8) -> String {
        if self.color && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// What stands where text was cut off.
    pub(crate) fn more(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// What stands between two facts on one line.
    pub(crate) fn dot(self) -> &'static str {
        if self.unicode { " · " } else { " - " }
    }

    /// The line beside captured output.
    pub(crate) fn bar(self) -> &'static str {
        if self.unicode { "│ " } else { "| " }
    }

    /// What stands between the steps of a path through blocks.
    pub(crate) fn under(self) -> &'static str {
        if self.unicode { " › " } else { " > " }
    }

    /// The same for text of several lines.
    pub(crate) fn text_lines(self, text: &str) -> String {
        text.lines().map(|line| self.text(line)).collect::<Vec<_>>().join("\n")
    }

    /// `text` as this terminal can show it: no control characters, and ASCII only if it must be.
    pub(crate) fn text(self, text: &str) -> Cow<'_, str> {
        let text = super::text::clean(text);
        if self.unicode || text.is_ascii() {
            return text;
        }
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                c if c.is_ascii() => out.push(c),
                '‹' | '«' => out.push('<'),
                '›' | '»' => out.push('>'),
                '“' | '”' => out.push('"'),
                '‘' | '’' => out.push('\''),
                '–' | '—' => out.push('-'),
                '…' => out.push_str("..."),
                '→' => out.push_str("->"),
                '·' | '•' => out.push('*'),
                '\u{a0}' => out.push(' '),
                _ => out.push('?'),
            }
        }
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(vars: &[(&str, &str)]) -> Style {
        let vars: Vec<_> = vars.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        Style::detect(true, &|name| vars.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn a_utf8_terminal_gets_colours_and_symbols() {
        let style = detect(&[("TERM", "xterm"), ("LANG", "C.UTF-8")]);
        assert_eq!(style, Style { color: true, unicode: true });
    }

    #[test]
    fn no_color_dumb_terminals_and_other_locales_are_respected() {
        assert!(!detect(&[("TERM", "xterm"), ("NO_COLOR", "1")]).color);
        assert!(!detect(&[("TERM", "dumb")]).color);
        assert!(!detect(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]).unicode);
        assert!(!detect(&[]).unicode);
    }

    #[test]
    fn ascii_terminals_get_ascii() {
        assert_eq!(Style::PLAIN.text("‹known after the run› → é"), "<known after the run> -> ?");
        assert_eq!(Style::PLAIN.mark(Mark::Done), "+");
    }
}
