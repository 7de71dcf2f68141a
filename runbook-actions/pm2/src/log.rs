//! Logs of an app: their last lines, and errors since it was restarted.

use std::path::PathBuf;

use runbook_core::{Check, Command, IntoInput, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::daemon::Pm2;

/// Lines of an error log that are evidence; there may be more.
const SHOWN: usize = 20;

/// An app that was restarted, and where its logs ended before; from [`Pm2::restart`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Restarted {
    /// Its processes.
    pub apps: Vec<App>,
    /// Where its error logs ended before the restart.
    pub logs: Logs,
}

/// Where error logs ended: what comes after is new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs(Vec<(PathBuf, u64)>);

impl Logs {
    pub(crate) async fn ends(cx: &Observer, pm2: &Pm2, apps: &[App]) -> Result<Self> {
        let mut ends = Vec::new();
        for app in apps {
            let path = app.error_log.clone();
            if path.as_os_str().is_empty() || ends.iter().any(|(known, _)| *known == path) {
                continue;
            }
            let size = cx.on(pm2.host()).stat(&path).await?.map_or(0, |info| info.size);
            ends.push((path, size));
        }
        Ok(Self(ends))
    }
}

impl Pm2 {
    /// The last `lines` lines of the error logs of an app; it always passes.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("incident");
    /// b.observe(pm2.last_errors("shop", 50));
    /// ```
    pub fn last_errors(
        &self,
        app: impl Into<String>,
        lines: u32,
    ) -> impl Check<Evidence = Vec<String>> {
        last_errors(self, &app.into(), lines)
    }

    /// Nothing that looks like an error came into the error logs of an app since a restart. Lines
    /// that do not look like one are let pass: many programs say harmless things there.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("restart");
    /// let restarted = b.step(pm2.restart("shop"));
    /// b.check(pm2.no_errors_since("shop", restarted));
    /// ```
    pub fn no_errors_since(
        &self,
        app: impl Into<String>,
        restarted: impl IntoInput<Restarted>,
    ) -> impl Check<Evidence = Vec<String>> {
        no_errors_since(self, &app.into(), restarted)
    }
}

/// The last lines of the error logs
#[check(
    title = "The last {lines} lines of the error log of {app}",
    preview = "pm2 logs {app} --err"
)]
async fn last_errors(
    cx: &Observer,
    pm2: &Pm2,
    app: &str,
    lines: u32,
) -> Result<Verdict<Vec<String>>> {
    let mut all = Vec::new();
    for (path, _) in Logs::ends(cx, pm2, &pm2.known(cx, app).await?).await?.0 {
        if cx.on(pm2.host()).exists(&path).await? {
            let tail = Command::new("tail").args(["-n", &lines.to_string(), "--"]).arg(&path);
            let output = cx.on(pm2.host()).output(&tail.read_only()).await?;
            all.extend(output.text().lines().map(str::to_owned));
        }
    }
    // Below an error stands its stack: the error says more.
    let last = all.iter().rev().find(|line| is_error(line)).or(all.last());
    let why = last.cloned().unwrap_or_else(|| "it is empty".into());
    Ok(Verdict::pass(all, why))
}

/// No errors since the restart
#[check(title = "{app} logged no errors since its restart")]
async fn no_errors_since(
    cx: &Observer,
    pm2: &Pm2,
    app: &str,
    restarted: Restarted,
) -> Result<Verdict<Vec<String>>> {
    let mut found = Vec::new();
    for (path, end) in &restarted.logs.0 {
        let Some(info) = cx.on(pm2.host()).stat(path).await? else { continue };
        // Shorter than it was: it was rotated or emptied, and all of it is new.
        let from = if info.size < *end { 0 } else { *end };
        let tail = Command::new("tail").args(["-c", &format!("+{}", from + 1), "--"]).arg(path);
        let output = cx.on(pm2.host()).output(&tail.read_only()).await?;
        let text = output.text();
        found.extend(text.lines().filter(|line| is_error(line)).map(str::to_owned));
    }
    let count = found.len();
    found.truncate(SHOWN);
    let Some(first) = found.first() else {
        return Ok(Verdict::pass(found, format!("{app} logged none")));
    };
    let why = format!("{count} lines, the first: {first}");
    Ok(Verdict::fail(found, why))
}

/// Whether a line tells of an error: in words, or as a level of pino's and bunyan's JSON.
fn is_error(line: &str) -> bool {
    const LEVEL: u64 = 50;
    // PM2 puts the time before each line if it is told to.
    let entry = line.split_once(": {").map_or(line, |(time, _)| {
        let timed = time.starts_with(|c: char| c.is_ascii_digit()) && !time.contains('{');
        if timed { &line[time.len() + 2..] } else { line }
    });
    if entry.starts_with('{')
        && let Ok(entry) = serde_json::from_str::<serde_json::Value>(entry)
        && let Some(level) = entry.get("level")
    {
        let word = level.as_str().is_some_and(|level| {
            ["error", "fatal", "crit", "alert", "emerg"]
                .iter()
                .any(|word| level.to_ascii_lowercase().starts_with(word))
        });
        return word || level.as_u64().is_some_and(|level| level >= LEVEL);
    }
    let line = line.to_ascii_lowercase();
    ["error", "exception", "fatal", "panic", "unhandled"].iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::is_error;

    #[test]
    fn errors_are_told_from_other_lines() {
        for line in [
            "TypeError: x is not a function",
            r#"{"level":50,"msg":"no database"}"#,
            r#"{"level":"ERROR","msg":"x"}"#,
            "Unhandled rejection",
            r#"2026-02-25T10:00:00: {"level":50,"msg":"no database"}"#,
            "2026-02-25T10:00:00: TypeError: x is not a function",
        ] {
            assert!(is_error(line), "{line}");
        }
        for line in [
            "(node:1) Warning: old",
            r#"{"level":30,"msg":"no error here"}"#,
            r#"2026-02-25T10:00:00: {"level":30,"msg":"no error here"}"#,
            "",
        ] {
            assert!(!is_error(line), "{line}");
        }
    }
}
