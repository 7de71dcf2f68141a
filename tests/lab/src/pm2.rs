//! PM2 with a home of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command::run;
use crate::{Folder, is_alive, kill_tree};

/// PM2, with a home and so a daemon of its own, which ends with all its processes when this is
/// dropped.
///
/// ```no_run
/// let pm2 = lab::Pm2::new();
/// std::fs::write(pm2.home().join("app.js"), "setInterval(() => {}, 1000)").unwrap();
/// pm2.run(&["start", "app.js", "--name", "app"]);
/// assert_eq!(pm2.process("app").unwrap()["pm2_env"]["status"], "online");
/// ```
#[derive(Debug)]
pub struct Pm2 {
    home: PathBuf,
    environment: Vec<(String, String)>,
    _folder: Folder,
}

impl Pm2 {
    /// One with an empty home in a temporary folder.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that makes a folder surprises")]
    pub fn new() -> Self {
        let folder = Folder::new();
        let home = folder.subfolder("pm2");
        Self::at(&folder, &home, Vec::new())
    }

    /// One with this home, which is in this folder, and these variables for its processes.
    #[must_use]
    pub fn at(folder: &Folder, home: &Path, environment: Vec<(String, String)>) -> Self {
        Self { home: home.to_owned(), environment, _folder: folder.clone() }
    }

    /// Its `PM2_HOME`; commands run there unless they are told otherwise.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// pm2 with this home. Add the arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("pm2");
        command
            .current_dir(&self.home)
            .env("PM2_HOME", &self.home)
            .env("PM2_DISABLE_VERSION_CHECK", "true")
            .env("NO_UPDATE_NOTIFIER", "1")
            .envs(self.environment.iter().cloned());
        command
    }

    /// Runs pm2 and gives what it says.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        run(self.command().args(arguments))
    }

    /// What `pm2 jlist` says of all processes.
    ///
    /// # Panics
    /// It fails, or its answer is no JSON.
    #[must_use]
    pub fn list(&self) -> Vec<Value> {
        let text = self.run(&["jlist", "--silent"]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("pm2 jlist: {error}\n{text}"))
    }

    /// What it says of one.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<Value> {
        self.list().into_iter().find(|process| process["name"] == name)
    }

    /// The process id of one that runs.
    #[must_use]
    pub fn pid_of(&self, name: &str) -> Option<u32> {
        let pid = self.process(name)?["pid"].as_u64()?;
        u32::try_from(pid).ok().filter(|pid| *pid != 0)
    }

    /// How often one has been restarted.
    ///
    /// # Panics
    /// There is none of that name.
    #[must_use]
    pub fn restarts(&self, name: &str) -> u64 {
        let process = self.process(name).unwrap_or_else(|| panic!("pm2 has no process {name}"));
        process["pm2_env"]["restart_time"].as_u64().unwrap_or_default()
    }

    /// The process id of the daemon, if it runs.
    #[must_use]
    pub fn daemon(&self) -> Option<u32> {
        let text = fs::read_to_string(self.home.join("pm2.pid")).ok()?;
        text.trim().parse().ok().filter(|pid| is_alive(*pid))
    }

    /// Ends the daemon and all its processes, as the machine's end would; what `pm2 save` wrote
    /// stays.
    pub fn kill(&self) {
        if let Some(pid) = self.daemon() {
            kill_tree(pid);
        }
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        self.kill();
    }
}
