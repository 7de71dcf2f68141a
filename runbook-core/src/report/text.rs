//! The words and the escaping that all reports share: durations, times, and user text made safe
//! for Markdown, HTML and XML.

use std::borrow::Cow;

use crate::event::Timestamp;
pub(super) use crate::timestamp::{duration, limit};

/// `2026-03-14 15:09:26 UTC`.
pub(super) fn moment(at: Timestamp) -> String {
    format!("{} {} UTC", day(at), time(at))
}

/// `2026-03-14`.
pub(super) fn day(at: Timestamp) -> String {
    at.to_string().chars().take_while(|c| *c != 'T').collect()
}

/// `15:09:26`.
pub(super) fn time(at: Timestamp) -> String {
    at.to_string().chars().skip_while(|c| *c != 'T').skip(1).take(8).collect()
}

/// `1 step`, `2 steps`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// `a, b and c`.
pub(super) fn listed<T: AsRef<str>>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

/// `text` with every character that is not meant to be seen made visible: terminal colours are
/// dropped, control characters become their pictures, and those that turn text around or hide it
/// become `\u{202e}`. Line ends and tabs stay. What is left is allowed in XML.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\u{1b}'
            && let Some(after) = after_escape(rest)
        {
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '\r' if rest.starts_with('\n') => {}
            '\r' => out.push('\n'),
            '\u{7f}' => out.push('\u{2421}'),
            '\0'..='\u{1f}' if c != '\n' && c != '\t' => {
                // The block of control pictures has the order of the control characters.
                out.extend(char::from_u32(0x2400 + c as u32));
            }
            c if is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Characters that show nothing of themselves, or that XML forbids.
fn is_hidden(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}' => {
            true
        }
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff0}'..='\u{fffb}' => true,
        '\u{e0000}'..='\u{e0fff}' => true,
        c if c.is_control() => true,
        // Not characters at all, by Unicode's own word: U+FFFE, U+FFFF and the like.
        c => c as u32 & 0xfffe == 0xfffe || ('\u{fdd0}'..='\u{fdef}').contains(&c),
    }
}

/// What follows the escape sequence that `text` begins with.
fn after_escape(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('\u{1b}')?;
    if let Some(csi) = rest.strip_prefix('[') {
        let end = csi.find(|c: char| !matches!(c, '\u{20}'..='\u{3f}'))?;
        return matches!(csi.as_bytes()[end], 0x40..=0x7e).then(|| &csi[end + 1..]);
    }
    let osc = rest.strip_prefix(']')?;
    let end = osc.find(['\u{7}', '\u{1b}'])?;
    match &osc[end..] {
        tail if tail.starts_with('\u{7}') => Some(&tail[1..]),
        tail => tail.strip_prefix("\u{1b}\\"),
    }
}

/// `text` in one line.
pub(super) fn one_line(text: &str) -> String {
    visible(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` cut after `most` characters, with a word on what is missing.
pub(super) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((end, _)) => {
            let more = text[end..].chars().count();
            Cow::Owned(format!("{} … ({more} more characters)", &text[..end]))
        }
    }
}

/// A part of a text of ours or of an error, where a word between backticks is code.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Plain(&'a str),
    Code(&'a str),
}

/// Takes `text` apart at words between single backticks; backticks without a partner are plain.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut plain, mut from) = (0, 0);
    while let Some(at) = text[from..].find('`').map(|at| from + at) {
        let run = text[at..].len() - text[at..].trim_start_matches('`').len();
        from = at + run;
        let code = text[from..].find(['`', '\n']).map(|end| &text[from..from + end]);
        let Some(code) = code.filter(|code| run == 1 && !code.trim().is_empty()) else { continue };
        let after = &text[from + code.len()..];
        if !after.starts_with('`') || after.starts_with("``") {
            continue;
        }
        pieces.push(Piece::Plain(&text[plain..at]));
        pieces.push(Piece::Code(code));
        from += code.len() + 1;
        plain = from;
    }
    pieces.push(Piece::Plain(&text[plain..]));
    pieces
}

/// `text` in one line of Markdown that renders as itself, also inside a table; words between
/// backticks are code.
pub(super) fn markdown(text: &str) -> String {
    let text = one_line(text);
    let mut out = String::with_capacity(text.len() + 8);
    for piece in pieces(&text) {
        match piece {
            Piece::Code(text) if !text.contains('|') => out.push_str(&format!("`{text}`")),
            Piece::Code(text) => escape(&format!("`{text}`"), false, &mut out),
            Piece::Plain(text) => {
                let first = out.is_empty();
                escape(text, first, &mut out);
            }
        }
    }
    out
}

/// Escapes what would be read as markup; `first`: the text begins a line.
fn escape(text: &str, first: bool, out: &mut String) {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let next = text[at + c.len_utf8()..].chars().next().unwrap_or(' ');
        let special = match c {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '|' | '~' => true,
            // Inside a word an underscore is only itself: snake_case stays readable.
            '_' => !(before.is_alphanumeric() && next.is_alphanumeric()),
            '&' => next == '#' || next.is_ascii_alphabetic(),
            // What would begin a heading, a list or a rule.
            '#' | '+' | '-' | '=' | ':' => first && at == 0,
            '.' | ')' => {
                first && next == ' ' && at > 0 && text[..at].bytes().all(|b| b.is_ascii_digit())
            }
            _ => false,
        };
        if special {
            out.push('\\');
        }
        out.push(c);
        before = c;
    }
}

/// `text` as inline code.
pub(super) fn code(text: &str) -> String {
    let text = one_line(text);
    if text.is_empty() {
        return "(empty)".into();
    }
    let ticks = "`".repeat(longest_run(&text, '`') + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// `text` as inline code in a table, which splits its cells before it looks at code.
pub(super) fn code_cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// `text` as a fenced block, with a fence that it can't close.
pub(super) fn fenced(language: &str, text: &str) -> String {
    let text = visible(text);
    let fence = "`".repeat(longest_run(&text, '`').max(2) + 1);
    let text = text.trim_end_matches('\n');
    format!("{fence}{language}\n{text}\n{fence}\n")
}

fn longest_run(text: &str, of: char) -> usize {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == of { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// Documentation, which is Markdown, made fit to stand inside a page: it can neither close nor
/// open anything around it. Headings become bold lines, raw HTML is shown as text, fenced blocks
/// are written anew at the margin, where nothing around them can make them mean something else.
pub(super) fn embedded(doc: &str) -> String {
    let doc = visible(doc);
    let mut out = String::with_capacity(doc.len() + 16);
    let mut lines = doc.trim().lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some((mark, length)) = opening_fence(trimmed) {
            let margin = line.len() - line.trim_start().len();
            let mut block = String::new();
            for inner in lines.by_ref() {
                let closing = inner.trim();
                if closing.len() >= length && closing.chars().all(|c| c == mark) {
                    break;
                }
                let spaces = inner.len() - inner.trim_start_matches([' ', '\t']).len();
                block.push_str(&inner[spaces.min(margin)..]);
                block.push('\n');
            }
            let language = trimmed[length..].trim().replace(['`', '~'], "");
            out.push_str(&fenced(&language, &block));
            continue;
        }
        if let Some(title) = heading(trimmed) {
            out.push_str(&format!("**{}**\n", without_html(title)));
        } else if !trimmed.is_empty() && trimmed.chars().all(|c| matches!(c, '=' | '-')) {
            out.push('\\');
            out.push_str(trimmed);
        } else {
            out.push_str(&without_html(line));
        }
        out.push('\n');
    }
    out
}

/// The mark and length of the fence that a line opens.
fn opening_fence(line: &str) -> Option<(char, usize)> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == mark).count();
    let opens = length >= 3 && !(mark == '`' && line[length..].contains('`'));
    opens.then_some((mark, length))
}

fn heading(line: &str) -> Option<&str> {
    let level = line.bytes().take_while(|b| *b == b'#').count();
    let rest = line.get(level..)?;
    let is = (1..=6).contains(&level) && (rest.is_empty() || rest.starts_with([' ', '\t']));
    is.then(|| rest.trim().trim_end_matches('#').trim_end())
}

/// Raw HTML shown as text; code spans and `<https://…>` stay.
fn without_html(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 8);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if c == '`' {
            let ticks = rest.len() - rest.trim_start_matches('`').len();
            let close = format!("{}`", "`".repeat(ticks - 1));
            let end = find_run(&rest[ticks..], &close).map_or(ticks, |at| ticks + at + ticks);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let link = ["<https://", "<http://", "<mailto:"].iter().any(|p| rest.starts_with(p));
        if c == '\\' && rest.len() > 1 {
            let two = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[..two]);
            rest = &rest[two..];
            continue;
        }
        if c == '<' && !link {
            out.push('\\');
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Where a run of exactly these backticks begins.
fn find_run(text: &str, ticks: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find('`') {
        let at = from + at;
        let run = text[at..].len() - text[at..].trim_start_matches('`').len();
        if run == ticks.len() {
            return Some(at);
        }
        from = at + run;
    }
    None
}

/// `text` for HTML and XML, in content and in quoted attributes. What XML forbids is made visible.
pub(super) fn html(text: &str) -> String {
    let text = visible(text);
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// `text` for an attribute of XML: line ends survive the parser's normalisation.
pub(super) fn attribute(text: &str) -> String {
    html(text).replace('\n', "&#10;").replace('\t', "&#9;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_become_visible_and_colours_go() {
        assert_eq!(visible("\u{1b}[1;31mred\u{1b}[0m"), "red");
        assert_eq!(visible("\u{1b}]0;title\u{7}rest"), "rest");
        assert_eq!(visible("bell\u{7} nul\0 esc\u{1b}"), "bell␇ nul␀ esc␛");
        assert_eq!(visible("evil\u{202e}txt.exe"), "evil\\u{202e}txt.exe");
        assert_eq!(visible("a\r\nb\rc\td"), "a\nb\nc\td");
        assert_eq!(visible("\u{1b}[31"), "␛[31");
        assert_eq!(visible("\u{1b}[3é"), "␛[3é");
        assert!(matches!(visible("שלום – 你好 👩‍🚒"), Cow::Borrowed(_)));
    }

    #[test]
    fn markdown_is_escaped_only_where_it_would_be_read_as_markup() {
        assert_eq!(markdown("snake_case and _this_"), "snake_case and \\_this\\_");
        assert_eq!(markdown("a | b\n# c"), "a \\| b # c");
        assert_eq!(markdown("# no heading"), "\\# no heading");
        assert_eq!(markdown("1. no list, version 1.2"), "1\\. no list, version 1.2");
        assert_eq!(markdown("`a*b` and `c|d` and ` e"), "`a*b` and \\`c\\|d\\` and \\` e");
        assert_eq!(markdown("<b> &amp; fish & chips"), "\\<b\\> \\&amp; fish & chips");
    }

    #[test]
    fn code_and_fences_hold_any_backticks() {
        assert_eq!(code("a `b` c"), "``a `b` c``");
        assert_eq!(code("`x"), "`` `x ``");
        assert_eq!(code_cell("a|b"), "`a\\|b`");
        assert_eq!(fenced("", "x\n````\ny"), "`````\nx\n````\ny\n`````\n");
    }

    #[test]
    fn documentation_can_not_reach_out_of_its_place() {
        assert_eq!(embedded("# Title #\ntext\n---"), "**Title**\n\ntext\n\\---\n");
        assert_eq!(embedded("```sh\n<!-- stays -->"), "```sh\n<!-- stays -->\n```\n");
        assert_eq!(
            embedded("<!-- open `<b>` <https://example.org>"),
            "\\<!-- open `<b>` <https://example.org>\n"
        );
    }
}
