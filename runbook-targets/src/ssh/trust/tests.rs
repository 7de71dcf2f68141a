//! Who is let in, who is not, and what is said then.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lab::{KeyKind, keygen};

use super::*;

struct Bench {
    dir: tempfile::TempDir,
    resolved: Resolved,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, kind) in
            [("ours", KeyKind::Ed25519), ("other", KeyKind::Ed25519), ("rsa", KeyKind::Rsa)]
        {
            keygen(&dir.path().join(name), kind, "");
        }
        let mut resolved = Resolved::explicit("web.example.org", 2222, "deploy");
        resolved.user_known_hosts = vec![dir.path().join("ssh/known_hosts")];
        resolved.global_known_hosts = vec![dir.path().join("system")];
        Self { dir, resolved }
    }

    fn key(&self, name: &str) -> PublicKey {
        let text = fs::read(self.dir.path().join(format!("{name}.pub"))).unwrap();
        PublicKey::from_text(&text).unwrap()
    }

    fn verify(&self, policy: HostKeys) -> Result<()> {
        Trust::new(&self.resolved, policy).verify(self.key("ours").blob())
    }

    fn user_list(&self) -> &Path {
        &self.resolved.user_known_hosts[0]
    }

    fn write(&self, path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The failure as a person reads it, with stable names.
    fn said(&self, failure: &Failure) -> String {
        assert_eq!(failure.kind(), FailureKind::Refused, "{failure:?}");
        format!("{failure:?}")
            .replace(self.dir.path().to_str().unwrap(), "DIR")
            .replace(&self.key("ours").fingerprint(), "SHA256:OURS")
            .replace(&self.key("other").fingerprint(), "SHA256:OTHER")
    }
}

#[test]
fn a_listed_key_is_trusted() {
    let bench = Bench::new();
    let system = bench.dir.path().join("system");
    bench.write(&system, &format!("[web.example.org]:2222 {}\n", bench.key("ours")));
    bench.verify(HostKeys::Strict).unwrap();
    bench.verify(HostKeys::AcceptNew).unwrap();
    assert!(!bench.user_list().exists());
}

#[test]
fn an_unknown_host_is_refused_with_its_fingerprint_and_the_lists() {
    let mut bench = Bench::new();
    let said = bench.said(&bench.verify(HostKeys::Strict).unwrap_err());
    insta::assert_snapshot!("unknown", said);
    bench.resolved.strict_host_key_checking = "accept-new".to_owned();
    let said = bench.said(&bench.verify(HostKeys::Strict).unwrap_err());
    assert!(said.contains("`StrictHostKeyChecking accept-new` of the ssh configuration is not"));
}

#[test]
fn a_changed_key_is_refused_by_every_policy_with_the_line_and_the_command() {
    let bench = Bench::new();
    let (other, rsa) = (bench.key("other"), bench.key("rsa"));
    let text = format!("\n[web.example.org]:2222 {other}\n[web.example.org]:2222 {rsa}\n");
    bench.write(bench.user_list(), &text);
    let said = bench.said(&bench.verify(HostKeys::Strict).unwrap_err());
    insta::assert_snapshot!("changed", said);
    assert!(bench.verify(HostKeys::AcceptNew).is_err());
    assert_eq!(fs::read_to_string(bench.user_list()).unwrap(), text);
}

#[test]
fn a_revoked_key_is_refused_by_every_policy_with_the_line() {
    let bench = Bench::new();
    let ours = bench.key("ours");
    let text = format!("[web.example.org]:2222 {ours}\n@revoked * {ours}\n");
    bench.write(bench.user_list(), &text);
    let said = bench.said(&bench.verify(HostKeys::Strict).unwrap_err());
    insta::assert_snapshot!("revoked", said);
    assert!(bench.verify(HostKeys::AcceptNew).is_err());
}

#[test]
fn a_key_among_the_revoked_host_keys_is_refused_in_both_formats() {
    let mut bench = Bench::new();
    let revoked = bench.dir.path().join("revoked");
    bench.resolved.revoked_host_keys = Some(revoked.clone());
    let pinned = || HostKeys::Pinned(bench.key("ours").fingerprint());
    // A list that can't be read might name any key.
    let error = bench.verify(pinned()).unwrap_err();
    assert!(error.to_string().contains("reading the revoked host keys"), "{error}");
    fs::write(&revoked, format!("# none\n{}\n", bench.key("other"))).unwrap();
    bench.verify(pinned()).unwrap();
    fs::write(&revoked, format!("# one\n  {} comment\n", bench.key("ours"))).unwrap();
    assert!(bench.said(&bench.verify(pinned()).unwrap_err()).contains("was revoked"));
    for (name, wanted) in [("other", true), ("ours", false)] {
        let status = std::process::Command::new("ssh-keygen")
            .args(["-q", "-k", "-f"])
            .arg(&revoked)
            .arg(bench.dir.path().join(format!("{name}.pub")))
            .status();
        assert!(status.unwrap().success());
        assert_eq!(bench.verify(pinned()).is_ok(), wanted, "{name}");
    }
}

#[test]
fn a_new_key_is_added_once_to_a_list_and_folder_of_the_user_only() {
    let bench = Bench::new();
    bench.verify(HostKeys::AcceptNew).unwrap();
    bench.verify(HostKeys::AcceptNew).unwrap();
    bench.verify(HostKeys::Strict).unwrap();
    let text = fs::read_to_string(bench.user_list()).unwrap();
    assert_eq!(text, format!("[web.example.org]:2222 {}\n", bench.key("ours")));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(bench.user_list()), 0o600);
    assert_eq!(mode(bench.user_list().parent().unwrap()), 0o700);
}

#[test]
fn a_new_key_is_added_hashed_if_the_configuration_says_so_as_ssh_keygen_reads_it() {
    let mut bench = Bench::new();
    bench.resolved.hash_known_hosts = true;
    bench.verify(HostKeys::AcceptNew).unwrap();
    bench.verify(HostKeys::Strict).unwrap();
    let text = fs::read_to_string(bench.user_list()).unwrap();
    assert!(text.starts_with("|1|") && !text.contains("example"), "{text}");
    let output = std::process::Command::new("ssh-keygen")
        .args(["-F", "[web.example.org]:2222", "-f"])
        .arg(bench.user_list())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("found: line 1") && said.contains("ssh-ed25519"), "{said}");
}

#[test]
fn a_new_key_does_not_join_a_line_without_an_end() {
    let bench = Bench::new();
    let other = bench.key("other");
    bench.write(bench.user_list(), &format!("db.example.org {other}"));
    bench.verify(HostKeys::AcceptNew).unwrap();
    let text = fs::read_to_string(bench.user_list()).unwrap();
    let ours = bench.key("ours");
    assert_eq!(text, format!("db.example.org {other}\n[web.example.org]:2222 {ours}\n"));
}

#[test]
fn of_many_that_accept_a_new_key_at_once_one_adds_it() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| bench.verify(HostKeys::AcceptNew).unwrap());
        }
    });
    assert_eq!(fs::read_to_string(bench.user_list()).unwrap().lines().count(), 1);
}

#[test]
fn of_two_new_keys_at_once_one_is_trusted() {
    let bench = Bench::new();
    let trust = Trust::new(&bench.resolved, HostKeys::AcceptNew);
    let trusted: Vec<_> = std::thread::scope(|scope| {
        let both = ["ours", "other"].map(|name| {
            let (trust, key) = (&trust, bench.key(name));
            scope.spawn(move || trust.verify(key.blob()).is_ok())
        });
        both.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(trusted.iter().filter(|trusted| **trusted).count(), 1);
}

#[test]
fn a_new_key_that_cannot_be_written_down_is_not_trusted() {
    let mut bench = Bench::new();
    fs::write(bench.dir.path().join("file"), "").unwrap();
    bench.resolved.user_known_hosts = vec![bench.dir.path().join("file/known_hosts")];
    let error = bench.verify(HostKeys::AcceptNew).unwrap_err().to_string();
    assert!(error.contains("opening") && error.contains("file/known_hosts"), "{error}");
    bench.resolved.user_known_hosts = vec![];
    let error = bench.verify(HostKeys::AcceptNew).unwrap_err().to_string();
    assert!(error.contains("no list to add"), "{error}");
}

#[test]
fn a_list_that_cannot_be_read_is_an_error() {
    let mut bench = Bench::new();
    bench.resolved.global_known_hosts = vec![bench.dir.path().to_owned()];
    let error = bench.verify(HostKeys::Strict).unwrap_err().to_string();
    assert!(error.contains(&format!("reading {}", bench.dir.path().display())), "{error}");
}

#[test]
fn a_pinned_key_is_the_only_one_that_is_trusted() {
    let bench = Bench::new();
    bench.write(bench.user_list(), &format!("* {}\n", bench.key("ours")));
    let (ours, other) = (bench.key("ours"), bench.key("other"));
    for good in [ours.fingerprint(), format!("{}=", ours.fingerprint()), format!("{ours} a b")] {
        bench.verify(HostKeys::Pinned(good)).unwrap();
    }
    for bad in [other.fingerprint(), other.to_string()] {
        let said = bench.said(&bench.verify(HostKeys::Pinned(bad)).unwrap_err());
        assert!(said.contains("is not the pinned one: the host shows ssh-ed25519 SHA256:OURS"));
    }
    for nonsense in ["", "MD5:00:11", "SHA256:short", "ssh-ed25519 AAAA"] {
        let trust = Trust::new(&bench.resolved, HostKeys::Pinned(nonsense.to_owned()));
        // Found out before anybody is asked.
        assert!(bench.said(&trust.kinds().unwrap_err()).contains("which is no key"));
    }
}

#[test]
fn types_by_which_the_host_is_known_are_asked_for_first() {
    let bench = Bench::new();
    let text = format!("[web.example.org]:2222 {}\nx {}\n", bench.key("rsa"), bench.key("ours"));
    bench.write(bench.user_list(), &text);
    let kinds = |policy| Trust::new(&bench.resolved, policy).kinds().unwrap();
    assert_eq!(kinds(HostKeys::Strict), ["ssh-rsa"]);
    assert_eq!(kinds(HostKeys::Pinned(bench.key("ours").to_string())), ["ssh-ed25519"]);
}

#[test]
fn an_alias_stands_for_host_and_port() {
    let mut bench = Bench::new();
    bench.resolved.host_key_alias = Some("Vault".to_owned());
    bench.verify(HostKeys::AcceptNew).unwrap();
    let text = fs::read_to_string(bench.user_list()).unwrap();
    assert_eq!(text, format!("vault {}\n", bench.key("ours")));
}
