//! [`Io`]: where the command line reads and writes, and what surrounds it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use runbook_core::{Actor, Answer, Error, QuestionKind};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use super::style::Style;

/// Where the command line reads and writes, and what surrounds it: [`Io::process`] for a binary,
/// [`Io::captured`] for tests of one.
pub struct Io {
    pub(crate) input: Box<dyn BufRead + Send>,
    pub(crate) out: Box<dyn Write + Send>,
    pub(crate) err: Box<dyn Write + Send>,
    pub(crate) surroundings: Surroundings,
}

/// What surrounds the command line.
pub(crate) struct Surroundings {
    vars: Option<BTreeMap<String, String>>,
    /// The folder that relative paths and the default configuration file are in.
    pub(crate) dir: PathBuf,
    /// Somebody can answer a question.
    pub(crate) answering: bool,
    /// The output is a terminal.
    pub(crate) terminal: bool,
    /// Colours and symbols of the output.
    pub(crate) style: Style,
    /// Colours and symbols of the errors.
    pub(crate) err_style: Style,
    /// Input and output are the process's own, so that the terminal itself can be asked.
    pub(crate) process: bool,
    /// Time stands still but for waits, which take none.
    #[cfg(feature = "harness")]
    still: bool,
}

impl Io {
    /// The process's own input, output, variables and folder.
    #[must_use]
    pub fn process() -> Self {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let var = |name: &str| std::env::var(name).ok();
        let terminal = stdout.is_terminal();
        let dumb = var("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let surroundings = Surroundings {
            vars: None,
            dir: std::env::current_dir().unwrap_or_else(|_| ".".into()),
            answering: stdin.is_terminal() && (terminal || stderr.is_terminal()),
            // A dumb terminal can't redraw, so it gets what a pipe gets.
            terminal: terminal && !dumb,
            style: Style::detect(terminal, &var),
            err_style: Style::detect(stderr.is_terminal(), &var),
            process: true,
            #[cfg(feature = "harness")]
            still: false,
        };
        Self {
            input: Box::new(BufReader::new(stdin)),
            out: Box::new(stdout),
            err: Box::new(stderr),
            surroundings,
        }
    }

    /// `input` to read from, memory to write to, no variables, and no terminal.
    ///
    /// ```
    /// use runbook::Catalog;
    /// use runbook::cli::{self, Exit, Io};
    ///
    /// let (io, captured) = Io::captured("");
    /// let exit = cli::run(&Catalog::<()>::new("shop"), ["shop", "list"], io);
    /// assert_eq!(exit, Exit::Succeeded);
    /// assert!(captured.out().contains("no runbooks"));
    /// ```
    #[must_use]
    pub fn captured(input: impl Into<String>) -> (Self, Captured) {
        let captured = Captured::default();
        let surroundings = Surroundings {
            vars: Some(BTreeMap::new()),
            dir: ".".into(),
            answering: false,
            terminal: false,
            style: Style::PLAIN,
            err_style: Style::PLAIN,
            process: false,
            #[cfg(feature = "harness")]
            still: false,
        };
        let io = Self {
            input: Box::new(std::io::Cursor::new(input.into().into_bytes())),
            out: Box::new(Tap(Arc::clone(&captured.out))),
            err: Box::new(Tap(Arc::clone(&captured.err))),
            surroundings,
        };
        (io, captured)
    }

    /// Sets an environment variable, of a captured `Io` only.
    #[must_use]
    pub fn var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Some(vars) = &mut self.surroundings.vars {
            vars.insert(name.into(), value.into());
        }
        self
    }

    /// The folder that relative paths and the default configuration file are in.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.surroundings.dir = dir.into();
        self
    }

    /// Runs take place in a time that stands still but for waits: what they show is the same each
    /// time.
    #[cfg(feature = "harness")]
    pub(crate) fn still(mut self) -> Self {
        self.surroundings.still = true;
        self
    }

    /// Somebody answers questions at the input.
    #[must_use]
    pub fn answering(mut self) -> Self {
        self.surroundings.answering = true;
        self
    }
}

impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Io").field("dir", &self.surroundings.dir).finish_non_exhaustive()
    }
}

impl Surroundings {
    /// What a run runs on. The view has the calling thread to itself; runs have two of their own,
    /// so that a step that blocks its thread does not hold the others up.
    pub(crate) fn runtime(&self) -> std::io::Result<Runtime> {
        #[cfg(feature = "harness")]
        if self.still {
            return Builder::new_current_thread().enable_all().start_paused(true).build();
        }
        Builder::new_multi_thread().worker_threads(2).thread_name("runbook").enable_all().build()
    }

    /// An environment variable that is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<String> {
        match &self.vars {
            Some(vars) => vars.get(name).cloned(),
            None => std::env::var(name).ok(),
        }
        .filter(|value| !value.is_empty())
    }

    /// Columns and rows of the terminal; a usual size if there is none.
    pub(crate) fn size(&self) -> (usize, usize) {
        if self.process
            && let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout())
            && size.ws_col > 0
            && size.ws_row > 0
        {
            return (size.ws_col.into(), size.ws_row.into());
        }
        (100, 40)
    }
}

impl Io {
    /// A result; a reader that went away, as `head` does, is no error.
    pub(crate) fn write(&mut self, page: &str) -> Result<(), Error> {
        match self.out.write_all(page.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::usage(format!("writing to standard output: {error}")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn write_json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::usage(format!("writing JSON: {error}")))?;
        self.write(&(text + "\n"))
    }

    /// Whether a person says yes.
    pub(crate) fn confirm(&mut self, question: &str) -> bool {
        loop {
            let _ = self.err.write_all(question.as_bytes());
            let _ = self.err.flush();
            let mut line = String::new();
            if !matches!(self.input.read_line(&mut line), Ok(n) if n > 0) {
                return false;
            }
            match super::prompt::read_answer(&QuestionKind::Approval, &line) {
                Ok(answer) => return answer == Answer::Yes,
                Err(accepted) => {
                    let _ = writeln!(self.err, "{accepted}");
                }
            }
        }
    }
}

/// Two ways to the same output.
pub(crate) fn share(out: Box<dyn Write + Send>) -> (Box<dyn Write + Send>, Box<dyn Write + Send>) {
    use std::sync::{Mutex, PoisonError};
    struct Shared(Arc<Mutex<Box<dyn Write + Send>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
        }
    }
    let shared = Arc::new(Mutex::new(out));
    (Box::new(Shared(Arc::clone(&shared))), Box::new(Shared(shared)))
}

/// Who runs this process; from the user database where the environment does not say.
pub(crate) fn operator() -> Actor {
    let mut actor = Actor::this_process();
    if actor.name == "unknown" {
        let uid = rustix::process::getuid().as_raw().to_string();
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid).then(|| name.to_owned())
        });
        actor.name = name.unwrap_or(format!("uid {uid}"));
    }
    actor
}

/// What a captured command line wrote.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
}

impl Captured {
    /// What went to standard output so far.
    #[must_use]
    pub fn out(&self) -> String {
        text_of(&self.out)
    }

    /// What went to standard error so far.
    #[must_use]
    pub fn err(&self) -> String {
        text_of(&self.err)
    }
}

fn text_of(buffer: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&buffer.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

struct Tap(Arc<Mutex<Vec<u8>>>);

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
