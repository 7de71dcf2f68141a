//! [`InDir`] and [`WithEnv`]: any target, with a folder or an environment for its commands.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{
    Address, BoxRead, BoxStream, Command, EnvValue, FileInfo, Host, Process, Result, Spawn, Target,
    WriteOptions,
};

/// A target whose commands run in a folder, and whose relative paths start there.
///
/// ```
/// use runbook_core::{Command, Host, testing};
/// use runbook_core::testing::{FakeTarget, Reply};
/// use runbook_targets::InDir;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let web = FakeTarget::new("web-1").file("/srv/shop/VERSION", "41");
/// web.otherwise(Reply::ok());
/// let shop = Host::new(InDir::new(Host::new(web.clone()), "/srv/shop"));
/// let cx = testing::context();
/// cx.on(&shop).run(&Command::new("make").arg("migrate")).await.unwrap();
/// assert_eq!(web.commands()[0].dir.as_deref(), Some("/srv/shop".as_ref()));
/// assert_eq!(cx.on(&shop).read_text("VERSION").await.unwrap(), "41");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct InDir {
    inner: Host,
    dir: PathBuf,
}

impl InDir {
    /// `inner`, in `dir`. A command's own folder is taken from there, and wins if it is absolute.
    #[must_use]
    pub fn new(inner: Host, dir: impl Into<PathBuf>) -> Self {
        Self { inner, dir: dir.into() }
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.dir.join(path)
    }

    fn command(&self, command: &Command) -> Command {
        let dir = command.directory().map_or_else(|| self.dir.clone(), |dir| self.at(dir));
        command.clone().dir(dir)
    }
}

/// A target whose commands get environment variables. A command's own ones win.
///
/// Put it around a [`Sudo`](crate::Sudo), not inside of one: there it is the environment of `sudo`
/// itself, which hands on what it was told to and nothing else.
///
/// ```
/// use runbook_core::{Command, Host, Secret, testing};
/// use runbook_core::testing::{FakeTarget, Reply};
/// use runbook_targets::WithEnv;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let db = FakeTarget::new("db-1");
/// db.otherwise(Reply::ok());
/// let shop = Host::new(
///     WithEnv::new(Host::new(db.clone()))
///         .env("PGDATABASE", "shop")
///         .env("PGPASSWORD", Secret::new("known to the database only")),
/// );
/// testing::context().on(&shop).run(&Command::new("psql")).await.unwrap();
/// assert_eq!(db.commands()[0].env, ["PGDATABASE", "PGPASSWORD"]);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct WithEnv {
    inner: Host,
    env: BTreeMap<OsString, EnvValue>,
}

impl WithEnv {
    /// `inner`, with no variable yet.
    #[must_use]
    pub fn new(inner: Host) -> Self {
        Self { inner, env: BTreeMap::new() }
    }

    /// One more variable; a [`Secret`](runbook_core::Secret) value is never shown.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl Into<EnvValue>) -> Self {
        self.env.insert(name.as_ref().to_owned(), value.into());
        self
    }

    fn at<'a>(&self, path: &'a Path) -> &'a Path {
        path
    }

    fn command(&self, command: &Command) -> Command {
        let own: BTreeMap<_, _> = command.environment().collect();
        let missing = self.env.iter().filter(|(name, _)| !own.contains_key(name.as_os_str()));
        missing.fold(command.clone(), |command, (name, value)| command.env(name, value.clone()))
    }
}

macro_rules! delegate {
    ($target:ty) => {
        #[async_trait]
        impl Target for $target {
            fn name(&self) -> &str {
                self.inner.name()
            }
            fn identity(&self) -> Option<String> {
                self.inner.target().identity()
            }
            fn prepare(&self) {
                self.inner.target().prepare();
            }
            async fn spawn(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>> {
                self.inner.target().spawn(&self.command(command), spawn).await
            }
            async fn end_leftovers(&self, cookie: &str, grace: Duration) -> Result<Vec<String>> {
                self.inner.target().end_leftovers(cookie, grace).await
            }
            async fn read(&self, path: &Path) -> Result<BoxRead> {
                self.inner.target().read(&self.at(path)).await
            }
            async fn write(&self, path: &Path, from: BoxRead, how: &WriteOptions) -> Result<()> {
                self.inner.target().write(&self.at(path), from, how).await
            }
            async fn stat(&self, path: &Path) -> Result<Option<FileInfo>> {
                self.inner.target().stat(&self.at(path)).await
            }
            async fn list(&self, path: &Path) -> Result<Vec<FileInfo>> {
                self.inner.target().list(&self.at(path)).await
            }
            async fn create_dir(&self, path: &Path) -> Result<()> {
                self.inner.target().create_dir(&self.at(path)).await
            }
            async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
                self.inner.target().copy(&self.at(from), &self.at(to)).await
            }
            async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
                self.inner.target().rename(&self.at(from), &self.at(to)).await
            }
            async fn symlink(&self, to: &Path, link: &Path) -> Result<()> {
                // Where a link points is text, relative to the link's own folder.
                self.inner.target().symlink(to, &self.at(link)).await
            }
            async fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
                self.inner.target().set_mode(&self.at(path), mode).await
            }
            async fn remove(&self, path: &Path) -> Result<()> {
                self.inner.target().remove(&self.at(path)).await
            }
            async fn remove_tree(&self, path: &Path) -> Result<()> {
                self.inner.target().remove_tree(&self.at(path)).await
            }
            async fn connect(&self, address: &Address) -> Result<BoxStream> {
                self.inner.target().connect(address).await
            }
        }
    };
}
delegate!(InDir);
delegate!(WithEnv);
