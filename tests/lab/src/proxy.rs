//! A network that can be slow, silent or cut.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many chunks of one direction may be on their way.
const ON_THE_WAY: usize = 1024;

/// Forwards connections to another port of the loopback interface, as well or badly as it is told.
///
/// ```
/// # use std::io::{Read as _, Write as _};
/// let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// let proxy = lab::Proxy::start(server.local_addr().unwrap().port());
/// proxy.delay(std::time::Duration::from_millis(10)); // a round trip of 20 ms
/// let mut client = std::net::TcpStream::connect(proxy.addr()).unwrap();
/// client.write_all(b"hello").unwrap();
/// let mut word = [0; 5];
/// server.accept().unwrap().0.read_exact(&mut word).unwrap();
/// assert_eq!(&word, b"hello");
/// ```
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    silent: bool,
    closed: bool,
    delay: Duration,
    accepted: usize,
    /// Both ends of every connection, to be cut.
    open: Vec<TcpStream>,
    pumps: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one that forwards to `port` without delay.
    ///
    /// # Panics
    /// The system gives no port.
    #[must_use]
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the proxy");
        let addr = listener.local_addr().expect("the address of the proxy");
        let shared = Arc::new(Shared::default());
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming() {
                    if shared.lock().closed {
                        break;
                    }
                    // A client or a server that is gone again is the test's own doing.
                    if let Ok(client) = client {
                        let _ = shared.join(client, port);
                    }
                }
            }
        });
        Self { addr, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// How many connections it has taken so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.lock().accepted
    }

    /// Lets each direction take this long from now on; a round trip takes twice as long.
    pub fn delay(&self, each_direction: Duration) {
        self.shared.lock().delay = each_direction;
    }

    /// Forwards nothing any more, and tells nobody: as a cable that is pulled. New connections are
    /// taken and get no answer.
    pub fn silence(&self) {
        self.shared.lock().silent = true;
    }

    /// Ends the silence; what was held back is delivered.
    pub fn resume(&self) {
        self.shared.lock().silent = false;
        self.shared.changed.notify_all();
    }

    /// Ends every connection that is open now; new ones are taken as before.
    pub fn cut(&self) {
        cut(&mut self.shared.lock());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.closed = true;
            cut(&mut state);
        }
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let pumps = {
            let mut state = self.shared.lock();
            // One may have been taken while the lock was free.
            cut(&mut state);
            std::mem::take(&mut state.pumps)
        };
        for pump in pumps {
            let _ = pump.join();
        }
    }
}

fn cut(state: &mut State) {
    for end in state.open.drain(..) {
        let _ = end.shutdown(Shutdown::Both);
    }
}

type Chunk = (Instant, Vec<u8>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Self>, client: TcpStream, port: u16) -> io::Result<()> {
        // Locked before the server can know of it: whoever cuts then cuts this one as well.
        let mut state = self.lock();
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
        }
        let ways = [
            (client.try_clone()?, server.try_clone()?),
            (server.try_clone()?, client.try_clone()?),
        ];
        state.accepted += 1;
        state.open.extend([client, server]);
        for (from, to) in ways {
            let (sender, receiver) = sync_channel(ON_THE_WAY);
            let shared = Arc::clone(self);
            state.pumps.push(std::thread::spawn(move || take(from, &sender)));
            state.pumps.push(std::thread::spawn(move || shared.deliver(&receiver, to)));
        }
        Ok(())
    }

    /// Writes each chunk when its time has come.
    fn deliver(&self, chunks: &Receiver<Chunk>, mut to: TcpStream) {
        for (read_at, chunk) in chunks {
            if !self.wait_for_turn(read_at) || to.write_all(&chunk).is_err() {
                return;
            }
        }
        // The end of the stream is as silent as the rest of it.
        if self.wait_for_turn(Instant::now()) {
            let _ = to.shutdown(Shutdown::Write);
        }
    }

    /// False if the proxy is closed.
    fn wait_for_turn(&self, read_at: Instant) -> bool {
        let mut state = self.lock();
        loop {
            if state.closed {
                return false;
            }
            let left = (read_at + state.delay).saturating_duration_since(Instant::now());
            state = if state.silent {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else if left.is_zero() {
                return true;
            } else {
                let waited = self.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

fn take(mut from: TcpStream, chunks: &SyncSender<Chunk>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || chunks.send((Instant::now(), buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}
