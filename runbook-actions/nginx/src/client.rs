//! [`Nginx`]: a server and where its files are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runbook::{Command, Host, Observer, Result};
use serde::{Deserialize, Serialize};

use crate::error::NginxError;
use crate::tree::Tree;

/// An nginx on a host. Commands run as the host's user: wrap the host in `Sudo` if nginx was
/// started by root, since a test as another user judges other files.
///
/// ```
/// use runbook_core::{Host, testing::FakeTarget};
/// use runbook_nginx::{Nginx, NginxConfig};
/// let web = Host::new(FakeTarget::new("web-1"));
/// let nginx = Nginx::new(&web, NginxConfig::default());
/// assert_eq!(nginx.to_string(), "nginx on web-1");
/// ```
#[derive(Clone, Debug)]
pub struct Nginx {
    pub(crate) host: Host,
    pub(crate) config: NginxConfig,
}

/// Where an nginx is, as a part of a configuration file; all of it may be left out.
///
/// ```
/// use runbook_nginx::NginxConfig;
/// let config: NginxConfig = serde_json::from_str(
///     r#"{"main": "/opt/nginx/conf/nginx.conf", "binary": "/opt/nginx/sbin/nginx",
///         "pid_file": "/opt/nginx/logs/nginx.pid"}"#,
/// )?;
/// assert_eq!(config.reload_seconds, 30);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NginxConfig {
    /// The program.
    pub binary: String,
    /// The main configuration file.
    pub main: PathBuf,
    /// The prefix (`-p`), if it is not the program's own.
    pub prefix: Option<PathBuf>,
    /// More arguments for every call, as the server was started with, e.g. `-g` and `user www;`.
    pub args: Vec<String>,
    /// The file that names the master process; a `pid` directive in the main file goes first.
    pub pid_file: PathBuf,
    /// How long a reload may take until the workers are new, in seconds.
    pub reload_seconds: u64,
}

impl Default for NginxConfig {
    /// As Debian and Ubuntu have it.
    fn default() -> Self {
        Self {
            binary: "nginx".into(),
            main: "/etc/nginx/nginx.conf".into(),
            prefix: None,
            args: Vec::new(),
            pid_file: "/run/nginx.pid".into(),
            reload_seconds: 30,
        }
    }
}

impl Nginx {
    /// The nginx on `host`.
    #[must_use]
    pub fn new(host: &Host, config: NginxConfig) -> Self {
        Self { host: host.clone(), config }
    }

    /// Where it runs.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Nginx with the server's own arguments, but perhaps another main file.
    pub(crate) fn command(&self, main: &Path) -> Command {
        let mut command = Command::new(&self.config.binary).arg("-c").arg(main);
        if let Some(prefix) = &self.config.prefix {
            command = command.arg("-p").arg(prefix);
        }
        command.args(&self.config.args)
    }

    /// Tests the configuration that begins with `main`; gives what nginx said.
    pub(crate) async fn test(&self, cx: &Observer, main: &Path) -> Result<Tested> {
        let command = self.command(main).arg("-t").timeout(Duration::from_secs(60)).read_only();
        let output = cx.on(&self.host).status(&command).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<_> = said
            .lines()
            // What every unprivileged test says, and what every test ends with.
            .filter(|line| !line.contains("\"user\" directive makes sense only"))
            .filter(|line| !line.ends_with("syntax is ok"))
            .filter(|line| !line.starts_with("nginx: configuration file "))
            .map(|line| message(line.trim_start_matches("nginx: ")))
            .collect();
        Ok(Tested { good: output.exit.success(), said })
    }

    /// The configuration as it is on the disk.
    pub(crate) async fn tree(&self, cx: &Observer) -> Result<Tree> {
        Tree::load(cx, &self.host, &self.config.main).await
    }

    /// The file that names the master, as the configuration says.
    pub(crate) async fn pid_file(&self, cx: &Observer) -> Result<PathBuf> {
        let Ok(text) = cx.on(&self.host).read_text(&self.config.main).await else {
            return Ok(self.config.pid_file.clone());
        };
        let Ok(document) = crate::syntax::Document::parse(text) else {
            return Ok(self.config.pid_file.clone());
        };
        let named = document.directives.iter().find(|one| one.name == "pid");
        let Some(path) = named.and_then(|one| one.args.first()) else {
            return Ok(self.config.pid_file.clone());
        };
        Ok(match &self.config.prefix {
            Some(prefix) => prefix.join(path),
            None => path.into(),
        })
    }

    pub(crate) fn refused(said: &[String]) -> runbook::Failure {
        NginxError::Refused { said: said.join("; ") }.into_failure()
    }
}

/// `[emerg] unknown directive ..`, without the time and process that a log line begins with.
pub(crate) fn message(line: &str) -> String {
    let Some((time, rest)) = line.split_once(" [") else { return line.to_owned() };
    let Some((level, text)) = rest.split_once("] ") else { return line.to_owned() };
    if !time.starts_with(|c: char| c.is_ascii_digit()) {
        return line.to_owned();
    }
    let text = match text.split_once(": ") {
        Some((process, text)) if process.contains('#') => text,
        _ => text,
    };
    format!("[{level}] {text}")
}

/// What `nginx -t` said.
pub(crate) struct Tested {
    pub(crate) good: bool,
    /// Warnings and errors.
    pub(crate) said: Vec<String>,
}

impl fmt::Display for Nginx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nginx on {}", self.host)
    }
}
