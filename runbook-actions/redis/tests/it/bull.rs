//! The real BullMQ, in its last version and the last one with the older layout.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use runbook_redis::{Queue, Redis};
use serde::de::DeserializeOwned;

use crate::support::client;

/// A server with a queue `mails`.
pub(crate) struct Bull {
    pub(crate) server: lab::Redis,
    modules: PathBuf,
}

/// One with each version.
pub(crate) fn each() -> [Bull; 2] {
    let last = lab::app::node_modules();
    let older = last.with_file_name("bullmq5");
    assert!(older.exists(), "{} is missing; run scripts/setup", older.display());
    [last, older].map(|modules| Bull { server: lab::Redis::start(), modules })
}

impl Bull {
    pub(crate) fn redis(&self) -> Redis {
        client(&self.server)
    }

    pub(crate) fn queue(&self) -> Queue {
        Queue::new(&self.redis(), "mails")
    }

    /// Does something as the application would.
    #[track_caller]
    pub(crate) fn app<T: DeserializeOwned>(&self, words: &[&str]) -> T {
        let said = lab::try_run(self.node().args(words)).unwrap();
        serde_json::from_str(said.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"))
    }

    /// Adds jobs; gives their ids.
    #[track_caller]
    pub(crate) fn add(&self, name: &str, count: u32, options: &str) -> Vec<String> {
        self.app(&["add", name, &count.to_string(), options])
    }

    /// The states of jobs, as BullMQ sees them.
    #[track_caller]
    pub(crate) fn states(&self, ids: &[String]) -> Vec<String> {
        let mut words = vec!["states"];
        words.extend(ids.iter().map(String::as_str));
        self.app(&words)
    }

    /// Starts a worker, and waits until it is connected.
    #[track_caller]
    pub(crate) fn worker(&self, name: &[&str]) -> lab::Child {
        let before = self.workers();
        let mut node = self.node();
        node.arg("work").args(name).stdin(Stdio::null()).stdout(Stdio::null());
        let worker = lab::Child::spawn(&mut node);
        self.until("the worker to be connected", || self.workers() > before);
        worker
    }

    fn workers(&self) -> usize {
        // `bull:` and the name in base64.
        let list = self.server.cli(&["client", "list"]);
        list.matches("name=bull:bWFpbHM= ").count() + list.matches("name=bull:bWFpbHM=:w:").count()
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, so: impl FnMut() -> bool) {
        lab::wait_until(what, Duration::from_secs(30), so);
    }

    /// How many jobs are in that state, as the keys say.
    pub(crate) fn length(&self, list: &str) -> u64 {
        let key = format!("bull:mails:{list}");
        let command = match list {
            "wait" | "paused" | "active" => "llen",
            _ => "zcard",
        };
        self.server.cli(&[command, &key]).parse().unwrap()
    }

    fn node(&self) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/bull.cjs");
        let mut node = Command::new("node");
        node.env("NODE_PATH", &self.modules).arg(script).arg(self.server.url(0)).arg("mails");
        node
    }
}
