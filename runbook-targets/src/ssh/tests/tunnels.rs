//! Sockets as the host sees them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runbook_core::{Address, BoxStream, FailureKind, Problem};
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

/// Echoes what each connection sends, and ends when it ends.
async fn tcp_echo() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    Address::Tcp("127.0.0.1".into(), port)
}

fn unix_echo(dir: &Path) -> Address {
    let path = dir.join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    Address::Unix(path)
}

async fn echo(stream: impl AsyncRead + AsyncWrite) {
    let (mut read, mut write) = tokio::io::split(stream);
    // The other side may close while it is written to.
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

/// Sends `size` bytes and checks that they, and then the end, come back.
async fn there_and_back(stream: BoxStream, size: usize) {
    let (mut read, mut write) = tokio::io::split(stream);
    let pattern: Vec<u8> = (0..65_521_u32).map(|i| (i * 31 % 251) as u8).collect();
    let send = async {
        let mut left = size;
        while left > 0 {
            let part = left.min(pattern.len());
            write.write_all(&pattern[..part]).await.unwrap();
            left -= part;
        }
        // Only this direction ends: the echo must still come.
        write.shutdown().await.unwrap();
    };
    let receive = async {
        let mut buffer = vec![0; 64 << 10];
        let mut at = 0;
        loop {
            let read = read.read(&mut buffer).await.unwrap();
            if read == 0 {
                break;
            }
            for byte in &buffer[..read] {
                assert_eq!(*byte, pattern[at % pattern.len()], "at {at}");
                at += 1;
            }
        }
        assert_eq!(at, size);
    };
    soon("the echo", async { tokio::join!(send, receive) }).await;
}

#[tokio::test]
async fn a_tcp_tunnel_carries_64_mib_unchanged_and_ends_each_direction_on_its_own() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let stream = connections.connect(&tcp_echo().await).await.unwrap();
    there_and_back(stream, 64 << 20).await;
}

#[tokio::test]
async fn a_unix_tunnel_carries_64_mib_unchanged_and_ends_each_direction_on_its_own() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let stream = connections.connect(&unix_echo(server.path())).await.unwrap();
    there_and_back(stream, 64 << 20).await;
}

/// Quick answers are waited for awake, and what comes late is heard all the same.
#[tokio::test]
async fn quick_and_late_answers_come_by_turns() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp("127.0.0.1".into(), listener.local_addr().unwrap().port());
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = [0; 1];
        while stream.read(&mut question).await.unwrap() == 1 {
            if question == *b"l" {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            stream.write_all(&question).await.unwrap();
        }
    });
    let mut stream = connections.connect(&address).await.unwrap();
    for question in b"qqqqqlqqqqqllqlqq".repeat(10) {
        stream.write_all(&[question]).await.unwrap();
        assert_eq!(soon("the answer", stream.read_u8()).await.unwrap(), question);
    }
    drop(stream);
    soon("its end", answering).await.unwrap();
}

#[tokio::test]
async fn many_tunnels_at_once_do_not_mix() {
    let server = Sshd::start();
    let connections = Arc::new(pool(&server, limits()));
    let address = tcp_echo().await;
    let mut set = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (connections, address) = (connections.clone(), address.clone());
        set.spawn(async move {
            let stream = connections.connect(&address).await.unwrap();
            there_and_back(stream, 100_000 + number * 1000).await;
        });
    }
    soon("twenty tunnels", set.join_all()).await;
}

#[tokio::test]
async fn a_tunnel_does_not_disturb_commands_and_gives_its_place_back() {
    let server = Sshd::with("MaxSessions 2");
    let connections = pool(&server, Limits { connections: 1, channels: 2, ..limits() });
    let address = tcp_echo().await;
    for _ in 0..10 {
        let mut stream = connections.connect(&address).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut pong = [0; 4];
        soon("the echo", stream.read_exact(&mut pong)).await.unwrap();
        assert_eq!(run(&connections, "echo x").await.unwrap().stdout, "x\n");
    }
}

#[tokio::test]
async fn where_nothing_listens_is_named() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = Address::Tcp("127.0.0.1".into(), free);
    let failure = refused(connections.connect(&address).await);
    assert_eq!(
        format!("{failure:?}"),
        format!(
            "connecting to 127.0.0.1:{free} through web-1: the server answered: Channel open \
             failure (connect failed)\n  next: see whether something listens there, as seen from \
             the server"
        )
    );
    let failure = refused(connections.connect(&Address::Unix("/nowhere.sock".into())).await);
    let said = format!("{failure:?}");
    assert!(said.starts_with("connecting to unix:/nowhere.sock through web-1: "), "{said}");
    assert!(said.contains("AllowStreamLocalForwarding"), "{said}");
    // The connection is still good.
    assert_eq!(run(&connections, "echo x").await.unwrap().stdout, "x\n");
}

#[tokio::test]
async fn a_server_that_forbids_to_forward_is_told_apart() {
    let server = Sshd::with("AllowTcpForwarding no\nAllowStreamLocalForwarding no");
    let connections = pool(&server, limits());
    let said = format!("{:?}", refused(connections.connect(&tcp_echo().await).await));
    assert!(said.contains("administratively prohibited"), "{said}");
    assert!(said.contains("next: let the server forward it: `AllowTcpForwarding`"), "{said}");
    let unix = unix_echo(server.path());
    let said = format!("{:?}", refused(connections.connect(&unix).await));
    assert!(said.contains("AllowStreamLocalForwarding"), "{said}");
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_before_anything_is_sent() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let server = Sshd::start();
    let connections = pool(&server, limits());
    for path in [OsStr::from_bytes(b"/tmp/\xff.sock"), OsStr::new("/tmp/\0.sock")] {
        let failure = refused(connections.connect(&Address::Unix(PathBuf::from(path))).await);
        assert_eq!(failure.kind(), FailureKind::Failed, "{failure}");
    }
    let host = Address::Tcp("exa\0mple.org".into(), 80);
    refused(connections.connect(&host).await);
    assert_eq!(run(&connections, "echo x").await.unwrap().stdout, "x\n");
}

#[tokio::test]
async fn a_tunnel_whose_connection_is_lost_breaks_and_does_not_just_end() {
    let server = Sshd::start();
    let connections = pool(&server, limits());
    let mut stream = connections.connect(&tcp_echo().await).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    server.signal_sessions(Signal::KILL);
    let error = soon("the break", stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let problem = error.get_ref().unwrap().downcast_ref::<Problem>().unwrap();
    assert_eq!(problem.kind, FailureKind::Disconnected);
    // The next is on a new connection.
    let stream = soon("a new one", connections.connect(&tcp_echo().await)).await.unwrap();
    there_and_back(stream, 1000).await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_does_not_hold_up_other_tunnels() {
    let server = Sshd::start();
    let connections = pool(&server, Limits { connections: 1, ..limits() });
    let address = tcp_echo().await;
    let (mut read, mut write) = tokio::io::split(connections.connect(&address).await.unwrap());
    let flood = tokio::spawn(async move {
        let bytes = vec![7; 64 << 10];
        let mut sent = 0_u64;
        // Until all that lies between is full.
        while let Ok(written) =
            tokio::time::timeout(Duration::from_millis(500), write.write(&bytes)).await
        {
            sent += written.unwrap() as u64;
        }
        write.shutdown().await.unwrap();
        sent
    });
    let other = connections.connect(&address).await.unwrap();
    there_and_back(other, 8 << 20).await;
    let sent = soon("the flood", flood).await.unwrap();
    let mut all = Vec::new();
    soon("reading on", read.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len() as u64, sent);
}
