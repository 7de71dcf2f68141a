//! What is left of a lab: nothing.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::{Folder, Postgres, Redis, wait_until};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_folder_takes_its_processes_with_it() {
    let folder = Folder::new();
    let path = folder.path().to_owned();
    let log = fs::File::create(path.join("log")).unwrap();
    let sleep = || {
        let mut command = Command::new("setsid");
        command.args(["--fork", "sleep", "600"]).stdout(Stdio::null());
        command
    };
    assert!(sleep().env("MARK", &path).status().unwrap().success());
    assert!(sleep().stderr(log).status().unwrap().success());
    assert!(
        Command::new("setsid")
            .args(["--fork", "tail", "-f"])
            .arg(path.join("log"))
            .status()
            .unwrap()
            .success()
    );
    wait_until("all three to run", SOON, || processes_of(&path).len() == 3);
    drop(folder);
    assert_eq!(processes_of(&path), [0_u32; 0]);
    assert!(!path.exists());
}

#[test]
fn servers_leave_nothing() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let folders = [postgres.data(), redis.socket()].map(|path| lab_folder(&path));
    let pids = [postgres.pid().unwrap(), redis.pid().unwrap()];
    drop((postgres, redis));
    for folder in folders {
        assert!(!folder.exists(), "{} is left", folder.display());
        assert_eq!(processes_of(&folder), [0_u32; 0]);
    }
    assert!(pids.iter().all(|pid| !lab::is_alive(*pid)));
}

#[test]
fn a_killed_lab_leaves_nothing() {
    if std::env::var_os("LAB_DIE").is_some() {
        let (postgres, redis) = (Postgres::start(), Redis::start());
        eprintln!("{}\n{}", postgres.data().display(), redis.socket().display());
        wait_until("my end", SOON, || false);
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "leftovers::a_killed_lab_leaves_nothing", "--nocapture"])
        .env("LAB_DIE", "yes")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let folders: Vec<_> = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.starts_with('/'))
        .take(2)
        .map(|line| lab_folder(Path::new(&line)))
        .collect();
    assert_eq!(folders.len(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    for folder in folders {
        wait_until("the folder to be gone", SOON, || !folder.exists());
        // Also who removed it, and had it in its arguments.
        wait_until("the processes to be gone", SOON, || processes_of(&folder).is_empty());
    }
}

/// The temporary folder that a path is in.
fn lab_folder(path: &Path) -> PathBuf {
    let is_lab = |path: &&Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lab-"))
    };
    path.ancestors().find(is_lab).unwrap().to_owned()
}

/// The living processes that name a path in their arguments or environment, or have a file of it
/// open.
pub(crate) fn processes_of(path: &Path) -> Vec<u32> {
    let mark = path.display().to_string();
    let has = |bytes: Vec<u8>| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id() && lab::is_alive(*pid))
        .filter(|pid| {
            ["cmdline", "environ"]
                .iter()
                .any(|file| fs::read(format!("/proc/{pid}/{file}")).is_ok_and(&has))
                || fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|files| {
                    files.flatten().any(|file| {
                        fs::read_link(file.path()).is_ok_and(|target| target.starts_with(path))
                    })
                })
        })
        .collect()
}
