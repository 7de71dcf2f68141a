//! An HTTP server that answers as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// An HTTP server on a free port of the loopback interface whose every answer is scripted. What
/// it has no answer for, it answers with 404.
///
/// ```
/// use lab::{Http, Reply};
/// let server = Http::start();
/// server.on("GET", "/health", Reply::json(200, &serde_json::json!({"status": "ok"})));
/// let answer = lab::get(server.port(), "/health").unwrap();
/// assert_eq!(answer.status, 200);
/// assert_eq!(server.requests()[0].path, "/health");
/// ```
#[derive(Debug)]
pub struct Http {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// A request that came in, or an answer's counterpart of it in [`Http::route`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST` ..
    pub method: String,
    /// Without the query.
    pub path: String,
    /// What stands behind the `?`.
    pub query: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// As they are sent, or were received; a name may come twice.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
    delay: Duration,
    hang_up: bool,
}

type Handler = Box<dyn FnMut(&Request) -> Reply + Send>;

#[derive(Default)]
struct Shared {
    routes: Mutex<BTreeMap<(String, String), Handler>>,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl Http {
    /// One without any answers.
    ///
    /// # Panics
    /// No port is to be had.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if server.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let server = Arc::clone(&server);
                // A client that hangs up in the middle is the client's affair.
                std::thread::spawn(move || drop(server.serve(&stream)));
            }
        });
        Self { addr, shared }
    }

    /// Answers so from now on.
    pub fn on(&self, method: &str, path: &str, reply: Reply) {
        self.route(method, path, move |_| reply.clone());
    }

    /// Gives these answers, one a request; the last one stays.
    pub fn script(&self, method: &str, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let mut replies: VecDeque<_> = replies.into_iter().collect();
        self.route(method, path, move |_| match replies.len() {
            0 => Reply::text(404, "the script is empty"),
            1 => replies[0].clone(),
            _ => replies.pop_front().unwrap_or_else(|| Reply::text(404, "")),
        });
    }

    /// Answers as the function says.
    pub fn route(
        &self,
        method: &str,
        path: &str,
        handler: impl FnMut(&Request) -> Reply + Send + 'static,
    ) {
        lock(&self.shared.routes).insert((method.to_owned(), path.to_owned()), Box::new(handler));
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// The requests so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // The thread waits for a connection: here is one.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Reply {
    /// An answer with a plain text.
    #[must_use]
    pub fn text(status: u16, body: &str) -> Self {
        let headers = vec![("Content-Type".to_owned(), "text/plain; charset=utf-8".to_owned())];
        let body = body.as_bytes().to_vec();
        Self { status, headers, body, delay: Duration::ZERO, hang_up: false }
    }

    /// An answer with JSON.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        let mut reply = Self::text(status, &body.to_string());
        reply.headers[0].1 = "application/json".to_owned();
        reply
    }

    /// No answer: the connection is closed.
    #[must_use]
    pub fn hang_up() -> Self {
        Self { hang_up: true, ..Self::text(0, "") }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a cookie: `name=value; Path=/; HttpOnly`.
    #[must_use]
    pub fn cookie(self, cookie: &str) -> Self {
        self.header("Set-Cookie", cookie)
    }

    /// After so long.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The body as text.
    #[must_use]
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn body_json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Asks a server on 127.0.0.1 for a path, over plain HTTP.
///
/// # Errors
/// It does not answer within 10 seconds, or not in HTTP.
pub fn get(port: u16, path: &str) -> io::Result<Reply> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no HTTP: {first:?}")))?;
    let headers = headers(&mut reader)?;
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    Ok(Reply { status, headers, body, delay: Duration::ZERO, hang_up: false })
}

impl Shared {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader)? {
            lock(&self.requests).push(request.clone());
            let key = (request.method.clone(), request.path.clone());
            let reply = match lock(&self.routes).get_mut(&key) {
                Some(handler) => handler(&request),
                None => Reply::text(404, &format!("no answer for {} {}", key.0, key.1)),
            };
            std::thread::sleep(reply.delay);
            if reply.hang_up {
                return Ok(());
            }
            let mut text = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
            for (name, value) in &reply.headers {
                write!(text, "{name}: {value}\r\n").map_err(io::Error::other)?;
            }
            write!(text, "Content-Length: {}\r\n\r\n", reply.body.len())
                .map_err(io::Error::other)?;
            let mut bytes = text.into_bytes();
            if request.method != "HEAD" {
                bytes.extend(&reply.body);
            }
            (&mut &*stream).write_all(&bytes)?;
            if request
                .headers
                .get("connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("close"))
            {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split_ascii_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let headers: BTreeMap<_, _> = headers(reader)?
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let body = if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        chunks(reader)?
    } else {
        let length = headers.get("content-length").and_then(|value| value.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        body
    };
    Ok(Some(Request { method, path, query, headers, body }))
}

fn headers(reader: &mut impl io::BufRead) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => found.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(found),
        }
    }
}

fn chunks(reader: &mut impl io::BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..])?;
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200..=299 => "OK",
        300..=399 => "Elsewhere",
        400..=499 => "Refused",
        _ => "Failed",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
