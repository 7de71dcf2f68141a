//! Files over a connection that breaks, and on a disk that is full.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use lab::{Folder, Proxy, SmallDisk, Sshd};
use runbook_core::testing::context;
use runbook_core::{FailureKind, Host, WriteOptions};
use runbook_targets::Sudo;
use tokio::io::AsyncReadExt as _;

use crate::files::{is_root, names};
use crate::support::{comes_true, here, sh, soon};
use crate::{at, by_way_of, to};

const LARGE: usize = 64 << 20;

/// Bytes that no part of can be taken for another.
fn content(size: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

async fn sum(host: &Host, path: &Path) -> String {
    let command = runbook_core::Command::new("sha256sum").arg(path);
    let said = soon(context().on(host).run(&command)).await.unwrap().text();
    said.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn large_files_go_there_and_come_back_whole_with_mode_and_owner() {
    let (folder, host) = (tempfile::tempdir().unwrap(), here());
    let path = folder.path().join("large");
    let bytes = content(LARGE);
    let ours = folder.path().join("ours");
    fs::write(&ours, &bytes).unwrap();
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
    }
    let before = fs::metadata(&path).unwrap();
    let cx = context();
    soon(cx.on(&host).write(&path, bytes.clone())).await.unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.mode(), after.uid(), after.gid()),
        (before.mode(), before.uid(), before.gid())
    );
    assert_eq!(sum(&host, &path).await, sum(&host, &ours).await);
    assert!(soon(cx.on(&host).read(&path)).await.unwrap() == bytes);
    assert_eq!(names(folder.path()), ["large", "ours"]);
}

#[tokio::test]
async fn large_files_of_another_user_go_there_and_come_back_whole() {
    let Some(_) = crate::sudo::nobody() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let host = Host::new(Sudo::new(here(), "nobody"));
    let path = folder.path().join("large");
    let bytes = content(LARGE);
    let cx = context();
    let secret = WriteOptions::mode(0o600);
    soon(cx.on(&host).write_with(&path, bytes.clone(), &secret)).await.unwrap();
    assert!(soon(cx.on(&host).read(&path)).await.unwrap() == bytes);
    let of_nobody = soon(cx.on(&host).run(&sh("id -u"))).await.unwrap().text();
    let there = fs::metadata(&path).unwrap();
    assert_eq!((there.uid().to_string(), there.mode() & 0o777), (of_nobody, 0o600));
    assert_eq!(names(folder.path()), ["large"]);
}

/// Forwards each of the first connections so many bytes to the server, then cuts it.
pub(crate) fn breaks_after(port: u16, limit: u64) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ours = listener.local_addr().unwrap().port();
    // Ends with the test program.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
            let (mut down, mut up) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let mut piece = [0; 16 << 10];
                while let Ok(read @ 1..) = down.read(&mut piece) {
                    if up.write_all(&piece[..read]).is_err() {
                        break;
                    }
                }
                let _ = up.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut (&client).take(limit), &mut &server);
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    ours
}

#[tokio::test]
async fn an_upload_that_is_cut_anywhere_leaves_the_old_file_and_nothing_else() {
    let sshd = Sshd::start();
    let bytes = content(4 << 20);
    for limit in [2_000, 4_000, 8_000, 64 << 10, 300 << 10, 1 << 20, 3 << 20, 4 << 20] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let host = Host::new(at(&sshd, breaks_after(sshd.port(), limit)));
        let failure = soon(context().on(&host).write(&path, bytes.clone())).await;
        let failure = failure.expect_err("it can't have arrived").to_string();
        assert!(failure.starts_with("writing /") || failure.contains("connecting"), "{failure}");
        drop(host);
        comes_true("nothing half is left", || names(folder.path()) == ["file"]).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), "old", "{limit}");
        comes_true("no session is left", || sshd.sessions().is_empty()).await;
    }
}

#[tokio::test]
async fn a_download_that_is_cut_is_never_taken_for_the_whole() {
    let sshd = Sshd::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, content(LARGE)).unwrap();
    let proxy = Proxy::start(sshd.port());
    let host = Host::new(by_way_of(&sshd, &proxy));
    let cx = context();
    let mut content = soon(cx.on(&host).open(&path)).await.unwrap();
    let mut piece = vec![0; 1 << 20];
    content.read_exact(&mut piece).await.unwrap();
    proxy.cut();
    let error = soon(content.read_to_end(&mut piece)).await.unwrap_err();
    let failure = runbook_core::Failure::from(error);
    assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    assert!(piece.len() < LARGE);
    // And by a server that closes only its channel.
    let sshd = Sshd::builder().config("ChannelTimeout session:*=8s").start();
    let host = Host::new(to(&sshd));
    let mut content = soon(cx.on(&host).open(&path)).await.unwrap();
    content.read_exact(&mut piece[..1 << 20]).await.unwrap();
    comes_true("its `cat` is gone", || {
        !sshd
            .sessions()
            .iter()
            .any(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"cat\0"))
    })
    .await;
    let error = soon(content.read_to_end(&mut piece)).await.unwrap_err();
    assert!(piece.len() < LARGE + (1 << 20), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_half_is_left() {
    let folder = Folder::new();
    let Some(disk) = SmallDisk::mount(&folder, "disk", 1 << 20) else { return };
    let (cx, host) = (context(), here());
    let path = disk.path().join("file");
    cx.on(&host).write(&path, "old").await.unwrap();
    for size in [4 << 20, LARGE] {
        let failure = soon(cx.on(&host).write(&path, content(size))).await.unwrap_err();
        assert!(failure.to_string().contains("no space left on device"), "{failure}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(disk.path()), ["file"]);
    }
    // Also what is small enough to go along with its command.
    let rest = disk.path().join("rest");
    let fill = sh("dd if=/dev/zero of=\"$0\" bs=4096 2>/dev/null; true").arg(&rest);
    soon(cx.on(&host).run(&fill)).await.unwrap();
    let failure = soon(cx.on(&host).write(&path, vec![b'x'; 12_000])).await.unwrap_err();
    assert!(failure.to_string().contains("no space left on device"), "{failure}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(disk.path()), ["file", "rest"]);
}
