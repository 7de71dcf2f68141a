//! [`Local`]: this machine.

mod files;
mod process;
#[cfg_attr(target_os = "linux", path = "local/tree.rs")]
#[cfg_attr(not(target_os = "linux"), path = "local/group.rs")]
mod tree;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use runbook_core::{
    Address, BoxRead, BoxStream, Command, FileInfo, Process, Result, Spawn, Target, WriteOptions,
};
use tokio::net::{TcpStream, UnixStream};

use self::process::LocalProcess;
use crate::refused::{self, Doing};

/// This machine, as the user that runs the program.
///
/// Commands inherit the environment of the program, and run in a process group of their own. When
/// one is ended, so is everything that it started: its process group, its descendants, and every
/// process that inherited its environment, be it in another session or adopted by init. (Linux
/// finds these through `/proc`; on other systems only the process group is ended, and nothing is
/// known of what a killed run left behind.)
///
/// Commands have no terminal to ask on: one that tries to read from it is stopped by the kernel
/// until its time is over. Give programs what they would ask for, or the option not to ask.
///
/// ```
/// use runbook_core::{Command, Host, testing};
/// use runbook_targets::Local;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let here = Host::new(Local::new());
/// let echo = Command::new("echo").arg("hello").read_only();
/// let output = testing::observer().on(&here).output(&echo).await.unwrap();
/// assert_eq!(output.text(), "hello");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Local {
    name: String,
}

impl Local {
    /// This machine, called `local`.
    #[must_use]
    pub fn new() -> Self {
        Self::named("local")
    }

    /// This machine under another name, for runbooks that run on the host they are about.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    fn doing<'a>(&'a self, verb: &'static str, path: &'a Path) -> Doing<'a> {
        Doing { verb, path, host: &self.name }
    }
}

impl Default for Local {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Target for Local {
    fn name(&self) -> &str {
        &self.name
    }

    async fn spawn(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>> {
        Ok(Box::new(LocalProcess::start(command, spawn, &self.name)?))
    }

    async fn end_leftovers(&self, cookie: &str, grace: Duration) -> Result<Vec<String>> {
        tree::end_leftovers(cookie, grace).await
    }

    async fn read(&self, path: &Path) -> Result<BoxRead> {
        files::open(path).await.map_err(|error| self.doing("reading", path).failed(&error))
    }

    async fn write(&self, path: &Path, content: BoxRead, options: &WriteOptions) -> Result<()> {
        let doing = self.doing("writing", path);
        files::write(path, content, options).await.map_err(|fault| match fault {
            files::Fault::Source(error) => doing.source_failed(&error),
            files::Fault::File(error) => doing.failed(&error),
        })
    }

    async fn stat(&self, path: &Path) -> Result<Option<FileInfo>> {
        files::stat(path).await.map_err(|error| self.doing("looking at", path).failed(&error))
    }

    async fn list(&self, path: &Path) -> Result<Vec<FileInfo>> {
        files::list(path).await.map_err(|error| self.doing("listing", path).failed(&error))
    }

    async fn create_dir(&self, path: &Path) -> Result<()> {
        let made = files::create_dir(path).await;
        made.map_err(|error| self.doing("creating the folder", path).failed(&error))
    }

    async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        files::copy(from, to).await.map_err(|fault| match fault {
            files::Fault::Source(error) => self.doing("reading", from).failed(&error),
            files::Fault::File(error) => self.doing("writing", to).failed(&error),
        })
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let renamed = files::rename(from, to).await;
        renamed.map_err(|error| self.doing("renaming", from).failed_to(to, &error))
    }

    async fn symlink(&self, to: &Path, link: &Path) -> Result<()> {
        let linked = files::symlink(to, link).await;
        linked.map_err(|error| self.doing("linking", link).failed_to(to, &error))
    }

    async fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        let set = files::set_mode(path, mode).await;
        set.map_err(|error| self.doing("setting the mode of", path).failed(&error))
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        files::remove(path).await.map_err(|error| self.doing("removing", path).failed(&error))
    }

    async fn remove_tree(&self, path: &Path) -> Result<()> {
        let removed = files::remove_tree(path).await;
        removed.map_err(|error| self.doing("removing all of", path).failed(&error))
    }

    async fn connect(&self, address: &Address) -> Result<BoxStream> {
        let connected: std::io::Result<BoxStream> = match address {
            Address::Tcp(host, port) => {
                TcpStream::connect((host.as_str(), *port)).await.map(|stream| {
                    // Databases speak in small messages; a refusal costs speed only.
                    let _ = stream.set_nodelay(true);
                    Box::new(stream) as BoxStream
                })
            }
            Address::Unix(path) => {
                UnixStream::connect(path).await.map(|stream| Box::new(stream) as BoxStream)
            }
        };
        connected.map_err(|error| refused::connect(&self.name, address, &error))
    }
}
