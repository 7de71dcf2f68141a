//! [`Found`]: the container itself, as `docker inspect` shows it.

use runbook_core::{Exit, Failure, FailureKind, Result, scrub};

use super::Compose;
use super::docker::{Docker, Which};

/// A container and its state.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) name: String,
    status: String,
    exit_code: String,
    out_of_memory: bool,
    /// Tells one life of a container from the next.
    started: String,
    pub(super) network: String,
    /// Its own addresses, if it has any.
    pub(super) addresses: Vec<String>,
    error: String,
}

/// One a line; the last one may have several lines.
const FIELDS: &str = "{{.Id}}\n{{.Name}}\n{{.State.Status}}\n{{.State.ExitCode}}\n\
                      {{.State.OOMKilled}}\n{{.State.StartedAt}}\n{{.HostConfig.NetworkMode}}\n\
                      {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}\n{{.State.Error}}";

impl Docker {
    /// Finds the container; an error if there is none, or it does not run.
    pub(super) async fn find(&self) -> Result<Found> {
        let found = match &self.which {
            Which::Named(name) => self.inspect(name).await?,
            Which::Service { project, service, index } => {
                let id = self.service(project, service, *index).await?;
                self.inspect(&id).await?
            }
        };
        match found.why_not_usable(self) {
            Some(failure) => Err(failure),
            None => Ok(found),
        }
    }

    pub(super) async fn inspect(&self, container: &str) -> Result<Found> {
        let inspect =
            self.command().args(["container", "inspect", "--format", FIELDS, "--", container]);
        let said = self.ask(&inspect).await?;
        if said.exit == Exit::Code(0) {
            return Found::read(&said.stdout).ok_or_else(|| {
                Failure::msg("`inspect` said nothing that can be read").while_doing(self.looking())
            });
        }
        let why = said.why();
        if let Some(failure) = self.refused(&why) {
            return Err(failure);
        }
        let failure = Failure::msg(scrub(&why)).while_doing(self.looking());
        Err(if why.to_lowercase().contains("no such") {
            failure.next(self.list())
        } else {
            failure
        })
    }

    /// The id of the service's container.
    async fn service(
        &self,
        project: &Compose,
        service: &str,
        index: Option<u32>,
    ) -> Result<String> {
        const LABEL: &str = "com.docker.compose";
        let files = format!("{LABEL}.project.config_files");
        let format = format!(
            "{{{{.ID}}}}\t{{{{.Names}}}}\t{{{{.Label \"{LABEL}.container-number\"}}}}\t\
             {{{{.Label \"{files}\"}}}}"
        );
        let mut list = self
            .command()
            .args(["ps", "--all", "--no-trunc", "--format", &format, "--filter"])
            .arg(format!("label={LABEL}.service={service}"));
        list = match project {
            Compose::Project(name) => {
                list.arg("--filter").arg(format!("label={LABEL}.project={name}"))
            }
            Compose::Dir(dir) => {
                let mut label = format!("label={LABEL}.project.working_dir=").into_bytes();
                label.extend_from_slice(dir.as_os_str().as_encoded_bytes());
                list.arg("--filter").arg(String::from_utf8_lossy(&label))
            }
            Compose::File(_) => list,
        };
        let said = self.ask(&list).await?;
        if said.exit != Exit::Code(0) {
            let why = said.why();
            return Err(self
                .refused(&why)
                .unwrap_or_else(|| Failure::msg(scrub(&why)).while_doing(self.looking())));
        }
        let mut replicas: Vec<Replica> = said.stdout.lines().filter_map(Replica::read).collect();
        if let Compose::File(file) = project {
            let file = file.to_string_lossy();
            replicas.retain(|replica| replica.files.split(',').any(|path| path == file));
        }
        // What `compose run` started has the labels of its service, and no number that counts.
        replicas.sort_by_key(|replica| replica.number);
        if let Some(n) = index {
            if let Some(replica) = replicas.iter().find(|replica| replica.number == n) {
                return Ok(replica.id.clone());
            }
        } else if let [only] = &*replicas {
            return Ok(only.id.clone());
        }
        Err(self.no_single(project, service, index, &replicas))
    }

    fn no_single(
        &self,
        project: &Compose,
        service: &str,
        index: Option<u32>,
        replicas: &[Replica],
    ) -> Failure {
        let there: Vec<_> = replicas
            .iter()
            .map(|replica| format!("{} ({})", replica.name, replica.number))
            .collect();
        let there = there.join(", ");
        let called = self.called();
        let (what, next) = match (index, replicas) {
            (_, []) => (
                format!(
                    "the service `{service}` of the compose project {project} has no container"
                ),
                format!("start it (`{called} compose up -d {service}`), or correct the name"),
            ),
            (Some(n), _) => (
                format!("the service `{service}` has no container {n}; it has {there}"),
                "correct the number, or scale the service".to_owned(),
            ),
            (None, _) => (
                format!("the service `{service}` has several containers: {there}"),
                "say which one with `.index(n)`".to_owned(),
            ),
        };
        Failure::msg(what).while_doing(self.looking()).next(next)
    }

    fn looking(&self) -> String {
        format!("looking for the container {} on {}", self.container(), self.host)
    }

    fn list(&self) -> String {
        format!("see which there are on {}: `{} ps --all`", self.host, self.called())
    }
}

struct Replica {
    id: String,
    name: String,
    number: u32,
    files: String,
}

impl Replica {
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(Self {
            id: fields.next()?.to_owned(),
            name: fields.next()?.to_owned(),
            number: fields.next()?.parse().ok()?,
            files: fields.next().unwrap_or_default().to_owned(),
        })
    }
}

impl Found {
    fn read(said: &str) -> Option<Self> {
        let mut lines = said.strip_suffix('\n').unwrap_or(said).splitn(9, '\n').map(str::to_owned);
        Some(Self {
            id: lines.next()?,
            name: lines.next()?.trim_start_matches('/').to_owned(),
            status: lines.next()?,
            exit_code: lines.next()?,
            out_of_memory: lines.next()? == "true",
            started: lines.next()?,
            network: lines.next()?,
            addresses: lines.next()?.split_whitespace().map(str::to_owned).collect(),
            error: lines.next().unwrap_or_default(),
        })
    }

    /// Whether it still is what it was: neither stopped nor started again.
    pub(super) fn is_the_same_life(&self, earlier: &Self) -> bool {
        self.started == earlier.started && self.status == "running"
    }

    /// Why nothing can be done in it.
    fn why_not_usable(&self, docker: &Docker) -> Option<Failure> {
        let (name, called) = (&self.name, docker.called());
        let state = match &*self.status {
            "running" => return None,
            "paused" => "is paused".to_owned(),
            "created" => format!("was never started{}", self.said()),
            _ => format!("does not run: {}", self.end()),
        };
        let next = match &*self.status {
            "paused" => format!("let it go on: `{called} unpause {name}`"),
            "created" => format!("start it: `{called} start {name}`"),
            _ => format!(
                "see why in its log (`{called} logs {name}`), and start it: `{called} start {name}`"
            ),
        };
        Some(Failure::msg(format!("the container `{name}` on {} {state}", docker.host)).next(next))
    }

    /// It stopped, or stopped and was started again, while something was done in it.
    pub(super) fn stopped(&self, docker: &Docker) -> Failure {
        let (name, called) = (&self.name, docker.called());
        let how = match &*self.status {
            "running" => "was restarted meanwhile".to_owned(),
            "paused" => "was paused meanwhile".to_owned(),
            _ => format!("stopped meanwhile: {}", self.end()),
        };
        let what = format!("the container `{name}` on {} {how}", docker.host);
        Failure::new(FailureKind::Disconnected, what).next(format!(
            "see why in its log (`{called} logs {name}`), start it, then resume the run"
        ))
    }

    fn end(&self) -> String {
        let state = match &*self.status {
            "exited" => "it ended with exit code".to_owned(),
            status => format!("it is {status}, exit code"),
        };
        let memory =
            if self.out_of_memory { ", killed by the kernel for want of memory" } else { "" };
        format!("{state} {}{memory}{}", self.exit_code, self.said())
    }

    fn said(&self) -> String {
        if self.error.is_empty() { String::new() } else { format!(" ({})", scrub(&self.error)) }
    }
}
