//! Sessions of PostgreSQL that stay open.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::Child;

const DEADLINE: Duration = Duration::from_secs(30);

/// A psql of the lab's that keeps its connection until it is dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    name: String,
}

impl Session {
    /// The `application_name` by which the server knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the server still keeps its connection, as far as its psql knows.
    pub fn is_running(&mut self) -> bool {
        self.child.is_running()
    }

    pub(crate) fn new(mut command: Command) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("lab session {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        command.env("PGAPPNAME", &name).args(["-XAtq", "-v", "ON_ERROR_STOP=1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: Child::spawn(&mut command), name }
    }

    pub(crate) fn idle(command: Command, sql: &str) -> Self {
        const DONE: &str = "lab: done";
        let mut session = Self::new(command);
        let stdout = session.child.std().stdout.take().expect("piped");
        session.tell(&format!("{sql};\n\\echo {DONE}"));
        let (sender, done) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let _ = sender.send(lines.any(|line| line == DONE));
            // Read on: a psql that can't write ends.
            lines.for_each(drop);
        });
        match done.recv_timeout(DEADLINE) {
            Ok(true) => session,
            Ok(false) => {
                let mut said = String::new();
                let stderr = session.child.std().stderr.as_mut().expect("piped");
                let _ = stderr.read_to_string(&mut said);
                panic!("a session for {sql}: {said}")
            }
            Err(_) => panic!("a session for {sql} is not ready after {DEADLINE:?}"),
        }
    }

    pub(crate) fn tell(&mut self, text: &str) {
        let stdin = self.child.std().stdin.as_mut().expect("piped");
        writeln!(stdin, "{text}").unwrap_or_else(|error| panic!("telling psql {text}: {error}"));
    }
}
