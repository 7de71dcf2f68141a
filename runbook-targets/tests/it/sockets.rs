//! Sockets as this machine sees them.

use insta::assert_snapshot;
use runbook_core::Address;
use runbook_core::testing::observer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use crate::support::{here, soon};

async fn echo(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).await.unwrap();
    stream.write_all(&heard).await.unwrap();
}

async fn says_it_back(address: &Address) {
    let (cx, host) = (observer(), here());
    let mut stream = cx.on(&host).connect(address).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "ping");
}

#[tokio::test]
async fn a_tcp_service_can_be_spoken_with() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp("localhost".into(), listener.local_addr().unwrap().port());
    let serve = async { echo(listener.accept().await.unwrap().0).await };
    soon(async { tokio::join!(serve, says_it_back(&address)) }).await;
}

#[tokio::test]
async fn a_unix_socket_can_be_spoken_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let serve = async { echo(listener.accept().await.unwrap().0).await };
    let address = Address::Unix(path);
    soon(async { tokio::join!(serve, says_it_back(&address)) }).await;
}

#[tokio::test]
async fn nobody_listening_is_said_with_what_to_do() {
    // Elsewhere a server says less than the kernel.
    if !crate::HERE_IS_LOCAL {
        return;
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (cx, host) = (observer(), here());
    let tcp = Address::Tcp("127.0.0.1".into(), port);
    let failure = cx.on(&host).connect(&tcp).await.err().unwrap();
    assert_snapshot!(format!("{failure:?}").replace(&port.to_string(), "PORT"), @r"
    connecting to 127.0.0.1:PORT from local: connection refused (os error 111)
      next: nothing listens there: see whether the service runs, and where
    ");
    let unix = Address::Unix("/nonexistent/socket".into());
    let failure = cx.on(&host).connect(&unix).await.err().unwrap();
    assert_snapshot!(format!("{failure:?}"), @r"
    connecting to unix:/nonexistent/socket from local: no such file or directory (os error 2)
      next: there is no such socket: see whether the service runs, and where
    ");
}
