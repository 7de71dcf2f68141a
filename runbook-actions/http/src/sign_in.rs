//! [`login()`]: a whole login as a person does it, with cookie and CSRF token.

use std::fmt;

use runbook::{Observer, Result, Secret, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::client::{Http, Session};
use crate::cookies::CookieFlags;
use crate::error::HttpError;
use crate::exchange::Caller;
use crate::expect::{Expect, missing_flags};
use crate::html;
use crate::request::Request;

impl Http {
    /// A login works from its page to a page that only a user sees. See [`login()`].
    ///
    /// ```
    /// use runbook_core::{Runbook, Secret};
    /// use runbook_http::{Expect, Http, Login, TokenFrom};
    /// fn watch(b: &mut Runbook, shop: &Http, password: Secret) {
    ///     b.check(shop.login(
    ///         Login::new("/login", "watch@example.org", password)
    ///             .csrf("/login", TokenFrom::Field("_csrf".into()))
    ///             .as_form()
    ///             .session_cookie("sid")
    ///             .then("/account", Expect::ok().text("Sign out")),
    ///     ));
    /// }
    /// ```
    pub fn login(&self, how: Login) -> login {
        login(self, &how)
    }
}

/// How to log in.
///
/// ```
/// use runbook_core::Secret;
/// use runbook_http::{Login, TokenFrom};
/// let how = Login::new("/api/login", "watch@example.org", Secret::new("correct horse"))
///     .fields("email", "password")
///     .csrf("/api/csrf", TokenFrom::Json("csrfToken".into()))
///     .token_header("x-csrf-token");
/// assert_eq!(how.to_string(), "watch@example.org at /api/login");
/// ```
#[derive(Clone)]
pub struct Login {
    path: String,
    user: String,
    password: Secret,
    user_field: String,
    password_field: String,
    form: bool,
    token: Option<(String, TokenFrom)>,
    token_header: Option<String>,
    session_cookie: Option<String>,
    then: Option<(String, Expect)>,
}

/// Where a page gives its CSRF token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenFrom {
    /// In its JSON body, at this path.
    Json(String),
    /// In this cookie.
    Cookie(String),
    /// In the hidden form field of this name.
    Field(String),
    /// In `<meta name="..">` of this name.
    Meta(String),
    /// In this header.
    Header(String),
}

impl fmt::Display for TokenFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(path) => write!(f, "{path} of its JSON"),
            Self::Cookie(name) => write!(f, "the cookie {name}"),
            Self::Field(name) => write!(f, "the form field {name}"),
            Self::Meta(name) => write!(f, "the meta tag {name}"),
            Self::Header(name) => write!(f, "the header {name}"),
        }
    }
}

impl Login {
    /// Sends user and password to `path`, as JSON with the fields `email` and `password` unless
    /// something else is said.
    #[must_use]
    pub fn new(path: impl Into<String>, user: impl Into<String>, password: Secret) -> Self {
        Self {
            path: path.into(),
            user: user.into(),
            password,
            user_field: "email".into(),
            password_field: "password".into(),
            form: false,
            token: None,
            token_header: None,
            session_cookie: None,
            then: None,
        }
    }

    /// What the two fields are called.
    #[must_use]
    pub fn fields(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user_field = user.into();
        self.password_field = password.into();
        self
    }

    /// As a form, not as JSON.
    #[must_use]
    pub fn as_form(mut self) -> Self {
        self.form = true;
        self
    }

    /// Fetches `page` first and takes the CSRF token `from` there. It is sent back in the form
    /// field of the same name if it came from one, else in the header `x-csrf-token`.
    #[must_use]
    pub fn csrf(mut self, page: impl Into<String>, from: TokenFrom) -> Self {
        self.token = Some((page.into(), from));
        self
    }

    /// The header in which the CSRF token is sent back, e.g. `x-xsrf-token`.
    #[must_use]
    pub fn token_header(mut self, name: impl Into<String>) -> Self {
        self.token_header = Some(name.into());
        self
    }

    /// The cookie that a login must set: `HttpOnly`, with a `SameSite`, and over HTTPS `Secure`.
    #[must_use]
    pub fn session_cookie(mut self, name: impl Into<String>) -> Self {
        self.session_cookie = Some(name.into());
        self
    }

    /// A page that only a user gets, fetched after the login. Without one, an application that
    /// answers 200 to a wrong password is believed.
    #[must_use]
    pub fn then(mut self, path: impl Into<String>, expect: Expect) -> Self {
        self.then = Some((path.into(), expect));
        self
    }

    fn request(&self, token: Option<(&TokenFrom, &Secret)>) -> Request {
        let mut request = Request::post(self.path.as_str());
        let field = match token {
            Some((TokenFrom::Field(name), token)) if self.token_header.is_none() => {
                Some((name, token))
            }
            _ => None,
        };
        if self.form {
            request = request
                .field(&self.user_field, &self.user)
                .secret_field(&self.password_field, &self.password);
            if let Some((name, token)) = field {
                request = request.secret_field(name, token);
            }
        } else {
            let mut body = serde_json::Map::new();
            body.insert(self.user_field.clone(), self.user.as_str().into());
            body.insert(self.password_field.clone(), self.password.expose().into());
            if let Some((name, token)) = field {
                body.insert(name.clone(), token.expose().into());
            }
            request = request.json(&body.into());
        }
        match (token, field) {
            (Some((_, token)), None) => {
                let header = self.token_header.as_deref().unwrap_or("x-csrf-token");
                request.secret_header(header, token)
            }
            _ => request,
        }
    }
}

/// User and path; not the password.
impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.user, self.path)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({self})")
    }
}

/// How far a login came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LoggedIn {
    /// The status of the last answer.
    pub status: u16,
    /// The cookies that the session has, without their values.
    pub cookies: Vec<CookieFlags>,
}

/// A user can log in
///
/// Fetches the page with the CSRF token, sends user, password and token, looks at the session's
/// cookie and fetches a page that only a user gets. It is the application that a session is added
/// to: this check may be made as often as a user may log in. The user should be one that exists
/// for this only.
#[check(title = "{how} can log in", preview = "log in as {how} of {http}")]
pub async fn login(cx: &Observer, http: &Http, how: &Login) -> Result<Verdict<LoggedIn>> {
    let mut session = http.session();
    let mut token = None;
    if let Some((page, from)) = &how.token {
        let answer = get(cx, &mut session, page).await?;
        match find_token(&session, &answer, from) {
            Some(text) => token = Some((from, Secret::new(text))),
            None => {
                let why = format!(
                    "no CSRF token: {page} (status {}) does not give it in {from}",
                    answer.status
                );
                return Ok(Verdict::fail(seen(&session, &answer), why));
            }
        }
    }
    let request = how.request(token.as_ref().map(|(from, token)| (*from, token)));
    let answer =
        session.talk(Caller::Looking(cx), &request).await.map_err(HttpError::into_failure)?;
    if answer.status >= 400 {
        let why = match answer.status {
            401 => "user or password are refused",
            403 | 419 => "refused: most often a CSRF token that is missing or does not match",
            429 => "refused: too many attempts",
            _ => "the login failed",
        };
        let why = format!("status {}: {why} ({})", answer.status, answer.excerpt());
        return Ok(Verdict::fail(seen(&session, &answer), why));
    }
    if let Some(name) = &how.session_cookie {
        let cookies = session.cookies();
        let Some(cookie) = cookies.iter().find(|cookie| cookie.name == *name) else {
            let why = format!("status {}, but the cookie {name} is not set", answer.status);
            return Ok(Verdict::fail(seen(&session, &answer), why));
        };
        let missing = missing_flags(cookie, http.base.secure);
        if !missing.is_empty() {
            let why = format!("the cookie {name} is not {}", missing.join(", "));
            return Ok(Verdict::fail(seen(&session, &answer), why));
        }
    }
    let Some((page, expect)) = &how.then else {
        let why = format!("status {}", answer.status);
        return Ok(Verdict::pass(seen(&session, &answer), why));
    };
    let answer = get(cx, &mut session, page).await?;
    let problems = expect.problems(cx, &answer)?;
    let good = problems.is_empty();
    let why = if good {
        format!("logged in, and {page} answers with status {}", answer.status)
    } else {
        format!("logged in, but {page}: {}", problems.join("; "))
    };
    Ok(Verdict::pass_if(good, seen(&session, &answer), why))
}

async fn get(cx: &Observer, session: &mut Session, path: &str) -> Result<Answer> {
    let request = Request::get(path).read_only();
    session.ask(cx, &request).await.map_err(HttpError::into_failure)
}

fn find_token(session: &Session, answer: &Answer, from: &TokenFrom) -> Option<String> {
    let found = match from {
        TokenFrom::Json(path) => answer.json_at(path).ok()??.as_str().map(str::to_owned),
        TokenFrom::Cookie(name) => session.cookie(name).map(percent_decoded),
        TokenFrom::Field(name) => html::field(&answer.text(), name),
        TokenFrom::Meta(name) => html::meta(&answer.text(), name),
        TokenFrom::Header(name) => answer.header(name).map(str::to_owned),
    };
    found.filter(|token| !token.is_empty())
}

/// Cookies carry tokens percent-encoded, headers do not: what a browser's script does.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn seen(session: &Session, answer: &Answer) -> LoggedIn {
    LoggedIn { status: answer.status, cookies: session.cookies() }
}
