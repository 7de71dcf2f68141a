//! The script that takes large content, on hosts that have few tools.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use sha2::{Digest as _, Sha256};

use super::here::SHELLS;
use crate::remote::files::scripts::FILL;

const ALL: [&str; 7] = ["cat", "dd", "openssl", "sha256sum", "stat", "tee", "wc"];

/// Where `name` is on this machine.
fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs the script in `sh` with these tools.
fn fill(sh: &str, tools: &Path, file: &Path, verify: &str, content: &[u8]) -> Output {
    let mut words = sh.split(' ');
    let program = find(words.next().unwrap()).unwrap();
    let folder = file.parent().unwrap();
    let mut child = Command::new(program)
        .args(words)
        .args(["-c", FILL, "sh"].map(OsStr::new))
        .args([file.as_os_str(), verify.as_ref(), folder.as_os_str()])
        .env("PATH", tools)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A host that gives up takes no more.
    let _ = child.stdin.take().unwrap().write_all(content);
    child.wait_with_output().unwrap()
}

fn content() -> Vec<u8> {
    (0..3_000_001_u32).map(|at| (at * 7 % 251) as u8).collect()
}

fn said(content: &[u8], hash: bool) -> Vec<String> {
    let sum: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    let size = content.len().to_string();
    if hash { vec![size, sum] } else { vec![size] }
}

fn words(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn content_arrives_whole_and_is_hashed_with_what_is_there() {
    let content = content();
    for sh in SHELLS {
        for missing in [&[][..], &["openssl"], &["sha256sum"], &["dd"], &["openssl", "sha256sum"]] {
            let folder = tempfile::tempdir().unwrap();
            let tools = folder.path().join("tools");
            fs::create_dir(&tools).unwrap();
            for tool in ALL.into_iter().filter(|tool| !missing.contains(tool)) {
                if let Some(file) = find(tool) {
                    symlink(file, tools.join(tool)).unwrap();
                }
            }
            // BusyBox has one of its own.
            let can_hash = missing.len() < 2 || sh.starts_with("busybox");
            for verify in ["yes", ""] {
                let file = folder.path().join(format!("file{verify}"));
                let output = fill(sh, &tools, &file, verify, &content);
                let expected = said(&content, can_hash && !verify.is_empty());
                assert_eq!(words(&output), expected, "{sh}, without {missing:?}");
                assert!(fs::read(&file).unwrap() == content);
                assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            }
        }
    }
}

#[test]
fn an_openssl_that_does_not_work_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for tool in ALL.into_iter().filter(|tool| *tool != "openssl") {
        symlink(find(tool).unwrap(), tools.join(tool)).unwrap();
    }
    symlink(find("false").unwrap(), tools.join("openssl")).unwrap();
    let output = fill("dash", &tools, &folder.path().join("file"), "yes", b"content");
    assert_eq!(words(&output), said(b"content", true));
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_file_that_is_there_already_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "old").unwrap();
    for sh in SHELLS {
        let tools = Path::new("/usr/bin:/bin");
        assert!(!fill(sh, tools, &file, "", &content()).status.success());
        assert_eq!(fs::read(&file).unwrap(), b"old");
    }
}
