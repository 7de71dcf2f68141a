//! Test, reload, status.

use std::time::Duration;

use runbook::{Address, Command, Context, Failure, Observer, Result, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::client::{Nginx, message};
use crate::error::NginxError;

impl Nginx {
    /// The configuration on the disk is one that nginx accepts. See [`config_test()`].
    pub fn config_test(&self) -> config_test {
        config_test(self)
    }

    /// Reloads the configuration, after a test, and waits until the workers are new. See
    /// [`reload()`].
    pub fn reload(&self) -> reload {
        reload(self)
    }

    /// The master and its workers run. See [`status()`].
    pub fn status(&self) -> status {
        status(self)
    }

    /// How many connections are open, by the `stub_status` page at `path`. See
    /// [`connections()`].
    pub fn connections(&self, address: &Address, path: &str, warn_over: u64) -> connections {
        connections(self, address, path, warn_over)
    }
}

/// The configuration is one that nginx accepts
///
/// As `nginx -t` says, with the same program, arguments and user that run the server. Warnings
/// pass with a warning.
///
/// ```
/// use runbook_core::Runbook;
/// use runbook_nginx::Nginx;
/// fn before(b: &mut Runbook, nginx: &Nginx) {
///     b.check(nginx.config_test());
/// }
/// ```
#[check(title = "The configuration of {nginx} is accepted", preview = "nginx -t")]
pub async fn config_test(cx: &Observer, nginx: &Nginx) -> Result<Verdict<Vec<String>>> {
    let tested = nginx.test(cx, &nginx.config.main).await?;
    let why = tested.said.join("; ");
    Ok(match (tested.good, tested.said.is_empty()) {
        (true, true) => Verdict::pass(tested.said, "the syntax is ok"),
        (true, false) => Verdict::warn(tested.said, why),
        (false, _) => Verdict::fail(tested.said, why),
    })
}

/// The processes of a running nginx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Processes {
    /// The master.
    pub master: u32,
    /// The workers that take requests, in order.
    pub workers: Vec<u32>,
    /// The workers that only finish what they have.
    pub leaving: Vec<u32>,
}

/// What [`status()`] saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NginxStatus {
    /// E.g. `nginx/1.22.1`.
    pub version: String,
    /// Its processes, if it runs.
    pub processes: Option<Processes>,
}

/// Nginx runs, with at least one worker
///
/// ```
/// use runbook_core::Runbook;
/// use runbook_nginx::Nginx;
/// fn diagnose(b: &mut Runbook, nginx: &Nginx) {
///     b.observe(nginx.status());
/// }
/// ```
#[check(title = "{nginx} runs", preview = "nginx -v; ps")]
pub async fn status(cx: &Observer, nginx: &Nginx) -> Result<Verdict<NginxStatus>> {
    let version = Command::new(&nginx.config.binary).arg("-v").read_only();
    let output = cx.on(nginx.host()).output(&version).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    let version = said.trim().trim_start_matches("nginx version: ").to_owned();
    let processes = processes(cx, nginx).await?;
    let (good, why) = match &processes {
        None => (false, "no master process runs".to_owned()),
        Some(found) => (
            !found.workers.is_empty(),
            format!("{version}, master {}, {} workers", found.master, found.workers.len()),
        ),
    };
    Ok(Verdict::pass_if(good, NginxStatus { version, processes }, why))
}

/// What a `stub_status` page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Connections {
    /// Open.
    pub active: u64,
    /// Taken since the start.
    pub accepted: u64,
    /// Of them dropped for want of room.
    pub dropped: u64,
    /// Requests since the start.
    pub requests: u64,
}

/// Nginx has room for more connections
///
/// Reads the page of a location with `stub_status`, over a socket that the host opens. Warns over
/// `warn_over` open connections, or if any was ever dropped.
///
/// ```
/// use runbook_core::{Address, Runbook};
/// use runbook_nginx::Nginx;
/// fn diagnose(b: &mut Runbook, nginx: &Nginx) {
///     let local = Address::Tcp("127.0.0.1".into(), 8080);
///     b.check(nginx.connections(&local, "/stub_status", 700));
/// }
/// ```
#[check(title = "{nginx} has room for more connections", preview = "GET {path}")]
pub async fn connections(
    cx: &Observer,
    nginx: &Nginx,
    address: &Address,
    path: &str,
    warn_over: u64,
) -> Result<Verdict<Connections>> {
    let answer = crate::get::get(cx, nginx.host(), address, "localhost", path).await?;
    let numbers: Vec<u64> = answer
        .body
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    let [active, accepted, handled, requests, ..] = numbers[..] else {
        return Err(Failure::msg(format!("{address}{path} is no `stub_status` page"))
            .next("give the path of a location that holds `stub_status;`"));
    };
    let dropped = accepted.saturating_sub(handled);
    let seen = Connections { active, accepted, dropped, requests };
    let why = format!("{active} connections are open, {dropped} were dropped since the start");
    Ok(if active > warn_over || dropped > 0 {
        Verdict::warn(seen, why)
    } else {
        Verdict::pass(seen, why)
    })
}

/// Reload nginx
///
/// After a test of the configuration. Ends when new workers take the requests and the old ones
/// are gone or only finish what they have: a reload that nginx gives up in silence is found.
///
/// ```
/// use runbook_core::Runbook;
/// use runbook_nginx::Nginx;
/// fn renewed(b: &mut Runbook, nginx: &Nginx) {
///     b.step(nginx.reload());
/// }
/// ```
#[step(harmless, repeatable, title = "Reload {nginx}", preview = ["nginx -t", "nginx -s reload"])]
pub async fn reload(cx: &Context, nginx: &Nginx) -> Result<Processes> {
    let tested = nginx.test(cx, &nginx.config.main).await?;
    if !tested.good {
        return Err(Nginx::refused(&tested.said));
    }
    reload_tested(cx, nginx).await
}

/// Reloads what has been tested.
pub(crate) async fn reload_tested(cx: &Context, nginx: &Nginx) -> Result<Processes> {
    let Some(before) = processes(cx, nginx).await? else {
        let pid_file = nginx.pid_file(cx).await?;
        return Err(NginxError::NotRunning { pid_file }.into_failure());
    };
    let signal = nginx.command(&nginx.config.main).args(["-s", "reload"]);
    cx.on(nginx.host()).run(&signal).await?;
    let seconds = nginx.config.reload_seconds;
    let began = tokio::time::Instant::now();
    loop {
        if let Some(now) = processes(cx, nginx).await? {
            let old = |pid: &u32| before.workers.contains(pid);
            if !now.workers.is_empty() && !now.workers.iter().any(old) {
                cx.say(format!("{} new workers, {} leaving", now.workers.len(), now.leaving.len()));
                return Ok(now);
            }
        }
        if began.elapsed() > Duration::from_secs(seconds) {
            let said = last_errors(cx, nginx).await;
            return Err(NginxError::NotReloaded { seconds, said }.into_failure());
        }
        tokio::select! {
            why = cx.stopped() => return Err(why.while_doing("waiting for nginx's new workers")),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
}

/// The master that the pid file names, and its workers; `None` if it does not run.
pub(crate) async fn processes(cx: &Observer, nginx: &Nginx) -> Result<Option<Processes>> {
    let pid_file = nginx.pid_file(cx).await?;
    if !cx.on(nginx.host()).exists(&pid_file).await? {
        return Ok(None);
    }
    let text = cx.on(nginx.host()).read_text(&pid_file).await?;
    let Ok(master) = text.trim().parse::<u32>() else { return Ok(None) };
    let ps = Command::new("ps").args(["-A", "-o", "pid=", "-o", "ppid=", "-o", "args="]);
    let list = cx.on(nginx.host()).output(&ps.env("LC_ALL", "C").read_only()).await?.text();
    Ok(parse(&list, master))
}

fn parse(list: &str, master: u32) -> Option<Processes> {
    let mut found = Processes { master, workers: Vec::new(), leaving: Vec::new() };
    let mut runs = false;
    for line in list.lines() {
        let mut words = line.split_whitespace();
        let (Some(pid), Some(parent)) = (words.next(), words.next()) else { continue };
        let (Ok(pid), Ok(parent)) = (pid.parse::<u32>(), parent.parse::<u32>()) else { continue };
        let what = words.collect::<Vec<_>>().join(" ");
        // The pid may belong to somebody else by now.
        runs |= pid == master && what.starts_with("nginx: master process");
        if parent == master && what.starts_with("nginx: worker process") {
            let leaves = what.contains("is shutting down");
            if leaves { &mut found.leaving } else { &mut found.workers }.push(pid);
        }
    }
    found.workers.sort_unstable();
    runs.then_some(found)
}

/// The end of the main error log, to say why a reload was given up; empty if it is not known.
async fn last_errors(cx: &Observer, nginx: &Nginx) -> String {
    let Ok(tree) = nginx.tree(cx).await else { return String::new() };
    let log = tree.files[0].document.directives.iter().find(|one| one.name == "error_log");
    let Some(path) = log.and_then(|log| log.args.first()) else { return String::new() };
    let path = match &nginx.config.prefix {
        Some(prefix) => prefix.join(path),
        None => path.into(),
    };
    let tail = Command::new("tail").args(["-n", "20"]).arg(path).read_only();
    let Ok(output) = cx.on(nginx.host()).status(&tail).await else { return String::new() };
    let text = output.text();
    // After the reason it says five times that it is still so.
    let worst = |line: &&str| {
        (line.contains("[emerg]") || line.contains("[alert]")) && !line.contains("still could not")
    };
    text.lines().rfind(worst).map(|line| format!(": {}", message(line))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_told_from_those_that_leave_and_from_those_of_others() {
        let list = "  10     1 nginx: master process /usr/sbin/nginx\n  \
                    12    10 nginx: worker process\n  \
                    11    10 nginx: worker process is shutting down\n  \
                    13    10 nginx: cache manager process\n  \
                    22    20 nginx: worker process\n";
        let found = parse(list, 10).unwrap();
        assert_eq!((found.workers, found.leaving), (vec![12], vec![11]));
        assert_eq!(parse(list, 12), None, "no master");
    }
}
