//! A real nginx in a temporary folder on free loopback ports, unprivileged if need be.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runbook_core::{Address, Host};
use runbook_nginx::{Nginx, NginxConfig};
use runbook_targets::Local;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Two applications behind an upstream, a file of denials, a stub_status page, one odd comment.
pub(crate) struct Site {
    dir: TempDir,
    pub(crate) port: u16,
    pub(crate) apps: [u16; 2],
}

/// The site's name.
pub(crate) const NAME: &str = "shop.example.org";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Site {
    pub(crate) fn start() -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            apps: [free_port(), free_port()],
        };
        for folder in ["conf.d", "available", "sites", "temp", "www"] {
            std::fs::create_dir(site.path(folder)).unwrap();
        }
        // Workers of a root's nginx run as another user.
        open_to_all(site.dir.path());
        let dir = site.dir.path().display();
        let user = if rustix::process::geteuid().is_root() { "user www-data;" } else { "" };
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("    {name}_temp_path {dir}/temp/{name};\n"))
            .collect();
        site.write(
            "nginx.conf",
            &format!(
                "# the main file\n{user}\nworker_processes 2;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\n\
                 events {{ worker_connections 64; }}\n\
                 http {{\n    access_log {dir}/access.log;\n{temp}    include conf.d/*.conf;\n    include sites/*;\n}}\n"
            ),
        );
        let [one, two] = site.apps;
        site.write(
            "conf.d/app.conf",
            &format!("upstream app {{\n    # the first box\n    server 127.0.0.1:{one};\n}}\n"),
        );
        let port = site.port;
        site.write(
            "available/shop",
            &format!(
                "server {{\n    listen 127.0.0.1:{port};\n    server_name {NAME}; # the shop\n    \
                 location / {{ proxy_pass http://app; }}\n    \
                 location = /status {{ stub_status; }}\n}}\n\
                 server {{ listen 127.0.0.1:{one}; server_name app; location / {{ return 200 one; }} }}\n\
                 server {{ listen 127.0.0.1:{two}; server_name app; location / {{ return 200 two; }} }}\n"
            ),
        );
        std::os::unix::fs::symlink("../available/shop", site.path("sites/shop")).unwrap();
        site.write("www/back soon.html", "<h1>back soon</h1>");
        let started = Command::new("nginx")
            .args(["-p", &dir.to_string(), "-c", "nginx.conf"])
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        site.wait_for("nginx to answer", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Every file, hidden ones too, but for logs and temporary folders.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["", "conf.d", "available", "sites", "www"] {
            for entry in std::fs::read_dir(self.path(folder)).unwrap() {
                let path = entry.unwrap().path();
                if !path.is_dir() && path.extension().is_none_or(|one| one != "log") {
                    found.push(path.strip_prefix(self.dir.path()).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    pub(crate) fn nginx(&self) -> Nginx {
        self.nginx_given(5)
    }

    /// With so much time for a reload.
    pub(crate) fn nginx_given(&self, reload_seconds: u64) -> Nginx {
        let config = NginxConfig {
            main: self.path("nginx.conf"),
            prefix: Some(self.dir.path().to_owned()),
            reload_seconds,
            ..NginxConfig::default()
        };
        Nginx::new(&Host::new(Local::new()), config)
    }

    pub(crate) fn address(&self) -> Address {
        Address::Tcp("127.0.0.1".into(), self.port)
    }

    /// Status and body of a page of the shop.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path)
    }

    /// The same for any method.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {NAME}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap_or("0").parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap_or_default().1.to_owned())
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.path("nginx.pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    pub(crate) fn stop(&self) {
        let Some(pid) = self.pid() else { return };
        let _ = kill_process(pid, Signal::TERM);
        // The master removes it as its last act, when its workers are gone; the process itself may
        // stay a zombie until somebody's init looks for it.
        self.wait_for("nginx to end", || !self.path("nginx.pid").exists());
    }

    pub(crate) fn wait_for(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < deadline, "waited for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
    }
}

fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
