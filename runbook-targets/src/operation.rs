//! [`Operation`]: one thing that a target was asked to do.

use std::fmt;
use std::path::{Path, PathBuf};

use runbook_core::{Address, Command, Spawn};

/// One thing that a target was asked to do: what [`Dry`](crate::Dry) records, and what a rule of
/// [`Faulty`](crate::Faulty) looks at.
///
/// Its `Display` is one line, secrets as `***`: `systemctl restart shop`, `write /etc/motd`.
///
/// ```
/// use runbook_core::{Command, Spawn};
/// use runbook_targets::Operation;
/// let restart = Operation::command(&Command::new("nginx").args(["-s", "reload"]), &Spawn::new("r:u"));
/// assert_eq!(restart.to_string(), "nginx -s reload");
/// assert!(restart.is_change());
/// assert!(!Operation::Read("/etc/motd".into()).is_change());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// To start a command.
    #[non_exhaustive]
    Command {
        /// The command, as it reached this target.
        command: Command,
        /// Whether its author promised that it changes nothing.
        read_only: bool,
    },
    /// To end what a killed run left behind under this cookie (`run:unit`).
    EndLeftovers(String),
    /// To open a file for reading.
    Read(PathBuf),
    /// To write a whole file.
    Write(PathBuf),
    /// To look at a path.
    Stat(PathBuf),
    /// To list a folder.
    List(PathBuf),
    /// To make a folder.
    CreateDir(PathBuf),
    /// To copy a file, from and to.
    Copy(PathBuf, PathBuf),
    /// To rename, from and to.
    Rename(PathBuf, PathBuf),
    /// To make a link, where it points and where it is.
    Symlink(PathBuf, PathBuf),
    /// To set permission bits.
    SetMode(PathBuf, u32),
    /// To remove a file, a link or an empty folder.
    Remove(PathBuf),
    /// To remove a folder with all below it.
    RemoveTree(PathBuf),
    /// To open a stream to a service.
    Connect(Address),
}

impl Operation {
    /// Starting `command`.
    #[must_use]
    pub fn command(command: &Command, spawn: &Spawn) -> Self {
        Self::Command { command: command.clone(), read_only: spawn.read_only }
    }

    /// Whether it may change something. What is said over a socket may.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::Command { read_only, .. } => !read_only,
            Self::Read(_) | Self::Stat(_) | Self::List(_) => false,
            _ => true,
        }
    }

    /// The path that it is about; of two, the one that it changes.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Command { .. } | Self::EndLeftovers(_) | Self::Connect(_) => None,
            Self::Read(path)
            | Self::Write(path)
            | Self::Stat(path)
            | Self::List(path)
            | Self::CreateDir(path)
            | Self::Copy(_, path)
            | Self::Rename(_, path)
            | Self::Symlink(_, path)
            | Self::SetMode(path, _)
            | Self::Remove(path)
            | Self::RemoveTree(path) => Some(path),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { command, .. } => command.fmt(f),
            Self::EndLeftovers(cookie) => write!(f, "end leftovers of {cookie}"),
            Self::Read(path) => write!(f, "read {}", path.display()),
            Self::Write(path) => write!(f, "write {}", path.display()),
            Self::Stat(path) => write!(f, "look at {}", path.display()),
            Self::List(path) => write!(f, "list {}", path.display()),
            Self::CreateDir(path) => write!(f, "create folder {}", path.display()),
            Self::Copy(from, to) => write!(f, "copy {} to {}", from.display(), to.display()),
            Self::Rename(from, to) => write!(f, "rename {} to {}", from.display(), to.display()),
            Self::Symlink(to, link) => write!(f, "link {} to {}", link.display(), to.display()),
            Self::SetMode(path, mode) => write!(f, "set mode {mode:o} of {}", path.display()),
            Self::Remove(path) => write!(f, "remove {}", path.display()),
            Self::RemoveTree(path) => write!(f, "remove tree {}", path.display()),
            Self::Connect(address) => write!(f, "connect to {address}"),
        }
    }
}
