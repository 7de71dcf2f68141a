//! Files, as they are done on this machine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use runbook_core::testing::context;
use runbook_core::{Context, Failure, Host, WriteOptions};
use tokio::io::AsyncReadExt;

use super::here::{Far, Here, SHELLS, hosts};
use super::support::{comes_true, soon};
use crate::Local;

/// What is done, and what it came to.
type Done = Vec<(String, Result<String, Failure>)>;

fn fill(folder: &Path) {
    fs::write(folder.join("file"), "old").unwrap();
    fs::set_permissions(folder.join("file"), PermissionsExt::from_mode(0o640)).unwrap();
    fs::write(folder.join("sticky"), "x").unwrap();
    fs::set_permissions(folder.join("sticky"), PermissionsExt::from_mode(0o4711)).unwrap();
    fs::write(folder.join("big"), vec![b'b'; 200_000]).unwrap();
    fs::write(folder.join("at the limit"), vec![b'l'; 32 << 10]).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::create_dir_all(folder.join("full/of/things")).unwrap();
    fs::create_dir(folder.join("hollow")).unwrap();
    symlink("file", folder.join("link")).unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    symlink("round", folder.join("round")).unwrap();
    symlink("full", folder.join("to folder")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap());
}

/// Every operation on every kind of thing.
async fn everything(cx: &Context, host: &Host, base: &Path) -> Done {
    const PATHS: [&str; 16] = [
        "file",
        "sticky",
        "big",
        "at the limit",
        "empty",
        "full",
        "hollow",
        "link",
        "dangling",
        "round",
        "to folder",
        "socket",
        "missing",
        "missing/below",
        "file/below",
        "full/of",
    ];
    const VERBS: [&str; 14] = [
        "read",
        "stat",
        "list",
        "write",
        "write 0600",
        "write 4755 new",
        "write big",
        "create_dir",
        "copy from",
        "copy to",
        "rename to",
        "symlink",
        "set_mode",
        "remove",
    ];
    let mut done = Done::new();
    for verb in VERBS {
        for name in PATHS {
            let folder = tempfile::tempdir_in(base).unwrap();
            fill(folder.path());
            let result = operate(cx, host, verb, &folder.path().join(name), folder.path()).await;
            let result = result.map(|said| format!("{said}\n{}", picture(folder.path())));
            done.push((format!("{verb} {name}"), result));
        }
    }
    for name in ["file", "full", "link", "to folder", "missing", "file/below"] {
        let folder = tempfile::tempdir_in(base).unwrap();
        fill(folder.path());
        let removed = cx.on(host).remove_tree(folder.path().join(name)).await;
        let result = removed.map(|()| picture(folder.path()));
        done.push((format!("remove_tree {name}"), result));
    }
    done
}

async fn operate(
    cx: &Context,
    host: &Host,
    verb: &str,
    path: &Path,
    folder: &Path,
) -> Result<String, Failure> {
    let on = cx.on(host);
    match verb {
        "read" => return Ok(on.read(path).await?.len().to_string()),
        "stat" => return Ok(format!("{:?}", on.stat(path).await?).replace(text(folder), "")),
        "list" => return Ok(format!("{:?}", on.list(path).await?).replace(text(folder), "")),
        "write" => on.write(path, "new").await?,
        "write 0600" => on.write_with(path, "new", &WriteOptions::mode(0o600)).await?,
        "write 4755 new" => {
            let mut options = WriteOptions::default();
            options.mode = Some(0o4755);
            on.write_with(path, "new", &options).await?;
        }
        "write big" => on.write(path, vec![b'n'; 300_000]).await?,
        "create_dir" => on.create_dir(path).await?,
        "copy from" => on.copy(path, folder.join("sticky")).await?,
        "copy to" => on.copy(folder.join("sticky"), path).await?,
        "rename to" => on.rename(folder.join("sticky"), path).await?,
        "symlink" => on.symlink("there", path).await?,
        "set_mode" => on.set_mode(path, 0o2705).await?,
        _ => on.remove(path).await?,
    }
    Ok(String::new())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All that is in a folder, but for times.
fn picture(folder: &Path) -> String {
    let mut lines = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            let (path, about) = (entry.path(), entry.metadata().unwrap());
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let size = if about.is_file() { about.len() } else { 0 };
            let link = fs::read_link(&path).ok();
            lines.push(format!(
                "{name} {:o} {} {} {size} {link:?}",
                about.mode(),
                about.uid(),
                about.gid()
            ));
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    lines.sort();
    lines.join("\n")
}

#[tokio::test]
async fn every_operation_does_and_fails_as_it_does_here() {
    let base = tempfile::tempdir().unwrap();
    let cx = context();
    let name = |text: String, base: &Path| {
        // Names of folders that the tests made.
        let mut rest = text.as_str();
        let mut same = String::new();
        while let Some((before, after)) = rest.split_once(&format!("{}/.tmp", text_of(base))) {
            same.push_str(before);
            same.push_str("DIR");
            rest = &after[6..];
        }
        same + rest
    };
    let local = Host::new(Local::named("web-1"));
    let expected = everything(&cx, &local, base.path()).await;
    for host in hosts() {
        let got = soon(everything(&cx, &host, base.path())).await;
        let mut wrong = Vec::new();
        for ((what, expected), (_, got)) in expected.iter().zip(&got) {
            let say = |done: &Result<String, Failure>| match done {
                Ok(said) => without_times(said),
                Err(failure) => name(format!("{:?} {failure:?}", failure.kind()), base.path()),
            };
            let (expected, got) = (say(expected), say(got));
            if expected != got {
                wrong.push(format!("{what}:\n  here  {expected}\n  there {got}"));
            }
        }
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

fn text_of(path: &Path) -> String {
    path.display().to_string()
}

fn without_times(text: &str) -> String {
    text.split("modified: ")
        .map(|part| part.split_once('}').map_or(part, |(_, rest)| rest))
        .collect()
}

#[tokio::test]
async fn times_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    let expected = fs::metadata(&path).unwrap().modified().unwrap();
    for host in hosts() {
        let info = soon(context().on(&host).stat(&path)).await.unwrap().unwrap();
        assert_eq!(info.modified, expected);
    }
}

/// Only for root: a file is given away.
#[tokio::test]
async fn the_owner_of_a_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    if std::os::unix::fs::chown(&path, Some(12345), Some(54321)).is_err() {
        return;
    }
    for host in hosts() {
        for size in [3, 100_000] {
            soon(context().on(&host).write(&path, vec![b'x'; size])).await.unwrap();
            let about = fs::metadata(&path).unwrap();
            assert_eq!((about.uid(), about.gid(), about.len()), (12345, 54321, size as u64));
        }
    }
}

#[tokio::test]
async fn large_content_goes_there_and_comes_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let content: Vec<u8> = (0..5_000_000_u32).map(|at| (at * 7 % 251) as u8).collect();
    for host in hosts() {
        soon(context().on(&host).write(&path, content.clone())).await.unwrap();
        assert!(fs::read(&path).unwrap() == content);
        assert!(soon(context().on(&host).read(&path)).await.unwrap() == content);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn content_that_can_not_be_read_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    for host in hosts() {
        for begin in [10, 1_000_000] {
            let begin = std::io::Cursor::new(vec![b'x'; begin]);
            let broken = broken();
            let content = Box::new(begin.chain(broken));
            let write = context();
            let write = write.on(&host);
            let failure =
                soon(write.write_from(&path, content, &WriteOptions::default())).await.unwrap_err();
            assert!(failure.to_string().contains("the content could not be read"), "{failure}");
            assert_eq!(fs::read(&path).unwrap(), b"old");
            comes_true("nothing else is left", || {
                fs::read_dir(folder.path()).unwrap().count() == 1
            })
            .await;
        }
    }
}

fn broken() -> impl tokio::io::AsyncRead + Unpin {
    struct Broken;
    impl tokio::io::AsyncRead for Broken {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Err(std::io::Error::other("the pipe burst")))
        }
    }
    Broken
}

#[tokio::test]
async fn an_upload_that_is_given_up_or_cut_off_leaves_nothing() {
    for sh in SHELLS {
        for cut in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let here = Here::new();
            let host = Host::new(Far::new(&here, sh));
            let inside = || fs::read_dir(folder.path()).unwrap().count();
            // Content that never ends.
            let (content, mut feed) = tokio::io::duplex(1 << 20);
            tokio::io::AsyncWriteExt::write_all(&mut feed, &vec![b'x'; 500_000]).await.unwrap();
            let path = folder.path().join("file");
            let upload = tokio::spawn({
                let host = host.clone();
                async move {
                    let options = WriteOptions::default();
                    context().on(&host).write_from(&path, Box::new(content), &options).await
                }
            });
            comes_true("it has begun", || inside() == 1).await;
            if cut {
                here.cut();
                soon(upload).await.unwrap().unwrap_err();
            } else {
                upload.abort();
            }
            comes_true(&format!("its file is gone, {sh}, cut: {cut}"), || inside() == 0).await;
            drop(host);
            comes_true("its channels are closed", || here.open_channels() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_host_that_takes_no_large_content_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    let here = Here::new();
    here.refuse_bulk();
    let host = Host::new(Far::new(&here, "dash"));
    let failure = soon(context().on(&host).write(&path, vec![b'x'; 100_000])).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        format!("writing {} on web-1: the server allows no more sessions", path.display())
    );
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // It takes what is small.
    soon(context().on(&host).write(&path, "new")).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    drop(host);
    comes_true("its channels are closed", || here.open_channels() == 0).await;
}

/// Some run in the shell itself, which then runs the commands of others.
#[tokio::test]
async fn operations_leave_their_shell_as_it_was() {
    for sh in SHELLS {
        let (here, folder) = (Here::new(), tempfile::tempdir().unwrap());
        let (host, cx) = (Host::new(Far::new(&here, sh)), context());
        let on = cx.on(&host);
        let state = super::support::sh("pwd; umask; trap; echo ${LC_ALL-unset}");
        let before = soon(on.run(&state)).await.unwrap().text();
        let opened = here.opened();
        fill(folder.path());
        let done = soon(everything(&cx, &host, folder.path())).await;
        assert!(done.iter().any(|(_, outcome)| outcome.is_err()), "some fail");
        // Large files have channels of their own.
        let large = done.iter().filter(|(what, _)| what.contains("big")).count();
        assert!(here.opened() <= opened + large, "{sh}: {} of {opened}", here.opened());
        assert_eq!(soon(on.run(&state)).await.unwrap().text(), before, "{sh}");
    }
}
