//! [`Request`]: what is sent.

use std::fmt;
use std::fmt::Write as _;

use hyper::Method;
use runbook::Secret;
use serde::Serialize;

/// A method, a path below the base address, headers and a body.
///
/// ```
/// use runbook_core::Secret;
/// use runbook_http::Request;
/// let request = Request::post("/login")
///     .field("user", "ops@example.org")
///     .secret_field("password", &Secret::new("correct horse"))
///     .header("accept", "application/json");
/// assert_eq!(request.to_string(), "POST /login");
/// assert!(!format!("{request:?}").contains("horse"));
/// ```
#[derive(Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, HeaderText)>,
    pub(crate) body: Vec<u8>,
}

/// The value of a header.
#[derive(Clone, Debug)]
pub(crate) enum HeaderText {
    Plain(String),
    Secret(Secret),
}

impl HeaderText {
    pub(crate) fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

impl Request {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// `GET path`.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// `POST path`.
    #[must_use]
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// `PUT path`.
    #[must_use]
    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    /// `PATCH path`.
    #[must_use]
    pub fn patch(path: impl Into<String>) -> Self {
        Self::new(Method::PATCH, path)
    }

    /// `DELETE path`.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), HeaderText::Plain(value.into())));
        self
    }

    /// One more header whose value is never shown, e.g. `authorization`. It is not sent on to
    /// another origin by a redirect.
    #[must_use]
    pub fn secret_header(mut self, name: impl Into<String>, value: &Secret) -> Self {
        self.headers.push((name.into(), HeaderText::Secret(value.clone())));
        self
    }

    /// This value as JSON, with its content type. The plan does not show it.
    ///
    /// ```
    /// use runbook_http::Request;
    /// let request = Request::post("/api/flags").json(&serde_json::json!({"maintenance": true}));
    /// assert_eq!(request.to_string(), "POST /api/flags");
    /// ```
    #[must_use]
    pub fn json(mut self, value: &serde_json::Value) -> Self {
        self.body = value.to_string().into_bytes();
        self.header("content-type", "application/json")
    }

    /// One more field of a form, with a form's content type.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        if self.body.is_empty() {
            self = self.header("content-type", "application/x-www-form-urlencoded");
        } else {
            self.body.push(b'&');
        }
        self.body.extend(form_encoded(name).into_bytes());
        self.body.push(b'=');
        self.body.extend(form_encoded(value).into_bytes());
        self
    }

    /// One more field of a form, never shown.
    #[must_use]
    pub fn secret_field(self, name: &str, value: &Secret) -> Self {
        self.field(name, value.expose())
    }

    /// These bytes.
    #[must_use]
    pub fn body(mut self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self.header("content-type", content_type)
    }

    /// The author's promise that this request changes nothing, so that a check may send it.
    ///
    /// ```
    /// use runbook_http::Request;
    /// let search = Request::post("/search").json(&serde_json::json!({"q": "shoes"})).read_only();
    /// assert_eq!(search.to_string(), "POST /search");
    /// ```
    #[must_use]
    pub fn read_only(self) -> ReadOnlyRequest {
        ReadOnlyRequest(self)
    }
}

/// Method and path; neither headers nor body.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &self.headers)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// A [`Request`] whose author promised that it changes nothing; what a check sends.
///
/// ```
/// let look = runbook_http::Request::get("/health").read_only();
/// assert_eq!(look.to_string(), "GET /health");
/// ```
#[derive(Clone, Debug)]
pub struct ReadOnlyRequest(pub(crate) Request);

impl fmt::Display for ReadOnlyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ReadOnlyRequest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As the fields of a form are written.
fn form_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            other => {
                // Writing to a String does not fail.
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded_as_browsers_do() {
        let request = Request::post("/").field("a b", "é&=+").field("c", "");
        assert_eq!(request.body, b"a+b=%C3%A9%26%3D%2B&c=");
        assert_eq!(request.headers.len(), 1, "one content type");
    }
}
