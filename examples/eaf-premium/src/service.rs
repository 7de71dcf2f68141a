//! [`Service`]: a server of the host, as the host's own scripts start it.

use std::fmt;

use runbook::{
    Command, Context, Exit, Failure, Host, Observer, Result, Spawn, Verdict, check, step,
};

/// A server of the host, as the host's own scripts start it.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    host: Host,
    command: Vec<String>,
    name: String,
}

impl Service {
    pub(crate) fn new(host: &Host, command: &[String], name: &str) -> Self {
        Self { host: host.clone(), command: command.to_vec(), name: name.to_owned() }
    }

    fn words(&self, action: &str) -> Command {
        // Without the mark by which a run finds what it left behind: a server outlives its run.
        Command::new("env")
            .args(["-u", Spawn::VARIABLE, "-u", Spawn::COMMAND_VARIABLE])
            .args(&self.command)
            .args([&self.name, action])
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The server does not run
///
/// A server that runs and does not answer is not mended by starting it.
#[check(title = "{service} does not run", preview = "service {service} status")]
pub(crate) async fn is_stopped(cx: &Observer, service: &Service) -> Result<Verdict<String>> {
    let output = cx.on(&service.host).status(&service.words("status").read_only()).await?;
    if matches!(output.exit, Exit::Code(126 | 127)) {
        let words = service.command.join(" ");
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let what = format!("`{words} {service} status` on {}: {said}", service.host);
        return Err(Failure::msg(what).next("correct `services.command` of the configuration"));
    }
    let said = output.text().trim().to_owned();
    let why = if said.is_empty() { output.exit.to_string() } else { said };
    Ok(Verdict::pass_if(!output.exit.success(), why.clone(), why))
}

/// Start the server
#[step(harmless, repeatable, title = "Start {service}", preview = "service {service} start")]
pub(crate) async fn start_server(cx: &Context, service: &Service) -> Result<()> {
    cx.on(&service.host).run(&service.words("start")).await.map(drop)
}
