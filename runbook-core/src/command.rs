//! [`Command`]: one program with its arguments, never a shell line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::secret::Secret;

/// A program and its arguments, with what it is given: environment, standard input, folder, time.
///
/// Arguments are never passed through a shell: each is one argument, whatever it holds. A
/// [`Secret`] can't be an argument (anyone on the host can read those); give it through
/// [`env`](Self::env) or [`stdin`](Self::stdin).
///
/// ```
/// use runbook_core::{Command, Secret};
/// let dump = Command::new("pg_dump")
///     .args(["-Fc", "shop db"])
///     .env("PGPASSWORD", Secret::new("hunter2hunter2"));
/// assert_eq!(dump.to_string(), "PGPASSWORD=*** pg_dump -Fc 'shop db'");
/// ```
#[derive(Clone, Debug)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, EnvValue>,
    dir: Option<PathBuf>,
    stdin: Stdin,
    timeout: Option<Duration>,
}

/// The value of an environment variable given to a command.
#[derive(Clone, Debug)]
pub enum EnvValue {
    /// Shown.
    Plain(OsString),
    /// Never shown.
    Secret(Secret),
}

/// What a command reads on its standard input.
#[derive(Clone, Debug, Default)]
pub enum Stdin {
    /// Nothing: end of file at once.
    #[default]
    Empty,
    /// These bytes, then end of file.
    Bytes(Vec<u8>),
    /// This secret, then end of file.
    Secret(Secret),
    /// Whoever spawned the command writes it (`spawn` only).
    Piped,
}

impl Command {
    /// The program `program`, looked up in the target's `PATH` unless it has a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            dir: None,
            stdin: Stdin::Empty,
            timeout: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl ToArg) -> Self {
        self.args.push(arg.to_arg().into_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: ToArg>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.to_arg().into_owned()));
        self
    }

    /// An environment variable; a [`Secret`] value is never shown.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl Into<EnvValue>) -> Self {
        self.env.insert(name.as_ref().to_owned(), value.into());
        self
    }

    /// The working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// What it reads on standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Stdin>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// How long it may run; past that its whole process tree is ended.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The author's promise that this command changes nothing, so that a check may run it.
    ///
    /// ```
    /// use runbook_core::Command;
    /// let look = Command::new("df").arg("-P").arg("/").read_only();
    /// assert_eq!(look.to_string(), "df -P /");
    /// ```
    #[must_use]
    pub fn read_only(self) -> ReadOnly {
        ReadOnly(self)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// The arguments, without the program.
    #[must_use]
    pub fn arguments(&self) -> &[OsString] {
        &self.args
    }

    /// The environment variables given to it.
    pub fn environment(&self) -> impl Iterator<Item = (&OsStr, &EnvValue)> {
        self.env.iter().map(|(name, value)| (name.as_os_str(), value))
    }

    /// Its working directory, if one was given.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// What it reads on standard input.
    #[must_use]
    pub fn standard_input(&self) -> &Stdin {
        &self.stdin
    }

    /// How long it may run.
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        self.timeout
    }
}

/// As a line that a person could paste into a POSIX shell, secrets as `***`.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        for (name, value) in &self.env {
            line.push_str(&name.to_string_lossy());
            line.push('=');
            match value {
                EnvValue::Plain(value) => {
                    line.push_str(&quote(&crate::secret::scrub(&value.to_string_lossy())));
                }
                EnvValue::Secret(_) => line.push_str("***"),
            }
            line.push(' ');
        }
        // Scrubbed word by word too, since quoting changes the text of some secrets.
        line.push_str(&quote(&crate::secret::scrub(&self.program.to_string_lossy())));
        for arg in &self.args {
            line.push(' ');
            line.push_str(&quote(&crate::secret::scrub(&arg.to_string_lossy())));
        }
        f.write_str(&crate::secret::scrub(&line))
    }
}

/// `word` quoted for a POSIX shell, if it needs it.
#[must_use]
pub fn quote(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

/// A [`Command`] whose author promised that it changes nothing; what an
/// [`Observer`](crate::Observer) accepts.
#[derive(Clone, Debug)]
pub struct ReadOnly(Command);

impl ReadOnly {
    /// The command.
    #[must_use]
    pub fn command(&self) -> &Command {
        &self.0
    }
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What can be one argument of a command. [`Secret`] can't, on purpose.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be an argument of a command",
    label = "not a command argument",
    note = "text, paths and numbers can; a `Secret` can't, since arguments are visible to everybody on the host: pass it with `.env(..)` or `.stdin(..)`"
)]
pub trait ToArg {
    /// The argument's bytes.
    fn to_arg(&self) -> Cow<'_, OsStr>;
}

macro_rules! os_args {
    ($($t:ty),*) => {$(
        impl ToArg for $t {
            fn to_arg(&self) -> Cow<'_, OsStr> {
                Cow::Borrowed(self.as_ref())
            }
        }
    )*};
}
os_args!(str, String, OsStr, OsString, Path, PathBuf);

macro_rules! display_args {
    ($($t:ty),*) => {$(
        impl ToArg for $t {
            fn to_arg(&self) -> Cow<'_, OsStr> {
                Cow::Owned(self.to_string().into())
            }
        }
    )*};
}
display_args!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, f32, f64, bool, char);
display_args!(std::net::IpAddr, std::net::SocketAddr);

impl<T: ToArg + ?Sized> ToArg for &T {
    fn to_arg(&self) -> Cow<'_, OsStr> {
        (**self).to_arg()
    }
}

impl ToArg for Cow<'_, str> {
    fn to_arg(&self) -> Cow<'_, OsStr> {
        Cow::Borrowed((**self).as_ref())
    }
}

impl From<Secret> for EnvValue {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}

impl From<&Secret> for EnvValue {
    fn from(secret: &Secret) -> Self {
        Self::Secret(secret.clone())
    }
}

macro_rules! plain_env {
    ($($t:ty),*) => {$(
        impl From<$t> for EnvValue {
            fn from(value: $t) -> Self {
                Self::Plain(value.to_arg().into_owned())
            }
        }
    )*};
}
plain_env!(
    &str, String, &String, OsString, &OsStr, PathBuf, &Path, &PathBuf, u16, u32, u64, i32, i64,
    usize, bool
);

impl From<Secret> for Stdin {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}

impl From<&Secret> for Stdin {
    fn from(secret: &Secret) -> Self {
        Self::Secret(secret.clone())
    }
}

impl From<Vec<u8>> for Stdin {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&[u8]> for Stdin {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<&str> for Stdin {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Stdin {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

/// How a process ended.
///
/// Between here and the process there may be a shell, over SSH and in a container, which says the
/// same of an exit with 128 and the number of a signal as of an end by that signal: then it is told
/// as [`Signal`](Self::Signal). On this machine the two are told apart.
///
/// ```
/// use runbook_core::Exit;
/// // What `sh -c 'exit 130'` ends with here, and over SSH.
/// let (here, far) = (Exit::Code(130), Exit::Signal(2));
/// assert_eq!(here.to_string(), "exit code 130");
/// assert_eq!(far.to_string(), "killed by SIGINT (signal 2)");
/// assert!(!here.success() && !far.success());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it; or a shell said so, and it may have exited with 128 and this number.
    Signal(i32),
}

impl Exit {
    /// Whether it exited with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name} (signal {signal})"),
                None => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

/// The name of a signal whose number is the same on every unix.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// What a finished command left: how it ended, and its output up to a bound.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output, at most [`Output::LIMIT`] bytes.
    pub stdout: Vec<u8>,
    /// Its standard error, at most [`Output::LIMIT`] bytes.
    pub stderr: Vec<u8>,
    /// Bytes beyond the limit, of both streams, that were read and dropped.
    pub dropped: u64,
}

impl Output {
    /// How many bytes of each stream are kept in memory: 8 MiB.
    pub const LIMIT: usize = 8 << 20;

    /// An output, as a target or a test makes it.
    #[must_use]
    pub fn new(exit: Exit, stdout: impl Into<Vec<u8>>, stderr: impl Into<Vec<u8>>) -> Self {
        Self { exit, stdout: stdout.into(), stderr: stderr.into(), dropped: 0 }
    }

    /// Standard output as text, without the line ends at its end; bytes that are no UTF-8 become
    /// `U+FFFD`.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches(['\n', '\r']).to_owned()
    }
}
