//! [`Http`]: a client of one service, and [`Session`]: a client that keeps cookies.

use std::fmt;
use std::time::Duration;

use hyper::Method;
use runbook::{Address, Context, Host, Observer, Secret};
use runbook_tls::{Tls, TlsConfig};
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::cookies::{CookieFlags, Jar};
use crate::error::HttpError;
use crate::exchange::{Caller, Route, exchange};
use crate::request::{HeaderText, ReadOnlyRequest, Request};
use crate::url::Url;

/// A client of one HTTP service, as its host sees it. Cheap enough to clone into every step.
///
/// ```
/// use runbook_core::{Address, Host, testing::FakeTarget};
/// use runbook_http::Http;
/// let web = Host::new(FakeTarget::new("web-1"));
/// // The site by its own name, but over the host's loopback: past its proxy or its DNS.
/// let shop = Http::new(&web, "https://shop.example.org")?
///     .via(Address::Tcp("127.0.0.1".into(), 8443));
/// assert_eq!(shop.to_string(), "https://shop.example.org");
/// # Ok::<(), runbook_http::HttpError>(())
/// ```
#[derive(Clone)]
pub struct Http {
    pub(crate) host: Host,
    pub(crate) base: Url,
    via: Option<Address>,
    tls: Option<Tls>,
    headers: Vec<(String, HeaderText)>,
    timeout: Duration,
    redirects: u8,
    body_limit: usize,
}

impl Http {
    /// A client of the service at `base`, e.g. `http://127.0.0.1:3000` or
    /// `https://shop.example.org/api`, whose connections are opened by `host`.
    ///
    /// # Errors
    /// `base` is no HTTP address.
    pub fn new(host: &Host, base: &str) -> Result<Self, HttpError> {
        Ok(Self {
            host: host.clone(),
            base: Url::parse(base)?,
            via: None,
            tls: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            redirects: 5,
            body_limit: 1 << 20,
        })
    }

    /// Where to connect to, instead of the host and port of the address: the name in the `Host`
    /// header and in the certificate stays that of the address.
    #[must_use]
    pub fn via(mut self, address: Address) -> Self {
        self.via = Some(address);
        self
    }

    /// Whom to trust, instead of what this machine trusts.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// A header of every request to this origin.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), HeaderText::Plain(value.into())));
        self
    }

    /// A header of every request to this origin, whose value is never shown: `authorization`.
    #[must_use]
    pub fn secret_header(mut self, name: impl Into<String>, value: &Secret) -> Self {
        self.headers.push((name.into(), HeaderText::Secret(value.clone())));
        self
    }

    /// How long one request may take, connecting and redirects included; 10 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many redirects are followed; 5 by default. With 0 a redirect is the answer.
    #[must_use]
    pub fn redirects(mut self, redirects: u8) -> Self {
        self.redirects = redirects;
        self
    }

    /// How many bytes an answer may have; 1 MiB by default.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Asks, and gives whatever comes back.
    ///
    /// # Errors
    /// No answer came; a status of 500 is an answer.
    pub async fn ask(&self, cx: &Observer, request: &ReadOnlyRequest) -> Result<Answer, HttpError> {
        self.session().ask(cx, request).await
    }

    /// Sends a request that may change something, and gives whatever comes back.
    ///
    /// # Errors
    /// No answer came; a status of 500 is an answer.
    pub async fn send(&self, cx: &Context, request: &Request) -> Result<Answer, HttpError> {
        self.session().send(cx, request).await
    }

    /// Requests that share their cookies from here on.
    ///
    /// ```
    /// use runbook_core::{Context, Secret};
    /// use runbook_http::{Http, HttpError, Request};
    /// async fn warm(cx: &Context, shop: &Http, token: &Secret) -> Result<u16, HttpError> {
    ///     let mut session = shop.session();
    ///     session.send(cx, &Request::post("/login").secret_field("token", token)).await?;
    ///     Ok(session.send(cx, &Request::post("/cache/warm")).await?.status)
    /// }
    /// ```
    #[must_use]
    pub fn session(&self) -> Session {
        Session { http: self.clone(), jar: Jar::default() }
    }

    /// Where the connection goes for `url`.
    pub(crate) fn route(&self, url: &Url) -> Route<'_> {
        let dialled = self.via.clone().filter(|_| url.same_origin(&self.base));
        Route {
            host: &self.host,
            address: dialled.unwrap_or_else(|| Address::Tcp(url.host.clone(), url.port)),
            tls: self.tls.as_ref(),
            timeout: self.timeout,
            body_limit: self.body_limit,
        }
    }
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.fmt(f)
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({} from {})", self.base, self.host)
    }
}

/// The same as a part of a configuration file.
///
/// ```
/// use runbook_core::{Host, testing::FakeTarget};
/// use runbook_http::HttpConfig;
/// let config: HttpConfig = serde_json::from_str(
///     r#"{"url": "https://shop.example.org", "connect": "127.0.0.1:8443", "timeout_seconds": 5}"#,
/// )?;
/// let shop = config.build(&Host::new(FakeTarget::new("web-1"))).unwrap();
/// assert_eq!(shop.to_string(), "https://shop.example.org");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// The base address.
    pub url: String,
    /// Where to connect to instead: `127.0.0.1:8443`, or `unix:/run/shop.sock`.
    #[serde(default)]
    pub connect: Option<String>,
    /// Whom to trust instead of what this machine trusts.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// How long one request may take, in seconds; 10 by default.
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
}

impl HttpConfig {
    /// The client.
    ///
    /// # Errors
    /// An address can't be understood, or a file that is named can't be read.
    pub fn build(&self, host: &Host) -> Result<Http, HttpError> {
        let mut http = Http::new(host, &self.url)?;
        if let Some(connect) = &self.connect {
            let address = match connect.strip_prefix("unix:") {
                Some(path) => Address::Unix(path.into()),
                None => {
                    let url = Url::parse(&format!("http://{connect}"))?;
                    Address::Tcp(url.host, url.port)
                }
            };
            http = http.via(address);
        }
        if let Some(tls) = &self.tls {
            let bad = |source| HttpError::Tls { url: self.url.clone(), source };
            http = http.tls(tls.build().map_err(bad)?);
        }
        if let Some(seconds) = self.timeout_seconds {
            http = http.timeout(Duration::from_secs(seconds));
        }
        Ok(http)
    }
}

/// Requests that share their cookies; from [`Http::session`].
pub struct Session {
    http: Http,
    jar: Jar,
}

impl Session {
    /// As [`Http::ask`], with this session's cookies.
    ///
    /// # Errors
    /// No answer came.
    pub async fn ask(
        &mut self,
        cx: &Observer,
        request: &ReadOnlyRequest,
    ) -> Result<Answer, HttpError> {
        self.talk(Caller::Looking(cx), &request.0).await
    }

    /// As [`Http::send`], with this session's cookies.
    ///
    /// # Errors
    /// No answer came.
    pub async fn send(&mut self, cx: &Context, request: &Request) -> Result<Answer, HttpError> {
        self.talk(Caller::Acting(cx), request).await
    }

    /// The cookies so far.
    #[must_use]
    pub fn cookies(&self) -> Vec<CookieFlags> {
        self.jar.flags()
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.jar.value(name)
    }

    pub(crate) async fn talk(
        &mut self,
        caller: Caller<'_>,
        request: &Request,
    ) -> Result<Answer, HttpError> {
        let first = self.http.base.below(&request.path)?;
        let mut request = request.clone();
        let mut url = first.clone();
        let late = || HttpError::TimedOut { url: first.to_string(), after: self.http.timeout };
        let began = tokio::time::Instant::now();
        for followed in 0u8.. {
            let headers = self.headers(&url, &request);
            let mut route = self.http.route(&url);
            route.timeout = self.http.timeout.saturating_sub(began.elapsed());
            let answered = exchange(caller, &route, &url, &request, &headers).await;
            let answer = answered.map_err(|error| match error {
                HttpError::TimedOut { .. } => late(),
                error => error,
            })?;
            for header in answer.all_headers("set-cookie") {
                self.jar.take(&url, header);
            }
            let Some(to) = redirected(&answer).filter(|_| self.http.redirects > 0) else {
                return Ok(answer);
            };
            let next = url.join(to)?;
            if followed == self.http.redirects {
                return Err(HttpError::TooManyRedirects {
                    url: first.to_string(),
                    limit: self.http.redirects,
                    last: next.to_string(),
                });
            }
            if url.secure && !next.secure {
                return Err(HttpError::Redirect {
                    url: url.to_string(),
                    to: next.to_string(),
                    why: "it leads from HTTPS to plain HTTP".into(),
                });
            }
            let repeats = matches!(answer.status, 307 | 308);
            if repeats && !request.body.is_empty() && !url.same_origin(&next) {
                return Err(HttpError::Redirect {
                    url: url.to_string(),
                    to: next.to_string(),
                    why: "the request's body is not meant for another origin".into(),
                });
            }
            if !repeats && request.method != Method::GET {
                request.method = Method::GET;
                request.body.clear();
                request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
            }
            url = next;
        }
        Err(late())
    }

    /// What goes along to `url`: to another origin neither the client's headers nor a secret one.
    fn headers(&self, url: &Url, request: &Request) -> Vec<(String, HeaderText)> {
        let own = url.same_origin(&self.http.base);
        let clients = self.http.headers.iter().filter(|_| own);
        let requests = request
            .headers
            .iter()
            .filter(|(_, value)| own || matches!(value, HeaderText::Plain(_)));
        let cookies = self.jar.header(url).map(|text| ("cookie".into(), HeaderText::Plain(text)));
        clients.chain(requests).cloned().chain(cookies).collect()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("http", &self.http).finish_non_exhaustive()
    }
}

fn redirected(answer: &Answer) -> Option<&str> {
    matches!(answer.status, 301 | 302 | 303 | 307 | 308).then(|| answer.header("location"))?
}
