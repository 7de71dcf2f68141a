//! Text for a terminal: its width, cutting and wrapping it, and taking out what could move the
//! cursor.

use std::borrow::Cow;
use std::time::Duration;

use runbook_core::{Direction, LockHolder, Timestamp, Transfer};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The columns that `text` takes; escape sequences take none.
pub(crate) fn width(text: &str) -> usize {
    if text.contains('\x1b') { clean(text).width() } else { text.width() }
}

/// `text` in at most `columns`, ended with `more` if it was cut. Takes no escape sequences.
pub(crate) fn cut<'a>(text: &'a str, columns: usize, more: &str) -> Cow<'a, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let room = columns.saturating_sub(more.width());
    let mut used = 0;
    let mut out = String::with_capacity(text.len().min(columns * 2));
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        out.push(c);
    }
    if more.width() <= columns {
        out.push_str(more);
    }
    Cow::Owned(out)
}

/// `text` in lines of at most `columns` where words allow it; its own line ends stay. A word that
/// is longer keeps its line to itself, so that paths and commands can be copied whole.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.width() <= columns {
            lines.push(line.to_owned());
            continue;
        }
        let mut current = String::new();
        for word in line.split_whitespace() {
            if !current.is_empty() && current.width() + 1 + word.width() > columns {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines
}

/// `line` without escape sequences and control characters, tabs as spaces: what a command printed
/// must not move the cursor or colour what follows. What stands before a carriage return was meant
/// to be overwritten, and is.
pub(crate) fn clean(line: &str) -> Cow<'_, str> {
    if !line.chars().any(char::is_control) {
        return Cow::Borrowed(line);
    }
    let shown = line.trim_end_matches(['\r', '\n']);
    let shown = shown.rsplit('\r').next().unwrap_or(shown);
    let mut out = String::with_capacity(shown.len());
    let mut chars = shown.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\t' => out.push_str("    "),
            '\x1b' => match chars.next() {
                // CSI: parameters, then one final byte.
                Some('[') => {
                    for c in chars.by_ref() {
                        if ('\x40'..='\x7e').contains(&c) {
                            break;
                        }
                    }
                }
                // OSC: up to BEL or ESC \.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A finished time: `0.1s`, `34s`, `2m05s`, `1h02m`.
pub(crate) fn took(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        return format!("{:.1}s", time.as_secs_f64());
    }
    running(time)
}

/// A time that is running, in whole seconds so that a view need not be redrawn more often.
pub(crate) fn running(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `up shop.tar.gz 42 of 100 MiB, 61 MiB/s`.
pub(crate) fn transfer(transfer: &Transfer) -> String {
    let way = match transfer.direction {
        Direction::Up => "up",
        Direction::Down => "down",
    };
    let (done, total) = (transfer.done, transfer.total);
    let mut said = format!("{way} {} ", clean(transfer.file_name()));
    match total.map(|total| (bytes(done), bytes(total))) {
        // One unit is enough where both have the same.
        Some(((done, unit), (total, same))) if unit == same => {
            said.push_str(&format!("{done} of {total} {unit}"));
        }
        Some(((done, unit), (total, other))) => {
            said.push_str(&format!("{done} {unit} of {total} {other}"));
        }
        None => said.push_str(&size(done)),
    }
    if let Some(rate) = transfer.rate().filter(|_| done > 0) {
        said.push_str(&format!(", {}/s", size(rate)));
    }
    said
}

/// `512 bytes`, `1.4 KiB`, `61 MiB`.
pub(crate) fn size(of: u64) -> String {
    let (number, unit) = bytes(of);
    format!("{number} {unit}")
}

/// Two digits or more, and the unit.
fn bytes(of: u64) -> (String, &'static str) {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if of < 1024 {
        return (of.to_string(), if of == 1 { "byte" } else { "bytes" });
    }
    let mut value = of as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded up to 1024 belongs to the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let number = if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") };
    (number.trim_end_matches(".0").to_owned(), UNITS[unit])
}

/// `2026-03-14T15:09:26Z`.
pub(crate) fn time(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.split('.').next().unwrap_or(&text).trim_end_matches('Z'))
}

/// `2026-03-14 15:09`, for tables.
pub(crate) fn day_and_minute(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// Who holds a lock, since when and why.
pub(crate) fn holder(holder: &LockHolder) -> String {
    let by = &holder.by;
    let mut text = format!(
        "run {} of `{}` by {}@{} since {}",
        holder.run,
        holder.book,
        by.name,
        by.machine,
        time(holder.since)
    );
    if let Some(reason) = &holder.reason {
        text.push_str(&format!(" ({reason})"));
    }
    text
}

/// `1 step`, `2 steps`.
pub(crate) fn count(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_text_ends_with_the_mark_and_keeps_the_width() {
        assert_eq!(cut("unpacking the release", 10, "…"), "unpacking…");
        assert_eq!(cut("short", 10, "…"), "short");
        assert_eq!(cut("日本語テキスト", 7, "…"), "日本語…");
        assert_eq!(cut("anything", 0, "…"), "");
    }

    #[test]
    fn wrapping_keeps_long_words_whole_and_line_ends() {
        assert_eq!(wrap("one two three\nfour", 8), ["one two", "three", "four"]);
        assert_eq!(wrap("see /a/very/long/path now", 8), ["see", "/a/very/long/path", "now"]);
    }

    #[test]
    fn output_of_commands_can_not_move_the_cursor() {
        assert_eq!(clean("\x1b[31mred\x1b[0m \x1b]0;title\x07done\x07"), "red done");
        assert_eq!(clean("10%\r 50%\r100%"), "100%");
        assert_eq!(clean("a\tb\r\n"), "a    b");
        assert_eq!(clean("\x1b]8;;http://example.org\x1b\\link"), "link");
    }

    #[test]
    fn sizes_have_two_digits_and_a_unit() {
        let of = [0, 1, 1023, 1024, 1434, 10 << 20, (1 << 20) - 1, 5 << 30, u64::MAX];
        assert_eq!(
            of.map(size),
            [
                "0 bytes",
                "1 byte",
                "1023 bytes",
                "1 KiB",
                "1.4 KiB",
                "10 MiB",
                "1 MiB",
                "5 GiB",
                "16384 PiB"
            ]
        );
    }

    #[test]
    fn times_are_short() {
        let of = |millis| took(Duration::from_millis(millis));
        assert_eq!(
            [of(49), of(9_940), of(34_000), of(125_000), of(3_725_000)],
            ["0.0s", "9.9s", "34s", "2m05s", "1h02m"]
        );
        assert_eq!(time(Timestamp::from_micros(1_773_500_966_535_897)), "2026-03-14T15:09:26Z");
    }
}
