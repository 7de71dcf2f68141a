//! One HTTP GET over a socket that is opened through the host.

use runbook::{Address, During, Failure, Observer, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::env::Site;

/// The status code and body of `http://127.0.0.1:PORT{path}`.
pub(crate) async fn get(cx: &Observer, site: &Site, path: &str) -> Result<(u16, String)> {
    let doing = || format!("asking http://{site}{path}");
    let address = Address::Tcp("127.0.0.1".into(), site.port);
    let mut stream = cx.on(&site.host).connect(&address).await.during(doing())?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {site}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.during(doing())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.during(doing())?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    match status {
        Some(status) => Ok((status, body.trim().to_owned())),
        None => Err(Failure::msg("no HTTP answer came back").while_doing(doing())),
    }
}
