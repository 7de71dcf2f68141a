//! [`Expect`]: what an answer must look like.

use std::time::Duration;

use runbook::{Input, IntoInput, Observer, Result, Visit};
use serde_json::Value;

use crate::answer::{Answer, in_ms};

/// What an answer must look like; every part that is not so is named.
///
/// ```
/// use runbook_http::Expect;
/// let healthy = Expect::status(200)
///     .json("status", "ok")
///     .json("checks[0].up", true)
///     .header("cache-control", "no-store")
///     .csp("default-src", "'self'")
///     .cookie("sid");
/// assert_eq!(
///     healthy.to_string(),
///     "status 200, status = \"ok\", checks[0].up = true, header cache-control: no-store, \
///      CSP default-src 'self', cookie sid"
/// );
/// ```
#[derive(Clone)]
pub struct Expect {
    /// Empty: any of 200 to 299.
    status: Vec<u16>,
    parts: Vec<Part>,
}

#[derive(Clone)]
enum Part {
    Json(String, Input<Value>),
    HasJson(String),
    Header(String, String),
    HasHeader(String),
    NoHeader(String),
    Csp(String, String),
    Cookie(String),
    Text(Input<String>),
    Within(Duration),
}

impl Expect {
    /// Any status from 200 to 299.
    #[must_use]
    pub fn ok() -> Self {
        Self { status: Vec::new(), parts: Vec::new() }
    }

    /// This status, and no other.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::one_of([status])
    }

    /// One of these.
    #[must_use]
    pub fn one_of(status: impl IntoIterator<Item = u16>) -> Self {
        Self { status: status.into_iter().collect(), parts: Vec::new() }
    }

    fn and(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// The JSON body has this value at `path`: `items[0].name`, or `/items/0/name`.
    #[must_use]
    pub fn json(self, path: impl Into<String>, value: impl Into<Value>) -> Self {
        self.and(Part::Json(path.into(), Input::value(value.into())))
    }

    /// The JSON body has this text at `path`; the text may come from an earlier unit.
    ///
    /// ```
    /// use runbook_core::{Out, Runbook};
    /// use runbook_http::{Expect, Http};
    /// fn runs(b: &mut Runbook, shop: &Http, revision: Out<String>) {
    ///     b.check(shop.get("/version", Expect::ok().json_text("revision", revision)));
    /// }
    /// ```
    #[must_use]
    pub fn json_text(self, path: impl Into<String>, text: impl IntoInput<String>) -> Self {
        let value = text.into_input().map(|text| Value::from(text.as_str()));
        self.and(Part::Json(path.into(), value))
    }

    /// The JSON body has something but null at `path`.
    #[must_use]
    pub fn has_json(self, path: impl Into<String>) -> Self {
        self.and(Part::HasJson(path.into()))
    }

    /// The header contains this text, upper and lower case alike.
    #[must_use]
    pub fn header(self, name: impl Into<String>, contains: impl Into<String>) -> Self {
        self.and(Part::Header(name.into(), contains.into()))
    }

    /// The header is there.
    #[must_use]
    pub fn has_header(self, name: impl Into<String>) -> Self {
        self.and(Part::HasHeader(name.into()))
    }

    /// The header is not there, e.g. `x-powered-by`.
    #[must_use]
    pub fn no_header(self, name: impl Into<String>) -> Self {
        self.and(Part::NoHeader(name.into()))
    }

    /// The content security policy that is enforced (not the one that only reports) allows
    /// `source` in `directive`.
    #[must_use]
    pub fn csp(self, directive: impl Into<String>, source: impl Into<String>) -> Self {
        self.and(Part::Csp(directive.into(), source.into()))
    }

    /// The cookie is set as a session must be: `Secure` (if asked over HTTPS), `HttpOnly`, and
    /// with a `SameSite`.
    #[must_use]
    pub fn cookie(self, name: impl Into<String>) -> Self {
        self.and(Part::Cookie(name.into()))
    }

    /// The body contains this text, which may come from an earlier unit.
    #[must_use]
    pub fn text(self, contains: impl IntoInput<String>) -> Self {
        self.and(Part::Text(contains.into_input()))
    }

    /// The answer takes no longer than this, the connection being open already.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        self.and(Part::Within(time))
    }

    pub(crate) fn visit(&self, visit: &mut dyn Visit) {
        for part in &self.parts {
            match part {
                Part::Json(path, value) => visit.see(path, value),
                Part::Text(text) => visit.see("text", text),
                _ => {}
            }
        }
    }

    /// What of `answer` is not as it should be.
    pub(crate) fn problems(&self, cx: &Observer, answer: &Answer) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let status = answer.status;
        let fine = match self.status.as_slice() {
            [] => (200..300).contains(&status),
            some => some.contains(&status),
        };
        if !fine {
            let mut problem = format!("status {status} instead of {}", self.statuses());
            let excerpt = answer.excerpt();
            if !excerpt.is_empty() {
                problem.push_str(&format!(" ({excerpt})"));
            }
            problems.push(problem);
        }
        for part in &self.parts {
            problems.extend(part.problem(cx, answer)?);
        }
        Ok(problems)
    }

    fn statuses(&self) -> String {
        if self.status.is_empty() {
            return "200..299".into();
        }
        self.status.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    }
}

impl Part {
    fn problem(&self, cx: &Observer, answer: &Answer) -> Result<Option<String>> {
        Ok(match self {
            Self::Json(path, wanted) => {
                let wanted = wanted.get(cx)?;
                match answer.json_at(path) {
                    Ok(Some(found)) if found == wanted => None,
                    Ok(Some(found)) => {
                        Some(format!("{path} is {} instead of {wanted}", short(&found)))
                    }
                    Ok(None) => Some(format!("the JSON has no {path}")),
                    Err(_) => Some(format!("the body is no JSON ({})", answer.excerpt())),
                }
            }
            Self::HasJson(path) => match answer.json_at(path) {
                Ok(Some(found)) if !found.is_null() => None,
                Ok(_) => Some(format!("the JSON has no {path}")),
                Err(_) => Some(format!("the body is no JSON ({})", answer.excerpt())),
            },
            Self::Header(name, wanted) => {
                let wanted_lower = wanted.to_ascii_lowercase();
                let mut values = answer.all_headers(name).peekable();
                match values.peek().map(|first| (*first).to_owned()) {
                    None => Some(format!("there is no header {name}")),
                    Some(first) => {
                        let has = |value: &str| value.to_ascii_lowercase().contains(&wanted_lower);
                        (!values.any(has))
                            .then(|| format!("the header {name} is `{first}`, without `{wanted}`"))
                    }
                }
            }
            Self::HasHeader(name) => {
                answer.header(name).is_none().then(|| format!("there is no header {name}"))
            }
            Self::NoHeader(name) => answer
                .header(name)
                .map(|value| format!("the header {name} should not be there: `{value}`")),
            Self::Csp(directive, source) => csp_problem(answer, directive, source),
            Self::Cookie(name) => cookie_problem(answer, name),
            Self::Text(wanted) => {
                let wanted = wanted.get(cx)?;
                (!answer.text().contains(&wanted))
                    .then(|| format!("the body does not contain `{wanted}` ({})", answer.excerpt()))
            }
            Self::Within(time) => (answer.elapsed > *time).then(|| {
                format!("it took {} instead of at most {}", in_ms(answer.elapsed), in_ms(*time))
            }),
        })
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

/// A browser enforces every policy that was sent, so every one has to allow the source.
fn csp_problem(answer: &Answer, directive: &str, source: &str) -> Option<String> {
    let policies: Vec<&str> =
        answer.all_headers("content-security-policy").flat_map(|one| one.split(',')).collect();
    if policies.is_empty() {
        let only_reports = answer.header("content-security-policy-report-only").is_some();
        let why = if only_reports { ": it only reports" } else { "" };
        return Some(format!("no content security policy is enforced{why}"));
    }
    policies.into_iter().find_map(|policy| {
        let found = policy.split(';').find_map(|part| {
            let mut words = part.split_whitespace();
            let name = words.next()?;
            name.eq_ignore_ascii_case(directive).then(|| words.collect::<Vec<_>>())
        });
        match found {
            None => Some(format!("the content security policy has no {directive}")),
            Some(sources) if sources.iter().any(|one| one.eq_ignore_ascii_case(source)) => None,
            Some(sources) => Some(format!(
                "the content security policy's {directive} is `{}`, without `{source}`",
                sources.join(" ")
            )),
        }
    })
}

pub(crate) fn cookie_problem(answer: &Answer, name: &str) -> Option<String> {
    let Some(cookie) = answer.cookies().find(|cookie| cookie.name == name) else {
        return Some(format!("the cookie {name} is not set"));
    };
    let missing = missing_flags(&cookie, answer.url.starts_with("https://"));
    (!missing.is_empty()).then(|| format!("the cookie {name} is not {}", missing.join(", ")))
}

pub(crate) fn missing_flags(cookie: &crate::CookieFlags, over_https: bool) -> Vec<&'static str> {
    let mut missing = Vec::new();
    if over_https && !cookie.secure {
        missing.push("Secure");
    }
    if !cookie.http_only {
        missing.push("HttpOnly");
    }
    if cookie.same_site.is_none() {
        missing.push("SameSite");
    }
    missing
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}", self.statuses())?;
        for part in &self.parts {
            match part {
                Part::Json(path, value) => {
                    let value = match value.known() {
                        Some(value) => value.to_string(),
                        None => value.shown(),
                    };
                    write!(f, ", {path} = {value}")?;
                }
                Part::HasJson(path) => write!(f, ", {path}")?,
                Part::Header(name, value) => write!(f, ", header {name}: {value}")?,
                Part::HasHeader(name) => write!(f, ", header {name}")?,
                Part::NoHeader(name) => write!(f, ", no header {name}")?,
                Part::Csp(directive, source) => write!(f, ", CSP {directive} {source}")?,
                Part::Cookie(name) => write!(f, ", cookie {name}")?,
                Part::Text(text) => write!(f, ", text `{}`", text.shown())?,
                Part::Within(time) => write!(f, ", within {time:?}")?,
            }
        }
        Ok(())
    }
}
