//! [`Dialer`]: makes one connection, from the socket to the login.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use runbook_core::{Address, During, Failure, Result};
use rustix::io::ioctl_fionbio;
use rustix::net::{Shutdown, shutdown};
use ssh2::ErrorCode;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::driver::Ready;
use super::login::Login;
use super::offer::Offer;
use super::owner::Owner;
use super::pool::{Connections, Limits};
use super::proxy::Proxy;

/// How the socket to a host comes about.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// Over TCP.
    Direct {
        /// A name or an address.
        host: String,
        port: u16,
    },
    /// Over TCP from another host, which may itself be reached through others.
    Jump {
        through: Arc<Connections>,
        /// As the other host resolves it.
        host: String,
        port: u16,
    },
    /// The standard input and output of a line of `sh`.
    Proxy { command: String },
}

/// Makes the connections to one host.
pub(super) struct Dialer {
    name: Arc<str>,
    route: Route,
    login: Arc<dyn Login>,
    limits: Limits,
}

/// An open socket, and what must live as long.
struct Socket {
    fd: Arc<OwnedFd>,
    tcp: bool,
    proxy: Option<Proxy>,
}

impl Dialer {
    pub(super) fn new(name: Arc<str>, route: Route, login: Arc<dyn Login>, limits: Limits) -> Self {
        Self { name, route, login, limits }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A session that is logged in, and its thread.
    pub(super) async fn connect(&self, idle_after: Option<Duration>) -> Result<(Owner, Ready)> {
        let doing = format!("connecting to {}", self.name);
        let Socket { fd, tcp, proxy } = self.socket().await.during(&doing)?;
        match self.log_in(&fd).await {
            Ok((owner, session)) => Ok((
                owner,
                Ready {
                    name: self.name.clone(),
                    session,
                    socket: fd,
                    tcp,
                    keepalive: self.limits.keepalive,
                    idle_after,
                    below: proxy.map(|proxy| Box::new(proxy) as Box<dyn Any + Send>),
                },
            )),
            Err(Refused { over_algorithms, failure }) => {
                if over_algorithms && let Some(failure) = self.disagreement().await {
                    return Err(failure.while_doing(doing));
                }
                let said = match proxy {
                    Some(proxy) => tokio::task::spawn_blocking(|| proxy.last_words()).await?,
                    None => None,
                };
                let failure = match said {
                    Some(said) => failure.while_doing(format!("the proxy command says `{said}`")),
                    None => failure,
                };
                Err(failure.while_doing(doing))
            }
        }
    }

    async fn socket(&self) -> Result<Socket> {
        match &self.route {
            Route::Direct { host, port } => self.direct(host, *port).await,
            Route::Jump { through, host, port } => {
                let address = Address::Tcp(host.clone(), *port);
                let tunnel = Box::pin(through.tunnel(&address));
                let Ok(stream) = timeout(self.limits.connect, tunnel).await else {
                    return Err(self.took_too_long(&address.to_string()));
                };
                let fd = Arc::new(stream?.into_socket().into());
                Ok(Socket { fd, tcp: false, proxy: None })
            }
            Route::Proxy { command } => {
                let (proxy, socket) = Proxy::start(command)?;
                Ok(Socket { fd: Arc::new(socket.into()), tcp: false, proxy: Some(proxy) })
            }
        }
    }

    /// Tries every address of a name, in the order in which they were found.
    async fn direct(&self, host: &str, port: u16) -> Result<Socket> {
        let addresses = tokio::net::lookup_host((host, port));
        let Ok(addresses) = timeout(self.limits.connect, addresses).await else {
            return Err(self.took_too_long(&format!("finding the address of {host}")));
        };
        let addresses: Vec<SocketAddr> = addresses.during(format!("finding {host}"))?.collect();
        let mut last = Failure::msg(format!("{host} has no address"));
        for address in addresses {
            match timeout(self.limits.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    let fd = Arc::new(stream.into_std()?.into());
                    return Ok(Socket { fd, tcp: true, proxy: None });
                }
                Ok(Err(error)) => {
                    last = Failure::from(error).while_doing(address).next(format!(
                        "see whether its sshd runs and listens on port {port}, and whether a \
                         firewall lets us through"
                    ));
                }
                Err(_) => last = self.took_too_long(&address.to_string()),
            }
        }
        Err(last)
    }

    fn took_too_long(&self, what: &str) -> Failure {
        let seconds = self.limits.connect.as_secs_f32();
        Failure::msg(format!("{what}: no answer within {seconds} s"))
            .next("see whether the host is up, and whether a firewall drops what we send")
    }

    /// The handshake and the login, on the thread that will own the session. A deadline bounds them
    /// whatever the server does: it cuts the socket, and all that waits on it ends.
    async fn log_in(&self, socket: &Arc<OwnedFd>) -> Result<(Owner, ssh2::Session), Refused> {
        let limit = self.limits.login;
        // Also cuts it if nobody waits for the outcome any more.
        let cut = Cut(Some(socket.clone()));
        let (socket, login) = (socket.clone(), self.login.clone());
        let (agreed, agreement) = oneshot::channel();
        let owner = Owner::start().map_err(Failure::from)?;
        let work = owner.ask(move || log_in(socket, &*login, limit, agreed));
        let work = async {
            if timeout(self.limits.handshake, agreement).await.is_err() {
                return Err(late("the handshake", self.limits.handshake));
            }
            Ok(work.await)
        };
        // If it is late it ends as soon as its socket is cut; nobody waits for that, since the
        // login might wait for something else.
        let Ok(outcome) = timeout(limit, work).await else {
            return Err(late("the login", limit));
        };
        let session = outcome???;
        cut.spare();
        Ok((owner, session))
    }

    /// Asks the server once more for its algorithms: libssh2 does not say over which of them a
    /// handshake failed.
    async fn disagreement(&self) -> Option<Failure> {
        let socket = self.socket().await.ok()?;
        let _cut = Cut(Some(socket.fd.clone()));
        let fd = socket.fd.clone();
        let work = tokio::task::spawn_blocking(move || {
            ioctl_fionbio(&fd, false)?;
            Offer::read(&mut File::from(fd.try_clone()?))
        });
        let offer = timeout(self.limits.connect, work).await.ok()?.ok()?.ok()?;
        self.login.disagreement(&offer)
    }
}

/// Why there is no session.
struct Refused {
    /// The handshake failed because there is none in common, or for a reason that looks so.
    over_algorithms: bool,
    failure: Failure,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { over_algorithms: false, failure }
    }
}

/// Cuts a socket when dropped.
struct Cut(Option<Arc<OwnedFd>>);

impl Cut {
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // It may be gone already.
            let _ = shutdown(socket, Shutdown::Both);
        }
    }
}

fn late(what: &str, limit: Duration) -> Refused {
    let seconds = limit.as_secs_f32();
    Failure::msg(format!("{what} was not done within {seconds} s"))
        .next("see whether an SSH server listens there, and what its log says")
        .into()
}

fn log_in(
    socket: Arc<OwnedFd>,
    login: &dyn Login,
    limit: Duration,
    agreed: oneshot::Sender<()>,
) -> Result<ssh2::Session, Refused> {
    let mut session = ssh2::Session::new().map_err(|error| refused("starting", &error))?;
    session.set_compress(false);
    session.set_tcp_stream(socket);
    session.set_blocking(true);
    // For each wait; the deadline for all of it comes before.
    let patience = limit.saturating_add(Duration::from_secs(1));
    session.set_timeout(u32::try_from(patience.as_millis()).unwrap_or(u32::MAX));
    login.prepare(&mut session)?;
    session.handshake().map_err(|error| Refused {
        over_algorithms: matches!(error.code(), KEX_FAILURE | KEY_EXCHANGE_FAILURE),
        failure: refused("the handshake", &error).next(
            "see whether an SSH server listens there, whether it shares an algorithm with us, and \
             what its log says",
        ),
    })?;
    // It may be late.
    let _ = agreed.send(());
    login.authenticate(&mut session)?;
    if !session.authenticated() {
        return Err(Failure::msg("the login: the server did not accept it").into());
    }
    Ok(session)
}

fn refused(doing: &str, error: &ssh2::Error) -> Failure {
    Failure::msg(error.message()).while_doing(doing)
}

// Of libssh2's errors, those of a handshake that comes to no agreement.
const KEX_FAILURE: ErrorCode = ErrorCode::Session(-5);
const KEY_EXCHANGE_FAILURE: ErrorCode = ErrorCode::Session(-8);

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("name", &self.name)
            .field("route", &self.route)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}
