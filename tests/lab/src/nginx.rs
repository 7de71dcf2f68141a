//! Nginx in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::command::{log_tail, run};
use crate::process::signal;
use crate::{Ca, Certificate, Failure, Folder, free_port, is_alive, try_run, wait_until};

const DEADLINE: Duration = Duration::from_secs(20);

/// Nginx in front of an application: HTTP and HTTPS on free ports of the loopback interface, its
/// configuration laid out as an operator would.
///
/// `conf/nginx.conf` includes `conf/conf.d/site.conf` (the upstream `app`, the servers) and
/// `conf/conf.d/deny.conf` (addresses that may not come in). While `html/maintenance.on` exists,
/// everything is answered with 503 and `html/maintenance.html`.
///
/// ```no_run
/// let ca = lab::Ca::new();
/// let nginx = lab::Nginx::start(&ca, "site.example.org", &["127.0.0.1:3000"]);
/// nginx.try_test().unwrap();
/// ```
#[derive(Debug)]
pub struct Nginx {
    prefix: PathBuf,
    name: String,
    http: u16,
    https: u16,
    ca: PathBuf,
    _folder: Folder,
}

impl Nginx {
    /// A site of this name, before these upstream servers (`host:port`), in a temporary folder.
    ///
    /// # Panics
    /// It does not start; the message has the end of its log.
    #[must_use]
    pub fn start(ca: &Ca, name: &str, upstream: &[&str]) -> Self {
        Self::start_inside(&Folder::new(), ca, name, upstream)
    }

    /// As [`start`](Self::start), in `folder/nginx`.
    ///
    /// # Panics
    /// It does not start; the message has the end of its log.
    #[must_use]
    pub fn start_inside(folder: &Folder, ca: &Ca, name: &str, upstream: &[&str]) -> Self {
        let prefix = folder.subfolder("nginx");
        for sub in ["conf/conf.d", "conf/tls", "html", "logs", "tmp"] {
            let _ = folder.subfolder(&format!("nginx/{sub}"));
        }
        let mut nginx = Self {
            prefix,
            name: name.to_owned(),
            http: 0,
            https: 0,
            ca: ca.certificate_file(),
            _folder: folder.clone(),
        };
        nginx.write("conf/nginx.conf", &main_config(&nginx.prefix));
        nginx.write("conf/conf.d/deny.conf", DENY);
        nginx.write(
            "html/maintenance.html",
            "<!doctype html>\n<title>Back soon</title>\n<h1>Back soon</h1>\n",
        );
        nginx.put_certificate(&ca.certificate(&[name, "localhost", "127.0.0.1"]));
        for _ in 0..20 {
            (nginx.http, nginx.https) = (free_port(), free_port());
            nginx.write("conf/conf.d/site.conf", &nginx.site_config(upstream));
            if nginx.launch() {
                return nginx;
            }
        }
        panic!("no port of 20 was free any more when Nginx wanted to have it")
    }

    /// The port of HTTP: it sends visitors to HTTPS.
    #[must_use]
    pub fn http_port(&self) -> u16 {
        self.http
    }

    /// The port of HTTPS.
    #[must_use]
    pub fn https_port(&self) -> u16 {
        self.https
    }

    /// The name of the site.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The authority of its certificate.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// Its folder: `nginx -p`.
    #[must_use]
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// `conf/nginx.conf`.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.prefix.join("conf/nginx.conf")
    }

    /// The upstream and the servers.
    #[must_use]
    pub fn site_file(&self) -> PathBuf {
        self.prefix.join("conf/conf.d/site.conf")
    }

    /// The addresses that may not come in.
    #[must_use]
    pub fn deny_file(&self) -> PathBuf {
        self.prefix.join("conf/conf.d/deny.conf")
    }

    /// While this file exists, the site says that it is being worked on.
    #[must_use]
    pub fn maintenance_flag(&self) -> PathBuf {
        self.prefix.join("html/maintenance.on")
    }

    /// The certificate that it shows.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.prefix.join("conf/tls/site.pem")
    }

    /// The access log, in the "combined" format.
    #[must_use]
    pub fn access_log(&self) -> PathBuf {
        self.prefix.join("logs/access.log")
    }

    /// The error log.
    #[must_use]
    pub fn error_log(&self) -> PathBuf {
        self.prefix.join("logs/error.log")
    }

    /// nginx with this prefix and configuration. Add `-t`, `-s reload` ..
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.arg("-p").arg(&self.prefix).arg("-c").arg(self.config_file());
        command.arg("-e").arg(self.error_log()).current_dir("/");
        command
    }

    /// Tests the configuration.
    ///
    /// # Errors
    /// What nginx has against it.
    pub fn try_test(&self) -> Result<(), Failure> {
        try_run(self.command().args(["-t", "-q"])).map(drop)
    }

    /// Has the server read its configuration again, and waits until new workers serve it.
    ///
    /// # Panics
    /// The server does not run, or refuses the configuration.
    pub fn reload(&self) {
        let old = self.workers();
        run(self.command().args(["-s", "reload"]));
        // An old one still answers until it heard that it is to end.
        let ending = |pid: &u32| {
            let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            !is_alive(*pid) || String::from_utf8_lossy(&title).contains("shutting down")
        };
        wait_until("Nginx to have new workers only", DEADLINE, || {
            self.workers().iter().any(|pid| !old.contains(pid)) && old.iter().all(ending)
        });
    }

    /// The process id of the master, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.prefix.join("nginx.pid")).ok()?;
        text.trim().parse().ok().filter(|pid| is_alive(*pid))
    }

    /// Stops it; its ports refuse connections.
    ///
    /// # Panics
    /// It does not stop in time.
    pub fn stop(&self) {
        if let Some(pid) = self.pid() {
            signal(pid, Signal::TERM);
            wait_until("Nginx to stop", DEADLINE, || !is_alive(pid));
        }
    }

    /// Starts it again on the same ports.
    ///
    /// # Panics
    /// It does not start; the message has the end of its log.
    pub fn start_again(&self) {
        assert!(self.launch(), "a port of Nginx is taken\n{}", log_tail(&self.error_log()));
    }

    /// Puts this certificate in the place of its own; a reload shows it.
    ///
    /// # Panics
    /// The files can't be copied.
    pub fn put_certificate(&self, certificate: &Certificate) {
        for (from, to) in [(certificate.certificate(), "site.pem"), (certificate.key(), "site.key")]
        {
            let to = self.prefix.join("conf/tls").join(to);
            fs::copy(from, &to).unwrap_or_else(|error| {
                panic!("copying {} to {}: {error}", from.display(), to.display())
            });
        }
    }

    /// Breaks the site's configuration, as a slip of the keyboard would; the running server does
    /// not know yet. Gives what stood there before.
    ///
    /// # Panics
    /// The file can't be read or written.
    pub fn break_config(&self) -> String {
        let good = fs::read_to_string(self.site_file()).expect("the site's configuration");
        let broken = good.replacen("proxy_pass http://app;", "proxy_pas http://app", 1);
        assert_ne!(good, broken, "{} has no proxy_pass to break", self.site_file().display());
        self.write("conf/conf.d/site.conf", &broken);
        good
    }

    fn workers(&self) -> Vec<u32> {
        self.pid().map_or_else(Vec::new, crate::descendants)
    }

    /// False if a port was taken meanwhile.
    fn launch(&self) -> bool {
        match try_run(&mut self.command()) {
            Ok(_) => {
                // Its word comes before its worker's: that one answers.
                wait_until("Nginx to have workers", DEADLINE, || !self.workers().is_empty());
                true
            }
            Err(failure) => {
                assert!(failure.to_string().contains("Address already in use"), "{failure}");
                false
            }
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.prefix.join(path);
        fs::write(&path, text)
            .unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
    }

    fn site_config(&self, upstream: &[&str]) -> String {
        let servers: String =
            upstream.iter().map(|server| format!("    server {server} max_fails=0;\n")).collect();
        SITE.replace("{servers}", servers.trim_end())
            .replace("{name}", &self.name)
            .replace("{http}", &self.http.to_string())
            .replace("{https}", &self.https.to_string())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            crate::kill_tree(pid);
        }
    }
}

/// Debian keeps it where an ordinary user's PATH does not look.
fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

fn main_config(prefix: &Path) -> String {
    NGINX.replace("{prefix}", &prefix.display().to_string())
}

const NGINX: &str = "\
# The site's Nginx. Test before you reload: nginx -t

worker_processes  1;
pid               {prefix}/nginx.pid;
error_log         {prefix}/logs/error.log  info;

events {
    worker_connections  256;
}

http {
    access_log  {prefix}/logs/access.log  combined;

    # An ordinary user may not write to the system's.
    client_body_temp_path  {prefix}/tmp/body;
    proxy_temp_path        {prefix}/tmp/proxy;
    fastcgi_temp_path      {prefix}/tmp/fastcgi;
    uwsgi_temp_path        {prefix}/tmp/uwsgi;
    scgi_temp_path         {prefix}/tmp/scgi;

    keepalive_timeout     20s;
    client_max_body_size  6m;

    include  conf.d/*.conf;
}
";

const DENY: &str = "\
# Who may not come in. One address or network a line, with the reason:
# deny 192.0.2.66;      # 2026-01-12: tried all passwords
";

const SITE: &str = "\
# The application's processes.
upstream app {
    least_conn;                # long uploads: not round robin

{servers}
    # server 192.0.2.20:3000;  # the second machine: not before it has its own uploads
    keepalive 8;
}

# Everything goes to HTTPS.
server {
    listen       127.0.0.1:{http};
    server_name  {name};

    return 301 https://$host:{https}$request_uri;
}

server {
    listen       127.0.0.1:{https} ssl;
    server_name  {name};

    ssl_certificate      tls/site.pem;
    ssl_certificate_key  tls/site.key;
    ssl_protocols        TLSv1.2 TLSv1.3;

    root  html;

    # Work on the site: `touch html/maintenance.on`.
    error_page 503 @maintenance;
    location @maintenance {
        add_header Retry-After 120 always;
        rewrite ^ /maintenance.html break;
    }

    location / {
        if (-f $document_root/maintenance.on) { return 503; }

        proxy_pass http://app;
        proxy_http_version 1.1;
        proxy_set_header Connection        \"\";
        proxy_set_header Host              $host;
        proxy_set_header X-Forwarded-For   $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_connect_timeout 2s;
        proxy_read_timeout    30s;
    }
}
";
