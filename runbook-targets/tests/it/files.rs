//! Files of this machine.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use insta::assert_snapshot;
use runbook_core::testing::{Surroundings, context};
use runbook_core::{Direction, EventKind, FileKind, Host, Target, TransferState, WriteOptions};
use runbook_targets::Local;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::support::{here, in_a_process_of_its_own, soon};

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[tokio::test]
async fn writing_keeps_mode_and_owner_of_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.conf");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
    }
    let before = fs::metadata(&path).unwrap();
    let (cx, host) = (context(), here());
    let fs_here = cx.on(&host);
    fs_here.write(&path, "new").await.unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_ne!(before.ino(), after.ino(), "it was replaced, not overwritten");
    assert_eq!(
        (after.mode(), after.uid(), after.gid()),
        (before.mode(), before.uid(), before.gid())
    );
    let mut gentle = WriteOptions::default();
    gentle.mode = Some(0o600);
    fs_here.write_with(&path, "newer", &gentle).await.unwrap();
    assert_eq!(mode(&path), 0o640, "the mode was for a new file only");
    fs_here.write_with(&path, "newest", &WriteOptions::mode(0o4711)).await.unwrap();
    assert_eq!(mode(&path), 0o4711);
    assert_eq!(names(folder.path()), ["shop.conf"]);
}

#[tokio::test]
async fn a_new_file_gets_the_mode_it_was_given_or_the_usual_one() {
    let folder = tempfile::tempdir().unwrap();
    let (usual, secret) = (folder.path().join("usual"), folder.path().join("secret"));
    let (cx, host) = (context(), here());
    cx.on(&host).write(&usual, "x").await.unwrap();
    cx.on(&host).write_with(&secret, "x", &WriteOptions::mode(0o600)).await.unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap().trim();
    let umask = u32::from_str_radix(umask, 8).unwrap();
    assert_eq!(mode(&usual), 0o644 & !umask);
    assert_eq!(mode(&secret), 0o600);
}

#[tokio::test]
async fn large_content_is_streamed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 253) as u8).collect();
    let (around, host) = (Surroundings::new(), here());
    let cx = around.context();
    cx.on(&host).write(&path, content.clone()).await.unwrap();
    assert!(cx.on(&host).read(&path).await.unwrap() == content);
    // Whoever watches sees both, from their beginning to their end.
    let moved = |event| match event {
        EventKind::Transfer(file) => Some((file.direction, file.state, file.done, file.total)),
        _ => None,
    };
    let moved: Vec<_> = around.events().into_iter().filter_map(moved).collect();
    let size = 5_000_000;
    assert_eq!(moved[0], (Direction::Up, TransferState::Moving, 0, Some(size)));
    for direction in [Direction::Up, Direction::Down] {
        let last = moved.iter().rfind(|(way, ..)| *way == direction);
        assert_eq!(last, Some(&(direction, TransferState::Done, size, Some(size))), "{moved:?}");
    }
    let copy = folder.path().join("copy");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
    cx.on(&host).copy(&path, &copy).await.unwrap();
    assert!(fs::read(&copy).unwrap() == content);
    assert_eq!(mode(&copy), 0o751);
    assert_eq!(names(folder.path()), ["copy", "large"]);
}

/// Says a little and then fails, or never says more.
pub(crate) struct Broken(pub(crate) bool, pub(crate) bool);

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match (std::mem::replace(&mut self.0, true), self.1) {
            (false, _) => {
                buffer.put_slice(b"half of it");
                Poll::Ready(Ok(()))
            }
            (true, true) => Poll::Ready(Err(std::io::Error::other("the tape tore"))),
            (true, false) => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn content_that_breaks_off_leaves_the_old_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    let options = WriteOptions::default();
    let (cx, host) = (context(), here());
    let broken = Box::new(Broken(false, true));
    let failure = cx.on(&host).write_from(&path, broken, &options).await.unwrap_err();
    let text = failure.to_string().replace(folder.path().to_str().unwrap(), "/folder");
    assert_snapshot!(text, @"writing /folder/file on local: the content could not be read: the tape tore");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(folder.path()), ["file"]);
}

#[tokio::test]
async fn a_write_that_is_dropped_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    let options = WriteOptions::default();
    let local = Local::new();
    let mut write = local.write(&path, Box::new(Broken(false, false)), &options);
    tokio::select! {
        _ = &mut write => panic!("the content never ends"),
        () = crate::support::comes_true("it is under way", || names(folder.path()).len() == 2) => {}
    }
    drop(write);
    assert_eq!(names(folder.path()), ["file"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
}

#[tokio::test]
async fn a_dropped_write_never_lands_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let options = WriteOptions::default();
    let local = Local::new();
    // Dropped at every point where it may wait.
    for polls in 0..12 {
        fs::write(&path, "old").unwrap();
        let content = Box::new(Cursor::new(vec![b'n'; 200_000]));
        let mut write = local.write(&path, content, &options);
        let mut left = polls;
        let done = std::future::poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(false);
            }
            left -= 1;
            let poll = write.as_mut().poll(cx);
            poll.map(|written| written.is_ok())
        });
        let done = soon(done).await;
        drop(write);
        let now = fs::read(&path).unwrap();
        assert!(!done || now.len() == 200_000);
        // What is there when the write is dropped is there for good.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        crate::support::comes_true("its temporary file is gone", || {
            names(folder.path()) == ["file"]
        })
        .await;
        assert!(fs::read(&path).unwrap() == now, "after {polls} polls");
    }
}

#[test]
fn a_write_that_finds_no_room_leaves_the_old_file_and_nothing_else() {
    let name = "files::a_write_that_finds_no_room_leaves_the_old_file_and_nothing_else";
    // No file may grow beyond 4 KiB.
    in_a_process_of_its_own(name, "trap '' XFSZ; ulimit -f 8; exec", || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (cx, host) = (context(), here());
        let written = runtime.block_on(cx.on(&host).write(&path, vec![b'x'; 1 << 20]));
        let text = format!("{:?}", written.unwrap_err());
        assert_snapshot!(text.replace(folder.path().to_str().unwrap(), "/folder"), @r"
        writing /folder/file on local: file too large (os error 27)
          next: raise the limit of the size of files: `ulimit -f`
        ");
        let copied = runtime.block_on(cx.on(&host).copy("/proc/self/exe", &path));
        assert!(copied.unwrap_err().to_string().starts_with("writing "));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["file"]);
    });
}

#[tokio::test]
async fn what_is_refused_says_why_and_what_to_do() {
    // Elsewhere a shell words a few of these in another way.
    if !crate::HERE_IS_LOCAL {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("full/inside")).unwrap();
    fs::write(at("file"), "x").unwrap();
    let (cx, host) = (context(), here());
    let fs_here = cx.on(&host);
    let failures = [
        fs_here.write(at("missing/file"), "x").await.unwrap_err(),
        fs_here.write(at("full"), "x").await.unwrap_err(),
        fs_here.write("/sys/kernel/runbook-test", "x").await.unwrap_err(),
        fs_here.write("/", "x").await.unwrap_err(),
        fs_here.read(at("missing")).await.unwrap_err(),
        fs_here.read(at("full")).await.unwrap_err(),
        fs_here.read("/dev/null").await.unwrap_err(),
        fs_here.list(at("file")).await.unwrap_err(),
        fs_here.create_dir(at("file/below")).await.unwrap_err(),
        fs_here.rename(at("missing"), at("there")).await.unwrap_err(),
        fs_here.rename(at("file"), "/dev/shm/runbook-test").await.unwrap_err(),
        fs_here.symlink("file", at("full")).await.unwrap_err(),
        fs_here.set_mode(at("missing"), 0o600).await.unwrap_err(),
        fs_here.remove(at("full")).await.unwrap_err(),
        fs_here.copy(at("missing"), at("copy")).await.unwrap_err(),
        fs_here.copy(at("file"), at("missing/copy")).await.unwrap_err(),
    ];
    let text: Vec<_> = failures
        .iter()
        .map(|failure| format!("{failure:?}").replace(folder.path().to_str().unwrap(), "/folder"))
        .collect();
    assert_snapshot!(text.join("\n"), @r"
    writing /folder/missing/file on local: no such file or directory (os error 2)
      next: create the folder /folder/missing first
    writing /folder/full on local: is a directory
    writing /sys/kernel/runbook-test on local: permission denied (os error 13)
      next: look at the owner and mode of /sys/kernel/runbook-test and of /sys/kernel on local, or wrap the target in `Sudo`
    writing / on local: is a directory
    reading /folder/missing on local: no such file or directory (os error 2)
    reading /folder/full on local: is a directory
    reading /dev/null on local: not an ordinary file
    listing /folder/file on local: not a directory (os error 20)
    creating the folder /folder/file/below on local: not a directory (os error 20)
    renaming /folder/missing to /folder/there on local: no such file or directory (os error 2)
    renaming /folder/file to /dev/shm/runbook-test on local: invalid cross-device link (os error 18)
      next: they are on different file systems: copy it, then remove the first
    linking /folder/full to file on local: is a directory (os error 21)
    setting the mode of /folder/missing on local: no such file or directory (os error 2)
    removing /folder/full on local: directory not empty (os error 39)
      next: remove what is in it first, or use `remove_tree`
    reading /folder/missing on local: no such file or directory (os error 2)
    writing /folder/missing/copy on local: no such file or directory (os error 2)
      next: create the folder /folder/missing first
    ");
    assert_eq!(names(folder.path()), ["file", "full"], "no temporary file is left");
}

#[tokio::test]
async fn files_of_this_machine_behave() {
    let folder = tempfile::tempdir().unwrap();
    behave(&here(), folder.path()).await;
}

/// What holds of every target's files. `folder` is empty, and on this machine.
pub(crate) async fn behave(host: &Host, folder: &Path) {
    let at = |name: &str| folder.join(name);
    let cx = context();
    let fs_there = cx.on(host);

    // Folders, links, files below them.
    fs_there.create_dir(at("releases/1")).await.unwrap();
    fs_there.create_dir(at("releases/1")).await.unwrap();
    fs_there.create_dir(at("releases/2")).await.unwrap();
    fs_there.symlink("releases/1", at("current")).await.unwrap();
    fs_there.symlink("releases/2", at("current")).await.unwrap();
    let current = fs_there.stat(at("current")).await.unwrap().unwrap();
    assert_eq!(current.kind, FileKind::Link);
    assert_eq!(current.link.as_deref(), Some(Path::new("releases/2")));
    fs_there.write(at("current/index.html"), "two").await.unwrap();
    assert_eq!(fs::read_to_string(at("releases/2/index.html")).unwrap(), "two");

    // What is known of a file.
    fs_there.set_mode(at("current/index.html"), 0o444).await.unwrap();
    let index = fs_there.stat(at("releases/2/index.html")).await.unwrap().unwrap();
    let real = fs::metadata(at("releases/2/index.html")).unwrap();
    assert_eq!((index.kind, index.mode, index.size), (FileKind::File, 0o444, 3));
    assert_eq!((index.uid, index.gid), (real.uid(), real.gid()));
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(seconds(index.modified), seconds(real.modified().unwrap()));

    // Writing keeps the mode, unless it is told not to.
    fs_there.write(at("current/index.html"), "2").await.unwrap();
    assert_eq!(mode(&at("current/index.html")), 0o444);
    fs_there.write_with(at("current/index.html"), "2", &WriteOptions::mode(0o640)).await.unwrap();
    assert_eq!(mode(&at("current/index.html")), 0o640);
    let mut gentle = WriteOptions::default();
    gentle.mode = Some(0o600);
    fs_there.write_with(at("current/index.html"), "2", &gentle).await.unwrap();
    assert_eq!(mode(&at("current/index.html")), 0o640);
    fs_there.write_with(at("current/new"), "2", &gentle).await.unwrap();
    assert_eq!(mode(&at("current/new")), 0o600);
    fs_there.remove(at("current/new")).await.unwrap();

    // A link is replaced, not followed.
    fs_there.symlink(&at("releases/2/index.html"), at("link")).await.unwrap();
    fs_there.write(at("link"), "three").await.unwrap();
    assert_eq!(fs_there.stat(at("link")).await.unwrap().unwrap().kind, FileKind::File);
    assert_eq!(fs::read_to_string(at("releases/2/index.html")).unwrap(), "2");

    // Content of any size comes back.
    let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 253) as u8).collect();
    fs_there.write_with(at("large"), content.clone(), &WriteOptions::mode(0o751)).await.unwrap();
    fs_there.copy(at("large"), at("copy")).await.unwrap();
    assert!(fs_there.read(at("copy")).await.unwrap() == content);
    assert_eq!(mode(&at("copy")), 0o751);
    fs_there.write(at("empty"), "").await.unwrap();
    assert_eq!(fs_there.read(at("empty")).await.unwrap(), b"");
    fs_there.remove(at("empty")).await.unwrap();
    fs_there.remove(at("large")).await.unwrap();
    fs_there.remove(at("copy")).await.unwrap();

    // Renaming, listing, removing.
    fs_there.rename(at("releases"), at("old")).await.unwrap();
    assert!(fs_there.exists(at("current")).await.unwrap(), "a dangling link is something");
    fs_there.write(at("-rf * \n'\"$x`"), "odd").await.unwrap();
    let inside = fs_there.list(folder).await.unwrap();
    let kinds: Vec<_> = inside
        .iter()
        .map(|info| (info.path.strip_prefix(folder).unwrap().to_str().unwrap(), info.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("-rf * \n'\"$x`", FileKind::File),
            ("current", FileKind::Link),
            ("link", FileKind::File),
            ("old", FileKind::Dir)
        ]
    );
    assert_eq!(inside[1].link.as_deref(), Some(Path::new("releases/2")));
    assert_eq!(fs_there.list(at("old/1")).await.unwrap(), []);
    fs_there.remove(&inside[0].path).await.unwrap();
    fs_there.symlink(&at("link"), at("old/to-outside")).await.unwrap();
    fs_there.remove_tree(at("old")).await.unwrap();
    fs_there.remove_tree(at("old")).await.unwrap();
    fs_there.remove_tree(at("current")).await.unwrap();
    fs_there.remove(at("missing/below")).await.unwrap();
    assert_eq!(names(folder), ["link"], "links are not followed");

    // What can't be leaves everything as it is.
    fs_there.create_dir(at("full/inside")).await.unwrap();
    fs_there.write(at("missing/file"), "x").await.unwrap_err();
    fs_there.write(at("full"), "x").await.unwrap_err();
    fs_there.write_from(at("link"), Box::new(Broken(false, true)), &gentle).await.unwrap_err();
    fs_there.read(at("missing")).await.unwrap_err();
    fs_there.read(at("full")).await.unwrap_err();
    fs_there.list(at("missing")).await.unwrap_err();
    fs_there.list(at("link")).await.unwrap_err();
    fs_there.create_dir(at("link/below")).await.unwrap_err();
    fs_there.rename(at("missing"), at("there")).await.unwrap_err();
    fs_there.rename(at("link"), "/dev/shm/runbook-test").await.unwrap_err();
    fs_there.symlink("link", at("full")).await.unwrap_err();
    fs_there.set_mode(at("missing"), 0o600).await.unwrap_err();
    fs_there.remove(at("full")).await.unwrap_err();
    fs_there.copy(at("missing"), at("copy")).await.unwrap_err();
    fs_there.copy(at("link"), at("full")).await.unwrap_err();
    assert_eq!(names(folder), ["full", "link"]);
    assert_eq!(fs::read_to_string(at("link")).unwrap(), "three");
    fs_there.remove(at("link")).await.unwrap();
    fs_there.remove(at("link")).await.unwrap();
    assert!(fs_there.stat(at("link/below")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_is_written_as_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let (mut ours, theirs) = tokio::io::duplex(16);
    let (cx, host) = (context(), here());
    let options = WriteOptions::default();
    let fs_here = cx.on(&host);
    let write = fs_here.write_from(&path, Box::new(theirs), &options);
    let say = async {
        for _ in 0..100 {
            ours.write_all(b"a line of text\n").await.unwrap();
        }
        drop(ours);
    };
    let (written, ()) = soon(async { tokio::join!(write, say) }).await;
    written.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "a line of text\n".repeat(100));
}

#[tokio::test]
async fn a_large_file_is_told_with_the_hash_that_the_host_has_of_it() {
    let (folder, host, around) = (tempfile::tempdir().unwrap(), here(), Surroundings::new());
    let (cx, path) = (around.context(), folder.path().join("shop.tar.gz"));
    let build: Vec<u8> = (0..3_u32 << 18).flat_map(u32::to_le_bytes).collect();
    soon(cx.on(&host).write(&path, build.clone())).await.unwrap();
    assert!(soon(cx.on(&host).read(&path)).await.unwrap() == build);
    let sum = std::process::Command::new("sha256sum").arg(&path).output().unwrap().stdout;
    let sum = &String::from_utf8(sum).unwrap()[..64];
    let events = around.events();
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            EventKind::Transfer(file) => Some((file.direction, file.sha256.as_deref()?)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(Direction::Up, sum), (Direction::Down, sum)]);
}
