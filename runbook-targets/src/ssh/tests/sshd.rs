//! [`Sshd`]: a real server in a temporary folder, on a free loopback port.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use runbook_core::Failure;
use rustix::process::{Pid, Signal, kill_process};

use crate::ssh::login::Login;

/// Its processes end when it is dropped.
pub(super) struct Sshd {
    child: Child,
    pub(super) port: u16,
    dir: tempfile::TempDir,
}

impl Sshd {
    pub(super) fn start() -> Self {
        Self::with("")
    }

    /// With these lines in its configuration.
    pub(super) fn with(lines: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for key in ["host", "user"] {
            keygen(&dir.path().join(key));
        }
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").expect("sshd's own folder");
        }
        let path = dir.path().display();
        let port = free_port();
        let config = format!(
            "{lines}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {path}/host\n\
             AuthorizedKeysFile {path}/user.pub\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\n\
             PrintLastLog no\nLogLevel ERROR\nPermitRootLogin prohibit-password\n\
             SetEnv HOME={path}\n"
        );
        std::fs::write(dir.path().join("config"), config).expect("the configuration");
        let child = Command::new(sshd())
            .arg("-D")
            .arg("-f")
            .arg(dir.path().join("config"))
            .arg("-E")
            .arg(dir.path().join("log"))
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd is installed");
        let mut server = Self { child, port, dir };
        server.wait_until_it_listens();
        server
    }

    fn wait_until_it_listens(&mut self) {
        let deadline = Instant::now() + super::SOON;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("sshd ended ({status}): {}", self.log());
            }
            assert!(Instant::now() < deadline, "sshd does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Who trusts this server and is trusted by it.
    pub(super) fn login(&self) -> KeyLogin {
        let host = std::fs::read_to_string(self.dir.path().join("host.pub")).expect("its key");
        let key = host.split_whitespace().nth(1).expect("a type and a key");
        KeyLogin {
            host_key: BASE64_STANDARD.decode(key).expect("a key in base64"),
            user: user(),
            key: self.dir.path().join("user"),
        }
    }

    /// The processes of its connections and of what runs on them.
    pub(super) fn sessions(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        let mut look = vec![self.child.id().cast_signed()];
        while let Some(pid) = look.pop() {
            let children = format!("/proc/{pid}/task/{pid}/children");
            let children = std::fs::read_to_string(children).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
                look.push(child);
                found.extend(Pid::from_raw(child));
            }
        }
        found
    }

    /// Sends a signal to the processes of its connections, and of what runs on them.
    pub(super) fn signal_sessions(&self, signal: Signal) {
        for pid in self.sessions() {
            // It may have ended just now.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.signal_sessions(Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Logs in with a key file, to a server whose key it knows.
#[derive(Debug)]
pub(super) struct KeyLogin {
    host_key: Vec<u8>,
    user: String,
    key: PathBuf,
}

impl Login for KeyLogin {
    fn prepare(&self, _: &mut ssh2::Session) -> Result<(), Failure> {
        Ok(())
    }

    fn authenticate(&self, session: &mut ssh2::Session) -> Result<(), Failure> {
        match session.host_key() {
            Some((key, _)) if key == self.host_key => {}
            _ => return Err(Failure::msg("the server has another key")),
        }
        Ok(session.userauth_pubkey_file(&self.user, None, &self.key, None)?)
    }
}

fn keygen(path: &Path) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path)
        .status()
        .expect("ssh-keygen is installed");
    assert!(status.success());
}

fn sshd() -> PathBuf {
    ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
        .expect("sshd is installed")
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id is installed");
    String::from_utf8(output.stdout).expect("a name").trim().to_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
