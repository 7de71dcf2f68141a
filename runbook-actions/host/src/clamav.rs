//! [`Clamd`]: whether the virus scanner answers.

use std::fmt;
use std::time::Duration;

use runbook_core::{Address, Check, Failure, Host, Observer, Result, Verdict};
use runbook_macros::check;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(10);

/// The ClamAV daemon, at a socket that the host sees.
///
/// ```
/// use runbook_core::{Address, Host, Runbook, testing::FakeTarget};
/// use runbook_host::Clamd;
/// let host = Host::new(FakeTarget::new("web-1"));
/// let clamd = Clamd::new(&host, Address::Unix("/run/clamav/clamd.ctl".into()));
/// let mut b = Runbook::new("preflight");
/// b.check(clamd.answers());
/// ```
#[derive(Clone)]
pub struct Clamd {
    host: Host,
    address: Address,
}

impl Clamd {
    /// At this address of the host.
    #[must_use]
    pub fn new(host: &Host, address: Address) -> Self {
        Self { host: host.clone(), address }
    }

    /// It answers `PONG` to `PING` within ten seconds.
    #[must_use]
    pub fn answers(&self) -> impl Check<Evidence = String> {
        answers(self)
    }

    async fn ping(&self, cx: &Observer) -> Result<String> {
        let mut stream = cx.on(&self.host).connect(&self.address).await?;
        stream.write_all(b"zPING\0").await?;
        stream.flush().await?;
        let mut said = Vec::new();
        // It ends what it says with a zero byte, or closes.
        while said.len() < 1024 {
            match stream.read_u8().await {
                Ok(0) => break,
                Ok(byte) => said.push(byte),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }
}

impl fmt::Display for Clamd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clamd at {} on {}", self.address, self.host)
    }
}

impl fmt::Debug for Clamd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clamd({self})")
    }
}

/// The virus scanner answers
#[check(title = "{clamd} answers", preview = "PING")]
async fn answers(cx: &Observer, clamd: &Clamd) -> Result<Verdict<String>> {
    let advice =
        "see whether clamav-daemon runs: it loads its signatures for minutes after a start";
    let said = tokio::time::timeout(PATIENCE, clamd.ping(cx)).await.unwrap_or_else(|_| {
        Err(Failure::msg("no answer within 10 seconds").while_doing(format!("asking {clamd}")))
    });
    let said = said.map_err(|failure| failure.next(advice))?;
    let why = format!("it says {said:?}");
    Ok(Verdict::pass_if(said == "PONG", said, why))
}
