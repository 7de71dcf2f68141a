//! [`Container`]: a running container of any host.

mod docker;
mod exec;
mod found;
mod inside;
mod relay;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{
    Address, BoxRead, BoxStream, Command, FileInfo, Host, Process, Result, Spawn, Target,
    WriteOptions,
};

use self::docker::{Docker, Which};
use self::exec::Exec;
use self::inside::Inside;
use crate::remote::channel::Channels as _;
use crate::remote::{Limits, Remote};

/// A running container of a host: commands, files and sockets inside of it.
///
/// All is done by the program `docker` (or another one that takes the same arguments, e.g.
/// `podman`) on the host, through the host's own target. So a container of a host over SSH needs
/// nothing that the host itself does not need, and [`Sudo`](crate::Sudo) around the *host* is how
/// to use `docker` as root.
///
/// ```
/// use runbook_core::{Command, Context, Host, Result};
/// use runbook_targets::Container;
///
/// async fn reload(cx: &Context, web: &Host) -> Result<()> {
///     let nginx = Host::new(Container::new(web, "shop-nginx"));
///     cx.on(&nginx).run(&Command::new("nginx").args(["-s", "reload"])).await?;
///     Ok(())
/// }
///
/// # fn host(web: &Host) {
/// // As another user; of a compose project, by podman.
/// let db = Container::compose_service(web, "shop", "db").user("postgres").docker("podman");
/// assert_eq!(db.to_string(), "shop/db@web-1 as postgres");
/// # }
/// # host(&Host::new(runbook_core::testing::FakeTarget::new("web-1")));
/// ```
///
/// The image needs an `sh` and the usual programs (`cat`, `mv`, `stat`, ..): those of GNU or
/// BusyBox. What a command started is ended inside of the container; that the `docker exec` on the
/// host ends would not end it.
///
/// # Sockets
/// `docker` carries no sockets. A stream is carried by a program inside of the container, so that
/// names and ports are what the container sees: the first that is there of `perl`, `socat`, `nc`
/// and `bash`. (A unix socket takes `perl`, `socat` or an `nc` that knows `-U`. `bash` and the
/// oldest `nc` can't tell the service that no more will be sent; they close the stream ten seconds
/// later.) If there is none: a
/// container on the host's own network uses the host's sockets; any other one is reached on its
/// own address, where only a service that listens on all its addresses answers.
#[derive(Clone)]
pub struct Container {
    remote: Arc<Remote<Exec>>,
}

/// How a compose project is known.
///
/// ```
/// use runbook_targets::Compose;
/// assert_eq!(Compose::from("shop"), Compose::Project("shop".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compose {
    /// By its name (`docker compose ls` shows it).
    Project(String),
    /// By the folder that it was started in, as an absolute path.
    Dir(PathBuf),
    /// By one of the files that it was started from, as an absolute path.
    File(PathBuf),
}

impl From<&str> for Compose {
    fn from(project: &str) -> Self {
        Self::Project(project.to_owned())
    }
}

impl From<String> for Compose {
    fn from(project: String) -> Self {
        Self::Project(project)
    }
}

impl fmt::Display for Compose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(name) => f.write_str(name),
            Self::Dir(path) | Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Container {
    /// The container of `host` with this name or id.
    ///
    /// When the name goes over to a new container, as after an update, commands go to the new one.
    #[must_use]
    pub fn new(host: &Host, name_or_id: impl Into<String>) -> Self {
        Self::of(Docker::new(host, Which::Named(name_or_id.into())))
    }

    /// The container of this service of a compose project. If the service has several, say which
    /// one with [`index`](Self::index).
    ///
    /// It is found by the labels that compose gives to its containers, so the project's files need
    /// not be there.
    #[must_use]
    pub fn compose_service(
        host: &Host,
        project: impl Into<Compose>,
        service: impl Into<String>,
    ) -> Self {
        let (project, service) = (project.into(), service.into());
        Self::of(Docker::new(host, Which::Service { project, service, index: None }))
    }

    /// The `n`-th container of the service, from 1, as compose numbers them (`shop-web-2`).
    #[must_use]
    pub fn index(self, n: u32) -> Self {
        self.with(|docker| docker.index(n))
    }

    /// As this user of the container: a name, or `uid` or `uid:gid`. Without, the image decides.
    #[must_use]
    pub fn user(self, user: impl Into<String>) -> Self {
        let user = user.into();
        self.with(|docker| docker.user(user))
    }

    /// By this program of the host instead of `docker`: a name, e.g. `podman`, or a path.
    #[must_use]
    pub fn docker(self, program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        self.with(|docker| docker.program(program))
    }

    fn of(docker: Docker) -> Self {
        Self { remote: Arc::new(Remote::new(Exec::new(docker), Limits::default())) }
    }

    fn with(self, change: impl FnOnce(Docker) -> Docker) -> Self {
        Self::of(change(self.remote.channels().docker().clone()))
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Container({})", self.name())
    }
}

#[async_trait]
impl Target for Container {
    fn name(&self) -> &str {
        self.remote.channels().name()
    }

    fn identity(&self) -> Option<String> {
        let docker = self.remote.channels().docker();
        let host = docker.host.target().identity()?;
        Some(format!("{} ({host})", self.name()))
    }

    fn prepare(&self) {
        self.remote.channels().docker().host.target().prepare();
    }

    async fn spawn(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>> {
        let process = self.remote.spawn(command, spawn).await?;
        Ok(Box::new(Inside::new(process, self.remote.channels().clone())))
    }

    async fn end_leftovers(&self, cookie: &str, grace: Duration) -> Result<Vec<String>> {
        self.remote.end_leftovers(cookie, grace).await
    }

    async fn read(&self, path: &Path) -> Result<BoxRead> {
        self.remote.read(path).await
    }

    async fn write(&self, path: &Path, content: BoxRead, options: &WriteOptions) -> Result<()> {
        self.remote.write(path, content, options).await
    }

    async fn stat(&self, path: &Path) -> Result<Option<FileInfo>> {
        self.remote.stat(path).await
    }

    async fn list(&self, path: &Path) -> Result<Vec<FileInfo>> {
        self.remote.list(path).await
    }

    async fn create_dir(&self, path: &Path) -> Result<()> {
        self.remote.create_dir(path).await
    }

    async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        self.remote.copy(from, to).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.remote.rename(from, to).await
    }

    async fn symlink(&self, to: &Path, link: &Path) -> Result<()> {
        self.remote.symlink(to, link).await
    }

    async fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.remote.set_mode(path, mode).await
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        self.remote.remove(path).await
    }

    async fn remove_tree(&self, path: &Path) -> Result<()> {
        self.remote.remove_tree(path).await
    }

    async fn connect(&self, address: &Address) -> Result<BoxStream> {
        relay::connect(self.remote.channels(), address).await
    }
}
