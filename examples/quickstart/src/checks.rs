//! What the runbooks look at. Checks read and change nothing.

use runbook::{Observer, Result, Verdict, check, cmd};
use serde::{Deserialize, Serialize};

use crate::env::Site;
use crate::release::{Release, files_of};
use crate::{http, process};

/// Enough disk space is free
///
/// A release and a backup take a few kilobytes here; on a real host they fill disks.
#[check(preview = "df -Pm ROOT")]
pub(crate) async fn disk_free(cx: &Observer, site: &Site, megabytes: u64) -> Result<Verdict<u64>> {
    let parent = site.root.ancestors().find(|dir| dir.exists()).unwrap_or(&site.root);
    let df = cx.on(&site.host).output(&cmd!("df -Pm {parent}").read_only()).await?.text();
    let line = df.lines().last().unwrap_or_default();
    let free = line.split_whitespace().nth(3).unwrap_or("0").parse()?;
    Ok(Verdict::pass_if(free >= megabytes, free, format!("{free} MiB are free")))
}

/// Who listens on the site's port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Port {
    /// Nobody.
    Free,
    /// The site itself: it will be replaced.
    Ours(u32),
    /// Somebody else.
    Taken,
}

/// The port is free, or is the site's own
#[check]
pub(crate) async fn port_is_ours(cx: &Observer, site: &Site) -> Result<Verdict<Port>> {
    let address = runbook::Address::Tcp("127.0.0.1".into(), site.port);
    if cx.on(&site.host).connect(&address).await.is_err() {
        return Ok(Verdict::pass(Port::Free, format!("nobody listens on {site}")));
    }
    Ok(match process::running(cx, site).await? {
        Some(running) => Verdict::pass(
            Port::Ours(running.pid),
            format!("the site listens on {site} (pid {})", running.pid),
        ),
        None => Verdict::fail(Port::Taken, format!("another process listens on {site}")),
    })
}

/// The release is complete and its configuration can be read
#[check]
pub(crate) async fn release_is_sound(
    _: &Observer,
    release: Release,
) -> Result<Verdict<Vec<String>>> {
    let files = files_of(release);
    let names: Vec<String> = files.iter().map(|(name, _)| (*name).into()).collect();
    for needed in ["index.html", "site.conf"] {
        if !names.iter().any(|name| name == needed) {
            return Ok(Verdict::fail(names, format!("{release} has no {needed}")));
        }
    }
    let conf = files.iter().find(|(name, _)| *name == "site.conf").map_or("", |(_, text)| text);
    if let Some(line) = conf.lines().find(|line| !line.contains(" = ")) {
        return Ok(Verdict::fail(names, format!("site.conf of {release}: {line:?} is no setting")));
    }
    let why = format!("{release} has {} files", names.len());
    Ok(Verdict::pass(names, why))
}

/// The site answers with this release
#[check(title = "The site answers as {release}", preview = "GET http://{site}/health")]
pub(crate) async fn serves(cx: &Observer, site: &Site, release: String) -> Result<Verdict<u16>> {
    let (status, body) = http::get(cx, site, "/health").await?;
    let why = format!("{status}: {body}");
    Ok(Verdict::pass_if(status == 200 && body == release, status, why))
}

/// The site answers
#[check(preview = "GET http://{site}/health")]
pub(crate) async fn answers(cx: &Observer, site: &Site) -> Result<Verdict<u16>> {
    let (status, body) = http::get(cx, site, "/health").await?;
    Ok(Verdict::pass_if(status == 200, status, format!("{status}: {body}")))
}

/// The site's process is running
#[check]
pub(crate) async fn process_runs(cx: &Observer, site: &Site) -> Result<Verdict<Option<u32>>> {
    Ok(match process::running(cx, site).await? {
        Some(running) => {
            let why = format!("pid {} serves {}", running.pid, running.release);
            Verdict::pass(Some(running.pid), why)
        }
        None => Verdict::fail(None, "no process of the site is running"),
    })
}

/// The log shows no errors
///
/// Looks at the last 50 lines.
#[check(preview = "tail -n 50 site.log")]
pub(crate) async fn log_is_clean(cx: &Observer, site: &Site) -> Result<Verdict<Vec<String>>> {
    let log = site.log();
    if !cx.on(&site.host).exists(&log).await? {
        return Ok(Verdict::warn(Vec::new(), "there is no log yet"));
    }
    let tail = cx.on(&site.host).output(&cmd!("tail -n 50 {log}").read_only()).await?.text();
    let errors: Vec<String> = tail
        .lines()
        .filter(|line| line.contains("-> 5") || line.contains("can't"))
        .map(str::to_owned)
        .collect();
    Ok(match errors.last() {
        None => Verdict::pass(errors, "the last 50 lines show none"),
        Some(last) => {
            let why = format!("{} errors, the last one: {last}", errors.len());
            Verdict::warn(errors, why)
        }
    })
}

/// A release to go back to is there
#[check]
pub(crate) async fn has_previous(cx: &Observer, site: &Site) -> Result<Verdict<String>> {
    let current = crate::release::current(cx, site).await?;
    let releases = crate::release::installed(cx, site).await?;
    let before = releases.iter().rev().find(|name| Some(name.as_str()) != current.as_deref());
    Ok(match before {
        Some(name) => Verdict::pass(name.clone(), format!("{name} was installed before")),
        None => Verdict::fail(String::new(), "no other release is installed"),
    })
}

/// A release is chosen
#[check]
pub(crate) async fn current_release(cx: &Observer, site: &Site) -> Result<Verdict<String>> {
    Ok(match crate::release::current(cx, site).await? {
        Some(name) => Verdict::pass(name.clone(), format!("current points at {name}")),
        None => Verdict::fail(String::new(), "nothing was ever deployed here"),
    })
}
