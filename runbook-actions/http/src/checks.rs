//! The checks: one answer, the latency over many, the certificate.

use std::time::Duration;

use runbook::{About, Check, Failure, Input, IntoInput, Observer, Result, Verdict, Visit};
use runbook_macros::check;
use runbook_tls::{Certificate, Validity};
use serde::{Deserialize, Serialize};

use crate::answer::in_ms;
use crate::client::Http;
use crate::error::HttpError;
use crate::exchange::system_tls;
use crate::expect::Expect;
use crate::request::{ReadOnlyRequest, Request};

impl Http {
    /// `GET path`, and the answer is as expected.
    ///
    /// ```
    /// use runbook_core::Runbook;
    /// use runbook_http::{Expect, Http};
    /// fn watch(b: &mut Runbook, shop: &Http) {
    ///     b.check(shop.get("/health", Expect::status(200).json("database", "up")));
    /// }
    /// ```
    pub fn get(&self, path: impl IntoInput<String>, expect: Expect) -> Ask {
        let request = path.into_input().map(|path| Request::get(path.as_str()).read_only());
        Ask { http: self.clone(), request, expect }
    }

    /// The answer to a request that changes nothing is as expected.
    ///
    /// ```
    /// use runbook_core::Runbook;
    /// use runbook_http::{Expect, Http, Request};
    /// fn watch(b: &mut Runbook, shop: &Http) {
    ///     let search = Request::post("/search").json(&serde_json::json!({"q": "shoes"}));
    ///     b.check(shop.check(search.read_only(), Expect::ok().has_json("hits[0]")));
    /// }
    /// ```
    pub fn check(&self, request: ReadOnlyRequest, expect: Expect) -> Ask {
        Ask { http: self.clone(), request: Input::value(request), expect }
    }

    /// 95 of 100 answers to `GET path` take no longer than `fail`, and better no longer than
    /// `warn`. See [`p95()`].
    pub fn p95(
        &self,
        path: impl IntoInput<String>,
        calls: u32,
        warn: Duration,
        fail: Duration,
    ) -> p95 {
        p95(self, path, calls, milliseconds(warn), milliseconds(fail))
    }

    /// The service's certificate is for its name, trusted, and valid for long enough. See
    /// [`certificate()`].
    pub fn certificate(&self, validity: Validity) -> certificate {
        certificate(self, validity)
    }
}

/// The check that [`Http::get`] and [`Http::check`] make.
#[derive(Clone)]
#[must_use = "a check does nothing until it is added to a runbook"]
pub struct Ask {
    http: Http,
    request: Input<ReadOnlyRequest>,
    expect: Expect,
}

/// The evidence of [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answered {
    /// What was asked at last, after redirects.
    pub url: String,
    /// The status code.
    pub status: u16,
    /// How long the answer took.
    pub milliseconds: u64,
    /// What was not as expected.
    pub problems: Vec<String>,
}

impl Check for Ask {
    type Evidence = Answered;

    fn about(&self) -> About {
        let request = self.request.shown();
        let (method, path) = request.split_once(' ').unwrap_or(("GET", &request));
        let title = format!("{method} {}{path} answers as expected", self.http.base.origin());
        About::new("answers", title)
            .arg("request", &request)
            .arg("expect", &self.expect)
            .preview(format!("{method} {}{path}: {}", self.http, self.expect))
    }

    fn inputs(&self, visit: &mut dyn Visit) {
        visit.see("request", &self.request);
        self.expect.visit(visit);
    }

    async fn check(&self, cx: &Observer) -> Result<Verdict<Answered>> {
        let request = self.request.get(cx)?;
        let answer = self.http.ask(cx, &request).await.map_err(unanswered)?;
        let problems = self.expect.problems(cx, &answer)?;
        let why = if problems.is_empty() {
            format!("status {} in {}", answer.status, in_ms(answer.elapsed))
        } else {
            problems.join("; ")
        };
        let evidence = Answered {
            url: answer.url,
            status: answer.status,
            milliseconds: u64::try_from(answer.elapsed.as_millis()).unwrap_or(u64::MAX),
            problems,
        };
        Ok(Verdict::pass_if(evidence.problems.is_empty(), evidence, why))
    }
}

/// A service that breaks off is a finding; that the host itself was lost is none.
fn unanswered(error: HttpError) -> Failure {
    let broken = matches!(error, HttpError::Broken { .. });
    let (text, next) = (error.to_string(), error.next());
    match next {
        Some(next) if broken => Failure::msg(text).next(next),
        _ => error.into_failure(),
    }
}

/// How long answers took, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latency {
    /// How many were asked for.
    pub calls: u32,
    /// How many of them were answered with a status from 200 to 399.
    pub answered: u32,
    /// Half of them took no longer.
    pub p50: u64,
    /// 95 of 100 took no longer.
    pub p95: u64,
    /// The slowest.
    pub max: u64,
}

/// 95 of 100 answers are fast enough
///
/// The calls are made one after the other, each over a connection of its own that is open before
/// the clock starts: a tunnel to the host costs nothing here. A call that is not answered, or with
/// a status of 400 and above, fails the check whatever the others took.
#[check(
    title = "95 of 100 answers of {http}{path} take at most {fail_ms} ms",
    preview = "GET {http}{path}, {calls} times"
)]
pub async fn p95(
    cx: &Observer,
    http: &Http,
    path: String,
    calls: u32,
    warn_ms: u64,
    fail_ms: u64,
) -> Result<Verdict<Latency>> {
    let calls = calls.max(1);
    let request = Request::get(path).read_only();
    let mut took = Vec::new();
    let mut bad = None;
    for call in 0..calls {
        match http.ask(cx, &request).await {
            Ok(answer) if answer.status < 400 => took.push(answer.elapsed),
            Ok(answer) => bad = Some(format!("status {} ({})", answer.status, answer.excerpt())),
            // The unit is to stop: no more calls.
            Err(error @ HttpError::Stopped { .. }) => return Err(error.into_failure()),
            Err(error) => bad = Some(error.to_string()),
        }
        cx.progress(u64::from(call) + 1, Some(u64::from(calls)));
    }
    took.sort_unstable();
    let slowest_of = |percent: u32| milliseconds(percentile(&took, percent));
    let answered = u32::try_from(took.len()).unwrap_or(u32::MAX);
    let seen =
        Latency { calls, answered, p50: slowest_of(50), p95: slowest_of(95), max: slowest_of(100) };
    if let Some(bad) = bad {
        let why = format!("{} of {calls} calls failed, the last one: {bad}", calls - answered);
        return Ok(Verdict::fail(seen, why));
    }
    let why = format!("p50 {} ms, p95 {} ms, max {} ms", seen.p50, seen.p95, seen.max);
    Ok(if seen.p95 > fail_ms {
        Verdict::fail(seen, why)
    } else if seen.p95 > warn_ms {
        Verdict::warn(seen, why)
    } else {
        Verdict::pass(seen, why)
    })
}

/// The nearest-rank percentile of what is sorted.
fn percentile(sorted: &[Duration], percent: u32) -> Duration {
    let rank = (sorted.len() * percent as usize).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The certificate is for its name, trusted, and valid for long enough
///
/// It is read from the running service: a renewed file that the server has not loaded yet does
/// not count.
#[check(title = "The certificate of {http} is good", preview = "TLS handshake with {http}")]
pub async fn certificate(
    cx: &Observer,
    http: &Http,
    validity: Validity,
) -> Result<Verdict<Certificate>> {
    let url = &http.base;
    let bad = |source| HttpError::Tls { url: url.to_string(), source }.into_failure();
    let route = http.route(url);
    let tls = match route.tls {
        Some(tls) => tls.clone(),
        None => system_tls().map_err(bad)?,
    };
    let look = async {
        let stream = cx.on(route.host).connect(&route.address).await?;
        tls.look(stream, &url.host).await.map_err(bad)
    };
    let late = || HttpError::TimedOut { url: url.to_string(), after: route.timeout };
    let seen =
        tokio::time::timeout(route.timeout, look).await.map_err(|_| late().into_failure())??;
    let verdict = seen.peer.certificate.judge(tls.name().or(Some(&url.host)), validity);
    Ok(match seen.refused {
        // Date and name have been judged; what is left is who vouches for it.
        Some(error) if verdict.passed() => {
            Verdict::fail(verdict.into_evidence(), error.to_string())
        }
        _ => verdict,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_a_value_that_was_measured() {
        let took: Vec<_> = (1..=20).map(Duration::from_millis).collect();
        assert_eq!(percentile(&took, 95), Duration::from_millis(19));
        assert_eq!(percentile(&took, 50), Duration::from_millis(10));
        assert_eq!(percentile(&took, 100), Duration::from_millis(20));
        assert_eq!(percentile(&took[..1], 95), Duration::from_millis(1));
        assert_eq!(percentile(&[], 95), Duration::ZERO);
    }
}
