//! The site's process: is it running, start it, stop it.

use std::time::Duration;

use runbook::{Command, Context, During, Failure, Observer, Result, cmd, step};
use serde::{Deserialize, Serialize};

use crate::env::Site;

/// A running site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Its process.
    pub(crate) pid: u32,
    /// The release that it serves.
    pub(crate) release: String,
}

/// What is running, by the pid file; a stale file counts as nothing.
pub(crate) async fn running(cx: &Observer, site: &Site) -> Result<Option<Running>> {
    let host = cx.on(&site.host);
    if !host.exists(site.pid_file()).await? {
        return Ok(None);
    }
    let text = host.read_text(site.pid_file()).await?;
    let Some((pid, release)) = text.trim().split_once(' ') else { return Ok(None) };
    // The pid may belong to somebody else by now.
    let arguments = host.status(&cmd!("ps -o args= -p {pid}").read_only()).await?.text();
    let ours = arguments.contains("serve-site") && arguments.contains(release);
    Ok(ours.then_some(Running { pid: pid.parse()?, release: release.to_owned() }))
}

/// What ran before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Before(Option<Running>);

/// Restart the site on the new release
///
/// The old process is stopped first: both want the same port. Undone by starting the old release
/// again.
#[step(title = "Restart the site on {release}", rollback = Before, repeatable)]
pub(crate) async fn restart_site(cx: &Context, site: &Site, release: String) -> Result<Running> {
    stop(cx, site).await?;
    start(cx, site, &release).await
}

impl runbook::Rollback<restart_site> for Before {
    async fn record(step: &restart_site, cx: &Observer) -> Result<Self> {
        Ok(Before(running(cx, &step.site).await?))
    }

    async fn rollback(&self, step: &restart_site, _: Option<&Running>, cx: &Context) -> Result<()> {
        stop(cx, &step.site).await?;
        if let Some(before) = &self.0 {
            start(cx, &step.site, &before.release).await?;
        }
        Ok(())
    }

    /// Another process of the same release will do.
    fn restored(&self, now: &Self) -> bool {
        let release = |running: &Before| running.0.as_ref().map(|running| running.release.clone());
        release(self) == release(now)
    }
}

/// Stop the site
#[step(rollback = WasRunning)]
pub(crate) async fn stop_site(cx: &Context, site: &Site) -> Result<()> {
    stop(cx, site).await
}

/// What ran before it was stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WasRunning(Option<String>);

impl runbook::Rollback<stop_site> for WasRunning {
    async fn record(step: &stop_site, cx: &Observer) -> Result<Self> {
        Ok(WasRunning(running(cx, &step.site).await?.map(|running| running.release)))
    }

    async fn rollback(&self, step: &stop_site, _: Option<&()>, cx: &Context) -> Result<()> {
        match &self.0 {
            Some(release) => start(cx, &step.site, release).await.map(|_| ()),
            None => Ok(()),
        }
    }
}

/// Starts the site in the background; its output goes to `site.log`.
async fn start(cx: &Context, site: &Site, release: &str) -> Result<Running> {
    let host = cx.on(&site.host);
    let program = std::env::current_exe().during("finding this program")?;
    let folder = site.release(release);
    // The only shell of this example: it puts the process into a session of its own and says its
    // pid. What varies is passed as arguments, never as text of the script.
    let script = r#"log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!"#;
    let launch = Command::new("sh")
        .args(["-c", script, "start-site"])
        .arg(site.log())
        .arg(program)
        .arg("serve-site")
        .arg(folder)
        .arg(site.port);
    let pid: u32 = host.run(&launch).await?.text().trim().parse().during("reading its pid")?;
    host.write(site.pid_file(), format!("{pid} {release}\n")).await?;
    cx.say(format!("{release} runs as pid {pid}"));
    Ok(Running { pid, release: release.to_owned() })
}

/// Stops the site, if it runs, and waits until it is gone.
async fn stop(cx: &Context, site: &Site) -> Result<()> {
    let Some(Running { pid, release }) = running(cx, site).await? else {
        return Ok(());
    };
    cx.on(&site.host).run_unchecked(&cmd!("kill {pid}")).await?;
    for _ in 0..100 {
        if running(cx, site).await?.is_none() {
            cx.on(&site.host).remove(site.pid_file()).await?;
            cx.say(format!("{release} (pid {pid}) is stopped"));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Failure::msg(format!("pid {pid} did not end within 5 s of SIGTERM"))
        .next(format!("look at it with `ps -fp {pid}`, and kill it by hand")))
}

/// Remove the stale pid file
#[step(harmless)]
pub(crate) async fn remove_stale_pid(cx: &Context, site: &Site) -> Result<()> {
    if running(cx, site).await?.is_none() {
        cx.on(&site.host).remove(site.pid_file()).await?;
    }
    Ok(())
}
