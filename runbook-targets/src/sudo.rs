//! [`Sudo`]: any target, as another user.

mod end;
mod files;
mod shell;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{
    Address, BoxRead, BoxStream, Command, Exit, Failure, FileInfo, Host, Process, Result, Spawn,
    Target, WriteOptions, scrub,
};
use tokio::sync::OnceCell;

use self::end::SudoProcess;

/// A target whose commands run, and whose files are read and written, as another user, by `sudo`.
///
/// ```
/// use runbook_core::{Command, Host};
/// use runbook_core::testing::{self, FakeTarget, Reply, prefix};
/// use runbook_targets::Sudo;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let db = FakeTarget::new("db-1");
/// db.on(prefix("sudo")).reply(Reply::ok());
/// let postgres = Host::new(Sudo::new(Host::new(db.clone()), "postgres"));
/// assert_eq!(postgres.name(), "db-1 as postgres");
///
/// let reload = Command::new("pg_ctl").arg("reload").env("PGDATA", "/srv/pg");
/// testing::context().on(&postgres).run(&reload).await.unwrap();
/// assert_eq!(
///     db.commands().pop().unwrap().line,
///     "sudo -n -u postgres --preserve-env=RUNBOOK_UNIT,RUNBOOK_COMMAND,PGDATA -- pg_ctl reload",
/// );
/// # });
/// ```
///
/// `sudo` never gets to ask for a password (`-n`), so `sudoers` must let the user of the target
/// below run anything as this user, e.g. `deploy ALL=(postgres) NOPASSWD: ALL`. (`ALL` includes
/// the `SETENV` that environment variables need. Commands go by way of `sh` where they have a
/// folder, and files always do, so a list of single programs does not suffice.) This is tried once
/// before the first command, and the error says what is missing.
///
/// The environment travels as `sudo`'s own and `--preserve-env`, never in an argument. `sudoers`
/// may have the last word on some of it: `secure_path` replaces `PATH`, and what the dynamic
/// loader reads (`LD_PRELOAD` and the like) is never handed on.
///
/// A command is ended as the other user, through `sudo` again: whoever may start processes of that
/// user that way may end them. Its processes are found by their environment in `/proc`.
///
/// File operations are shell commands (`stat`, `find`, `mv -T`: those of GNU or BusyBox). Times of
/// files are in whole seconds. Sockets are opened as the user of the target below.
#[derive(Clone)]
pub struct Sudo {
    inner: Host,
    user: Arc<str>,
    name: Arc<str>,
    allowed: Arc<OnceCell<()>>,
}

impl Sudo {
    /// `inner`, as `user`: a name, or `#` and a number.
    #[must_use]
    pub fn new(inner: Host, user: impl AsRef<str>) -> Self {
        let user = user.as_ref();
        let name = format!("{} as {user}", inner.name()).into();
        Self { inner, user: user.into(), name, allowed: Arc::default() }
    }

    /// The command by which `sudo` runs `command`.
    fn command(&self, command: &Command) -> Result<Command> {
        let mut names = OsString::from(Spawn::VARIABLE);
        names.push(",");
        names.push(Spawn::COMMAND_VARIABLE);
        for (name, _) in command.environment() {
            if name.as_encoded_bytes().contains(&b',') {
                return Err(Failure::msg(format!(
                    "sudo can't hand on the environment variable `{}`: its name has a comma",
                    name.display()
                )));
            }
            names.push(",");
            names.push(name);
        }
        let mut preserve = OsString::from("--preserve-env=");
        preserve.push(names);
        let mut sudo = Command::new("sudo").args(["-n", "-u", &*self.user]).arg(preserve).arg("--");
        // Only the other user may be able to enter the folder. And what looks like `NAME=value`
        // would be no program to sudo.
        let program = command.program();
        if let Some(dir) = command.directory() {
            let enter = r#"cd -- "$1" && shift && exec "$@""#;
            sudo = sudo.args(["sh", "-c", enter, "sh"]).arg(plain(dir));
        } else if program.as_encoded_bytes().contains(&b'=') {
            sudo = sudo.args(["sh", "-c", r#"exec "$@""#, "sh"]);
        }
        sudo = sudo.arg(program).args(command.arguments());
        for (name, value) in command.environment() {
            sudo = sudo.env(name, value.clone());
        }
        sudo = sudo.stdin(command.standard_input().clone());
        Ok(match command.time_limit() {
            Some(limit) => sudo.timeout(limit),
            None => sudo,
        })
    }

    async fn start(&self, command: &Command, spawn: &Spawn) -> Result<SudoProcess> {
        self.allowed.get_or_try_init(|| self.ask()).await?;
        let process = self.inner.target().spawn(&self.command(command)?, spawn).await?;
        Ok(SudoProcess::new(process, self.clone(), spawn.command.clone()))
    }

    /// Whether sudo would do it at all, which is said better here than by a command's own error.
    async fn ask(&self) -> Result<()> {
        let doing = || format!("acting as {} on {}", self.user, self.inner);
        let ask = self.command(&Command::new("true"))?;
        let spawn = shell::look();
        let process = self.inner.target().spawn(&ask, &spawn).await;
        let process = process.map_err(|failure| failure.while_doing(doing()))?;
        let said = shell::finish(process).await.map_err(|failure| failure.while_doing(doing()))?;
        if said.exit == Exit::Code(0) {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&said.stderr).trim().replace('\n', "; ");
        let failure = Failure::msg(scrub(&why)).while_doing(doing());
        Err(if why.contains("unknown user") {
            failure.next(format!("create the user {}, or correct its name", self.user))
        } else {
            failure.next(format!(
                "allow it in sudoers on {} (`visudo`), without a password and with SETENV, e.g. \
                 `deploy ALL=({}) NOPASSWD: ALL`",
                self.inner, self.user
            ))
        })
    }
}

impl fmt::Debug for Sudo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sudo({:?} as {})", self.inner, self.user)
    }
}

/// A path that no program takes for an option.
fn plain(path: &Path) -> OsString {
    let path: std::path::PathBuf = path.components().collect();
    if path.is_absolute() { path.into() } else { Path::new(".").join(path).into() }
}

#[async_trait]
impl Target for Sudo {
    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> Option<String> {
        let below = self.inner.target().identity()?;
        Some(format!("{below} as {}", self.user))
    }

    fn prepare(&self) {
        self.inner.target().prepare();
    }

    async fn spawn(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>> {
        Ok(Box::new(self.start(command, spawn).await?))
    }

    async fn end_leftovers(&self, cookie: &str, grace: Duration) -> Result<Vec<String>> {
        end::leftovers(self, cookie, grace).await
    }

    async fn read(&self, path: &Path) -> Result<BoxRead> {
        files::read(self, path).await
    }

    async fn write(&self, path: &Path, content: BoxRead, options: &WriteOptions) -> Result<()> {
        files::write(self, path, content, options).await
    }

    async fn stat(&self, path: &Path) -> Result<Option<FileInfo>> {
        files::stat(self, path).await
    }

    async fn list(&self, path: &Path) -> Result<Vec<FileInfo>> {
        files::list(self, path).await
    }

    async fn create_dir(&self, path: &Path) -> Result<()> {
        files::create_dir(self, path).await
    }

    async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        files::copy(self, from, to).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        files::rename(self, from, to).await
    }

    async fn symlink(&self, to: &Path, link: &Path) -> Result<()> {
        files::symlink(self, to, link).await
    }

    async fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        files::set_mode(self, path, mode).await
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        files::remove(self, path).await
    }

    async fn remove_tree(&self, path: &Path) -> Result<()> {
        files::remove_tree(self, path).await
    }

    async fn connect(&self, address: &Address) -> Result<BoxStream> {
        self.inner.target().connect(address).await
    }
}

/// A script for `sh` and what it is given as `$1` and so on.
fn script<'a>(script: &str, args: impl IntoIterator<Item = &'a OsStr>) -> Command {
    Command::new("sh").args(["-c", script, "sh"]).args(args)
}
