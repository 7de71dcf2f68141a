//! [`Pm2`]: one daemon of one user on a host.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runbook_core::{Command, Context, Exit, Host, Observer, Output, Result, Spawn, Stdin};

use crate::app::App;
use crate::error::Error;

/// One PM2 daemon of one user on a host.
///
/// ```
/// use runbook_core::{Host, testing::FakeTarget};
/// use runbook_pm2::Pm2;
/// let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1"))).home("/srv/shop/.pm2");
/// assert_eq!(pm2.to_string(), "PM2 on web-1 in /srv/shop/.pm2");
/// ```
#[derive(Clone)]
pub struct Pm2(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    host: Host,
    program: OsString,
    home: Option<PathBuf>,
}

impl Pm2 {
    /// The daemon of the host's user.
    #[must_use]
    pub fn new(host: &Host) -> Self {
        Self(Arc::new(Inner { host: host.clone(), program: "pm2".into(), home: None }))
    }

    /// The same, with a `PM2_HOME` of its own.
    #[must_use]
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        Arc::make_mut(&mut self.0).home = Some(home.into());
        self
    }

    /// The same, with another `pm2` program than the one in `PATH`.
    #[must_use]
    pub fn program(mut self, program: impl Into<OsString>) -> Self {
        Arc::make_mut(&mut self.0).program = program.into();
        self
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    pub(crate) fn program_name(&self) -> String {
        self.0.program.to_string_lossy().into_owned()
    }

    /// The folder of the daemon, if one was given.
    pub(crate) fn home_dir(&self) -> Option<&Path> {
        self.0.home.as_deref()
    }

    /// A program without the marks by which the processes of a unit are found: the daemon and the
    /// apps inherit the environment of who starts them, and are to live on.
    fn unmarked(&self, program: &OsString) -> Command {
        let command = Command::new("env")
            .args(["-u", Spawn::VARIABLE, "-u", Spawn::COMMAND_VARIABLE])
            .arg(program);
        match &self.0.home {
            Some(home) => command.env("PM2_HOME", home.as_os_str()),
            None => command,
        }
    }

    /// All processes; `None` if no daemon runs.
    pub(crate) async fn list(&self, cx: &Observer) -> Result<Option<Vec<App>>> {
        // By its standard input: as an argument, all of it would stand in every error.
        let script = Stdin::Bytes(include_bytes!("list.js").to_vec());
        let look = self.unmarked(&"node".into()).arg("-").arg(&self.0.program).stdin(script);
        let output = cx.on(&self.0.host).status(&look.read_only()).await?;
        if output.exit != Exit::Code(0) {
            return Err(Error::of(self, "jlist", &output).failure());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let why = format!("its list can't be read: {error}");
            Error::Other { place: self.to_string(), command: "pm2 jlist".into(), why }.failure()
        })
    }

    /// The processes of this name; none if there are none, or no daemon.
    pub(crate) async fn apps(&self, cx: &Observer, name: &str) -> Result<Vec<App>> {
        let mut all = self.list(cx).await?.unwrap_or_default();
        all.retain(|app| app.name == name);
        Ok(all)
    }

    /// The processes of this name, at least one.
    pub(crate) async fn known(&self, cx: &Observer, name: &str) -> Result<Vec<App>> {
        let place = self.to_string();
        let Some(mut all) = self.list(cx).await? else {
            return Err(Error::NoDaemon { place }.failure());
        };
        let known = all.iter().map(|app| app.name.clone()).collect();
        all.retain(|app| app.name == name);
        if all.is_empty() {
            return Err(Error::NoApp { place, app: name.to_owned(), known }.failure());
        }
        Ok(all)
    }

    /// Restarts or reloads an app.
    ///
    /// Of an app that crashes again and again the daemon may start the next process between the
    /// two halves of a restart, and then refuses the second half. A stop takes its next start
    /// from it, so that the restart after it is alone.
    pub(crate) async fn start_again(&self, cx: &Context, word: &str, app: &str) -> Result<()> {
        let output = self.unchecked(cx, None, &[word, app]).await?;
        if output.exit == Exit::Code(0) {
            return Ok(());
        }
        let failure = Error::of(self, &format!("{word} {app}"), &output);
        if !failure.is_started_meanwhile() {
            return Err(failure.failure());
        }
        // Whether it helped is what the restart says.
        self.unchecked(cx, None, &["stop", app]).await?;
        self.run(cx, None, &["restart", app]).await
    }

    /// Runs `pm2` with these words.
    pub(crate) async fn run(&self, cx: &Context, dir: Option<&Path>, words: &[&str]) -> Result<()> {
        let output = self.unchecked(cx, dir, words).await?;
        if output.exit == Exit::Code(0) {
            return Ok(());
        }
        Err(Error::of(self, &words.join(" "), &output).failure())
    }

    async fn unchecked(&self, cx: &Context, dir: Option<&Path>, words: &[&str]) -> Result<Output> {
        let mut command = self.unmarked(&self.0.program).args(words.iter().copied());
        if let Some(dir) = dir {
            command = command.dir(dir);
        }
        cx.on(&self.0.host).run_unchecked(&command).await
    }
}

impl fmt::Display for Pm2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PM2 on {}", self.0.host)?;
        match &self.0.home {
            Some(home) => write!(f, " in {}", home.display()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Pm2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pm2({self})")
    }
}
