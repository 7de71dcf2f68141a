//! Where servers live, and the end of all that lives there.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// A temporary folder that takes with it every process that has to do with it.
///
/// When its last clone is dropped, all processes that name the folder in their arguments or their
/// environment, or have a file of it open, are killed; what is mounted in it is unmounted; then it
/// is removed. A guard beside this process does it, so that it happens also when this process is
/// killed, or ends without dropping anything. The process itself is spared.
///
/// ```
/// let folder = lab::Folder::new();
/// std::fs::write(folder.path().join("note"), "gone soon").unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    guard: Child,
}

impl Folder {
    /// An empty one, that other users may pass through.
    ///
    /// # Panics
    /// It can't be made, or the guard can't be started.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that makes a folder surprises")]
    pub fn new() -> Self {
        let path = tempfile::Builder::new()
            .prefix("lab-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .unwrap_or_else(|error| panic!("making a temporary folder: {error}"))
            .keep();
        // Not through its arguments: it would find itself.
        let mut guard = Command::new("sh")
            .args(["-c", GUARD])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("starting the guard of {}: {error}", path.display()));
        let told = guard.stdin.as_mut().map(|stdin| writeln!(stdin, "{}", path.display()));
        assert!(matches!(told, Some(Ok(()))), "the guard of {} has ended", path.display());
        Self(Arc::new(Inner { path, guard }))
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// A folder in it, made now.
    ///
    /// # Panics
    /// It can't be made.
    #[must_use]
    pub fn subfolder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("making {}: {error}", path.display()));
        path
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Its end of input is the guard's word to begin.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// PostgreSQL gets a chance to give its shared memory back: the system keeps it otherwise.
const GUARD: &str = r#"
trap '' HUP INT TERM
read -r folder || exit 0
read -r end
[ -d "$folder" ] || exit 0
for file in $(find "$folder" -name postmaster.pid 2>/dev/null); do
    read -r pid <"$file" && kill -QUIT "$pid"
done
round=0
while [ $round -lt 200 ]; do
    {
        find /proc/[0-9]*/fd -lname "$folder/*"
        grep -lsF -e "$folder" /proc/[0-9]*/environ /proc/[0-9]*/cmdline
    } >"$folder/.left"
    left=$(sed -n 's#^/proc/\([0-9]*\)/.*#\1#p' "$folder/.left" | sort -u | grep -vx -e $$ -e $PPID)
    [ -n "$left" ] || break
    [ $round -lt 10 ] && [ -n "$(find "$folder" -name postmaster.pid)" ] || kill -KILL $left
    sleep 0.02
    round=$((round + 1))
done
while read -r device point rest; do
    case $point in "$folder"/*) umount -l "$point" ;; esac
done </proc/mounts
rm -rf -- "$folder"
"#;

/// How many bytes an ordinary user may still write there.
///
/// # Panics
/// The folder is not there.
#[must_use]
pub fn free_space(folder: &Path) -> u64 {
    let disk = rustix::fs::statvfs(folder)
        .unwrap_or_else(|error| panic!("looking for space in {}: {error}", folder.display()));
    disk.f_bavail * disk.f_frsize
}
