use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::super::driver::Ready;
use super::super::owner::Owner;
use super::*;

/// How long a test waits for what must happen.
const SOON: Duration = Duration::from_secs(20);

/// Never asked: the servers here are silent.
#[derive(Debug)]
struct Nobody;

impl Login for Nobody {
    fn prepare(&self, _: &mut ssh2::Session) -> Result<()> {
        Ok(())
    }

    fn authenticate(&self, _: &mut ssh2::Session) -> Result<()> {
        Err(Failure::msg("it was asked"))
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// One of a thread that knows no server.
fn connection(keepalive: Keepalive, ended: impl Fn() + Send + 'static) -> Connection {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let socket = Arc::new(OwnedFd::from(ours));
    let mut session = ssh2::Session::new().unwrap();
    session.set_tcp_stream(socket.clone());
    let ready = Ready {
        name: "web-1".into(),
        session,
        socket,
        tcp: false,
        keepalive,
        idle_after: None,
        below: None,
    };
    Connection::start(&Owner::start().unwrap(), ready, ended).unwrap()
}

/// One whose thread has ended, and said so before its pool knew of it.
async fn ended() -> Connection {
    let connection = connection(Limits::default().keepalive, || ());
    connection.stop();
    until("it has ended", || connection.has_ended()).await;
    connection
}

#[tokio::test]
async fn a_connection_that_ended_before_it_was_known_keeps_nobody_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let route = Route::Direct { host: "127.0.0.1".into(), port };
    let connections = Connections::new("web-1", route, Arc::new(Nobody), Limits::default());
    let pool = connections.0.clone();
    let opening = tokio::spawn(async move { connections.open("true", Purpose::Command).await });
    let waits = || {
        let line = &pool.lines()[Class::Commands as usize];
        line.connecting == 1 && line.waiting.len() == 1
    };
    for _ in 0..Pool::ATTEMPTS {
        until("a connection is waited for", waits).await;
        pool.connected(Class::Commands, Ok(ended().await), SOON);
    }
    let opened = tokio::time::timeout(SOON, opening).await.expect("it waits for ever");
    let failure = opened.unwrap().err().expect("nothing can run on it");
    assert_eq!(
        failure.to_string(),
        "starting a command on web-1: nothing was started: the connection to web-1 has ended"
    );
}

#[tokio::test]
async fn a_thread_that_breaks_down_keeps_nobody_waiting() {
    let (told, hears) = std::sync::mpsc::channel();
    // No clock has so much time.
    let endless = Keepalive { interval: Duration::MAX, count: 1 };
    let connection = connection(endless, move || told.send(()).unwrap());
    hears.recv_timeout(SOON).expect("the pool is told");
    assert!(connection.has_ended());
    assert_eq!(&*connection.why_ended().unwrap(), "the connection to web-1 broke down");

    // Nor does who asks it only now.
    let route = Route::Direct { host: "127.0.0.1".into(), port: 1 };
    let pool = Connections::new("web-1", route, Arc::new(Nobody), Limits::default()).0.clone();
    let (taken, starting) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let member = Arc::new(Member { connection, taken, starting });
    let slot = Slot::take(&pool, Class::Commands, &member);
    let (reply, _answer) = oneshot::channel();
    let request = Request::Command { line: "true".into(), reply, slot };
    assert!(member.connection.ask(request).is_err());
}

#[test]
fn no_silence_is_too_long_or_too_short_to_wait_for() {
    let day = Duration::from_secs(24 * 3600);
    for (asked, interval, count) in [
        ((Duration::MAX, u32::MAX), 365 * day, 1),
        ((day, u32::MAX), day, 365),
        ((Duration::ZERO, 0), Duration::from_secs(1), 1),
        ((Duration::from_secs(15), 3), Duration::from_secs(15), 3),
    ] {
        let keepalive = Keepalive::new(asked.0, asked.1);
        assert_eq!((keepalive.interval, keepalive.count), (interval, count), "{asked:?}");
    }
}
