//! What the runbooks of this binary know about the place that they work on.

use std::path::PathBuf;

use runbook::Host;
use runbook::targets::Local;
use serde::Deserialize;

/// One place where the site lives. Built in for this machine; a `quickstart.toml` may hold others:
///
/// ```toml
/// [staging]
/// root = "/srv/site"
/// port = 8087
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Env {
    /// The folder of the site: `releases/`, `current`, `backups/`, `shared/`, `site.pid`.
    pub(crate) root: PathBuf,
    /// The port that the site listens on, on the loopback interface.
    pub(crate) port: u16,
}

impl Env {
    /// Under `target/`, so that trying it out leaves nothing elsewhere.
    pub(crate) fn here() -> Self {
        let root = std::env::current_dir().unwrap_or_default().join("target/quickstart-site");
        Self { root, port: 8087 }
    }

    pub(crate) fn site(&self) -> Site {
        Site { host: Host::new(Local::new()), root: self.root.clone(), port: self.port }
    }
}

/// The site: where it is and how to reach it. What the steps and checks take.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) host: Host,
    pub(crate) root: PathBuf,
    pub(crate) port: u16,
}

impl Site {
    pub(crate) fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }
    pub(crate) fn release(&self, name: &str) -> PathBuf {
        self.releases().join(name)
    }
    pub(crate) fn current(&self) -> PathBuf {
        self.root.join("current")
    }
    pub(crate) fn shared(&self) -> PathBuf {
        self.root.join("shared")
    }
    pub(crate) fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.root.join("site.pid")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("site.log")
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "127.0.0.1:{}", self.port)
    }
}
