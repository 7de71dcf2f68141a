//! [`Npm`]: a package in a folder of a host.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runbook_core::{Command, Context, Exit, Host, Observer, Output, Result};

use crate::error::Error;

/// A package, or the root of workspaces, in a folder of a host.
///
/// ```
/// use runbook_core::{Host, testing::FakeTarget};
/// use runbook_node::Npm;
/// let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
/// assert_eq!(shop.to_string(), "/srv/shop on web-1");
/// ```
#[derive(Clone)]
pub struct Npm(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    host: Host,
    dir: PathBuf,
    program: OsString,
    workspace: Option<String>,
}

impl Npm {
    /// The package in the folder `dir`.
    #[must_use]
    pub fn new(host: &Host, dir: impl Into<PathBuf>) -> Self {
        let (host, dir) = (host.clone(), dir.into());
        Self(Arc::new(Inner { host, dir, program: "npm".into(), workspace: None }))
    }

    /// The same, with another program than the `npm` in `PATH`.
    #[must_use]
    pub fn program(mut self, program: impl Into<OsString>) -> Self {
        Arc::make_mut(&mut self.0).program = program.into();
        self
    }

    /// The same, with scripts run in this workspace of it.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::Npm;
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.step(shop.workspace("packages/mcp-server").script("typecheck"));
    /// ```
    #[must_use]
    pub fn workspace(&self, name: impl Into<String>) -> Self {
        let mut it = self.clone();
        Arc::make_mut(&mut it.0).workspace = Some(name.into());
        it
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// `npm` with these words.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.0.program).args(words.iter().copied());
        if let Some(workspace) = &self.0.workspace {
            command = command.arg(format!("--workspace={workspace}"));
        }
        self.quiet(command)
    }

    /// A program of the package itself, from its `node_modules`.
    pub(crate) fn local(&self, program: &str, words: &[&str]) -> Command {
        let path = self.0.dir.join("node_modules/.bin").join(program);
        self.quiet(Command::new(path).args(words.iter().copied()))
    }

    fn quiet(&self, command: Command) -> Command {
        // Nothing asks, looks for news of itself, or paints.
        let off = ["NPM_CONFIG_UPDATE_NOTIFIER", "NPM_CONFIG_FUND", "NPM_CONFIG_AUDIT"];
        let command = off.iter().fold(command, |command, name| command.env(name, "false"));
        command.dir(&self.0.dir).env("CI", "true").env("NO_COLOR", "1").env("LC_ALL", "C")
    }

    pub(crate) async fn run(&self, cx: &Context, command: &Command) -> Result<Output> {
        let output = cx.on(&self.0.host).run_unchecked(command).await?;
        match output.exit {
            Exit::Code(0) => Ok(output),
            _ => Err(Error::of(self, command, &output).failure()),
        }
    }

    /// Looks; however it ends is fine.
    pub(crate) async fn look(&self, cx: &Observer, command: Command) -> Result<Output> {
        cx.on(&self.0.host).status(&command.read_only()).await
    }
}

impl fmt::Display for Npm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.0.dir.display(), self.0.host)?;
        match &self.0.workspace {
            Some(workspace) => write!(f, " ({workspace})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Npm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Npm({self})")
    }
}
