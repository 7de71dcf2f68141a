//! The user whose servers these are: PostgreSQL refuses to be root's.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Folder;

/// Who runs a server: this process's user, or an ordinary one if that is root.
#[derive(Clone, Debug)]
pub(crate) struct ServerUser(Option<(u32, u32)>);

impl ServerUser {
    pub(crate) fn current() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self(None);
        }
        // Debian's packages make `postgres`; any other ordinary user would do.
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ids = |name: &str| {
            let fields: Vec<_> =
                passwd.lines().find(|line| line.starts_with(name))?.split(':').collect();
            Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
        };
        Self(ids("postgres:").or_else(|| ids("nobody:")).or(Some((65_534, 65_534))))
    }

    /// A program as this user.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let Some((uid, gid)) = self.0 else { return Command::new(program) };
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "--"])
            .arg(program)
            // Root's own is closed to it.
            .current_dir("/");
        command
    }

    /// A folder there that is this user's.
    pub(crate) fn folder(&self, folder: &Folder, name: &str) -> PathBuf {
        let path = folder.subfolder(name);
        self.own(&path);
        path
    }

    /// Makes a file or folder this user's.
    pub(crate) fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.0 {
            chown(path, Some(uid), Some(gid))
                .unwrap_or_else(|error| panic!("giving {} to user {uid}: {error}", path.display()));
        }
    }
}
