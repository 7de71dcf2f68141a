//! [`Reply`]: what a scripted command says and how it ends.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::CommandCall;
use crate::command::{Command, Exit};
use crate::error::{Failure, FailureKind, Problem};

/// What a scripted command says and how it ends.
///
/// ```
/// use runbook_core::testing::Reply;
/// use std::time::Duration;
/// let fine = Reply::stdout("3 rows\n");
/// let refused = Reply::exit(2).stderr("permission denied\n");
/// let slow = Reply::ok().after(Duration::from_secs(5));
/// let hangs = Reply::never_ends();
/// # let _ = (fine, refused, slow, hangs);
/// ```
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) after: Duration,
    pub(super) end: End,
    pub(super) ignores_sigterm: bool,
}

/// How it ends.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// By itself.
    Exit(Exit),
    /// Not by itself.
    Never,
    /// It does not even start.
    NotStarted(Problem),
    /// The connection is lost while it runs.
    Lost,
}

impl Reply {
    fn new(end: End) -> Self {
        Self {
            stdout: Vec::new(),
            stderr: Vec::new(),
            after: Duration::ZERO,
            end,
            ignores_sigterm: false,
        }
    }

    /// Exit code 0, without a word.
    #[must_use]
    pub fn ok() -> Self {
        Self::exit(0)
    }

    /// Exit code 0, and this on standard output.
    #[must_use]
    pub fn stdout(text: impl Into<Vec<u8>>) -> Self {
        Self { stdout: text.into(), ..Self::ok() }
    }

    /// This exit code.
    #[must_use]
    pub fn exit(code: i32) -> Self {
        Self::new(End::Exit(Exit::Code(code)))
    }

    /// Killed by this signal.
    #[must_use]
    pub fn signal(signal: i32) -> Self {
        Self::new(End::Exit(Exit::Signal(signal)))
    }

    /// Says what it has to say and then runs until it is killed.
    #[must_use]
    pub fn never_ends() -> Self {
        Self::new(End::Never)
    }

    /// Can't be started.
    #[must_use]
    pub fn fails(failure: Failure) -> Self {
        Self::new(End::NotStarted(failure.to_problem()))
    }

    /// Can't be started, since there is no such program.
    #[must_use]
    pub fn not_found() -> Self {
        Self::fails(Failure::new(FailureKind::Failed, "no such program"))
    }

    /// Says what it has to say, and then the connection is lost while it runs.
    #[must_use]
    pub fn disconnects() -> Self {
        Self::new(End::Lost)
    }

    /// With this on standard error.
    #[must_use]
    pub fn stderr(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stderr = text.into();
        self
    }

    /// With this on standard output.
    #[must_use]
    pub fn and_stdout(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdout = text.into();
        self
    }

    /// Ends only after this time (by tokio's clock, which tests can pause).
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }

    /// Does not end on SIGTERM, only on SIGKILL.
    #[must_use]
    pub fn ignoring_sigterm(mut self) -> Self {
        self.ignores_sigterm = true;
        self
    }
}

/// The replies to one matcher.
pub(super) enum Script {
    Always(Reply),
    Sequence(VecDeque<Reply>),
    With(MakeReply),
}

type MakeReply = Arc<dyn Fn(&CommandCall) -> Reply + Send + Sync>;

/// What is scripted for one call.
pub(super) enum Scripted {
    Reply(Reply),
    With(MakeReply),
}

impl Script {
    pub(super) fn next(&mut self) -> Option<Scripted> {
        Some(match self {
            Self::Always(reply) => Scripted::Reply(reply.clone()),
            Self::Sequence(replies) if replies.len() > 1 => Scripted::Reply(replies.pop_front()?),
            Self::Sequence(replies) => Scripted::Reply(replies.front()?.clone()),
            Self::With(reply) => Scripted::With(Arc::clone(reply)),
        })
    }
}

/// Which commands a script is for.
pub struct Matcher(Kind);

enum Kind {
    Line(String),
    Prefix(String),
    Fn(Box<dyn Fn(&Command) -> bool + Send + Sync>),
}

impl Matcher {
    pub(super) fn matches(&self, line: &str, command: &Command) -> bool {
        match &self.0 {
            Kind::Line(exact) => line == exact,
            Kind::Prefix(prefix) => line.strip_prefix(prefix.as_str()).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(' ') || prefix.ends_with(' ')
            }),
            Kind::Fn(matches) => matches(command),
        }
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Line(line) => write!(f, "`{line}`"),
            Kind::Prefix(prefix) => write!(f, "`{prefix} ..`"),
            Kind::Fn(_) => f.write_str("a closure"),
        }
    }
}

/// Commands whose line begins with these words.
#[must_use]
pub fn prefix(words: impl Into<String>) -> Matcher {
    Matcher(Kind::Prefix(words.into()))
}

/// What [`FakeTarget::on`](super::FakeTarget::on) takes.
pub trait IntoMatcher {
    /// As a matcher.
    fn into_matcher(self) -> Matcher;
}

impl IntoMatcher for Matcher {
    fn into_matcher(self) -> Matcher {
        self
    }
}

impl IntoMatcher for &str {
    fn into_matcher(self) -> Matcher {
        Matcher(Kind::Line(self.to_owned()))
    }
}

impl IntoMatcher for String {
    fn into_matcher(self) -> Matcher {
        Matcher(Kind::Line(self))
    }
}

impl<F: Fn(&Command) -> bool + Send + Sync + 'static> IntoMatcher for F {
    fn into_matcher(self) -> Matcher {
        Matcher(Kind::Fn(Box::new(self)))
    }
}
