//! Files of this machine. Everything that may block runs on tokio's threads for that.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Error, ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{
    FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink as make_link,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use runbook_core::{BoxRead, FileInfo, FileKind, WriteOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What went wrong: with the content to be written, or with the file.
pub(super) enum Fault {
    Source(Error),
    File(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::File(error)
    }
}

async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    // As one type of task for all: each costs the compiler a copy of the runtime's machinery.
    let result = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&result);
    let work: Box<dyn FnOnce() + Send> = Box::new(move || {
        let result = work();
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    });
    let ended = tokio::task::spawn_blocking(work).await.map_err(Error::other);
    let result = result.lock().unwrap_or_else(PoisonError::into_inner).take();
    match result {
        Some(result) => result,
        None => Err(ended.err().unwrap_or_else(|| Error::other("it never ran")).into()),
    }
}

pub(super) async fn open(path: &Path) -> io::Result<BoxRead> {
    let path = path.to_owned();
    let file = blocking(move || open_file(&path)).await?;
    Ok(Box::new(tokio::fs::File::from_std(file)))
}

/// Opens an ordinary file; a pipe or device could block for ever.
fn open_file(path: &Path) -> io::Result<File> {
    let there = fs::metadata(path)?;
    if there.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !there.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not an ordinary file"));
    }
    File::open(path)
}

pub(super) async fn write(
    path: &Path,
    mut content: BoxRead,
    options: &WriteOptions,
) -> Result<(), Fault> {
    let place = path.to_owned();
    let options = options.clone();
    let (mut new, file) = blocking(move || -> io::Result<_> {
        let was = what_is_replaced(&place)?;
        let keeps = was.as_ref().is_some_and(|_| !options.force_mode);
        let mode =
            if keeps { was.as_ref().map(mode) } else { options.mode.or(was.as_ref().map(mode)) };
        New::create(&place, mode, was.as_ref().map(|was| (was.uid(), was.gid())))
    })
    .await?;
    let mut file = tokio::fs::File::from_std(file);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = content.read(&mut buffer).await.map_err(Fault::Source)?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).await?;
    }
    file.flush().await?;
    let file = file.into_std().await;
    let claim = new.claim();
    let done = blocking(move || new.finish(&file)).await;
    drop(claim);
    Ok(done?)
}

pub(super) async fn copy(from: &Path, to: &Path) -> Result<(), Fault> {
    /// Copied at once; between two such pieces it is seen whether anybody still waits for it.
    const PIECE: u64 = 64 << 20;
    let (from, to) = (from.to_owned(), to.to_owned());
    let claim = Claim::default();
    let held = claim.held();
    let done = blocking(move || {
        let mut source = open_file(&from).map_err(Fault::Source)?;
        let mode = mode(&source.metadata().map_err(Fault::Source)?);
        let was = what_is_replaced(&to)?;
        let owner = was.map(|was| (was.uid(), was.gid()));
        let (mut new, mut file) = New::create(&to, Some(mode), owner)?;
        new.held = held;
        while io::copy(&mut (&mut source).take(PIECE), &mut file)? == PIECE {
            new.still_wanted()?;
        }
        Ok(new.finish(&file)?)
    })
    .await;
    drop(claim);
    done
}

/// What is at the place of a new file: nothing, or a file whose mode and owner it takes over. A
/// link is replaced by the file, not followed.
fn what_is_replaced(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(was) if was.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(was) => Ok(was.is_file().then_some(was)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// A file under a temporary name beside its place; removed when dropped before it took its place.
struct New {
    temp: Temp,
    place: PathBuf,
    /// Exactly this mode; by default `0o644` less the umask.
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    held: Held,
}

impl New {
    fn create(
        place: &Path,
        mode: Option<u32>,
        owner: Option<(u32, u32)>,
    ) -> io::Result<(Self, File)> {
        // Whoever may not read the file in the end may not read it while it is written.
        let first = if mode.is_some() { 0o600 } else { 0o644 };
        let (temp, file) = Temp::beside(place, |temp| {
            OpenOptions::new().write(true).create_new(true).mode(first).open(temp)
        })?;
        let new = Self { temp, place: place.to_owned(), mode, owner, held: Held::default() };
        Ok((new, file))
    }

    /// Ties the last step to somebody who waits for it.
    fn claim(&mut self) -> Claim {
        let claim = Claim::default();
        self.held = claim.held();
        claim
    }

    fn still_wanted(&self) -> io::Result<()> {
        self.held.when_wanted(|| Ok(()))
    }

    fn finish(self, file: &File) -> io::Result<()> {
        let mut mode = self.mode;
        if let Some((uid, gid)) = self.owner {
            let now = file.metadata()?;
            if (now.uid(), now.gid()) != (uid, gid) {
                match fchown(file, Some(uid), Some(gid)) {
                    Ok(()) => {}
                    // Only root may give a file away. It must not act for the wrong user then.
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                        mode = mode.map(|mode| mode & 0o1777);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        if let Some(mode) = mode {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        file.sync_all()?;
        self.held.when_wanted(|| self.temp.put(&self.place))
    }
}

/// Something under a temporary name; removed when dropped.
struct Temp(Option<PathBuf>);

impl Temp {
    /// Makes something under a name that nothing else has, in the folder of `place`.
    fn beside<T>(place: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = place.file_name() else {
            return Err(Error::new(ErrorKind::InvalidInput, "the path names no file"));
        };
        // Room for the rest within the 255 bytes that file systems allow.
        let name = &name.as_bytes()[..name.len().min(128)];
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let mut temp = b".".to_vec();
            temp.extend_from_slice(name);
            temp.extend_from_slice(format!(".runbook-{}-{count}", std::process::id()).as_bytes());
            let temp = folder(place).join(OsString::from_vec(temp));
            match make(&temp) {
                Ok(made) => return Ok((Self(Some(temp)), made)),
                // Left by a process that was killed and had the same id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn put(&self, place: &Path) -> io::Result<()> {
        if let Some(temp) = &self.0 {
            fs::rename(temp, place)?;
        }
        sync_folder(place)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if let Some(temp) = self.0.take() {
            let _ = fs::remove_file(temp);
        }
    }
}

/// Held by whoever waits for a change that another thread makes. Once it is dropped the change is
/// not made any more; if it is just being made, dropping waits for it. So nobody goes on, to undo
/// it for instance, and is overtaken by the change.
#[derive(Default)]
struct Claim(Arc<Mutex<bool>>);

/// The other side of a [`Claim`].
#[derive(Default)]
struct Held(Arc<Mutex<bool>>);

impl Claim {
    fn held(&self) -> Held {
        Held(Arc::clone(&self.0))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Held {
    fn when_wanted<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let gone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *gone {
            return Err(Error::new(ErrorKind::Interrupted, "nobody waits for it any more"));
        }
        change()
    }
}

fn folder(place: &Path) -> &Path {
    match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a new name in the folder of `place` outlast a power cut.
fn sync_folder(place: &Path) -> io::Result<()> {
    match File::open(folder(place)) {
        Ok(folder) => folder.sync_all(),
        // A folder may be writable and not readable.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) async fn stat(path: &Path) -> io::Result<Option<FileInfo>> {
    let path = path.to_owned();
    blocking(move || match fs::symlink_metadata(&path) {
        Ok(metadata) => info(path, &metadata).map(Some),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    })
    .await
}

fn info(path: PathBuf, metadata: &Metadata) -> io::Result<FileInfo> {
    let kind = metadata.file_type();
    let (kind, link) = if kind.is_file() {
        (FileKind::File, None)
    } else if kind.is_dir() {
        (FileKind::Dir, None)
    } else if kind.is_symlink() {
        (FileKind::Link, Some(fs::read_link(&path)?))
    } else {
        debug_assert!(
            kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device()
        );
        (FileKind::Other, None)
    };
    Ok(FileInfo {
        kind,
        size: metadata.len(),
        mode: mode(metadata),
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: metadata.modified()?,
        link,
        path,
    })
}

pub(super) async fn list(path: &Path) -> io::Result<Vec<FileInfo>> {
    let path = path.to_owned();
    blocking(move || {
        let mut inside = Vec::new();
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let found = entry.metadata().and_then(|metadata| info(entry.path(), &metadata));
            match found {
                Ok(info) => inside.push(info),
                // Somebody removed it meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        inside.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(inside)
    })
    .await
}

pub(super) async fn create_dir(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || fs::create_dir_all(path)).await
}

pub(super) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.to_owned(), to.to_owned());
    blocking(move || {
        fs::rename(&from, &to)?;
        sync_folder(&to)?;
        if folder(&from) == folder(&to) { Ok(()) } else { sync_folder(&from) }
    })
    .await
}

pub(super) async fn symlink(to: &Path, link: &Path) -> io::Result<()> {
    let (to, link) = (to.to_owned(), link.to_owned());
    blocking(move || {
        let (temp, ()) = Temp::beside(&link, |temp| make_link(&to, temp))?;
        temp.put(&link)
    })
    .await
}

pub(super) async fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || fs::set_permissions(path, fs::Permissions::from_mode(mode))).await
}

pub(super) async fn remove(path: &Path) -> io::Result<()> {
    remove_with(path, |path| fs::remove_dir(path)).await
}

pub(super) async fn remove_tree(path: &Path) -> io::Result<()> {
    remove_with(path, |path| fs::remove_dir_all(path)).await
}

async fn remove_with(path: &Path, dir: fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || {
        let removed = match fs::symlink_metadata(&path) {
            Ok(there) if there.is_dir() => dir(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(())
            }
            removed => removed,
        }
    })
    .await
}
