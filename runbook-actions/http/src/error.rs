//! [`HttpError`]: why there is no answer.

use std::time::Duration;

use runbook::{Failure, FailureKind, Problem};
use runbook_tls::TlsError;

/// Why a request got no answer that can be looked at.
///
/// ```
/// use runbook_core::{Host, testing::FakeTarget};
/// use runbook_http::{Http, HttpError};
/// let error = Http::new(&Host::new(FakeTarget::new("web")), "shop.example.org").unwrap_err();
/// assert!(matches!(error, HttpError::Address { .. }));
/// assert!(error.next().unwrap().contains("https://"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// What was given is no address that this client can ask.
    #[error("`{address}` is no HTTP address: {why}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// A header can't be sent.
    #[error("the header `{name}` can't be sent: {why}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it; its value is not shown.
        why: String,
    },
    /// The connection could not be opened.
    #[error("asking {url}: {problem}")]
    Connect {
        /// What was asked.
        url: String,
        /// What the host said.
        problem: Problem,
    },
    /// TLS failed.
    #[error("asking {url}: {source}")]
    Tls {
        /// What was asked.
        url: String,
        /// Why.
        source: TlsError,
    },
    /// No whole answer came in time.
    #[error("asking {url}: no whole answer came within {after:?}")]
    TimedOut {
        /// What was asked.
        url: String,
        /// The time allowed.
        after: Duration,
    },
    /// The unit was told to stop.
    #[error("asking {url}: {problem}")]
    Stopped {
        /// What was asked.
        url: String,
        /// Why.
        problem: Problem,
    },
    /// What came back was no HTTP, or broke off.
    #[error("asking {url}: the answer broke off: {source}")]
    Broken {
        /// What was asked.
        url: String,
        /// How.
        source: hyper::Error,
    },
    /// The answer is longer than allowed.
    #[error("asking {url}: the answer is longer than {limit} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// The bytes allowed.
        limit: usize,
    },
    /// It was sent on and on.
    #[error("asking {url}: sent on more than {limit} times, at last to {last}")]
    TooManyRedirects {
        /// What was asked.
        url: String,
        /// The redirects allowed.
        limit: u8,
        /// Where to at last.
        last: String,
    },
    /// It was sent on to somewhere that it will not go.
    #[error("asking {url}: not following the redirect to {to}: {why}")]
    Redirect {
        /// What was asked.
        url: String,
        /// Where to.
        to: String,
        /// Why not.
        why: String,
    },
    /// The answer is not the JSON that was wanted.
    #[error("asking {url}: the answer is not the JSON that was wanted: {why}")]
    Json {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The answer is not what it should be.
    #[error("asking {url}: {}", .problems.join("; "))]
    Unexpected {
        /// What was asked.
        url: String,
        /// What is not as it should be.
        problems: Vec<String>,
    },
}

impl HttpError {
    /// What to do about it, in one line.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        match self {
            Self::Address { .. } => {
                Some("give it as `https://shop.example.org` or `http://127.0.0.1:3000`".into())
            }
            Self::Connect { url, problem } => Some(problem.next.clone().unwrap_or_else(|| {
                format!("check that the service of {url} runs, and on which address it listens")
            })),
            Self::Tls { source, .. } => source.next(),
            Self::TimedOut { .. } => {
                Some("see what the service is waiting for: its log, its database, its load".into())
            }
            Self::Broken { source, .. } if source.is_parse() => {
                Some("check the port, and whether it speaks HTTPS there".into())
            }
            Self::Broken { .. } => {
                Some("see the service's log: it may have crashed while it answered".into())
            }
            Self::TooLong { .. } => {
                Some("raise `body_limit` if the answer is meant to be so long".into())
            }
            Self::TooManyRedirects { last, .. } => {
                Some(format!("follow it by hand: `curl -sSIL {last}`"))
            }
            Self::Redirect { .. } => Some("give the final address as the base".into()),
            Self::Stopped { problem, .. } => problem.next.clone(),
            Self::Header { .. } | Self::Json { .. } | Self::Unexpected { .. } => None,
        }
    }

    /// The same as a failure of a step or check, with [`next`](Self::next) as its advice.
    ///
    /// ```
    /// use std::time::Duration;
    /// use runbook_core::FailureKind;
    /// use runbook_http::HttpError;
    /// let url = "https://shop.example.org/health".into();
    /// let failure = HttpError::TimedOut { url, after: Duration::from_secs(5) }.into_failure();
    /// assert_eq!(failure.kind(), FailureKind::TimedOut);
    /// ```
    #[must_use]
    pub fn into_failure(self) -> Failure {
        let kind = match &self {
            Self::TimedOut { .. } => FailureKind::TimedOut,
            Self::Broken { .. } => FailureKind::Disconnected,
            Self::Connect { problem, .. } | Self::Stopped { problem, .. } => problem.kind,
            _ => FailureKind::Failed,
        };
        let failure = Failure::new(kind, &self);
        match self.next() {
            Some(next) => failure.next(next),
            None => failure,
        }
    }
}
