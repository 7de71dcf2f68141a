//! [`Machine`]: a host, and what its commands and files say.

use std::collections::BTreeMap;
use std::fmt;

use runbook_core::{Command, Context, Host, Observer, Output, Result, ToArg};

use crate::error::Error;

/// A Unix host as something that runbooks look at and put in order.
///
/// Its methods make checks and steps: nothing runs before the runbook does. Commands run in the C
/// locale, whatever the user's is.
///
/// ```
/// use runbook_core::{Host, Runbook, testing::FakeTarget};
/// use runbook_host::{Bytes, Machine};
/// let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
/// let mut b = Runbook::new("preflight");
/// b.check(web.disk_free("/var", Bytes::gib(5)));
/// b.check(web.memory_available(Bytes::mib(256)));
/// b.check(web.port_owned_by(443, "nginx"));
/// ```
#[derive(Clone)]
pub struct Machine {
    host: Host,
}

impl Machine {
    /// The machine behind `host`.
    #[must_use]
    pub fn new(host: &Host) -> Self {
        Self { host: host.clone() }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Looks; fails unless the command exits with code 0.
    pub(crate) async fn look(&self, cx: &Observer, command: Command) -> Result<Output> {
        cx.on(&self.host).output(&command.env("LC_ALL", "C").read_only()).await
    }

    /// Looks; however the command ends is fine.
    pub(crate) async fn glance(&self, cx: &Observer, command: Command) -> Result<Output> {
        cx.on(&self.host).status(&command.env("LC_ALL", "C").read_only()).await
    }

    /// Does; fails unless the command exits with code 0.
    pub(crate) async fn run(&self, cx: &Context, command: Command) -> Result<Output> {
        cx.on(&self.host).run(&command.env("LC_ALL", "C")).await
    }

    /// Does; however the command ends is fine.
    pub(crate) async fn try_run(&self, cx: &Context, command: Command) -> Result<Output> {
        cx.on(&self.host).run_unchecked(&command.env("LC_ALL", "C")).await
    }

    /// The text of those of these files that can be read, by one command: over SSH each would cost
    /// a journey. Paths of the system only; they hold no line ends.
    pub(crate) async fn texts<P: AsRef<str>>(
        &self,
        cx: &Observer,
        paths: &[P],
    ) -> Result<BTreeMap<String, String>> {
        const SCRIPT: &str = r#"for f do
  if [ -f "$f" ] && [ -r "$f" ]; then printf '\001%s\n' "$f"; cat "$f" 2>/dev/null; fi
done; exit 0"#;
        let command = script(SCRIPT).args(paths.iter().map(AsRef::as_ref));
        let output = self.look(cx, command).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let files = text.split('\u{1}').filter_map(|file| file.split_once('\n'));
        Ok(files.map(|(path, text)| (path.to_owned(), text.to_owned())).collect())
    }

    /// What could not be understood, as an error.
    pub(crate) fn odd(&self, what: &str, text: &str) -> Error {
        let mut said: String = text.chars().take(200).collect();
        if said.len() < text.len() {
            said.push_str(" ..");
        }
        Error::Odd { place: self.to_string(), what: what.to_owned(), said }
    }
}

/// A script of ours for the host's `sh`; what it works on are its arguments, never its text.
pub(crate) fn script(text: &'static str) -> Command {
    Command::new("sh").args(["-c", text, "sh"])
}

/// `program` with these words.
pub(crate) fn command<A: ToArg>(program: &str, words: impl IntoIterator<Item = A>) -> Command {
    Command::new(program).args(words)
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Machine({})", self.host)
    }
}
