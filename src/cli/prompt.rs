//! Asking a person: for the answer to a question of a run, and for secrets.

use std::io::{self, BufRead, Write};

use runbook_core::{Answer, QuestionKind};
use tokio::sync::mpsc;

use super::io::Surroundings;

/// Lines that a person types, read by a thread of their own so that a run goes on, and can be
/// cancelled, while nobody answers.
pub(crate) struct Lines {
    wanted: std::sync::mpsc::Sender<()>,
    lines: mpsc::UnboundedReceiver<io::Result<Option<String>>>,
    asked: bool,
}

impl Lines {
    pub(crate) fn new(mut input: Box<dyn BufRead + Send>) -> Self {
        let (wanted, wants) = std::sync::mpsc::channel();
        let (give, lines) = mpsc::unbounded_channel();
        // The thread reads only when a line is wanted: what is typed besides belongs to whatever
        // runs next in the terminal.
        std::thread::spawn(move || {
            while wants.recv().is_ok() {
                let mut line = String::new();
                let read = input.read_line(&mut line).map(|n| (n > 0).then_some(line));
                if give.send(read).is_err() {
                    break;
                }
            }
        });
        Self { wanted, lines, asked: false }
    }

    /// The next line; `None` at the end of the input. Can be dropped and called again.
    pub(crate) async fn next(&mut self) -> Option<String> {
        if !self.asked {
            self.wanted.send(()).ok()?;
            self.asked = true;
        }
        let line = self.lines.recv().await?;
        self.asked = false;
        line.ok().flatten()
    }
}

/// What stands before the cursor when a question waits.
pub(crate) fn cue(kind: &QuestionKind) -> String {
    match kind {
        QuestionKind::Approval => "approve? [y]es, [n]o stops the run: ".into(),
        QuestionKind::Confirmation => "done? [y]es, [n]o stops the run: ".into(),
        QuestionKind::Value { accepts } => format!("{accepts}: "),
        QuestionKind::Interrupted => "[r]etry, [s]kip, roll [b]ack: ".into(),
    }
}

/// The answer that a typed line means, or what would be accepted. Only a clear yes is a yes; an
/// empty line is none.
pub(crate) fn read_answer(kind: &QuestionKind, line: &str) -> Result<Answer, &'static str> {
    let line = line.trim();
    let word = line.to_lowercase();
    match kind {
        QuestionKind::Approval | QuestionKind::Confirmation => match word.as_str() {
            "y" | "yes" => Ok(Answer::Yes),
            "done" if *kind == QuestionKind::Confirmation => Ok(Answer::Yes),
            "n" | "no" => Ok(Answer::No),
            _ => Err("please type y or n"),
        },
        QuestionKind::Value { .. } => Ok(Answer::Value(line.to_owned())),
        QuestionKind::Interrupted => match word.as_str() {
            "r" | "retry" => Ok(Answer::Value("retry".into())),
            "s" | "skip" => Ok(Answer::Value("skip".into())),
            "b" | "rollback" => Ok(Answer::Value("rollback".into())),
            _ => Err("please type r, s or b"),
        },
    }
}

/// Asks for a secret.
pub(crate) trait SecretPrompt {
    /// Asks for `what`, and does not show what is typed.
    fn secret(&mut self, what: &str) -> io::Result<String>;
}

/// Asks at an input and shows the question on an output.
pub(crate) struct Terminal<'a> {
    pub(crate) input: &'a mut (dyn BufRead + Send),
    pub(crate) out: &'a mut (dyn Write + Send),
    pub(crate) surroundings: &'a Surroundings,
}

impl SecretPrompt for Terminal<'_> {
    fn secret(&mut self, what: &str) -> io::Result<String> {
        loop {
            write!(self.out, "{what}: ")?;
            self.out.flush()?;
            let secret = {
                let _quiet = if self.surroundings.process { NoEcho::on()? } else { None };
                read_secret(self.input)
            };
            writeln!(self.out)?;
            match secret? {
                secret if secret.is_empty() => writeln!(self.out, "it can't be empty")?,
                secret => return Ok(secret),
            }
        }
    }
}

/// Reads up to the end of the line. The terminal hands over every key, so that the line is edited
/// here and Ctrl-C is seen here: as a signal it would end the process with the echo still off.
fn read_secret(input: &mut (dyn BufRead + Send)) -> io::Result<String> {
    let mut typed: Vec<u8> = Vec::new();
    loop {
        let mut key = [0u8];
        if input.read(&mut key)? == 0 {
            if typed.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nobody answered"));
            }
            break;
        }
        match key[0] {
            b'\n' | b'\r' => break,
            // Ctrl-C, and Ctrl-D on an empty line.
            0x03 => return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
            0x04 if typed.is_empty() => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nobody answered"));
            }
            // Backspace takes a whole character away.
            0x08 | 0x7f => while typed.pop().is_some_and(|byte| (0x80..0xc0).contains(&byte)) {},
            // Ctrl-U starts again.
            0x15 => typed.clear(),
            byte => typed.push(byte),
        }
    }
    String::from_utf8(typed)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// While it lives, the terminal shows nothing of what is typed and sends no signal for it.
struct NoEcho(rustix::termios::Termios);

impl NoEcho {
    /// `None` if the input is no terminal.
    fn on() -> io::Result<Option<Self>> {
        use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr};
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&stdin, OptionalActions::Flush, &quiet)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::io::Io;

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        let approve = |line| read_answer(&QuestionKind::Approval, line);
        assert_eq!(approve("y\n"), Ok(Answer::Yes));
        assert_eq!(approve(" YES "), Ok(Answer::Yes));
        assert_eq!(approve("no"), Ok(Answer::No));
        for unclear in ["", "\n", "ye", "yep", "done"] {
            assert!(approve(unclear).is_err(), "{unclear:?}");
        }
        assert_eq!(read_answer(&QuestionKind::Confirmation, "done"), Ok(Answer::Yes));
        let value = QuestionKind::Value { accepts: "text".into() };
        assert_eq!(read_answer(&value, " 42 \n"), Ok(Answer::Value("42".into())));
    }

    #[test]
    fn a_secret_is_edited_like_a_line_and_not_shown() {
        let (mut io, captured) = Io::captured("\nwrongé\x7f\x15pässw\x7f\x7f\x7f\x7fass\nrest");
        let mut terminal =
            Terminal { input: &mut *io.input, out: &mut *io.err, surroundings: &io.surroundings };
        assert_eq!(terminal.secret("The password").unwrap(), "pass");
        assert_eq!(captured.err(), "The password: \nit can't be empty\nThe password: \n");
    }

    #[test]
    fn ctrl_c_and_the_end_of_input_end_a_secret_prompt() {
        for typed in ["pass\x03", "\x04", ""] {
            let (mut io, _) = Io::captured(typed);
            assert!(read_secret(&mut *io.input).is_err(), "{typed:?}");
        }
    }

    #[tokio::test]
    async fn lines_are_read_one_by_one_when_wanted() {
        let (io, _) = Io::captured("one\ntwo\n");
        let mut lines = Lines::new(io.input);
        assert_eq!(lines.next().await.as_deref(), Some("one\n"));
        assert_eq!(lines.next().await.as_deref(), Some("two\n"));
        assert_eq!(lines.next().await, None);
    }
}
