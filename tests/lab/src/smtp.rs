//! A mail server that keeps what it is sent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::wait_until;

/// A mail server on a free port of the loopback interface that delivers nothing and remembers
/// everything.
///
/// ```
/// let server = lab::Smtp::start();
/// assert!(server.mails().is_empty());
/// ```
#[derive(Debug)]
pub struct Smtp {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// Header and body, lines ended by `\n`.
    pub text: String,
}

#[derive(Debug, Default)]
struct Shared {
    mails: Mutex<Vec<Mail>>,
    /// User and password, as `AUTH PLAIN` and `AUTH LOGIN` send them.
    login: Option<(String, String)>,
    refused: Mutex<Vec<String>>,
    busy: AtomicBool,
    stopped: AtomicBool,
}

impl Smtp {
    /// One that takes mail from everybody to everybody.
    ///
    /// # Panics
    /// No port is to be had.
    #[must_use]
    pub fn start() -> Self {
        Self::listen(Shared::default())
    }

    /// One that asks for a user and a password first.
    ///
    /// # Panics
    /// No port is to be had.
    #[must_use]
    pub fn with_login(user: &str, password: &str) -> Self {
        Self::listen(Shared { login: Some((user.into(), password.into())), ..Shared::default() })
    }

    /// Refuses a recipient from now on (550).
    pub fn refuse(&self, recipient: &str) {
        lock(&self.shared.refused).push(recipient.to_owned());
    }

    /// Whether it tells everybody to come back later (421).
    pub fn set_busy(&self, busy: bool) {
        self.shared.busy.store(busy, Ordering::SeqCst);
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

    /// The mails so far, oldest first.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.shared.mails).clone()
    }

    /// Waits until it has so many mails, and gives them.
    ///
    /// # Panics
    /// They do not come within 10 seconds.
    #[must_use]
    pub fn wait_for(&self, count: usize) -> Vec<Mail> {
        wait_until(&format!("{count} mails"), Duration::from_secs(10), || {
            self.mails().len() >= count
        });
        self.mails()
    }

    fn listen(shared: Shared) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let shared = Arc::new(shared);
        let server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if server.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let server = Arc::clone(&server);
                // A client that hangs up in the middle is the client's affair.
                std::thread::spawn(move || drop(server.talk(&stream)));
            }
        });
        Self { addr, shared }
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // The thread waits for a connection: here is one.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn talk(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut lines = BufReader::new(stream);
        let say = |text: &str| (&mut &*stream).write_all(format!("{text}\r\n").as_bytes());
        let mut line = String::new();
        let mut read = || -> std::io::Result<String> {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            Ok(line.trim_end_matches(['\r', '\n']).to_owned())
        };
        if self.busy.load(Ordering::SeqCst) {
            return say("421 lab.example.org is busy, come back later");
        }
        say("220 lab.example.org ESMTP")?;
        let mut known = self.login.is_none();
        let mut mail: Option<Mail> = None;
        loop {
            let command = read()?;
            let upper = command.to_ascii_uppercase();
            if upper.starts_with("EHLO") {
                say("250-lab.example.org")?;
                if self.login.is_some() {
                    say("250-AUTH PLAIN LOGIN")?;
                }
                say("250 8BITMIME")?;
            } else if upper.starts_with("HELO") {
                say("250 lab.example.org")?;
            } else if upper.starts_with("AUTH") {
                let mut words = command.split(' ').skip(1);
                let method = words.next().unwrap_or_default().to_ascii_uppercase();
                let first = words.next();
                let mut ask = |question: &str| {
                    say(question)?;
                    read()
                };
                let given = match (method.as_str(), first) {
                    ("PLAIN", Some(given)) => decode(given),
                    ("PLAIN", None) => decode(&ask("334 ")?),
                    ("LOGIN", first) => {
                        let user = match first {
                            Some(user) => user.to_owned(),
                            None => ask("334 VXNlcm5hbWU6")?,
                        };
                        let password = ask("334 UGFzc3dvcmQ6")?;
                        format!("\0{}\0{}", decode(&user), decode(&password))
                    }
                    _ => String::new(),
                };
                known = self.login.as_ref().is_some_and(|(user, password)| {
                    given.split('\0').skip(1).eq([user.as_str(), password.as_str()])
                });
                say(if known { "235 welcome" } else { "535 wrong user or password" })?;
            } else if upper.starts_with("MAIL FROM:") {
                if known {
                    mail =
                        Some(Mail { from: address(&command), to: Vec::new(), text: String::new() });
                    say("250 ok")?;
                } else {
                    say("530 log in first")?;
                }
            } else if let ("RCPT TO:", Some(mail)) = (upper.get(..8).unwrap_or_default(), &mut mail)
            {
                let to = address(&command);
                if lock(&self.refused).contains(&to) {
                    say("550 no such user here")?;
                } else {
                    mail.to.push(to);
                    say("250 ok")?;
                }
            } else if upper == "DATA" && mail.as_ref().is_some_and(|mail| !mail.to.is_empty()) {
                say("354 end with a dot")?;
                let mut text = String::new();
                loop {
                    let line = read()?;
                    if line == "." {
                        break;
                    }
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                lock(&self.mails).extend(mail.take().map(|mail| Mail { text, ..mail }));
                say("250 taken")?;
            } else if upper == "RSET" {
                mail = None;
                say("250 ok")?;
            } else if upper == "NOOP" {
                say("250 ok")?;
            } else if upper == "QUIT" {
                return say("221 bye");
            } else {
                say("503 not now")?;
            }
        }
    }
}

/// `MAIL FROM:<a@example.org> BODY=8BITMIME` -> `a@example.org`
fn address(command: &str) -> String {
    let inner = command.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(address, _)| address.to_owned())
}

/// Base64; what is none reads as nothing.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return String::new(),
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).unwrap_or_default());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
