//! [`Docker`]: which container is meant, and the program that knows it.

use std::path::PathBuf;
use std::sync::Arc;

use runbook_core::{Command, Exit, Failure, Host, Process, Result, Spawn, scrub};
use tokio::io::AsyncReadExt;

use super::Compose;

/// The cookie of what this target runs for itself: it belongs to no unit.
pub(super) const COOKIE: &str = "runbook:container";

/// Enough of an error message for any error.
pub(super) const LONG: u64 = 16 << 10;

#[derive(Clone, Debug)]
pub(super) struct Docker {
    pub(super) host: Host,
    pub(super) which: Which,
    pub(super) user: Option<String>,
    program: PathBuf,
    name: Arc<str>,
}

#[derive(Clone, Debug)]
pub(super) enum Which {
    Named(String),
    Service { project: Compose, service: String, index: Option<u32> },
}

/// What the program said and how it ended.
pub(super) struct Said {
    pub(super) exit: Exit,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Docker {
    pub(super) fn new(host: &Host, which: Which) -> Self {
        let docker = Self {
            host: host.clone(),
            which,
            user: None,
            program: "docker".into(),
            name: "".into(),
        };
        docker.renamed()
    }

    pub(super) fn index(mut self, n: u32) -> Self {
        if let Which::Service { index, .. } = &mut self.which {
            *index = Some(n);
        }
        self.renamed()
    }

    pub(super) fn user(mut self, user: String) -> Self {
        self.user = Some(user);
        self.renamed()
    }

    pub(super) fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    fn renamed(mut self) -> Self {
        let user = self.user.as_ref().map(|user| format!(" as {user}")).unwrap_or_default();
        self.name = format!("{}@{}{user}", self.container(), self.host).into();
        self
    }

    /// The name of the target.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The container, as its user called it.
    pub(super) fn container(&self) -> String {
        match &self.which {
            Which::Named(name) => name.clone(),
            Which::Service { project, service, index: None } => format!("{project}/{service}"),
            Which::Service { project, service, index: Some(n) } => {
                format!("{project}/{service}-{n}")
            }
        }
    }

    /// How the program is called in advice.
    pub(super) fn called(&self) -> String {
        self.program.display().to_string()
    }

    pub(super) fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// Starts it.
    pub(super) async fn start(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>> {
        let started = self.host.target().spawn(command, spawn).await;
        started.map_err(|failure| self.not_started(failure))
    }

    fn not_started(&self, failure: Failure) -> Failure {
        if failure.kind().outcome_unknown() {
            return failure;
        }
        let doing = format!("looking for the container {} on {}", self.container(), self.host);
        failure.while_doing(doing).next(format!(
            "install `{}` on {}, or say with `Container::docker` which program to use there",
            self.called(),
            self.host
        ))
    }

    /// Asks it something.
    pub(super) async fn ask(&self, command: &Command) -> Result<Said> {
        let spawn = Spawn::new(COOKIE).read_only();
        let asked = finish(self.start(command, &spawn).await?).await;
        // Some targets tell only now that there is no such program.
        let said = asked.map_err(|failure| self.not_started(failure))?;
        if said.exit == Exit::Code(127) {
            return Err(self.not_started(Failure::msg(scrub(&said.why()))));
        }
        Ok(said)
    }

    /// What the program could not do for any container, or nothing.
    pub(super) fn refused(&self, why: &str) -> Option<Failure> {
        let lower = why.to_lowercase();
        let (called, host) = (self.called(), &self.host);
        let about_daemon = lower.contains("daemon") || lower.contains("docker.sock");
        let advice = if lower.contains("permission denied") && about_daemon {
            format!(
                "let the user of {host} use {called}: add it to the group of the daemon's socket \
                 (`docker`), or wrap the host in `Sudo`"
            )
        } else if lower.contains("cannot connect to the") || lower.contains("error during connect")
        {
            format!(
                "see whether the daemon runs on {host} (`systemctl status docker`), and whether \
                 DOCKER_HOST or the context says another place"
            )
        } else {
            return None;
        };
        let doing = format!("asking `{called}` on {host} for {}", self.container());
        Some(Failure::msg(scrub(why)).while_doing(doing).next(advice))
    }
}

impl Said {
    /// What it said went wrong: its error output without empty lines and without its own greeting.
    pub(super) fn why(&self) -> String {
        let lines = self.stderr.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines = lines.map(|line| {
            let greetings = [
                "Error response from daemon: ",
                "Error: ",
                "OCI runtime exec failed: ",
                "exec failed: ",
                "unable to start container process: ",
            ];
            greetings
                .iter()
                .fold(line, |line, greeting| line.strip_prefix(greeting).unwrap_or(line))
        });
        let why = lines.collect::<Vec<_>>().join("; ");
        match why.chars().next() {
            Some(first) => first.to_lowercase().chain(why.chars().skip(1)).collect(),
            None => self.exit.to_string(),
        }
    }
}

/// Reads both streams to their end and waits.
pub(super) async fn finish(mut process: Box<dyn Process>) -> Result<Said> {
    let (out, err) = (process.stdout(), process.stderr());
    let read = async |stream: Option<runbook_core::BoxRead>| -> std::io::Result<String> {
        let mut said = Vec::new();
        if let Some(mut stream) = stream {
            (&mut stream).take(LONG).read_to_end(&mut said).await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
        }
        Ok(String::from_utf8_lossy(&said).into_owned())
    };
    // Beside each other: a target may end the streams only when the end is waited for.
    let wait = async { Ok(process.wait().await) };
    let (stdout, stderr, exit) = tokio::try_join!(read(out), read(err), wait)?;
    Ok(Said { exit: exit?, stdout, stderr })
}
