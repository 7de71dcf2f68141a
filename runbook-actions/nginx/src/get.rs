//! [`answers()`]: one GET over a socket that the host opens, to see that a change took.

use std::time::Duration;

use runbook::{Address, During as _, Failure, FailureKind, Host, Observer, Result, Verdict};
use runbook_macros::check;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::Nginx;

/// No answer is read beyond this.
const LIMIT: u64 = 1 << 20;

impl Nginx {
    /// A request to `address` for the site `site` is answered with `status`. See [`answers()`].
    pub fn answers(
        &self,
        address: &Address,
        site: &str,
        path: &str,
        status: impl runbook::IntoInput<u16>,
    ) -> answers {
        answers(self, address, site, path, status)
    }
}

/// Nginx answers a request
///
/// In plain HTTP, without following redirects; for HTTPS, headers and bodies any check of another
/// kind will do as the verification of a change.
///
/// ```
/// use runbook_core::{Address, Runbook};
/// use runbook_nginx::Nginx;
/// fn after(b: &mut Runbook, nginx: &Nginx) {
///     let local = Address::Tcp("127.0.0.1".into(), 80);
///     b.check(nginx.answers(&local, "shop.example.org", "/health", 200u16));
/// }
/// ```
#[check(title = "{site}{path} answers with status {status}", preview = "GET {path} ({site})")]
pub async fn answers(
    cx: &Observer,
    nginx: &Nginx,
    address: &Address,
    site: &str,
    path: &str,
    status: u16,
) -> Result<Verdict<u16>> {
    let answer = get(cx, nginx.host(), address, site, path).await?;
    let found = answer.status;
    let why = format!("status {found}");
    Ok(Verdict::pass_if(found == status, found, why))
}

/// A status and a body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// One request over one connection.
pub(crate) async fn get(
    cx: &Observer,
    host: &Host,
    address: &Address,
    site: &str,
    path: &str,
) -> Result<Answer> {
    let doing = || format!("asking {address} for {site}{path}");
    let talk = async {
        let mut stream = cx.on(host).connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {site}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.during(doing())?;
        stream.flush().await.during(doing())?;
        let mut bytes = Vec::new();
        stream.take(LIMIT).read_to_end(&mut bytes).await.during(doing())?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        match status.filter(|_| head.starts_with("HTTP/")) {
            Some(status) => Ok(Answer { status, body: body.to_owned() }),
            None => Err(Failure::msg("no HTTP answer came back").while_doing(doing())),
        }
    };
    let late = || Failure::new(FailureKind::TimedOut, "no answer within 10 s").while_doing(doing());
    tokio::select! {
        why = cx.stopped() => Err(why.while_doing(doing())),
        ended = tokio::time::timeout(Duration::from_secs(10), talk) => ended.map_err(|_| late())?,
    }
}
