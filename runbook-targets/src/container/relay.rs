//! Sockets of a container, carried by a program inside of it.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use runbook_core::{Address, BoxRead, BoxStream, BoxWrite, Exit, Failure, Result, quote, scrub};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::exec::Exec;
use crate::remote::channel::{Channel, Channels, Purpose};

const SCRIPT: &str = include_str!("relay.sh");

/// How long a stream that was dropped may take to hand over what was written to it.
const LINGER: Duration = Duration::from_secs(10);

/// Enough of a reason for any reason.
const LONG: u64 = 4096;

/// Opens a stream to a service as the container sees it.
pub(super) async fn connect(exec: &Exec, address: &Address) -> Result<BoxStream> {
    match relay(exec, address).await {
        Ok(Some(stream)) => Ok(stream),
        Ok(None) => from_outside(exec, address).await,
        Err(failure) => Err(failure.while_doing(doing(exec, address))),
    }
}

fn doing(exec: &Exec, address: &Address) -> String {
    format!("connecting to {address} from {}", exec.name())
}

/// By a program inside of it; `None` if there is none that can.
async fn relay(exec: &Exec, address: &Address) -> Result<Option<BoxStream>> {
    let line = format!("set -- {}\n{SCRIPT}", arguments(address)?);
    let mut channel = exec.open(&line, Purpose::Bulk).await?;
    match channel.stdout.read_u8().await {
        Ok(b'+') => Ok(Some(Box::new(Relay::new(channel)))),
        Ok(b'!') => Ok(None),
        said => {
            let mut why = Vec::new();
            if said.is_ok() {
                (&mut channel.stdout).take(LONG).read_to_end(&mut why).await?;
            } else {
                (&mut channel.stderr).take(LONG).read_to_end(&mut why).await?;
                // If the container stopped, that is why.
                if let Ok(end) = channel.exit.await {
                    end?;
                }
            }
            Err(refused(&String::from_utf8_lossy(&why)))
        }
    }
}

fn refused(why: &str) -> Failure {
    let why = why.trim().to_lowercase();
    let failure = Failure::msg(scrub(if why.is_empty() { "refused" } else { &why }));
    if why.contains("refused") {
        failure.next("nothing listens there: see whether the service runs, and where")
    } else if why.contains("no such file") {
        failure.next("there is no such socket: see whether the service runs, and where")
    } else {
        failure
    }
}

fn arguments(address: &Address) -> Result<String> {
    match address {
        Address::Tcp(host, _) if host.starts_with('-') => {
            Err(Failure::msg(format!("`{host}` is no name of a host")))
        }
        Address::Tcp(host, port) => Ok(format!("tcp {} {port}", quote(host))),
        Address::Unix(path) => match path.to_str() {
            Some(path) => Ok(format!("unix {}", quote(path))),
            None => Err(Failure::msg("the path of the socket is no UTF-8 text")),
        },
    }
}

/// Through the host, where that is the same.
async fn from_outside(exec: &Exec, address: &Address) -> Result<BoxStream> {
    let container = exec.container().await?;
    let host = exec.docker().host.target();
    let name = &container.name;
    let missing = |kind: &str, programs: &str| {
        Failure::msg(format!("the container `{name}` has no program that carries {kind} sockets"))
            .while_doing(doing(exec, address))
            .next(format!("add {programs} to its image"))
    };
    let Address::Tcp(to, port) = address else {
        return Err(missing("unix", "`perl` or `socat`"));
    };
    if container.network == "host" {
        return host.connect(address).await;
    }
    let own = matches!(&**to, "localhost" | "127.0.0.1" | "::1");
    match container.addresses.first() {
        Some(outside) if own => {
            let reached = host.connect(&Address::Tcp(outside.clone(), *port)).await;
            reached.map_err(|failure| {
                failure.while_doing(doing(exec, address)).next(format!(
                    "have the service listen on all addresses of the container `{name}`, or add \
                     `perl`, `socat`, `nc` or `bash` to its image"
                ))
            })
        }
        _ => Err(missing("TCP", "`perl`, `socat`, `nc` or `bash`")),
    }
}

/// The streams of the program that carries a socket.
struct Relay {
    // Only for the bound: they are never locked.
    stdin: Mutex<Option<BoxWrite>>,
    stdout: Mutex<BoxRead>,
    exit: Option<oneshot::Receiver<Result<Exit>>>,
}

impl Relay {
    fn new(channel: Channel) -> Self {
        Self {
            stdin: Mutex::new(Some(channel.stdin)),
            stdout: Mutex::new(channel.stdout),
            exit: Some(channel.exit),
        }
    }

    fn to(&mut self) -> io::Result<&mut BoxWrite> {
        let stdin = self.stdin.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        stdin.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let stdin = self.stdin.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(stdin.take());
        // What was written is still on its way.
        if let (Some(exit), Ok(runtime)) = (self.exit.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(timeout(LINGER, exit));
        }
    }
}

impl AsyncRead for Relay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stdout = self.stdout.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        Pin::new(stdout).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Relay {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.to()?).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.to()?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.to()?).poll_shutdown(cx)
    }
}
