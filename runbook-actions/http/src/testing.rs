//! [`FakeSite`]: a site that lives in the test.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use runbook::testing::FakeTarget;
use runbook::{Address, BoxStream};
pub use runbook_tls::testing::{FakeAuthority, FakeCertificate};
use tokio::io::DuplexStream;

/// A site that lives in the test: it answers what a closure says, over HTTP/1.1, on an address of a
/// [`FakeTarget`]. Clones are the same site.
///
/// ```
/// use runbook_core::testing::{FakeTarget, observer};
/// use runbook_core::{Address, Check, Host};
/// use runbook_http::testing::{FakeSite, SiteAnswer};
/// use runbook_http::{Expect, Http};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let shop = FakeSite::new(|asked| match asked.path() {
///     "/health" => SiteAnswer::json(r#"{"status": "ok"}"#),
///     _ => SiteAnswer::status(404),
/// });
/// let web = FakeTarget::new("web-1");
/// shop.listen(&web, &Address::Tcp("127.0.0.1".into(), 3000));
///
/// let http = Http::new(&Host::new(web), "http://127.0.0.1:3000").unwrap();
/// let health = http.get("/health", Expect::status(200).json("status", "ok"));
/// assert!(health.check(&observer()).await.unwrap().passed());
/// assert_eq!(shop.asked()[0].line(), "GET /health");
/// # });
/// ```
#[derive(Clone)]
pub struct FakeSite(Arc<Inner>);

struct Inner {
    answer: Box<dyn Fn(&SiteRequest) -> SiteAnswer + Send + Sync>,
    certificate: Mutex<Option<FakeCertificate>>,
    asked: Mutex<Vec<SiteRequest>>,
}

impl FakeSite {
    /// Answers what `answer` says.
    #[must_use]
    pub fn new(answer: impl Fn(&SiteRequest) -> SiteAnswer + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            answer: Box::new(answer),
            certificate: Mutex::new(None),
            asked: Mutex::new(Vec::new()),
        }))
    }

    /// From now on it speaks HTTPS, with this certificate. A site whose certificate is renewed is
    /// given another one.
    pub fn present(&self, certificate: FakeCertificate) {
        *lock(&self.0.certificate) = Some(certificate);
    }

    /// Listens at `address` of `target`.
    pub fn listen(&self, target: &FakeTarget, address: &Address) {
        self.listen_when(target, address, || true);
    }

    /// The same while `open` says yes; else connections are refused.
    pub fn listen_when(
        &self,
        target: &FakeTarget,
        address: &Address,
        open: impl Fn() -> bool + Send + Sync + 'static,
    ) {
        let site = self.clone();
        target.listen_when(address, open, move |stream| site.serve(stream));
    }

    /// Answers on one connection until its other end is gone.
    pub fn serve(&self, stream: DuplexStream) {
        tokio::spawn(talk(self.clone(), Box::new(stream)));
    }

    /// What it was asked so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<SiteRequest> {
        lock(&self.0.asked).clone()
    }
}

impl fmt::Debug for FakeSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeSite(asked {} times)", lock(&self.0.asked).len())
    }
}

async fn talk(site: FakeSite, stream: BoxStream) {
    let certificate = lock(&site.0.certificate).clone();
    let stream = match certificate {
        None => stream,
        // A client that does not trust it is gone: that is for its own test to find.
        Some(certificate) => match certificate.accept(stream).await {
            Ok(stream) => stream,
            Err(_) => return,
        },
    };
    let answer = service_fn(|request| answer(&site, request));
    let talk = hyper::server::conn::http1::Builder::new();
    // A client that hangs up has what it wanted.
    let _ = talk.serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(
    site: &FakeSite,
    request: hyper::Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let headers = head.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let asked = SiteRequest {
        method: head.method.as_str().to_owned(),
        target: head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: headers.collect(),
        body,
    };
    lock(&site.0.asked).push(asked.clone());
    Ok((site.0.answer)(&asked).response())
}

/// What a [`FakeSite`] was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SiteRequest {
    /// `GET`, `POST` ..
    pub method: String,
    /// The path with its query: `/search?q=shoes`.
    pub target: String,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// What was sent along.
    pub body: Vec<u8>,
}

impl SiteRequest {
    /// Method and target: `GET /search?q=shoes`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// The path without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first header of this name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(one, _)| one == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A cookie.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let mut all = self.header("cookie")?.split("; ").filter_map(|one| one.split_once('='));
        all.find(|(one, _)| *one == name).map(|(_, value)| value)
    }

    /// A field of a form that was sent as one (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let form = String::from_utf8_lossy(&self.body);
        let mut all = form.split('&').filter_map(|pair| pair.split_once('='));
        all.find(|(one, _)| decoded(one) == name).map(|(_, value)| decoded(value))
    }
}

/// A part of a form.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped =
            hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = if escaped.is_some() { &after[2..] } else { after };
        bytes.push(match (escaped, first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, byte) => *byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a [`FakeSite`] answers.
///
/// ```
/// use runbook_http::testing::SiteAnswer;
/// let page = SiteAnswer::html("<h1>Shop</h1>").header("x-content-type-options", "nosniff");
/// let gone = SiteAnswer::redirect("/login").header("set-cookie", "sid=; Max-Age=0");
/// # let _ = (page, gone);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl SiteAnswer {
    /// This status, and no body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Status 200, and this HTML.
    #[must_use]
    pub fn html(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).header("content-type", "text/html; charset=utf-8").body(body)
    }

    /// Status 200, and this JSON.
    #[must_use]
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).header("content-type", "application/json").body(body)
    }

    /// Status 303, to this address.
    #[must_use]
    pub fn redirect(to: impl Into<String>) -> Self {
        Self::status(303).header("location", to)
    }

    /// With another status.
    #[must_use]
    pub fn and_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// # Panics
    /// The test gave what HTTP does not allow.
    fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = StatusCode::from_u16(self.status)
            .unwrap_or_else(|error| panic!("status {}: {error}", self.status));
        for (name, value) in self.headers {
            let key = HeaderName::from_bytes(name.as_bytes());
            match (key, HeaderValue::from_str(&value)) {
                (Ok(key), Ok(text)) => response.headers_mut().append(key, text),
                _ => panic!("`{name}: {value}` is no header"),
            };
        }
        response
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
