//! [`Painter`]: keeps a few live lines at the bottom of a terminal, and lets finished lines scroll
//! away above them.

use std::io::Write;

use super::text;

/// Redraws lines in place.
///
/// Each change is one write, in the terminal's synchronised mode where it knows it, so that nothing
/// flickers; and only if something changed. The cursor stays visible and the terminal in its normal
/// mode: a process that is killed leaves nothing to repair.
pub(crate) struct Painter {
    out: Box<dyn Write + Send>,
    live: Vec<String>,
    /// The columns that the live lines were drawn for.
    columns: usize,
}

impl Painter {
    pub(crate) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, live: Vec::new(), columns: 0 }
    }

    /// Lets `settled` scroll by, and shows `live` below it. An output that is gone is no reason to
    /// stop a run: errors are ignored.
    pub(crate) fn paint(&mut self, settled: &[String], live: Vec<String>, columns: usize) {
        if settled.is_empty() && live == self.live && columns == self.columns {
            return;
        }
        let mut frame = String::from("\x1b[?2026h");
        let up = self.rows(columns);
        if up > 0 {
            frame.push_str(&format!("\x1b[{up}A"));
        }
        frame.push('\r');
        for line in settled.iter().chain(&live) {
            frame.push_str(line);
            frame.push_str("\x1b[K\n");
        }
        frame.push_str("\x1b[J\x1b[?2026l");
        let _ = self.out.write_all(frame.as_bytes());
        let _ = self.out.flush();
        self.live = live;
        self.columns = columns;
    }

    /// Takes the live lines away and lets `text` stand, the cursor after it.
    pub(crate) fn ask(&mut self, text: &str, columns: usize) {
        self.paint(&[], Vec::new(), columns);
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }

    /// Terminal rows that the live lines take: more than they had if it was made narrower since.
    fn rows(&self, columns: usize) -> usize {
        if columns == 0 {
            return self.live.len();
        }
        self.live.iter().map(|line| text::width(line).div_ceil(columns).max(1)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::io::Io;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_frame_replaces_the_one_before_in_one_write() {
        let (io, captured) = Io::captured("");
        let mut painter = Painter::new(io.out);
        painter.paint(&[], lines(&["one", "two"]), 80);
        let before = captured.out().len();
        painter.paint(&lines(&["done"]), lines(&["two"]), 80);
        assert_eq!(
            &captured.out()[before..],
            "\x1b[?2026h\x1b[2A\rdone\x1b[K\ntwo\x1b[K\n\x1b[J\x1b[?2026l"
        );
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
        let (io, captured) = Io::captured("");
        let mut painter = Painter::new(io.out);
        painter.paint(&[], lines(&["one"]), 80);
        let before = captured.out().len();
        painter.paint(&[], lines(&["one"]), 80);
        assert_eq!(captured.out().len(), before);
    }

    #[test]
    fn lines_that_wrapped_when_the_terminal_was_narrowed_are_taken_away_whole() {
        let (io, captured) = Io::captured("");
        let mut painter = Painter::new(io.out);
        painter.paint(&[], lines(&["1234567890", "\x1b[2mabc\x1b[0m"]), 80);
        painter.paint(&[], lines(&["x"]), 4);
        assert!(captured.out().contains("\x1b[4A"), "3 rows for the first line, 1 for the second");
    }
}
