//! Files: retention, compression, truncation, copies; and what must not happen to others.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use runbook_core::Status;
use runbook_host::{Bytes, OldFiles, Retention};

use crate::support::{cannot_look, here, look, problem, refused, run, succeed, undone};

/// Makes a file that was last changed so many days ago.
fn old(folder: &Path, name: &str, days: u32) {
    let path = folder.join(name);
    fs::write(&path, format!("content of {name}")).unwrap();
    let status = Command::new("touch")
        .arg("-d")
        .arg(format!("{days} days ago"))
        .arg("--")
        .arg(&path)
        .status();
    assert!(status.unwrap().success());
}

fn names(listed: &OldFiles) -> Vec<&str> {
    listed.files().iter().map(|file| file.name.as_str()).collect()
}

fn in_folder(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_old_by_age_and_count_is_listed_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    for (name, days) in [("a.log", 40), ("b.log", 35), ("c.log", 31), ("d.log", 1), ("x", 99)] {
        old(dir.path(), name, days);
    }
    let folder = here().folder(dir.path());
    let by_age = look(folder.list_old(Retention::days(30).named("*.log")));
    assert_eq!(names(by_age.evidence()), ["a.log", "b.log", "c.log"]);
    let by_count = look(folder.list_old(Retention::count(2).named("*.log")));
    assert_eq!(names(by_count.evidence()), ["a.log", "b.log"]);
    let both = look(folder.list_old(Retention::days(30).keep_last(2).named("*.log")));
    assert_eq!(names(both.evidence()), ["a.log", "b.log"]);
    let all_kept = look(folder.list_old(Retention::days(30).keep_last(9)));
    assert!(all_kept.evidence().files().is_empty());
    assert_eq!(all_kept.why(), "none");
}

#[test]
fn exactly_what_was_listed_is_removed_whatever_it_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let odd = ["-rf", " a b ", "new\nline", "quo'te\"", "$(touch x)", "*", "é", "back\\slash"];
    for name in odd {
        old(dir.path(), name, 9);
    }
    old(dir.path(), "young", 0);
    fs::create_dir(dir.path().join("below")).unwrap();
    old(&dir.path().join("below"), "deep", 9);
    let folder = here().folder(dir.path());
    let listed = look(folder.list_old(Retention::days(5)));
    assert_eq!(listed.evidence().files().len(), odd.len());
    assert!(listed.why().contains("\"new\\nline\""), "{}", listed.why());
    succeed(|b| {
        let old = b.check(folder.list_old(Retention::days(5)));
        b.irreversible(folder.remove(old), "test");
    });
    assert_eq!(in_folder(dir.path()), ["below", "young"]);
    assert_eq!(in_folder(&dir.path().join("below")), ["deep"]);
    succeed(|b| {
        let old = b.check(folder.list_old(Retention::days(5).with_folders_below()));
        b.irreversible(folder.remove(old), "test");
    });
    assert_eq!(in_folder(&dir.path().join("below")), [""; 0]);
}

#[test]
fn links_are_neither_followed_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    old(outside.path(), "precious", 99);
    symlink(outside.path(), dir.path().join("folder")).unwrap();
    symlink(outside.path().join("precious"), dir.path().join("file")).unwrap();
    old(dir.path(), "old", 99);
    let folder = here().folder(dir.path());
    let rule = Retention::days(5).with_folders_below();
    assert_eq!(names(look(folder.list_old(rule.clone())).evidence()), ["old"]);
    succeed(|b| {
        let old = b.check(folder.list_old(rule));
        b.irreversible(folder.remove(old), "test");
    });
    assert_eq!(in_folder(dir.path()), ["file", "folder"]);
    assert_eq!(in_folder(outside.path()), ["precious"]);
}

#[test]
fn a_folder_that_became_a_link_meanwhile_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("below")).unwrap();
    old(&dir.path().join("below"), "old", 99);
    let folder = here().folder(dir.path());
    let rule = Retention::days(5).with_folders_below();
    let listed = look(folder.list_old(rule)).into_evidence();
    // The very same file, by another way.
    fs::rename(dir.path().join("below/old"), outside.path().join("old")).unwrap();
    fs::remove_dir(dir.path().join("below")).unwrap();
    symlink(outside.path(), dir.path().join("below")).unwrap();
    let said = refused(|b| {
        b.irreversible(folder.remove(listed), "test");
    });
    assert!(said.contains("below/old is outside of the folder"), "{said}");
    assert_eq!(in_folder(outside.path()), ["old"]);
}

#[test]
fn nothing_is_removed_if_any_of_it_was_changed_since() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        old(dir.path(), name, 9);
    }
    let folder = here().folder(dir.path());
    let listed = look(folder.list_old(Retention::days(5))).into_evidence();
    fs::write(dir.path().join("b"), "needed again").unwrap();
    let said = refused(|b| {
        b.irreversible(folder.remove(listed.clone()), "test");
    });
    assert!(said.contains("b was changed since it was listed"), "{said}");
    assert!(said.contains("list them again"), "{said}");
    assert_eq!(in_folder(dir.path()), ["a", "b", "c"]);
    // One that is gone is no obstacle.
    fs::remove_file(dir.path().join("b")).unwrap();
    succeed(|b| {
        b.irreversible(folder.remove(listed), "test");
    });
    assert_eq!(in_folder(dir.path()), [""; 0]);
}

#[test]
fn a_file_replaced_by_another_of_the_same_size_and_time_is_another() {
    let dir = tempfile::tempdir().unwrap();
    old(dir.path(), "a", 9);
    let folder = here().folder(dir.path());
    let listed = look(folder.list_old(Retention::days(5))).into_evidence();
    let (path, copy) = (dir.path().join("a"), dir.path().join("copy"));
    let status = Command::new("cp").arg("-p").args([&path, &copy]).status().unwrap();
    assert!(status.success());
    fs::rename(&copy, &path).unwrap();
    let said = refused(|b| {
        b.irreversible(folder.remove(listed), "test");
    });
    assert!(said.contains("was changed"), "{said}");
}

#[test]
fn a_list_of_another_folder_or_with_a_way_out_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    old(outside.path(), "precious", 9);
    let (folder, other) = (here().folder(dir.path()), here().folder(outside.path()));
    let listed = look(other.list_old(Retention::days(5))).into_evidence();
    let said = refused(|b| {
        b.irreversible(folder.remove(listed.clone()), "test");
    });
    assert!(said.contains("the list is that of"), "{said}");
    // As a journal that was tampered with would say it.
    let text = serde_json::to_string(&listed).unwrap();
    let way = format!("../{}/precious", outside.path().file_name().unwrap().to_str().unwrap());
    let text = text
        .replace("\"precious\"", &format!("{way:?}"))
        .replace(outside.path().to_str().unwrap(), dir.path().to_str().unwrap());
    let forged: OldFiles = serde_json::from_str(&text).unwrap();
    let said = refused(|b| {
        b.irreversible(folder.remove(forged), "test");
    });
    assert!(said.contains("is outside of the folder"), "{said}");
    assert_eq!(in_folder(outside.path()), ["precious"]);
}

#[test]
fn folders_that_are_links_relative_or_with_dots_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    symlink("/var", &link).unwrap();
    for (path, why) in [
        (link.to_str().unwrap(), "a link to /var"),
        ("logs", "it is relative"),
        ("/var/../etc", "it holds `..`"),
        ("/", "it is the root of all"),
        ("/nonexistent/folder", "not there"),
    ] {
        let said = cannot_look(here().folder(path).list_old(Retention::days(1)));
        assert!(said.contains(why), "{path}: {said}");
        assert!(said.contains("next: "), "{said}");
    }
}

#[test]
fn what_was_compressed_keeps_its_time_and_is_uncompressed_again() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.log", "-b c.log", "d.log.gz"] {
        old(dir.path(), name, 9);
    }
    fs::set_permissions(dir.path().join("a.log"), fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(dir.path().join("a.log")).unwrap();
    let folder = here().folder(dir.path());
    undone(|b| {
        let old = b.check(folder.list_old(Retention::days(5)));
        b.step(folder.compress(old));
    });
    assert_eq!(in_folder(dir.path()), ["-b c.log", "a.log", "d.log.gz"]);
    assert_eq!(fs::read(dir.path().join("a.log")).unwrap(), b"content of a.log");
    succeed(|b| {
        let old = b.check(folder.list_old(Retention::days(5)));
        b.step(folder.compress(old));
    });
    assert_eq!(in_folder(dir.path()), ["-b c.log.gz", "a.log.gz", "d.log.gz"]);
    let after = fs::metadata(dir.path().join("a.log.gz")).unwrap();
    assert_eq!((after.mtime(), after.mode()), (before.mtime(), before.mode()));
}

#[test]
fn a_compressed_one_that_is_there_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    old(dir.path(), "a.log", 9);
    fs::write(dir.path().join("a.log.gz"), "older").unwrap();
    let folder = here().folder(dir.path());
    let outcome = run(|b| {
        let old = b.check(folder.list_old(Retention::days(5)));
        b.step(folder.compress(old));
    });
    assert_eq!(outcome.status, Status::RolledBack, "{}", problem(&outcome));
    assert!(problem(&outcome).contains("a.log.gz is there already"), "{}", problem(&outcome));
    assert_eq!(fs::read(dir.path().join("a.log.gz")).unwrap(), b"older");
    assert_eq!(in_folder(dir.path()), ["a.log", "a.log.gz"]);
}

#[test]
fn a_large_log_is_emptied_under_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("-shop log");
    let mut writer = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
    writer.write_all(&[b'x'; 5000]).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    succeed(|b| {
        b.irreversible(here().truncate_above(&path, Bytes::new(5000)), "test");
    });
    assert_eq!(fs::metadata(&path).unwrap().len(), 5000, "it is not above");
    succeed(|b| {
        b.irreversible(here().copy_truncate_above(&path, Bytes::kib(4)), "test");
    });
    writer.write_all(b"next").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"next");
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    let copies = in_folder(dir.path());
    let copy = copies.iter().find(|name| name.ends_with(".gz")).unwrap();
    let copy = dir.path().join(copy);
    let text = Command::new("gzip").args(["-dc", "--"]).arg(copy).output().unwrap().stdout;
    assert_eq!(text, [b'x'; 5000]);
}

#[test]
fn a_link_in_place_of_a_log_is_not_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let precious = dir.path().join("precious");
    fs::write(&precious, [b'x'; 5000]).unwrap();
    symlink(&precious, dir.path().join("log")).unwrap();
    let said = refused(|b| {
        b.irreversible(here().truncate_above(dir.path().join("log"), Bytes::new(1)), "test");
    });
    assert!(said.contains("it is not a file, but a link to"), "{said}");
    assert_eq!(fs::metadata(&precious).unwrap().len(), 5000);
}

#[test]
fn a_file_that_was_copied_over_is_put_back_with_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let (new, conf) = (dir.path().join("new"), dir.path().join("shop.conf"));
    fs::write(&new, "new").unwrap();
    fs::write(&conf, "old").unwrap();
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o600)).unwrap();
    undone(|b| {
        b.step(here().copy_over(&new, &conf));
    });
    assert_eq!(fs::read(&conf).unwrap(), b"old");
    assert_eq!(fs::metadata(&conf).unwrap().mode() & 0o777, 0o600);
    assert_eq!(in_folder(dir.path()), ["new", "shop.conf"], "no copy is left");
    succeed(|b| {
        b.step(here().copy_over(&new, &conf));
        let sum = b.check(here().checksum(&new));
        b.check(here().has_checksum(&conf, sum));
    });
    assert_eq!(fs::read(&conf).unwrap(), b"new");
    // And where nothing was, nothing is afterwards.
    let fresh = dir.path().join("fresh");
    undone(|b| {
        b.step(here().copy_over(&new, &fresh));
    });
    assert!(!fresh.exists());
}

#[test]
fn a_folder_is_packed_verified_and_unpacked_with_a_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let (uploads, to) = (dir.path().join("-up loads"), dir.path().join("a:b.tar.gz"));
    fs::create_dir_all(uploads.join("below")).unwrap();
    fs::write(uploads.join("below/-new\nline"), "picture").unwrap();
    let folder = here().folder(&uploads);
    undone(|b| {
        b.step(folder.archive(to.as_path()));
    });
    assert_eq!(in_folder(dir.path()), ["-up loads"]);
    succeed(|b| {
        let archive = b.step(folder.archive(to.as_path()));
        b.check(here().verify_archive(archive));
    });
    assert_eq!(fs::metadata(&to).unwrap().mode() & 0o777, 0o600);
    let said = refused(|b| b.step(folder.archive(to.as_path())));
    assert!(said.contains("it is there already"), "{said}");

    let sum = look(here().checksum(&to)).into_evidence();
    let archive = serde_json::json!({
        "path": to, "sha256": sum, "size": fs::metadata(&to).unwrap().len(), "entries": 3,
    });
    let archive: runbook_host::Archive = serde_json::from_value(archive).unwrap();
    fs::write(uploads.join("below/-new\nline"), "spoilt").unwrap();
    let inode = fs::metadata(&uploads).unwrap().ino();
    undone(|b| {
        let verified = b.check(here().verify_archive(archive.clone()));
        b.step(folder.unpack(verified));
    });
    assert_eq!(fs::metadata(&uploads).unwrap().ino(), inode);
    assert_eq!(in_folder(dir.path()), ["-up loads", "a:b.tar.gz"]);
    succeed(|b| {
        let verified = b.check(here().verify_archive(archive.clone()));
        b.step(folder.unpack(verified));
    });
    assert_eq!(fs::read(uploads.join("below/-new\nline")).unwrap(), b"picture");

    // One that was changed by a byte, and one that was cut short, are not verified.
    let whole = fs::read(&to).unwrap();
    let mut changed = whole.clone();
    // The time in the header of gzip: it still reads to its end.
    changed[4] ^= 1;
    fs::write(&to, &changed).unwrap();
    let verdict = look(here().verify_archive(archive.clone()));
    assert!(!verdict.passed() && verdict.why().contains("was changed"), "{}", verdict.why());
    fs::write(&to, &whole[..whole.len() - 9]).unwrap();
    let said = cannot_look(here().verify_archive(archive));
    assert!(said.contains("the archive is damaged"), "{said}");
}
