//! One request over one connection.

use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use runbook::{Address, BoxStream, Failure, Host, Observer};
use runbook_tls::Tls;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::error::HttpError;
use crate::request::{HeaderText, Request};
use crate::url::Url;

/// On whose behalf a connection is opened.
#[derive(Clone, Copy)]
pub(crate) enum Caller<'a> {
    /// A unit's: given up when the unit is to stop.
    Looking(&'a Observer),
    /// A step's: not given up, its end would not be known. The time limit bounds it.
    Acting(&'a Observer),
    /// Nobody's unit: a notification.
    Notifying,
}

/// How to reach a server, and for how long.
pub(crate) struct Route<'a> {
    pub(crate) host: &'a Host,
    pub(crate) address: Address,
    pub(crate) tls: Option<&'a Tls>,
    pub(crate) timeout: Duration,
    pub(crate) body_limit: usize,
}

/// Opens a connection, sends `request` to `url`, and reads the whole answer.
pub(crate) async fn exchange(
    caller: Caller<'_>,
    route: &Route<'_>,
    url: &Url,
    request: &Request,
    headers: &[(String, HeaderText)],
) -> Result<Answer, HttpError> {
    let bounded = async {
        match tokio::time::timeout(route.timeout, talk(caller, route, url, request, headers)).await
        {
            Ok(answered) => answered,
            Err(_) => Err(HttpError::TimedOut { url: url.to_string(), after: route.timeout }),
        }
    };
    match caller {
        Caller::Looking(cx) => tokio::select! {
            biased;
            why = cx.stopped() => Err(HttpError::Stopped {
                url: url.to_string(),
                problem: why.to_problem(),
            }),
            answered = bounded => answered,
        },
        Caller::Acting(_) | Caller::Notifying => bounded.await,
    }
}

async fn talk(
    caller: Caller<'_>,
    route: &Route<'_>,
    url: &Url,
    request: &Request,
    headers: &[(String, HeaderText)],
) -> Result<Answer, HttpError> {
    let message = message(url, request, headers)?;
    let stream = open(caller, route, url).await?;
    let broken = |source| HttpError::Broken { url: url.to_string(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let started = Instant::now();
    let talking = async {
        let answer = sender.send_request(message).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        let body =
            Limited::new(body, route.body_limit).collect().await.map_err(|error| match error
                .downcast::<hyper::Error>(
            ) {
                Ok(error) => broken(*error),
                Err(_) => HttpError::TooLong { url: url.to_string(), limit: route.body_limit },
            })?;
        let headers = head.headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Ok(Answer {
            url: url.to_string(),
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: body.to_bytes().into(),
            elapsed: started.elapsed(),
        })
    };
    // The connection is driven here and not in a task of its own, so that giving up ends it.
    let (mut talking, mut connection) = (pin!(talking), pin!(connection));
    tokio::select! {
        biased;
        answered = &mut talking => return answered,
        _ended = &mut connection => {}
    }
    talking.await
}

async fn open(caller: Caller<'_>, route: &Route<'_>, url: &Url) -> Result<BoxStream, HttpError> {
    let opened = match caller {
        Caller::Looking(cx) | Caller::Acting(cx) => cx.on(route.host).connect(&route.address).await,
        Caller::Notifying => route.host.target().connect(&route.address).await,
    };
    let refused = |failure: Failure| HttpError::Connect {
        url: url.to_string(),
        problem: failure.to_problem(),
    };
    let stream = opened.map_err(refused)?;
    if !url.secure {
        return Ok(stream);
    }
    let bad = |source| HttpError::Tls { url: url.to_string(), source };
    let secured = match route.tls {
        Some(tls) => tls.connect(stream, &url.host).await,
        None => system_tls().map_err(bad)?.connect(stream, &url.host).await,
    };
    Ok(secured.map_err(bad)?.stream)
}

/// What is trusted unless something else was said; made once.
pub(crate) fn system_tls() -> Result<Tls, runbook_tls::TlsError> {
    static SYSTEM: OnceLock<Tls> = OnceLock::new();
    match SYSTEM.get() {
        Some(tls) => Ok(tls.clone()),
        None => Ok(SYSTEM
            .get_or_init({
                let tls = Tls::system()?;
                move || tls
            })
            .clone()),
    }
}

fn message(
    url: &Url,
    request: &Request,
    headers: &[(String, HeaderText)],
) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
    let mut message = hyper::Request::new(Full::new(Bytes::from(request.body.clone())));
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = url.path.parse().map_err(|error: hyper::http::uri::InvalidUri| {
        HttpError::Address { address: url.to_string(), why: error.to_string() }
    })?;
    let ours = [
        ("host", url.authority()),
        ("user-agent", concat!("runbook/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("accept", "*/*".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), HeaderText::Plain(value)));
    for (name, value) in ours.iter().chain(headers) {
        let bad = |why: &str| HttpError::Header { name: name.clone(), why: why.into() };
        let key =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("its name is not allowed"))?;
        let mut text = HeaderValue::from_str(value.expose())
            .map_err(|_| bad("its value holds characters that are not allowed"))?;
        text.set_sensitive(matches!(value, HeaderText::Secret(_)));
        message.headers_mut().insert(key, text);
    }
    Ok(message)
}
