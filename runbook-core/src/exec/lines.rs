//! [`Lines`]: cuts a stream of bytes into scrubbed lines of bounded length.

use crate::secret::scrub;

/// Cuts bytes into lines. A line end is `\n`, `\r\n`, or a lone `\r` (as progress bars use it).
///
/// A line that goes on and on is given out in pieces, and never cut inside a secret: as much again
/// is held back as is given out, and a place for the cut is taken where scrubbing the two sides
/// gives what scrubbing the whole gives. A secret of up to [`Lines::HELD`] bytes is thus seen
/// whole.
#[derive(Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
    after_cr: bool,
}

impl Lines {
    /// The length of a piece of an endless line.
    pub(super) const PIECE: usize = 8 << 10;
    /// What is held back beyond a piece.
    pub(super) const HELD: usize = 8 << 10;

    /// Takes more bytes; every line that they complete goes to `emit`.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&str)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let room = Self::PIECE + Self::HELD - self.pending.len();
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                Some(end) => {
                    if self.pending.is_empty() {
                        emit(&scrub(&String::from_utf8_lossy(&window[..end])));
                    } else {
                        self.pending.extend_from_slice(&window[..end]);
                        self.flush(&mut emit);
                    }
                    self.after_cr = window[end] == b'\r';
                    bytes = &bytes[end + 1..];
                }
                None => {
                    self.pending.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    if self.pending.len() == Self::PIECE + Self::HELD {
                        self.cut(&mut emit);
                    }
                }
            }
        }
    }

    /// The stream has ended; what is left is its last line.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(&str)) {
        if !self.pending.is_empty() {
            self.flush(&mut emit);
        }
    }

    fn flush(&mut self, emit: &mut impl FnMut(&str)) {
        emit(&scrub(&String::from_utf8_lossy(&self.pending)));
        self.pending.clear();
    }

    /// Gives out a piece of a line that has not ended.
    fn cut(&mut self, emit: &mut impl FnMut(&str)) {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let whole = lossy(&self.pending);
        let whole = scrub(&whole);
        // Near the end first and then in growing steps, which finds a place at once unless secrets
        // stand one beside the other.
        let steps = std::iter::once(0)
            .chain((0..).map(|power| 1 << power).take_while(|back| *back < Self::PIECE))
            .chain(1..Self::PIECE - 3);
        for back in steps {
            let at = self.char_start(Self::PIECE - back);
            if at == 0 {
                continue;
            }
            let (head, rest) = (lossy(&self.pending[..at]), lossy(&self.pending[at..]));
            let (head, rest) = (scrub(&head), scrub(&rest));
            if whole.strip_prefix(&*head) == Some(&*rest) {
                emit(&head);
                self.pending.drain(..at);
                return;
            }
        }
        // Nothing but secrets, one running into the next: say no more than that.
        emit("***");
        self.pending.drain(..Self::PIECE);
    }

    /// The start of the character that the byte at `at` belongs to.
    fn char_start(&self, at: usize) -> usize {
        (at.saturating_sub(3)..=at)
            .rev()
            .find(|&at| self.pending[at] & 0b1100_0000 != 0b1000_0000)
            .unwrap_or(at)
    }
}
