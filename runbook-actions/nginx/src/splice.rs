//! [`Edits`]: changes of a few bytes of a text, so that all else stays as it is.

use std::ops::Range;

use crate::syntax::Directive;

/// Changes of a text, made all at once.
#[derive(Debug, Default)]
pub(crate) struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    pub(crate) fn replace(&mut self, range: Range<usize>, with: impl Into<String>) {
        self.0.push((range, with.into()));
    }

    /// Takes a directive away, with its line if nothing else is on it.
    pub(crate) fn remove(&mut self, text: &str, range: Range<usize>) {
        let line = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[range.end..].find('\n').map_or(text.len(), |at| range.end + at + 1);
        let alone =
            text[line..range.start].trim().is_empty() && text[range.end..end].trim().is_empty();
        self.replace(if alone { line..end } else { range }, "");
    }

    /// Puts a line after the one on which `directive` ends, indented alike.
    pub(crate) fn line_after(&mut self, text: &str, directive: &Directive, line: &str) {
        let rest = &text[directive.range.end..];
        let eol = rest.find('\n').unwrap_or(rest.len());
        // Only a comment may share its line: what else is there stays behind the new one.
        let own = rest[..eol].trim_start();
        let at = if own.is_empty() || own.starts_with('#') {
            directive.range.end + eol
        } else {
            directive.range.end
        };
        self.replace(at..at, format!("\n{}{line}", indent(text, directive.range.start)));
    }

    /// Puts a line before `directive`, indented alike.
    pub(crate) fn line_before(&mut self, text: &str, directive: &Directive, line: &str) {
        let at = directive.range.start;
        self.replace(at..at, format!("{line}\n{}", indent(text, at)));
    }

    /// Puts lines at the beginning of a block.
    pub(crate) fn lines_into(&mut self, text: &str, directive: &Directive, lines: &[&str]) {
        let Some(block) = &directive.block else { return };
        let indent = match block.directives.first() {
            Some(first) => indent(text, first.range.start).to_owned(),
            None => format!("{}    ", indent(text, directive.range.start)),
        };
        let lines: String = lines.iter().map(|line| format!("\n{indent}{line}")).collect();
        self.replace(block.range.start..block.range.start, lines);
    }

    pub(crate) fn apply(mut self, text: &str) -> String {
        // Stable: of two at one place the one that was made first comes first.
        self.0.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for (range, with) in self.0 {
            out.push_str(&text[at..range.start.max(at)]);
            out.push_str(&with);
            at = range.end.max(at);
        }
        out.push_str(&text[at..]);
        out
    }
}

/// The blanks at the beginning of the line of `at`.
fn indent(text: &str, at: usize) -> &str {
    let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let blanks = text[line..at].find(|c: char| c != ' ' && c != '\t').unwrap_or(at - line);
    &text[line..line + blanks]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::Document;

    #[test]
    fn a_line_is_added_and_taken_away_without_touching_others() {
        let text = "upstream app {\n\t# mine\n\tserver a; # first\n\tserver b;\n}\n";
        let document = Document::parse(text).unwrap();
        let inside = document.directives[0].inside();
        let mut edits = Edits::default();
        edits.line_after(text, &inside[0], "server c;");
        edits.remove(text, inside[1].range.clone());
        let expected = "upstream app {\n\t# mine\n\tserver a; # first\n\tserver c;\n}\n";
        assert_eq!(edits.apply(text), expected);

        let mut edits = Edits::default();
        edits.remove(text, inside[0].range.clone());
        assert!(edits.apply(text).contains("\n\t # first\n"), "a comment stays");
    }
}
