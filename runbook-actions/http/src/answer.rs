//! [`Answer`]: what came back.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cookies::CookieFlags;
use crate::error::HttpError;

/// What came back for a request.
///
/// ```
/// use runbook_core::{Observer, Result};
/// use runbook_http::{Http, HttpError, Request};
/// async fn version(cx: &Observer, shop: &Http) -> Result<String> {
///     let answer = shop.ask(cx, &Request::get("/version").read_only()).await;
///     let answer = answer.map_err(HttpError::into_failure)?;
///     Ok(answer.text().into_owned())
/// }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Answer {
    /// What was asked at last, after redirects.
    pub url: String,
    /// The status code.
    pub status: u16,
    /// The headers in the order in which they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// From the request's first byte to the answer's last, the connection being open already.
    pub elapsed: Duration,
}

impl Answer {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let same = |(one, _): &&(String, String)| one.eq_ignore_ascii_case(name);
        self.headers.iter().find(same).map(|(_, value)| value.as_str())
    }

    /// All headers of this name.
    pub fn all_headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = move |(one, _): &&(String, String)| one.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str())
    }

    /// The cookies that it sets.
    pub fn cookies(&self) -> impl Iterator<Item = CookieFlags> {
        self.all_headers("set-cookie").filter_map(CookieFlags::parse)
    }

    /// The body as text; bytes that are no UTF-8 become `U+FFFD`.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is not JSON, or not of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| HttpError::Json { url: self.url.clone(), why: error.to_string() })
    }

    /// The part of the JSON body at `path`: `items[0].name`, or a JSON pointer `/items/0/name`.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn json_at(&self, path: &str) -> Result<Option<Value>, HttpError> {
        Ok(self.json::<Value>()?.pointer(&pointer(path)).cloned())
    }

    /// The beginning of the body in one line, for errors.
    pub(crate) fn excerpt(&self) -> String {
        let text = self.text();
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = runbook::scrub(&line);
        match line.char_indices().nth(200) {
            Some((end, _)) => format!("{}..", &line[..end]),
            None => line.into_owned(),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("url", &self.url)
            .field("status", &self.status)
            .field("elapsed", &self.elapsed)
            .finish_non_exhaustive()
    }
}

/// `a.b[0]` as the JSON pointer `/a/b/0`.
fn pointer(path: &str) -> String {
    if path.is_empty() || path.starts_with('/') {
        return path.to_owned();
    }
    let escaped = path.replace('~', "~0").replace('/', "~1");
    let parts = escaped.replace('[', ".").replace(']', "");
    parts.split('.').filter(|part| !part.is_empty()).map(|part| format!("/{part}")).collect()
}

/// How long something took, in signs that every terminal has.
pub(crate) fn in_ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_into_json_is_a_pointer_in_plainer_words() {
        for (path, expected) in [
            ("status", "/status"),
            ("items[0].name", "/items/0/name"),
            ("[1]", "/1"),
            ("/a.b/0", "/a.b/0"),
            ("a/b", "/a~1b"),
            ("", ""),
        ] {
            assert_eq!(pointer(path), expected);
        }
    }
}
