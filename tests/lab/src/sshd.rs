//! OpenSSH's own server.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::agent::{KeyKind, keygen};
use crate::folder::Folder;
use crate::process::{Child, descendants, is_alive, kill_tree, signal, with_environment};
use crate::wait::{free_port, wait_until};

const START: Duration = Duration::from_secs(30);

/// A real sshd on a free port of the loopback interface, for the user who runs the test.
///
/// It has keys of its own, takes [`client_key`](Self::client_key), and its sessions have an empty
/// `HOME` in its folder. Dropped, it ends with all its sessions and what they started.
///
/// ```no_run
/// let sshd = lab::Sshd::builder().config("MaxSessions 100").start();
/// assert_eq!(sshd.addr().port(), sshd.port());
/// ```
#[derive(Debug)]
pub struct Sshd {
    process: Option<Child>,
    port: u16,
    user: String,
    /// Last: the folder goes after the process.
    dir: tempfile::TempDir,
}

/// What an [`Sshd`] is to be like; from [`Sshd::builder`].
#[derive(Debug, Default)]
pub struct SshdBuilder {
    host_keys: Option<Vec<KeyKind>>,
    config: Vec<String>,
    password: Option<String>,
    folder: Option<Folder>,
}

impl SshdBuilder {
    /// The types of its host keys; an ed25519 key if this is not said.
    #[must_use]
    pub fn host_keys(mut self, kinds: impl IntoIterator<Item = KeyKind>) -> Self {
        self.host_keys = Some(kinds.into_iter().collect());
        self
    }

    /// Adds lines of `sshd_config`. They win over ours; without them sshd's own limits hold. What
    /// follows a `Match` line belongs to it, as in the file.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.config.extend(lines.lines().map(str::to_owned));
        self
    }

    /// Gives the user this password: in a mount namespace of the server's own, where `/etc/shadow`
    /// is another file, so that the system's accounts are left alone. For root only. A line like
    /// `PasswordAuthentication yes` is needed as well.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// In a folder there, whose guard ends it also when this process is killed.
    #[must_use]
    pub fn inside(mut self, folder: &Folder) -> Self {
        self.folder = Some(folder.clone());
        self
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    /// It does not answer in time; the message has the end of its log.
    #[must_use]
    pub fn start(self) -> Sshd {
        let parent =
            self.folder.as_ref().map_or_else(std::env::temp_dir, |folder| folder.path().into());
        let dir =
            tempfile::Builder::new().prefix("lab-sshd-").tempdir_in(parent).expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("home")).expect("a home");
        keygen(&at("client_key"), KeyKind::Ed25519, "");
        fs::copy(at("client_key.pub"), at("authorized_keys")).expect("authorized keys");
        for kind in self.host_keys.as_deref().unwrap_or(&[KeyKind::Ed25519]) {
            keygen(&at(&format!("host_{}", kind.name())), *kind, "");
        }
        if rustix::process::geteuid().is_root() {
            // Where it locks up the half of itself that talks to strangers.
            fs::create_dir_all("/run/sshd").expect("sshd's empty folder");
        }
        let user = user();
        if let Some(password) = &self.password {
            fs::write(at("shadow"), shadow(&user, password)).expect("a file of passwords");
        }
        let mut sshd = Sshd { process: None, port: 0, user, dir };
        for _ in 0..20 {
            sshd.port = free_port();
            fs::write(sshd.dir().join("sshd_config"), self.text(&sshd)).expect("its configuration");
            if sshd.launch() {
                return sshd;
            }
        }
        panic!("no port of 20 was free any more when sshd wanted to have it")
    }

    fn text(&self, sshd: &Sshd) -> String {
        // The first value wins: the test's own lines come first, its Match blocks last.
        let is_match = |line: &String| line.trim_start().to_ascii_lowercase().starts_with("match");
        let split = self.config.iter().position(is_match).unwrap_or(self.config.len());
        let (ours, matches) = self.config.split_at(split);
        let dir = sshd.dir().display();
        let mut text = ours.join("\n");
        for kind in self.host_keys.as_deref().unwrap_or(&[KeyKind::Ed25519]) {
            write!(text, "\nHostKey {dir}/host_{}", kind.name()).expect("to a string");
        }
        let port = sshd.port;
        write!(
            text,
            "
Port {port}
ListenAddress 127.0.0.1
PidFile none
AuthorizedKeysFile {dir}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PermitUserRC no
PrintMotd no
PrintLastLog no
LogLevel VERBOSE
SetEnv HOME={dir}/home
Subsystem sftp internal-sftp
"
        )
        .expect("to a string");
        if penalises() {
            // Tests are refused on purpose, often, and all from one address.
            text.push_str("PerSourcePenalties no\n");
        }
        text.push_str(&matches.join("\n"));
        text.push('\n');
        text
    }
}

impl Sshd {
    /// One with an ed25519 host key and sshd's own limits.
    ///
    /// # Panics
    /// As [`SshdBuilder::start`].
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// One that you describe.
    #[must_use]
    pub fn builder() -> SshdBuilder {
        SshdBuilder::default()
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The port where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user that it lets in: the one who runs the test.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The private key that it takes; the public one is beside it, with `.pub`.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.dir().join("client_key")
    }

    /// Its folder: `authorized_keys`, `sshd_config`, `log`, and `home`, where its sessions live.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The `HOME` of its sessions.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.dir().join("home")
    }

    /// A public host key: type and base64.
    ///
    /// # Panics
    /// It has none of this type.
    #[must_use]
    pub fn host_key(&self, kind: KeyKind) -> String {
        let path = self.dir().join(format!("host_{}.pub", kind.name()));
        let text = fs::read_to_string(&path).expect("a host key of that type");
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    /// The lines that a known_hosts file needs for it, one for each of its keys.
    #[must_use]
    pub fn known_hosts(&self) -> String {
        [KeyKind::Ed25519, KeyKind::Ecdsa, KeyKind::Rsa]
            .into_iter()
            .filter(|kind| self.dir().join(format!("host_{}.pub", kind.name())).exists())
            .map(|kind| format!("[127.0.0.1]:{} {}\n", self.port, self.host_key(kind)))
            .collect()
    }

    /// The system's `ssh` to it, which reads no configuration but what is added, trusts it, and
    /// asks nothing. Add the command.
    ///
    /// # Panics
    /// The list of known hosts can't be written.
    #[must_use]
    pub fn ssh(&self) -> Command {
        let known = self.dir().join("known_hosts");
        fs::write(&known, self.known_hosts()).expect("known hosts");
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known.display()))
            .args(["-o", "GlobalKnownHostsFile=/dev/null"])
            .arg("-i")
            .arg(self.client_key())
            .args(["-p", &self.port.to_string(), &format!("{}@127.0.0.1", self.user)])
            .stdin(Stdio::null());
        ssh
    }

    /// The process id of the one that listens.
    ///
    /// # Panics
    /// It is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("sshd runs").pid()
    }

    /// All living processes of its sessions: sshd's own, the commands, and what they started, also
    /// when its parent has ended.
    #[must_use]
    pub fn sessions(&self) -> Vec<u32> {
        let mut found = self.process.as_ref().map_or_else(Vec::new, |sshd| descendants(sshd.pid()));
        let home = self.home();
        for pid in with_environment("HOME", &home.display().to_string()) {
            if !found.contains(&pid) {
                found.push(pid);
            }
        }
        found
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Stops its processes in their tracks: it lives, listens, and never answers.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Ends it with all its sessions; its port refuses connections.
    pub fn stop(&mut self) {
        if let Some(mut sshd) = self.process.take() {
            sshd.kill();
        }
        // What has lost its parent is found by its home.
        for _ in 0..20 {
            let left = self.sessions();
            if left.is_empty() {
                return;
            }
            left.iter().for_each(|pid| kill_tree(*pid));
            let end = Instant::now() + Duration::from_secs(5);
            while left.iter().any(|pid| is_alive(*pid)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Ends it with all its sessions and starts it again, on the same port with the same keys.
    ///
    /// # Panics
    /// It does not answer in time, or the port is taken.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.launch(), "port {} is taken\n{}", self.port, self.log());
    }

    fn signal_all(&self, what: Signal) {
        let Some(sshd) = &self.process else { return };
        signal(sshd.pid(), what);
        for pid in descendants(sshd.pid()) {
            signal(pid, what);
        }
    }

    /// False if its port was taken meanwhile.
    fn launch(&mut self) -> bool {
        let log = fs::File::create(self.dir().join("log")).expect("a log");
        let shadow = self.dir().join("shadow");
        let mut command = if shadow.exists() {
            let mut command = Command::new("unshare");
            let inside = r#"mount --bind "$0" /etc/shadow && exec /usr/sbin/sshd "$@""#;
            command.args(["--mount", "--propagation", "private", "sh", "-c", inside]).arg(&shadow);
            command
        } else {
            Command::new("/usr/sbin/sshd")
        };
        command.args(["-D", "-e", "-f"]).arg(self.dir().join("sshd_config"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut process = Child::spawn(&mut command);
        let end = Instant::now() + START;
        loop {
            if !process.is_running() {
                let log = self.log();
                assert!(log.contains("Address already in use"), "sshd does not start:\n{log}");
                return false;
            }
            // Only its own word proves that it is the one who listens there.
            if self.log().contains("Server listening on") {
                break;
            }
            assert!(Instant::now() < end, "sshd does not listen:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(3));
        }
        self.process = Some(process);
        let addr = self.addr();
        wait_until("sshd to answer", START, || answers(addr));
        // The process of that connection must not be taken for one of the test's.
        let pid = self.pid();
        wait_until("sshd to be at rest", START, || descendants(pid).is_empty());
        true
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn answers(addr: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(addr) else { return false };
    let mut greeting = [0; 4];
    let _ = stream.set_read_timeout(Some(START));
    stream.read_exact(&mut greeting).is_ok() && &greeting == b"SSH-"
}

/// The system's file of passwords, but with another one for `user`.
fn shadow(user: &str, password: &str) -> String {
    let output = Command::new("openssl").args(["passwd", "-6", password]).output();
    let hash = String::from_utf8(output.expect("openssl starts").stdout).expect("a hash");
    let old = fs::read_to_string("/etc/shadow").expect("to be root");
    let others = old.lines().filter(|line| !line.starts_with(&format!("{user}:")));
    let ours = format!("{user}:{}:19000:0:99999:7:::", hash.trim());
    others.chain([ours.as_str()]).map(|line| format!("{line}\n")).collect()
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id starts");
    String::from_utf8(output.stdout).expect("a name").trim().to_owned()
}

/// Whether this OpenSSH makes an address wait that was refused before: since 9.8.
fn penalises() -> bool {
    let output = Command::new("ssh").arg("-V").output().expect("ssh starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = text.strip_prefix("OpenSSH_").unwrap_or_default();
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (9, 8),
        _ => false,
    }
}
