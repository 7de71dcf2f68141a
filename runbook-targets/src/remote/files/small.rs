//! New files under temporary names.

use std::ffi::OsString;
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runbook_core::{Process, Result, Spawn, WriteOptions};

use super::super::channel::Channels;
use super::super::process::Alone;
use super::super::target::Inner;
use super::super::words::plain;
use super::{call, folder};
use crate::remote::lifeline::Lifeline;

/// A name beside `path` that nothing else has.
pub(in super::super) fn beside(path: &Path) -> std::io::Result<OsString> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(Error::new(ErrorKind::InvalidInput, "the path names no file"));
    };
    let mut temp = b".".to_vec();
    temp.extend_from_slice(&name.as_bytes()[..name.len().min(128)]);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    temp.extend_from_slice(format!(".runbook-{}-{count}", Spawn::this_process()).as_bytes());
    Ok(plain(&path.with_file_name(OsString::from_vec(temp))))
}

/// What the scripts that put a file at its place are told.
pub(in super::super) fn arguments(
    temp: OsString,
    path: &Path,
    options: &WriteOptions,
) -> [OsString; 6] {
    let mode = options.mode.map(|mode| format!("{:04o}", mode & 0o7777)).unwrap_or_default();
    let mask = match options.mode {
        // A new file gets this mode at once.
        Some(mode) if mode & !0o666 == 0 => format!("{:04o}", 0o777 & !mode),
        _ => String::new(),
    };
    let force = if options.force_mode && options.mode.is_some() { "yes" } else { "" };
    [temp, plain(path), folder(path), mode.into(), force.into(), mask.into()]
}

/// A file that is being filled; removed when dropped before it has its place, and by the lifeline
/// if this side is gone before.
pub(in super::super) struct Temp<C: Channels> {
    inner: Arc<Inner<C>>,
    lifeline: Arc<Lifeline>,
    number: u64,
    path: Option<OsString>,
    /// What fills it.
    pub(in super::super) process: Option<Alone<C>>,
}

impl<C: Channels> Temp<C> {
    /// For a file that will be made once this is done.
    pub(in super::super) async fn new(inner: &Arc<Inner<C>>, path: OsString) -> Result<Self> {
        let lifeline = inner.lifeline();
        lifeline.open(&inner.channels, &inner.limits).await?;
        let number = lifeline.will_make(&path).await?;
        Ok(Self { inner: Arc::clone(inner), lifeline, number, path: Some(path), process: None })
    }

    pub(in super::super) fn path(&self) -> OsString {
        self.path.clone().unwrap_or_default()
    }

    /// It has its place.
    pub(in super::super) fn placed(&mut self) {
        self.path = None;
        self.lifeline.tell(format!("u {}", self.number).into_bytes());
    }

    /// Removes it now.
    pub(in super::super) async fn remove(&mut self) {
        // First what might still make it. What has not begun can't be found: then the lifeline
        // looks once more for the file when it ends.
        let mut sure = true;
        if let Some(mut process) = self.process.take() {
            let killed = process.kill(Duration::ZERO).await;
            sure = killed.is_ok() && !process.is_lost();
        }
        if let Some(path) = self.path.take() {
            let removed = call(&self.inner, &super::script::REMOVE, [path]).await;
            if removed.is_ok() && sure {
                self.lifeline.tell(format!("u {}", self.number).into_bytes());
            }
        }
    }
}

impl<C: Channels> Drop for Temp<C> {
    fn drop(&mut self) {
        if self.path.is_none() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut left = Self {
            inner: Arc::clone(&self.inner),
            lifeline: Arc::clone(&self.lifeline),
            number: self.number,
            path: self.path.take(),
            process: self.process.take(),
        };
        runtime.spawn(async move { left.remove().await });
    }
}
