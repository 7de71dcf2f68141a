//! [`Disk`]: the files of a fake target, for what plays its programs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use super::files::{Files, What};
use super::{FakeTarget, World};
use crate::target::{FileInfo, WriteOptions};

/// The files of a [`FakeTarget`], for what plays its programs; from [`FakeTarget::disk`].
///
/// What is done here is not recorded as a change of the target: no runbook asked for it. It does
/// not keep the target; once that is gone there is no file, and nothing can be written.
///
/// ```
/// use runbook_core::testing::FakeTarget;
/// let web = FakeTarget::new("web-1").file("/srv/a/one", "1");
/// let disk = web.disk();
/// disk.copy("/srv/a", "/srv/b")?;
/// disk.write("/srv/b/two", "2")?;
/// disk.remove("/srv/a");
/// let files: Vec<_> = disk.files_below("/srv").into_iter().map(|(path, _)| path).collect();
/// assert_eq!(files, ["/srv/b/one", "/srv/b/two"].map(std::path::PathBuf::from));
/// assert!(web.changes().is_empty());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone)]
pub struct Disk(Weak<Mutex<World>>);

impl Disk {
    pub(super) fn new(target: &FakeTarget) -> Self {
        Self(std::sync::Arc::downgrade(&target.world))
    }

    /// The content of a file; `None` if there is no such file.
    #[must_use]
    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.with(|files| files.read(path.as_ref()).ok())?
    }

    /// What is at a path; links are not followed.
    #[must_use]
    pub fn stat(&self, path: impl AsRef<Path>) -> Option<FileInfo> {
        self.with(|files| files.stat(path.as_ref()))?
    }

    /// All files below a folder with their content, sorted by path; links are not among them.
    #[must_use]
    pub fn files_below(&self, folder: impl AsRef<Path>) -> Vec<(PathBuf, Vec<u8>)> {
        let of = |files: &mut Files| files.below(folder.as_ref());
        let all = self.with(of).unwrap_or_default().into_iter();
        let files = all.filter_map(|(path, what)| match what {
            What::File(content) => Some((path, content)),
            What::Dir | What::Link(_) => None,
        });
        files.collect()
    }

    /// Writes a file, and makes the folders above it.
    ///
    /// # Errors
    /// Something is in the way, in the words of a real system.
    pub fn write(&self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) -> Result<(), String> {
        let path = path.as_ref();
        self.try_with(|files| {
            files.create_dir(path.parent().unwrap_or(path))?;
            files.write(path, content.into(), &WriteOptions::default())
        })
    }

    /// Says that it was last changed then.
    ///
    /// # Errors
    /// It is not there.
    pub fn touch(&self, path: impl AsRef<Path>, modified: SystemTime) -> Result<(), String> {
        self.try_with(|files| files.touch(path.as_ref(), modified))
    }

    /// Removes what is at a path with all below it; fine if there is nothing.
    pub fn remove(&self, path: impl AsRef<Path>) {
        self.with(|files| files.remove_tree(path.as_ref()));
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// It is not there, or something is in the way.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), String> {
        self.try_with(|files| files.rename(from.as_ref(), to.as_ref()))
    }

    /// Copies a file, or a folder with all below it, to a name that is free.
    ///
    /// # Errors
    /// It is not there, or something is in the way.
    pub fn copy(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), String> {
        self.try_with(|files| files.copy_tree(from.as_ref(), to.as_ref()))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Files) -> T) -> Option<T> {
        let world = self.0.upgrade()?;
        let mut world: MutexGuard<'_, World> = world.lock().unwrap_or_else(PoisonError::into_inner);
        Some(work(&mut world.files))
    }

    fn try_with<T>(&self, work: impl FnOnce(&mut Files) -> Result<T, String>) -> Result<T, String> {
        self.with(work).unwrap_or_else(|| Err("the target is gone".into()))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}
