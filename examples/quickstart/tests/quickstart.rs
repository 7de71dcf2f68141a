//! The quickstart as its reader meets it: the real program, a real site, real ends.
#![allow(missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A place of its own for each test; what runs in it is stopped at its end.
struct Place {
    dir: tempfile::TempDir,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let root = dir.path().join("site");
        let config = format!("[test]\nroot = {root:?}\nport = {port}\n");
        std::fs::write(dir.path().join("quickstart.toml"), config).unwrap();
        Self { dir, port }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("site")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
        command
            .current_dir(self.dir.path())
            .args(words)
            .arg("--env=test")
            .arg("--journal=journal")
            .stdin(Stdio::null())
            .env_remove("NO_COLOR")
            .env("USER", "ann");
        command
    }

    #[track_caller]
    fn run(&self, words: &[&str], code: i32) -> String {
        let output = self.command(words).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}:\n{said}");
        said
    }

    /// The status and body of a page; nothing if nobody listens.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    fn current(&self) -> String {
        let link = std::fs::read_link(self.root().join("current")).unwrap();
        link.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root().join(folder)).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    /// Kills the site, and waits until nobody listens any more.
    fn kill_site(&self) {
        let text = std::fs::read_to_string(self.root().join("site.pid")).unwrap();
        let pid = text.split(' ').next().unwrap();
        assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
        until("the site is gone", || self.get("/health").is_none());
    }

    /// What differs from run to run, in fixed words.
    fn fixed(&self, text: &str) -> String {
        let text = text.replace(&self.port.to_string(), "PORT");
        let text = text.replace(&self.root().display().to_string(), "ROOT");
        text.replace(env!("CARGO_BIN_EXE_quickstart"), "quickstart")
            .lines()
            .map(|line| if line.contains("MiB are free") { cut_numbers(line) } else { line.into() })
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.command(&["run", "stop"]).output();
        let here = self.dir.path().display().to_string();
        let left = Command::new("pgrep").args(["-f", &here]).output().unwrap();
        if !std::thread::panicking() {
            assert!(left.stdout.is_empty(), "left behind: {}", said(&left));
        }
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn cut_numbers(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        if words[at] == "MiB" {
            words[at - 1] = "N".into();
        }
    }
    words.join(" ")
}

#[track_caller]
fn until(what: &str, mut test: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !test() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a run and kills it with SIGKILL as soon as it prints a line that contains `at`.
fn killed_at(place: &Place, words: &[&str], at: &str) {
    let mut child: Child = place.command(words).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen = lines.map_while(Result::ok).any(|line| line.contains(at));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen, "the run came to {at:?}");
}

#[test]
fn a_deploy_brings_the_release_up_and_keeps_a_verified_backup() {
    let place = Place::new();
    place.run(&["run", "deploy", "--release", "v1"], 0);
    assert_eq!(place.get("/health").unwrap(), "v1");
    let said = place.run(&["run", "deploy", "--release", "v2", "--keep", "1"], 0);
    assert!(said.contains("succeeded"), "{said}");
    assert_eq!(place.get("/health").unwrap(), "v2");
    assert!(place.get("/").unwrap().contains("This is v2"));
    assert_eq!(place.current(), "v2");
    assert_eq!(place.names("releases"), ["v2"], "the old one is cleaned up");
    assert_eq!(place.names("backups").len(), 4, "two archives with their checksums");
    place.run(&["runs", "verify", "last"], 0);
}

#[test]
fn a_release_that_is_not_healthy_is_rolled_back_and_the_old_one_serves_again() {
    let place = Place::new();
    place.run(&["run", "deploy", "--release", "v1"], 0);
    let backups = place.names("backups");
    let said = place.run(&["run", "deploy", "--release", "v3-broken"], 1);
    assert!(said.contains("rolled back"), "{said}");
    assert!(said.contains("can't reach the database"), "{said}");
    assert_eq!(place.get("/health").unwrap(), "v1");
    assert_eq!(place.current(), "v1");
    assert_eq!(place.names("releases"), ["v1"]);
    assert_eq!(place.names("backups"), backups);

    let report = place.run(&["report", "last"], 0);
    assert!(report.contains("can't reach the database"), "{report}");
    let page = place.dir.path().join("report.html");
    place.run(&["report", "last", "--format", "html", "--out", page.to_str().unwrap()], 0);
    assert!(std::fs::read_to_string(page).unwrap().contains("rolled back"));
    let junit = place.run(&["report", "last", "--format", "junit"], 0);
    assert!(junit.contains("<failure"), "{junit}");
    let json = place.run(&["report", "last", "--format", "json"], 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json.to_string().contains("rolled_back"));
}

#[test]
fn killed_in_the_middle_it_is_brought_to_its_end_by_resume() {
    for at in ["started   back-up/back-up", "started   switch/unpack", "started   switch/restart"] {
        let place = Place::new();
        place.run(&["run", "deploy", "--release", "v1"], 0);
        killed_at(&place, &["run", "deploy", "--release", "v2"], at);
        let listed = place.run(&["runs"], 0);
        assert!(listed.contains("interrupted"), "{at}: {listed}");
        let said = place.run(&["resume", "last"], 0);
        assert!(said.contains("succeeded"), "{at}: {said}");
        assert_eq!(place.get("/health").unwrap(), "v2", "{at}");
        let again = place.run(&["resume", "last"], 2);
        assert!(again.contains("has succeeded"), "{again}");

        // Or back, from the same place.
        killed_at(&place, &["run", "deploy", "--release", "v1"], at);
        place.run(&["rollback", "last"], 1);
        assert_eq!(place.get("/health").unwrap(), "v2", "{at}");
        assert_eq!(place.current(), "v2", "{at}");
    }
}

#[test]
fn a_port_that_somebody_else_has_is_found_before_anything_is_touched() {
    let place = Place::new();
    let _other = TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    let said = place.run(&["run", "deploy"], 1);
    assert!(said.contains("another process listens on"), "{said}");
    assert!(!place.root().exists());
    place.run(&["plan", "deploy"], 4);
    place.run(&["check", "deploy"], 4);
}

#[test]
fn the_incident_runbook_finds_out_why_and_brings_the_site_back() {
    let place = Place::new();
    place.run(&["run", "deploy", "--release", "v1"], 0);
    place.kill_site();
    let said = place.run(&["run", "site-down", "--drill"], 0);
    assert!(said.contains("no process of the site is running"), "{said}");
    assert_eq!(place.get("/health").unwrap(), "v1");

    // A current release that can't be healthy: the ladder goes on to the one before.
    let broken = place.root().join("releases/v0");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("index.html"), "").unwrap();
    std::fs::write(broken.join("site.conf"), "database = unreachable\n").unwrap();
    std::fs::remove_file(place.root().join("current")).unwrap();
    std::os::unix::fs::symlink(&broken, place.root().join("current")).unwrap();
    place.kill_site();
    let said = place.run(&["run", "site-down", "--reason", "paged at 3"], 5);
    assert!(said.contains("approve"), "a person is asked to tell the users: {said}");
    assert_eq!(place.get("/health").unwrap(), "v1");
    place.run(&["approve", "last", "tell-the-users-that-the-site-is-back"], 0);
    place.run(&["resume", "last"], 0);
    let report = place.run(&["report", "last"], 0);
    assert!(report.contains("paged at 3"), "{report}");
}

#[test]
fn the_release_before_is_a_runbook_away() {
    let place = Place::new();
    place.run(&["run", "previous"], 1);
    place.run(&["run", "deploy", "--release", "v1"], 0);
    place.run(&["run", "deploy", "--release", "v2"], 0);
    place.run(&["run", "previous"], 0);
    assert_eq!(place.get("/health").unwrap(), "v1");
    // A run that succeeded can be undone as a whole, too.
    place.run(&["rollback", "last"], 1);
    assert_eq!(place.get("/health").unwrap(), "v2");
}

#[test]
fn a_plan_changes_nothing_and_shows_what_would_be_done() {
    let place = Place::new();
    let plan = place.run(&["plan", "deploy"], 0);
    assert!(!place.root().exists());
    assert!(!place.dir.path().join("journal").exists());
    insta::assert_snapshot!("plan_deploy", place.fixed(&plan));
}

#[test]
fn the_pages_read_as_an_operator_would_want_them() {
    let place = Place::new();
    for book in ["deploy", "site-down"] {
        let page = place.run(&["show", book], 0);
        insta::assert_snapshot!(format!("show_{book}"), place.fixed(&page));
    }
    let graph = place.run(&["show", "deploy", "--format", "mermaid"], 0);
    assert!(graph.starts_with("flowchart") || graph.contains("flowchart"), "{graph}");
    insta::assert_snapshot!("list", place.run(&["list"], 0));
}

#[test]
fn wrong_words_are_refused_with_what_is_accepted() {
    let place = Place::new();
    let said = place.run(&["run", "deploy", "--release", "v9"], 2);
    assert!(said.contains("v9") && said.contains("v3-broken"), "{said}");
    let said = place.run(&["run", "deploy", "--keep", "many"], 2);
    assert!(said.contains("--keep") && said.contains("many") && said.contains("whole"), "{said}");
    let said = place.run(&["run", "deplyo"], 2);
    assert!(said.contains("deploy"), "{said}");
    assert!(!place.root().exists());
}
