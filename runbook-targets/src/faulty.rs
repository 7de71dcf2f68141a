//! [`Faulty`]: any target, with something going wrong on purpose.

mod lines;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runbook_core::{BoxRead, BoxStream, Failure, Host, Problem, Process, Result};
use tokio::sync::watch;

use self::lines::{AtLoss, Broken, FaultyProcess, Line};
use crate::Operation;
use crate::around::{Around, Passage, around};

/// A real target that fails on purpose, for tests: at the n-th operation, at operations that match,
/// in the middle of a stream, or by a connection that is lost and comes back.
///
/// Clones share everything, so keep one to say what is to go wrong and give one to a [`Host`]. (For
/// a target that is not there at all see `runbook_core::testing::FakeTarget`; to make whole units
/// of a run fail, `runbook_core::testing::Faults`.)
///
/// ```
/// use runbook_core::{Failure, FailureKind, Host, testing};
/// use runbook_core::testing::FakeTarget;
/// use runbook_targets::Faulty;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let web = Faulty::new(Host::new(FakeTarget::new("web-1").file("/etc/motd", "hello")));
/// let (cx, host) = (testing::observer(), Host::new(web.clone()));
///
/// web.nth(2).fail(Failure::msg("no space left"));
/// assert!(cx.on(&host).exists("/etc/motd").await.unwrap());
/// let second = cx.on(&host).exists("/etc/motd").await.unwrap_err();
/// assert_eq!(second.to_string(), "no space left");
///
/// web.disconnect();
/// let lost = cx.on(&host).read_text("/etc/motd").await.unwrap_err();
/// assert_eq!(lost.kind(), FailureKind::Disconnected);
/// web.reconnect();
/// assert_eq!(cx.on(&host).read_text("/etc/motd").await.unwrap(), "hello");
/// # });
/// ```
///
/// When the connection is lost, commands that run are ended with their process tree, as a real
/// target ends them on its side. What has not been looked at by then is lost with it, be it that
/// the command ended before.
#[derive(Clone)]
pub struct Faulty {
    inner: Host,
    faults: Arc<Mutex<Faults>>,
    /// How often the connection was lost, and whether it is there.
    connection: Arc<watch::Sender<Connection>>,
}

#[derive(Default)]
struct Faults {
    asked: usize,
    rules: Vec<(Matcher, Fault)>,
}

#[derive(Clone, Copy)]
struct Connection {
    up: bool,
    losses: u64,
}

enum Matcher {
    Nth(usize),
    If(Box<dyn Fn(&Operation) -> bool + Send>),
}

enum Fault {
    Fail(Problem),
    Cut(u64),
}

impl Faulty {
    /// `inner`, with nothing going wrong yet.
    #[must_use]
    pub fn new(inner: Host) -> Self {
        let connection = watch::Sender::new(Connection { up: true, losses: 0 });
        Self { inner, faults: Arc::default(), connection: Arc::new(connection) }
    }

    /// What the `n`-th operation from now (from 1) meets, once. Each command that is started, each
    /// file that is read, looked at or changed and each socket that is opened is one operation.
    pub fn nth(&self, n: usize) -> When<'_> {
        let nth = self.faults().asked + n;
        When { target: self, matcher: Matcher::Nth(nth) }
    }

    /// What every operation meets for which `matches` says yes. Of several rules that match the
    /// one added last counts.
    ///
    /// ```
    /// use runbook_core::{Failure, Host, testing::FakeTarget};
    /// use runbook_targets::{Faulty, Operation};
    /// let db = Faulty::new(Host::new(FakeTarget::new("db-1")));
    /// db.on(|asked| matches!(asked, Operation::Write(path) if path.ends_with("pg_hba.conf")))
    ///     .fail(Failure::msg("read-only file system"));
    /// db.on(|asked| asked.to_string().starts_with("pg_dump")).cut_after(1 << 20);
    /// ```
    pub fn on(&self, matches: impl Fn(&Operation) -> bool + Send + 'static) -> When<'_> {
        When { target: self, matcher: Matcher::If(Box::new(matches)) }
    }

    /// The connection is lost: what is under way, and whatever is asked, fails with
    /// [`FailureKind::Disconnected`](runbook_core::FailureKind).
    pub fn disconnect(&self) {
        self.connection.send_modify(|connection| {
            connection.up = false;
            connection.losses += 1;
        });
    }

    /// The connection is back. What was under way stays lost.
    pub fn reconnect(&self) {
        self.connection.send_modify(|connection| connection.up = true);
    }

    /// How many operations it was asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.faults().asked
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({:?})", self.inner)
    }
}

/// Which operations something goes wrong at; from [`Faulty::nth`] and [`Faulty::on`].
#[must_use = "say what goes wrong"]
pub struct When<'a> {
    target: &'a Faulty,
    matcher: Matcher,
}

impl When<'_> {
    /// They fail with `failure` and nothing is done.
    pub fn fail(self, failure: Failure) {
        self.rule(Fault::Fail(failure.to_problem()));
    }

    /// They are begun, and the connection is lost for them, and for them alone, once `bytes` bytes
    /// went through their streams, in either direction: what a command says and is fed, what is
    /// read from or written to a file, what a socket carries. (An operation without streams that
    /// matches fails after it was done.)
    pub fn cut_after(self, bytes: u64) {
        self.rule(Fault::Cut(bytes));
    }

    fn rule(self, fault: Fault) {
        self.target.faults().rules.push((self.matcher, fault));
    }
}

impl fmt::Debug for When<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "When({:?})", self.target)
    }
}

impl Faults {
    /// What goes wrong with the next operation.
    fn next(&mut self, operation: &Operation) -> Result<Option<u64>> {
        self.asked += 1;
        let asked = self.asked;
        let rule = self.rules.iter().rposition(|(matcher, _)| match matcher {
            Matcher::Nth(nth) => *nth == asked,
            Matcher::If(matches) => matches(operation),
        });
        match rule.map(|at| &self.rules[at].1) {
            Some(Fault::Fail(problem)) => Err(problem.clone().into()),
            Some(Fault::Cut(bytes)) => Ok(Some(*bytes)),
            None => Ok(None),
        }
    }
}

impl Around for Faulty {
    type Passage = Line;

    fn inner(&self) -> &Host {
        &self.inner
    }

    async fn admit(&self, operation: Operation) -> Result<Line> {
        let cut = self.faults().next(&operation)?;
        let line = Line::new(&self.inner, &operation, self.connection.subscribe(), cut);
        if self.connection.borrow().up { Ok(line) } else { Err(line.failure()) }
    }
}
around!(Faulty);

impl Passage for Line {
    async fn during<T: Send>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let done = tokio::select! {
            biased;
            () = self.lost() => return Err(self.failure()),
            done = work => done,
        };
        // What was cut on the way is no fault of the content or of the file.
        if self.is_cut() { Err(self.failure()) } else { done }
    }

    fn process(self, process: Box<dyn Process>) -> Box<dyn Process> {
        Box::new(FaultyProcess::new(process, self))
    }

    fn reading(self, from: BoxRead) -> BoxRead {
        Box::new(Broken::new(from, self, AtLoss::Error))
    }

    fn content(&self, from: BoxRead) -> BoxRead {
        Box::new(Broken::new(from, self.clone(), AtLoss::Error))
    }

    fn socket(self, stream: BoxStream) -> BoxStream {
        Box::new(Broken::new(stream, self, AtLoss::Error))
    }
}
