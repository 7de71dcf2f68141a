//! What the logs say: rates of errors, who asks most, which upstream does not answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runbook::{Command, During as _, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::client::Nginx;

/// A log up to this size is read whole, of a longer one only the end.
const WHOLE: u64 = 64 << 20;
/// So much of a longer one; what a command's output keeps at most.
const TAIL: u64 = 8 << 20;

impl Nginx {
    /// The access log shows no more errors than `limits` in `window`. See [`access_log()`].
    pub fn access_log(
        &self,
        file: impl AsRef<Path>,
        window: Window,
        limits: AccessLimits,
    ) -> access_log {
        access_log(self, file.as_ref(), window, limits)
    }

    /// The error log shows no upstream that does not answer. See [`error_log()`].
    pub fn error_log(&self, file: impl AsRef<Path>, window: Window) -> error_log {
        error_log(self, file.as_ref(), window)
    }
}

/// How far back a log is read.
///
/// ```
/// use std::time::Duration;
/// use runbook_nginx::Window;
/// assert_eq!(Window::last(Duration::from_secs(600)), Window { minutes: 10 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// So many minutes before now, by the host's clock.
    pub minutes: u32,
}

impl Window {
    /// The last so much time, in whole minutes, at least one.
    #[must_use]
    pub fn last(time: Duration) -> Self {
        Self { minutes: u32::try_from(time.as_secs() / 60).unwrap_or(u32::MAX).max(1) }
    }
}

/// How many errors are too many, in percent of the requests.
///
/// ```
/// let strict = runbook_nginx::AccessLimits { server_errors: 1.0, ..Default::default() };
/// assert_eq!(strict.denied, 20.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLimits {
    /// More answers with a status of 500 and above: a failure.
    pub server_errors: f64,
    /// More answers with status 401 or 403: a warning.
    pub denied: f64,
    /// Fewer requests in the window say nothing about rates.
    pub least_requests: u64,
}

impl Default for AccessLimits {
    fn default() -> Self {
        Self { server_errors: 5.0, denied: 20.0, least_requests: 10 }
    }
}

/// What [`access_log()`] saw in the window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccessSeen {
    /// Requests.
    pub requests: u64,
    /// How many were answered with which status.
    pub statuses: BTreeMap<u16, u64>,
    /// The clients with the most requests, most first; at most ten.
    pub clients: Vec<(String, u64)>,
    /// The clients with the most answers of 401 and 403, most first; at most ten.
    pub denied_clients: Vec<(String, u64)>,
    /// Lines that are no request in the usual format.
    pub odd: u64,
    /// The window goes further back than what was read: the log is too long.
    pub cut: bool,
}

impl AccessSeen {
    /// How many had a status that fits.
    fn count(&self, fits: impl Fn(u16) -> bool) -> u64 {
        self.statuses.iter().filter(|(status, _)| fits(**status)).map(|(_, count)| count).sum()
    }
}

/// Requests are answered without errors
///
/// Reads the lines of the `combined` format (and of those that begin like it) in the window, also
/// from the file that logrotate put aside if the window reaches back to it. Fails by the rate of
/// server errors, warns by the rate of 401 and 403, and names the clients behind them.
///
/// ```
/// use std::time::Duration;
/// use runbook_core::Runbook;
/// use runbook_nginx::{AccessLimits, Nginx, Window};
/// fn diagnose(b: &mut Runbook, nginx: &Nginx) {
///     let window = Window::last(Duration::from_secs(15 * 60));
///     b.observe(nginx.access_log("/var/log/nginx/access.log", window, AccessLimits::default()));
/// }
/// ```
#[check(title = "Requests to {nginx} are answered without errors", preview = "read {file}")]
pub async fn access_log(
    cx: &Observer,
    nginx: &Nginx,
    file: &Path,
    window: Window,
    limits: AccessLimits,
) -> Result<Verdict<AccessSeen>> {
    let clock = Clock::read(cx, nginx).await?;
    let from = clock.now - i64::from(window.minutes) * 60;
    let lines = tail(cx, nginx, file, |line| request(line).map(|one| one.at), from).await?;
    let mut seen = AccessSeen { cut: lines.cut, ..AccessSeen::default() };
    let (mut clients, mut denied) = (BTreeMap::new(), BTreeMap::new());
    for line in lines.text.lines() {
        let Some(one) = request(line) else {
            seen.odd += u64::from(!line.trim().is_empty());
            continue;
        };
        if one.at < from || one.at > clock.now + 60 {
            continue;
        }
        seen.requests += 1;
        *seen.statuses.entry(one.status).or_default() += 1;
        *clients.entry(one.client).or_default() += 1;
        if matches!(one.status, 401 | 403) {
            *denied.entry(one.client).or_default() += 1;
        }
    }
    seen.clients = most(clients);
    seen.denied_clients = most(denied);
    Ok(judge(seen, window, limits))
}

fn judge(seen: AccessSeen, window: Window, limits: AccessLimits) -> Verdict<AccessSeen> {
    let (failed, refused) = (seen.count(|s| s >= 500), seen.count(|s| s == 401 || s == 403));
    #[allow(clippy::cast_precision_loss)] // a percentage needs no more than 52 bits
    let percent = |count: u64| 100.0 * count as f64 / seen.requests.max(1) as f64;
    let mut why = format!(
        "{} requests in {} min: {failed} server errors ({:.1} %), {refused} with 401 or 403 ({:.1} %)",
        seen.requests,
        window.minutes,
        percent(failed),
        percent(refused),
    );
    if seen.odd > 0 {
        why.push_str(&format!(", {} odd lines", seen.odd));
    }
    if seen.cut {
        why.push_str(", of the log's last 8 MiB only");
    }
    let enough = seen.requests >= limits.least_requests;
    if enough && percent(failed) > limits.server_errors {
        Verdict::fail(seen, why)
    } else if enough && percent(refused) > limits.denied {
        if let Some((client, count)) = seen.denied_clients.first() {
            why.push_str(&format!(", most to {client} ({count})"));
        }
        Verdict::warn(seen, why)
    } else {
        Verdict::pass(seen, why)
    }
}

/// What [`error_log()`] saw in the window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorsSeen {
    /// How many lines had which level: `error`, `crit`, ..
    pub levels: BTreeMap<String, u64>,
    /// How often a connection to which upstream failed, with nginx's words for why.
    pub unreachable: BTreeMap<String, u64>,
    /// The last lines of level `error` and worse; at most five.
    pub last: Vec<String>,
    /// The window goes further back than what was read: the log is too long.
    pub cut: bool,
}

/// Nginx reaches its upstreams
///
/// Reads the error log in the window. Fails if a connection to an upstream failed (`connect()
/// failed`, no live upstreams, timed out): what clients see as 502 and 504. Warns of any other
/// line of level `crit` and worse.
///
/// ```
/// use std::time::Duration;
/// use runbook_core::Runbook;
/// use runbook_nginx::{Nginx, Window};
/// fn diagnose(b: &mut Runbook, nginx: &Nginx) {
///     let window = Window::last(Duration::from_secs(15 * 60));
///     b.observe(nginx.error_log("/var/log/nginx/error.log", window));
/// }
/// ```
#[check(title = "{nginx} reaches its upstreams", preview = "read {file}")]
pub async fn error_log(
    cx: &Observer,
    nginx: &Nginx,
    file: &Path,
    window: Window,
) -> Result<Verdict<ErrorsSeen>> {
    let clock = Clock::read(cx, nginx).await?;
    let from = clock.now - i64::from(window.minutes) * 60;
    let time = |line: &str| complaint(line).map(|one| one.at - clock.offset);
    let lines = tail(cx, nginx, file, time, from).await?;
    let mut seen = ErrorsSeen { cut: lines.cut, ..ErrorsSeen::default() };
    for line in lines.text.lines() {
        let Some(one) = complaint(line).filter(|one| one.at - clock.offset >= from) else {
            continue;
        };
        *seen.levels.entry(one.level.to_owned()).or_default() += 1;
        if let Some(upstream) = one.unreachable() {
            *seen.unreachable.entry(upstream).or_default() += 1;
        }
        if matches!(one.level, "error" | "crit" | "alert" | "emerg") {
            seen.last.push(line.to_owned());
        }
    }
    seen.last.drain(..seen.last.len().saturating_sub(5));
    let grave: u64 =
        ["crit", "alert", "emerg"].iter().filter_map(|level| seen.levels.get(*level)).sum();
    if !seen.unreachable.is_empty() {
        let all: Vec<_> = seen
            .unreachable
            .iter()
            .map(|(upstream, count)| format!("{upstream}, {count} times"))
            .collect();
        let why = all.join("; ");
        return Ok(Verdict::fail(seen, why));
    }
    if grave > 0 {
        let last = seen.last.last().cloned().unwrap_or_default();
        return Ok(Verdict::warn(seen, format!("{grave} grave lines, the last one: {last}")));
    }
    let cut = if seen.cut { ", by the log's last 8 MiB" } else { "" };
    let why = format!("no upstream failed in {} min{cut}", window.minutes);
    Ok(Verdict::pass(seen, why))
}

/// The end of a log.
struct Tail {
    text: String,
    /// The window goes further back than the text.
    cut: bool,
}

/// The end of a log, with the end of the one that was rotated away if the window reaches there.
async fn tail(
    cx: &Observer,
    nginx: &Nginx,
    file: &Path,
    time: impl Fn(&str) -> Option<i64>,
    from: i64,
) -> Result<Tail> {
    let reaches_back = |text: &str| text.lines().find_map(&time).is_some_and(|first| first < from);
    let (now, cut) = end_of(cx, nginx, file).await?;
    let rotated = PathBuf::from(format!("{}.1", file.display()));
    if reaches_back(&now) {
        return Ok(Tail { text: now, cut: false });
    }
    if cut || !cx.on(nginx.host()).exists(&rotated).await? {
        return Ok(Tail { text: now, cut });
    }
    let (mut text, cut) = end_of(cx, nginx, &rotated).await?;
    let cut = cut && !reaches_back(&text);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(Tail { text: text + &now, cut })
}

/// A file, or the last lines of one that is too long, and whether it is; bytes that are no UTF-8
/// are replaced.
async fn end_of(cx: &Observer, nginx: &Nginx, file: &Path) -> Result<(String, bool)> {
    let host = cx.on(nginx.host());
    let size = host.stat(file).await?.map_or(0, |info| info.size);
    if size <= WHOLE {
        return Ok((String::from_utf8_lossy(&host.read(file).await?).into_owned(), false));
    }
    let tail = Command::new("tail").args(["-c", &TAIL.to_string()]).arg(file).read_only();
    let output = host.output(&tail).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The first line is most likely only the end of one.
    let text = text.split_once('\n').map_or("", |(_, rest)| rest);
    Ok((text.to_owned(), true))
}

/// The host's clock: logs are written by it.
struct Clock {
    /// Seconds since 1970.
    now: i64,
    /// Seconds east of UTC: the error log says no zone.
    offset: i64,
}

impl Clock {
    async fn read(cx: &Observer, nginx: &Nginx) -> Result<Self> {
        let date = Command::new("date").arg("+%s %z").read_only();
        let text = cx.on(nginx.host()).output(&date).await?.text();
        let (now, zone) = text.split_once(' ').unwrap_or((&text, "+0000"));
        let now = now.trim().parse().during("reading the host's clock")?;
        Ok(Self { now, offset: offset(zone.trim()).unwrap_or(0) })
    }
}

/// A request in the access log.
struct Request<'a> {
    client: &'a str,
    at: i64,
    status: u16,
}

/// `192.0.2.1 - - [10/Oct/2026:13:55:36 +0200] "GET / HTTP/1.1" 200 612 ..`
fn request(line: &str) -> Option<Request<'_>> {
    let (client, rest) = line.split_once(' ')?;
    let (_, rest) = rest.split_once('[')?;
    let (time, rest) = rest.split_once(']')?;
    let rest = rest.trim_start().strip_prefix('"')?;
    // A `"` within the request is written as `\x22`.
    let (_, rest) = rest.split_once('"')?;
    let status = rest.split_whitespace().next()?.parse().ok()?;
    let (date, zone) = time.split_once(' ')?;
    let mut parts = date.split(['/', ':']);
    let day = parts.next()?.parse().ok()?;
    let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let name = parts.next().filter(|name| name.len() == 3)?;
    let month = i64::try_from(months.find(name)? / 4).ok()? + 1;
    let year = parts.next()?.parse().ok()?;
    let mut clock = parts.map(|part| part.parse::<i64>().ok());
    let at = seconds(year, month, day, clock.next()??, clock.next()??, clock.next()??)?;
    Some(Request { client, at: at - offset(zone)?, status })
}

/// A line of the error log.
struct Complaint<'a> {
    /// As if its local time were UTC.
    at: i64,
    level: &'a str,
    text: &'a str,
}

/// `2026/10/10 13:55:36 [error] 12#12: *3 connect() failed (111: Connection refused) while ..`
fn complaint(line: &str) -> Option<Complaint<'_>> {
    let (time, rest) = line.split_once(" [")?;
    let (level, text) = rest.split_once(']')?;
    let mut parts = time.split(['/', ':', ' ']).map(|part| part.parse::<i64>().ok());
    let mut next = || parts.next().flatten();
    let at = seconds(next()?, next()?, next()?, next()?, next()?, next()?)?;
    Some(Complaint { at, level, text })
}

impl Complaint<'_> {
    /// Which upstream could not be reached, and why.
    fn unreachable(&self) -> Option<String> {
        let why = if self.text.contains("no live upstreams") {
            "no live upstreams".to_owned()
        } else if let Some((_, rest)) = self.text.split_once("connect() ") {
            rest.split_once(" while ")?.0.to_owned()
        } else if self.text.contains("upstream timed out") {
            "timed out".to_owned()
        } else {
            return None;
        };
        let (_, rest) = self.text.split_once("upstream: \"")?;
        let (upstream, _) = rest.split_once('"')?;
        // Without the path: one upstream, however much is asked of it.
        let end = upstream.find("://").map_or(0, |at| at + 3);
        let end = upstream[end..].find('/').map_or(upstream.len(), |at| end + at);
        Some(format!("{}: {why}", &upstream[..end]))
    }
}

/// `+0130` in seconds.
fn offset(zone: &str) -> Option<i64> {
    let digits = zone.get(1..5)?;
    let (hours, minutes) =
        (digits.get(..2)?.parse::<i64>().ok()?, digits.get(2..)?.parse::<i64>().ok()?);
    let seconds = hours * 3600 + minutes * 60;
    Some(if zone.starts_with('-') { -seconds } else { seconds })
}

/// Seconds since 1970 of a moment in UTC; `None` for what is no date.
fn seconds(year: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64) -> Option<i64> {
    let sane = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !sane {
        return None;
    }
    // Years that begin in March have their odd day at their end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The ten with the most, most first.
fn most(counts: BTreeMap<&str, u64>) -> Vec<(String, u64)> {
    let mut all: Vec<_> =
        counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    all.sort_by(|(_, a), (_, b)| b.cmp(a));
    all.truncate(10);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_moment_is_counted_as_date_does() {
        assert_eq!(seconds(1970, 1, 1, 0, 0, 0), Some(0));
        assert_eq!(seconds(2000, 2, 29, 23, 59, 59), Some(951_868_799));
        assert_eq!(seconds(2026, 3, 14, 15, 9, 26), Some(1_773_500_966));
        assert_eq!(seconds(2026, 13, 1, 0, 0, 0), None);
    }

    #[test]
    fn a_request_is_read_with_its_zone() {
        let line =
            r#"192.0.2.1 - ann [14/Mar/2026:17:09:26 +0200] "GET /a\x22b HTTP/1.1" 502 0 "-" "x""#;
        let one = request(line).unwrap();
        assert_eq!((one.client, one.at, one.status), ("192.0.2.1", 1_773_500_966, 502));
        for odd in
            ["", "x", "192.0.2.1 - - [yesterday] \"GET /\" 200", "\u{0}\u{0} [", "a [b] \"c\" d"]
        {
            assert!(request(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn an_upstream_that_does_not_answer_is_named_without_the_path() {
        let line = "2026/03/14 15:09:26 [error] 12#12: *3 connect() failed (111: Connection refused) \
                    while connecting to upstream, client: 192.0.2.1, server: shop, \
                    request: \"GET /a/b HTTP/1.1\", upstream: \"http://127.0.0.1:8000/a/b\", host: \"x\"";
        let one = complaint(line).unwrap();
        assert_eq!((one.at, one.level), (1_773_500_966, "error"));
        let wanted = "http://127.0.0.1:8000: failed (111: Connection refused)";
        assert_eq!(one.unreachable().as_deref(), Some(wanted));
        assert!(complaint("2026/03/14 [error] x").is_none());
    }

    proptest! {
        #[test]
        fn no_line_makes_it_stumble(line in "(\\[|\\]|\"|/|:| |-|é|[0-9]|Mar|connect\\(\\)|while|upstream: \"){0,40}") {
            request(&line);
            if let Some(one) = complaint(&line) {
                one.unreachable();
            }
        }
    }
}
