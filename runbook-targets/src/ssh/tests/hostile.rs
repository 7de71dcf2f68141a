//! Broken and hostile servers: each costs no more than the time allowed, and little memory.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::*;

/// A server that does with each connection what it was told.
struct Broken {
    port: u16,
}

impl Broken {
    fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = Arc::new(serve);
        // Ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { port }
    }

    fn connections(&self) -> Connections {
        let login = Duration::from_millis(700);
        let way = Route::Direct { host: "127.0.0.1".into(), port: self.port };
        Connections::new("web-1", way, Arc::new(Nobody), Limits { login, ..limits() })
    }

    /// What comes of asking it for a command.
    async fn failure(&self) -> runbook_core::Failure {
        let connections = self.connections();
        let failure = refused(soon("the failure", run(&connections, "true")).await);
        let said = failure.to_string();
        assert!(said.starts_with("connecting to web-1: "), "{said}");
        assert_eq!(failure.kind(), runbook_core::FailureKind::Failed, "{said}");
        failure
    }
}

/// Never gets as far as to a login.
#[derive(Debug)]
struct Nobody;

impl crate::ssh::login::Login for Nobody {
    fn prepare(&self, _: &mut ssh2::Session) -> Result<()> {
        Ok(())
    }

    fn authenticate(&self, _: &mut ssh2::Session) -> Result<()> {
        unreachable!("no handshake with a broken server succeeds")
    }
}

fn wait_for_end(mut stream: &TcpStream) {
    let mut sink = [0; 1024];
    while matches!(stream.read(&mut sink), Ok(1..)) {}
}

#[tokio::test]
async fn a_server_that_never_says_anything_costs_the_time_for_a_login() {
    let server = Broken::server(|stream| wait_for_end(&stream));
    let failure = server.failure().await;
    assert!(failure.to_string().contains("not done within 0.7 s"), "{failure}");
}

#[tokio::test]
async fn a_server_that_stops_after_its_banner_costs_the_time_for_a_login() {
    let server = Broken::server(|mut stream| {
        stream.write_all(b"SSH-2.0-Broken\r\n").unwrap();
        wait_for_end(&stream);
    });
    let failure = server.failure().await;
    assert!(failure.to_string().contains("not done within 0.7 s"), "{failure}");
}

#[tokio::test]
async fn a_server_whose_banner_never_ends_costs_the_time_for_a_login() {
    let before = resident();
    for line in [&b"hello\r\n"[..], b"no line ends here", b"\n", b"SSH"] {
        let server = Broken::server(move |mut stream| {
            let flood = line.repeat(10_000);
            while stream.write_all(&flood).is_ok() {}
        });
        server.failure().await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
}

#[tokio::test]
async fn garbage_is_refused() {
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-1.5-Ancient\r\n\0\0\0\0",
        b"SSH-2.0-Broken\r\nthis is no key exchange at all, but it is long enough for one",
        // A packet of 4 GiB, and one of nothing.
        b"SSH-2.0-Broken\r\n\xff\xff\xff\xff\x04garbagegarbage",
        b"SSH-2.0-Broken\r\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\0",
    ] {
        let server = Broken::server(move |mut stream| {
            let _ = stream.write_all(garbage);
            wait_for_end(&stream);
        });
        server.failure().await;
    }
}

#[tokio::test]
async fn a_server_that_floods_garbage_after_its_banner_is_refused() {
    let before = resident();
    let server = Broken::server(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-Broken\r\n");
        // Packets that nobody asked for, each well formed.
        let mut packet = vec![0, 0, 0x7f, 0xfc, 4, 2];
        packet.resize(4 + 0x7ffc, 0);
        while stream.write_all(&packet).is_ok() {}
    });
    server.failure().await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 256 << 20, "{grown} bytes");
}

/// A real server behind a wire that breaks after so many bytes from the server.
fn breaks_after(port: u16, limit: usize) -> Broken {
    Broken::server(move |client| {
        let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let (mut from, mut to) = ((&server).take(limit as u64), &client);
        let _ = std::io::copy(&mut from, &mut to);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    })
}

#[tokio::test]
async fn a_server_that_closes_in_any_phase_is_an_ordinary_failure() {
    let server = Sshd::start();
    let mut worked = 0;
    // Through the banner, the exchange of keys, the login, and the first commands.
    for limit in [0, 1, 20, 41, 100, 500, 1100, 1300, 1500, 1700, 1900, 2100, 2500, 3000, 4000] {
        let wire = breaks_after(server.port, limit);
        let way = Route::Direct { host: "127.0.0.1".into(), port: wire.port };
        let connections = route(&server, way, Limits { login: SOON, ..limits() });
        let what = format!("an answer of which {limit} bytes come");
        match soon(&what, run(&connections, "head -c 5000 /dev/zero")).await {
            Ok(_) => worked += 1,
            Err(failure) => assert!(failure.to_string().contains("web-1"), "{limit}: {failure}"),
        }
    }
    assert_eq!(worked, 0);
}

#[tokio::test]
async fn a_connect_that_is_given_up_leaves_no_thread_behind() {
    let server = Broken::server(|stream| wait_for_end(&stream));
    let connections = server.connections();
    let open = run(&connections, "true");
    assert!(tokio::time::timeout(Duration::from_millis(50), open).await.is_err());
    // The runtime waits for its blocking threads when it ends: this test ends all the same.
}

#[tokio::test]
async fn output_without_end_is_kept_only_as_far_as_it_is_read() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let before = resident();
    let mut floods = Vec::new();
    for number in 0..6 {
        // A line of 100 MB, on either stream.
        let line = format!("head -c 100000000 /dev/zero >&{}", 1 + number % 2);
        floods.push(connections.open(&line, Purpose::Command).await.unwrap());
    }
    let mut read = vec![0; 1 << 20];
    for _ in 0..8 {
        for (number, flood) in floods.iter_mut().enumerate() {
            let stream = if number % 2 == 0 { &mut flood.stdout } else { &mut flood.stderr };
            soon("some of it", stream.read_exact(&mut read)).await.unwrap();
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
}

/// The memory of this process. Other tests run in it at the same time, so limits are generous.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
