//! Real servers, real keys and a real agent.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Mutex;

use lab::{Agent, KeyKind, Sshd, keygen};
use runbook_core::{Failure, FailureKind};

use super::*;
use crate::ssh::identity::Identity;
use crate::ssh::login::Login as _;
use crate::ssh::trust::HostKeys;

const KINDS: [KeyKind; 3] = [KeyKind::Ed25519, KeyKind::Ecdsa, KeyKind::Rsa];

struct Bench {
    sshd: Sshd,
    dir: tempfile::TempDir,
    resolved: Resolved,
}

impl Bench {
    fn new() -> Self {
        Self::with("")
    }

    fn with(config: &str) -> Self {
        Self::of(Sshd::builder().host_keys(KINDS).config(config).start())
    }

    /// A server that knows the password `correct horse`; none for a user who can't start one.
    fn with_password(config: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let sshd = Sshd::builder().host_keys(KINDS).config(config).password("correct horse");
        Some(Self::of(sshd.start()))
    }

    fn of(sshd: Sshd) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let known = dir.path().join("known_hosts");
        fs::write(&known, sshd.known_hosts()).unwrap();
        let mut resolved = Resolved::explicit("127.0.0.1", sshd.port(), sshd.user());
        resolved.user_known_hosts = vec![known];
        resolved.global_known_hosts = vec![];
        resolved.identity_files = vec![];
        resolved.agent = None;
        Self { sshd, dir, resolved }
    }

    /// A new key, which the server takes if it is `taken`.
    fn key(&self, name: &str, kind: KeyKind, passphrase: &str, taken: bool) -> PathBuf {
        let path = self.dir.path().join(name);
        keygen(&path, kind, passphrase);
        if taken {
            let public = fs::read_to_string(path.with_extension("pub")).unwrap();
            let list = self.sshd.dir().join("authorized_keys");
            fs::write(&list, fs::read_to_string(&list).unwrap() + &public).unwrap();
        }
        path
    }

    fn identity(&self, policy: HostKeys, auth: Auth) -> Identity {
        Identity::new(self.resolved.clone(), policy, auth)
    }

    /// Signs in, and proves it.
    fn enter(&self, auth: Auth) -> Result<()> {
        self.enter_as(&self.identity(HostKeys::Strict, auth))
    }

    fn enter_as(&self, identity: &Identity) -> Result<()> {
        let mut session = handshake(identity, self.sshd.port())?;
        identity.authenticate(&mut session)?;
        let mut channel = session.channel_session().unwrap();
        channel.exec("echo $HOME").unwrap();
        let mut said = String::new();
        channel.read_to_string(&mut said).unwrap();
        assert_eq!(said.trim(), self.sshd.home().to_str().unwrap());
        Ok(())
    }

    fn refusal(&self, auth: Auth) -> Failure {
        self.enter(auth).unwrap_err()
    }
}

fn handshake(identity: &Identity, port: u16) -> Result<Session> {
    let mut session = Session::new().unwrap();
    session.set_tcp_stream(TcpStream::connect(("127.0.0.1", port)).unwrap());
    session.set_timeout(20_000);
    identity.prepare(&mut session)?;
    session.handshake().unwrap();
    Ok(session)
}

#[test]
fn keys_of_every_type_open_the_door() {
    let bench = Bench::new();
    for kind in KINDS {
        let path = bench.key(kind.name(), kind, "", true);
        bench.enter(Auth::new().key_file(&path)).unwrap();
        // Without its public half beside it, and from memory.
        fs::remove_file(path.with_extension("pub")).unwrap();
        bench.enter(Auth::new().key_file(&path)).unwrap();
        let text = Secret::read_file(&path).unwrap();
        bench.enter(Auth::new().key(text)).unwrap();
    }
}

/// What the server was asked for, in order.
fn methods(log: &str) -> Vec<&str> {
    let asked = log.lines().filter_map(|line| line.split_once("service ssh-connection method "));
    asked.map(|(_, method)| method.split(' ').next().unwrap()).collect()
}

#[test]
fn who_has_nothing_but_a_few_keys_shows_them_before_anything_else() {
    let bench = Bench::with("LogLevel DEBUG");
    let other = bench.key("other", KeyKind::Ed25519, "", false);
    let auth = Auth::new().key_file(&other).key_file(bench.sshd.client_key());
    bench.enter(auth.clone()).unwrap();
    // The first is refused, the second is taken and proves itself.
    assert_eq!(methods(&bench.sshd.log()), ["publickey"; 3]);
    // Why it was refused, the server says at the end.
    let before = bench.sshd.log().len();
    let failure = bench.refusal(Auth::new().key_file(&other)).to_string();
    assert!(failure.contains("the server takes publickey: "), "{failure}");
    assert_eq!(methods(&bench.sshd.log()[before..]), ["publickey", "none"]);
}

#[test]
fn who_has_a_choice_asks_what_the_server_takes() {
    let bench = Bench::with("LogLevel DEBUG");
    let key = bench.sshd.client_key();
    bench.enter(Auth::new().key_file(&key).password("correct horse".into())).unwrap();
    assert_eq!(methods(&bench.sshd.log()), ["none", "publickey", "publickey"]);
    let before = bench.sshd.log().len();
    let others = ["a", "b", "c"].map(|name| bench.key(name, KeyKind::Ed25519, "", false));
    let many = others.iter().fold(Auth::new(), |auth, key| auth.key_file(key)).key_file(key);
    bench.enter(many).unwrap();
    assert_eq!(methods(&bench.sshd.log()[before..])[..2], ["none", "publickey"]);
}

#[test]
fn keys_in_pem_open_the_door() {
    let bench = Bench::new();
    for (kind, format, passphrase) in [
        (KeyKind::Rsa, "PEM", ""),
        (KeyKind::Rsa, "PEM", "open sesame"),
        (KeyKind::Rsa, "PKCS8", ""),
        (KeyKind::Rsa, "PKCS8", "open sesame"),
        (KeyKind::Ecdsa, "PEM", ""),
        (KeyKind::Ecdsa, "PKCS8", ""),
    ] {
        let name = format!("{}-{format}-{passphrase}", kind.name());
        let path = bench.key(&name, kind, "", true);
        let status = std::process::Command::new("ssh-keygen")
            .args(["-q", "-p", "-m", format, "-N", passphrase, "-f"])
            .arg(&path)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
        assert!(!fs::read_to_string(&path).unwrap().contains("OPENSSH"));
        let auth = || Auth::new().passphrase(Secret::new("open sesame"));
        bench.enter(auth().key_file(&path)).unwrap();
        fs::remove_file(path.with_extension("pub")).unwrap();
        bench.enter(auth().key_file(&path)).unwrap();
    }
}

#[test]
fn a_server_that_takes_no_sha1_takes_an_rsa_key() {
    let bench = Bench::with("PubkeyAcceptedAlgorithms rsa-sha2-512");
    let path = bench.key("rsa", KeyKind::Rsa, "", true);
    bench.enter(Auth::new().key_file(&path)).unwrap();
    let agent = Agent::start();
    agent.add(&path);
    let mut bench = bench;
    bench.resolved.agent = Some(agent.socket());
    bench.enter(Auth::new()).unwrap();
}

#[test]
fn encrypted_keys_of_every_type_open_with_their_passphrase() {
    let bench = Bench::new();
    for kind in KINDS {
        let path = bench.key(kind.name(), kind, "open sesame", true);
        let auth = Auth::new().key_file(&path);
        bench.enter(auth.clone().passphrase(Secret::new("open sesame"))).unwrap();
        let wrong = bench.refusal(auth.clone().passphrase(Secret::new("open barley")));
        assert!(wrong.to_string().contains("the passphrase does not open it"), "{wrong}");
        let missing = bench.refusal(auth);
        assert!(missing.to_string().contains("no passphrase was given"), "{missing}");
    }
}

#[test]
fn a_passphrase_is_asked_for_only_if_the_server_takes_the_key() {
    let bench = Bench::new();
    let taken = bench.key("taken", KeyKind::Ed25519, "open sesame", true);
    let other = bench.key("other", KeyKind::Ed25519, "open sesame", false);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let auth = Auth::new().key_file(&other).key_file(&taken).ask_passphrase({
        let asked = Arc::clone(&asked);
        move |key| {
            let mut asked = asked.lock().unwrap();
            asked.push(key.to_owned());
            Some(Secret::new(if asked.len() == 3 { "open sesame" } else { "open barley" }))
        }
    });
    // Once it was right, nobody is asked again.
    bench.enter(auth.clone()).unwrap();
    bench.enter(auth.clone()).unwrap();
    bench.enter(auth).unwrap();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|key| key.contains("/taken (ssh-ed25519 SHA256:")), "{asked:?}");
}

#[test]
fn a_passphrase_is_asked_for_three_times_or_until_it_is_refused() {
    let bench = Bench::new();
    let path = bench.key("key", KeyKind::Ed25519, "open sesame", true);
    let asked = Arc::new(Mutex::new(0));
    let auth = |answer: Option<&'static str>| {
        let asked = Arc::clone(&asked);
        Auth::new().key_file(&path).ask_passphrase(move |_| {
            *asked.lock().unwrap() += 1;
            answer.map(Secret::new)
        })
    };
    let failure = bench.refusal(auth(Some("open barley")));
    assert!(failure.to_string().contains("none of the passphrases opens it"), "{failure}");
    assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), 3);
    let failure = bench.refusal(auth(None));
    assert!(failure.to_string().contains("not given when asked for"), "{failure}");
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[test]
fn every_key_of_the_agent_is_tried() {
    let mut bench = Bench::new();
    let agent = Agent::start();
    for (name, kind) in [("a", KeyKind::Ed25519), ("b", KeyKind::Rsa), ("c", KeyKind::Ecdsa)] {
        agent.add(&bench.key(name, kind, "", name == "c"));
    }
    bench.resolved.agent = Some(agent.socket());
    bench.enter(Auth::new()).unwrap();
    let failure = bench.refusal(Auth::new().without_agent());
    assert!(failure.to_string().contains("there was nothing to try"), "{failure}");
}

#[test]
fn identities_only_keeps_the_agent_to_the_keys_that_are_named() {
    let mut bench = Bench::new();
    let agent = Agent::start();
    let (other, taken) = (
        bench.key("other", KeyKind::Ed25519, "", false),
        bench.key("taken", KeyKind::Ed25519, "", true),
    );
    agent.add(&other);
    agent.add(&taken);
    bench.resolved.agent = Some(agent.socket());
    bench.resolved.identities_only = true;
    bench.resolved.identities_chosen = true;
    bench.resolved.identity_files = vec![other.clone()];
    let failure = bench.refusal(Auth::new()).to_string();
    assert!(failure.contains("the agent's key") && !failure.contains("taken ("), "{failure}");
    // The public half is enough to name a key of the agent.
    fs::remove_file(&taken).unwrap();
    bench.resolved.identity_files = vec![taken.with_extension("pub")];
    bench.enter(Auth::new()).unwrap();
}

#[test]
fn identities_are_tried_in_the_order_of_ssh() {
    let bench = Bench::new();
    let path = |name: &str| bench.key(name, KeyKind::Ed25519, "", false);
    let (named, first, second, alone) = (path("named"), path("f1"), path("f2"), path("alone"));
    let public = |path: &PathBuf| {
        let text = fs::read(path.with_extension("pub")).unwrap();
        crate::ssh::key::PublicKey::from_text(&text).unwrap()
    };
    let held =
        [("alone", &alone), ("f2", &second)].map(|(name, path)| (public(path), name.to_owned()));
    let mut resolved = bench.resolved.clone();
    resolved.identities_chosen = true;
    resolved.identity_files = vec![first, second, bench.dir.path().join("missing")];
    let order = |resolved: &Resolved, auth: Auth| {
        let all = candidates::candidates(&auth, resolved, &held);
        let name = |name: &str| {
            let start = name.split(" (").next().unwrap();
            start.rsplit('/').next().unwrap().to_owned()
        };
        let found: Vec<_> = all.found.iter().map(|candidate| name(&candidate.name)).collect();
        (found, all.unusable.len())
    };
    let (of_f2, of_alone) =
        ("the agent's key `f2`".to_owned(), "the agent's key `alone`".to_owned());
    let (found, unusable) = order(&resolved, Auth::new());
    assert_eq!(found, [of_f2.clone(), of_alone.clone(), "f1".to_owned()]);
    assert_eq!(unusable, 1);
    let (found, _) = order(&resolved, Auth::new().key_file(&named));
    assert_eq!(found, ["named".to_owned(), of_f2.clone(), of_alone, "f1".to_owned()]);
    resolved.identities_only = true;
    assert_eq!(order(&resolved, Auth::new()).0, [of_f2, "f1".to_owned()]);
    // Keys that nobody chose are left alone when one is named.
    resolved.identities_chosen = false;
    assert_eq!(order(&resolved, Auth::new().key_file(&named)).0, ["named"]);
}

#[test]
fn a_refusal_names_every_identity_what_came_of_it_and_what_the_server_takes() {
    let mut bench = Bench::new();
    let agent = Agent::start();
    agent.add(&bench.key("held", KeyKind::Ecdsa, "", false));
    bench.resolved.agent = Some(agent.socket());
    let open = bench.key("open", KeyKind::Ed25519, "", false);
    let wide = bench.key("wide", KeyKind::Ed25519, "", true);
    fs::set_permissions(&wide, fs::Permissions::from_mode(0o644)).unwrap();
    let junk = bench.dir.path().join("junk");
    fs::write(&junk, "no key").unwrap();
    fs::set_permissions(&junk, fs::Permissions::from_mode(0o600)).unwrap();
    let missing = bench.dir.path().join("missing");
    let sealed = bench.key("sealed", KeyKind::Rsa, "open sesame", true);
    let auth = [open, wide, junk, missing, sealed]
        .into_iter()
        .fold(Auth::new(), Auth::key_file)
        .password(Secret::new("nobody's password"));
    let failure = bench.refusal(auth);
    assert_eq!(failure.kind(), FailureKind::Refused);
    let mut said = format!("{failure:?}").replace(bench.dir.path().to_str().unwrap(), "DIR");
    said = said.replace(&bench.sshd.port().to_string(), "PORT").replace(bench.sshd.user(), "USER");
    let prints: Vec<_> =
        said.match_indices("SHA256:").map(|(at, _)| said[at..at + 50].to_owned()).collect();
    for print in prints {
        said = said.replace(&print, "SHA256:..");
    }
    insta::assert_snapshot!("refusal", said);
}

#[test]
fn too_many_keys_are_told_from_a_wrong_key() {
    let mut bench = Bench::with("MaxAuthTries 2");
    let agent = Agent::start();
    for name in ["a", "b", "c", "d"] {
        agent.add(&bench.key(name, KeyKind::Ed25519, "", name == "d"));
    }
    bench.resolved.agent = Some(agent.socket());
    let failure = bench.refusal(Auth::new());
    assert_eq!(failure.kind(), FailureKind::Disconnected);
    let said = format!("{failure:?}");
    assert!(said.contains("MaxAuthTries") && said.contains("IdentitiesOnly"), "{said}");
    // Named in code, it comes before those of the agent.
    bench.enter(Auth::new().key_file(bench.dir.path().join("d"))).unwrap();
}

#[test]
fn a_password_opens_the_door_and_a_wrong_one_is_said_to_be_wrong() {
    let config = "PasswordAuthentication yes";
    let Some(bench) = Bench::with_password(config) else { return };
    bench.enter(Auth::new().password(Secret::new("correct horse"))).unwrap();
    let failure = bench.refusal(Auth::new().password(Secret::new("wrong horse")));
    let said = failure.to_string();
    assert!(said.contains("the password: the server does not take it"), "{said}");
    assert!(said.contains("the server takes publickey,password"), "{said}");
    let mut bench = bench;
    bench.resolved.password_authentication = false;
    let failure = bench.refusal(Auth::new().password(Secret::new("correct horse")));
    assert!(failure.to_string().contains("the ssh configuration forbids it"), "{failure}");
}

#[test]
fn a_password_is_given_where_the_server_asks_for_it_interactively() {
    let config = "UsePAM yes\nKbdInteractiveAuthentication yes\nPasswordAuthentication no";
    let Some(bench) = Bench::with_password(config) else { return };
    bench.enter(Auth::new().password(Secret::new("correct horse"))).unwrap();
    let failure = bench.refusal(Auth::new().password(Secret::new("wrong horse"))).to_string();
    assert!(failure.contains("keyboard-interactive: the server does not take it"), "{failure}");
}

#[test]
fn a_server_that_wants_a_key_and_a_password_gets_both() {
    let config = "PasswordAuthentication yes\nAuthenticationMethods publickey,password";
    let Some(bench) = Bench::with_password(config) else { return };
    let key = || Auth::new().key_file(bench.sshd.client_key());
    bench.enter(key().password(Secret::new("correct horse"))).unwrap();
    let failure = format!("{:?}", bench.refusal(key()));
    assert!(failure.contains("the server takes it, but wants another proof as well"), "{failure}");
    assert!(failure.contains("give the password with `Auth::password`"), "{failure}");
}

#[test]
fn an_agent_that_is_gone_does_not_stop_the_other_keys() {
    let mut bench = Bench::new();
    bench.resolved.agent = Some(bench.dir.path().join("no-agent"));
    bench.enter(Auth::new().key_file(bench.sshd.client_key())).unwrap();
    let failure = bench.refusal(Auth::new()).to_string();
    assert!(failure.contains("no-agent: it does not answer"), "{failure}");
}

#[test]
fn an_agent_that_is_stuck_does_not_stop_the_other_keys() {
    let mut bench = Bench::new();
    let socket = bench.dir.path().join("stuck");
    let _agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    bench.resolved.agent = Some(socket);
    bench.enter(Auth::new().key_file(bench.sshd.client_key())).unwrap();
    let failure = bench.refusal(Auth::new()).to_string();
    assert!(failure.contains("stuck: it does not answer within 5 s"), "{failure}");
}

#[test]
fn the_key_of_another_host_is_not_signed_for() {
    let bench = Bench::new();
    fs::write(&bench.resolved.user_known_hosts[0], "").unwrap();
    let failure = bench.refusal(Auth::new().key_file(bench.sshd.client_key()));
    assert!(failure.to_string().contains("the host is unknown"), "{failure}");
    bench.sshd.log().lines().for_each(|line| assert!(!line.contains("Accepted"), "{line}"));
}

#[test]
fn a_host_is_asked_for_the_key_by_which_it_is_known() {
    let bench = Bench::new();
    for kind in KINDS {
        let known = format!("[127.0.0.1]:{} {}\n", bench.sshd.port(), bench.sshd.host_key(kind));
        fs::write(&bench.resolved.user_known_hosts[0], known).unwrap();
        bench.enter(Auth::new().key_file(bench.sshd.client_key())).unwrap();
    }
}

#[test]
fn a_new_host_is_added_so_that_ssh_knows_it() {
    let mut bench = Bench::new();
    let known = bench.dir.path().join("new/known_hosts");
    bench.resolved.user_known_hosts = vec![known.clone()];
    bench.resolved.hash_known_hosts = true;
    let identity =
        bench.identity(HostKeys::AcceptNew, Auth::new().key_file(bench.sshd.client_key()));
    bench.enter_as(&identity).unwrap();
    let status = std::process::Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
        .args(["-o", &format!("UserKnownHostsFile={}", known.display())])
        .args(["-o", "GlobalKnownHostsFile=none", "-o", "IdentitiesOnly=yes", "-i"])
        .arg(bench.sshd.client_key())
        .args(["-p", &bench.sshd.port().to_string()])
        .args([&format!("{}@127.0.0.1", bench.sshd.user()), "true"])
        .stdin(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_server_that_goes_or_falls_silent_while_we_sign_in_is_told_from_one_that_refuses() {
    let mut bench = Bench::new();
    let proxy = lab::Proxy::start(bench.sshd.port());
    let key = format!("* {}\n", bench.sshd.host_key(KeyKind::Ed25519));
    fs::write(&bench.resolved.user_known_hosts[0], key).unwrap();
    let identity = bench.identity(HostKeys::Strict, Auth::new().key_file(bench.sshd.client_key()));
    let mut session = handshake(&identity, proxy.port()).unwrap();
    proxy.silence();
    session.set_timeout(200);
    let failure = identity.authenticate(&mut session).unwrap_err();
    assert_eq!(failure.kind(), FailureKind::TimedOut, "{failure:?}");
    proxy.resume();
    let mut session = handshake(&identity, proxy.port()).unwrap();
    bench.sshd.stop();
    let failure = identity.authenticate(&mut session).unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure:?}");
}

#[test]
fn keys_that_need_an_agent_say_so() {
    let bench = Bench::new();
    let blob = [&b"\0\0\0\x1ask-ssh-ed25519@openssh.com\0\0\0 "[..], &[7; 32], b"\0\0\0\x04ssh:"];
    let public = crate::ssh::key::PublicKey::from_blob(&blob.concat()).unwrap();
    let path = bench.key("fido", KeyKind::Ed25519, "", false);
    // A file in PEM shows no public half, so the one beside it counts.
    fs::write(&path, "-----BEGIN PRIVATE KEY-----").unwrap();
    fs::write(path.with_extension("pub"), public.to_string()).unwrap();
    let failure = bench.refusal(Auth::new().key_file(&path)).to_string();
    assert!(failure.contains("signs through an agent only"), "{failure}");
    fs::write(&path, public.to_string()).unwrap();
    let failure = bench.refusal(Auth::new().key_file(&path)).to_string();
    assert!(failure.contains("the agent has not the private one"), "{failure}");
}

#[test]
fn no_passphrase_password_or_key_is_shown() {
    let auth = Auth::new()
        .key(Secret::new("-----BEGIN PRIVATE KEY----- private"))
        .passphrase(Secret::new("passphrase"))
        .password(Secret::new("pass"));
    assert_eq!(
        format!("{auth:?}"),
        "Auth { keys: [***], passphrase: Some(***), password: Some(***), .. }"
    );
}
