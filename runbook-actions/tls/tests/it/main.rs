//! TLS against real servers: own certificates, over a socket that a target opened.

mod server;

use runbook_core::testing::Surroundings;
use runbook_core::{Address, BoxStream, FailureKind, Host, Secret};
use runbook_targets::Local;
use runbook_tls::{Tls, TlsConfig, TlsError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::server::{Authority, Issue, Server};

async fn dial(port: u16) -> BoxStream {
    let host = Host::new(Local::new());
    let cx = Surroundings::new().observer();
    cx.on(&host).connect(&Address::Tcp("127.0.0.1".into(), port)).await.unwrap()
}

fn shop() -> Issue {
    Issue::new(["shop.example.org", "127.0.0.1"])
}

#[tokio::test]
async fn data_travels_both_ways_and_the_peer_is_known() {
    let ca = Authority::new("Test CA");
    let server = Server::start(ca.issue(&shop())).await;
    let tls = Tls::trusting(ca.pem().as_bytes()).unwrap();
    for name in ["shop.example.org", "127.0.0.1"] {
        let mut secured = tls.connect(dial(server.port).await, name).await.unwrap();
        assert_eq!(secured.peer.certificate.names, ["shop.example.org", "127.0.0.1"]);
        assert_eq!(secured.peer.certificate.issuer, "CN=Test CA");
        assert_eq!(secured.peer.protocol, "TLSv1_3");
        assert_eq!(secured.peer.certificate.days_left(), 90);
        secured.stream.write_all(b"hello").await.unwrap();
        secured.stream.flush().await.unwrap();
        let mut echo = [0; 5];
        secured.stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"hello");
    }
}

#[tokio::test]
async fn an_expired_certificate_is_called_expired() {
    let ca = Authority::new("Test CA");
    let server = Server::start(ca.issue(&shop().days(-100, -10))).await;
    let tls = Tls::trusting(ca.pem().as_bytes()).unwrap();
    let error = tls.connect(dial(server.port).await, "shop.example.org").await.unwrap_err();
    assert!(matches!(error, TlsError::Expired { .. }), "{error:?}");
    assert!(error.to_string().starts_with("the certificate of shop.example.org expired at 20"));
    let problem = error.into_failure().to_problem();
    assert!(problem.next.unwrap().starts_with("renew it (`certbot renew`)"));
}

#[tokio::test]
async fn a_certificate_of_tomorrow_is_called_not_yet_valid() {
    let ca = Authority::new("Test CA");
    let server = Server::start(ca.issue(&shop().days(1, 90))).await;
    let tls = Tls::trusting(ca.pem().as_bytes()).unwrap();
    let error = tls.connect(dial(server.port).await, "shop.example.org").await.unwrap_err();
    assert!(matches!(error, TlsError::NotYetValid { .. }), "{error:?}");
}

#[tokio::test]
async fn a_wrong_name_lists_the_names_that_would_do() {
    let ca = Authority::new("Test CA");
    let server = Server::start(ca.issue(&shop())).await;
    let tls = Tls::trusting(ca.pem().as_bytes()).unwrap();
    let error = tls.connect(dial(server.port).await, "mail.example.org").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate of mail.example.org is for shop.example.org, 127.0.0.1"
    );
    let named = tls.server_name("shop.example.org");
    named.connect(dial(server.port).await, "mail.example.org").await.expect("the explicit name");
}

#[tokio::test]
async fn an_unknown_issuer_is_named() {
    let server = Server::start(Authority::new("Somebody Else").issue(&shop())).await;
    let tls = Tls::trusting(Authority::new("Test CA").pem().as_bytes()).unwrap();
    let error = tls.connect(dial(server.port).await, "shop.example.org").await.unwrap_err();
    assert!(matches!(error, TlsError::UnknownIssuer { .. }), "{error:?}");
    assert!(error.to_string().contains("`CN=Somebody Else`"), "{error}");
    assert!(error.next().unwrap().contains("`ca_file`"));
}

#[tokio::test]
async fn a_look_reads_a_bad_certificate_and_says_what_is_bad() {
    let ca = Authority::new("Test CA");
    let server = Server::start(ca.issue(&shop().days(-100, -10))).await;
    let tls = Tls::trusting(ca.pem().as_bytes()).unwrap();
    let seen = tls.look(dial(server.port).await, "shop.example.org").await.unwrap();
    assert!(matches!(seen.refused, Some(TlsError::Expired { .. })), "{:?}", seen.refused);
    assert_eq!(seen.peer.certificate.days_left(), -10);
    assert_eq!(server.received().await, "", "nothing was sent");
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_it() {
    let ca = Authority::new("Test CA");
    let server = Server::start_with_clients(ca.issue(&shop()), &ca).await;
    let tls = Tls::trusting(ca.pem().as_bytes()).unwrap();
    let (chain, key) = ca.issue(&Issue::new(["operator"])).pem();
    let known = tls.clone().client_certificate(chain.as_bytes(), &Secret::new(key)).unwrap();
    let mut secured = known.connect(dial(server.port).await, "shop.example.org").await.unwrap();
    secured.stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    secured.stream.read_exact(&mut echo).await.unwrap();
    // The server serves one after the other.
    drop(secured);

    // With TLS 1.3 the refusal comes after the client's side of the handshake.
    let mut refused = tls.connect(dial(server.port).await, "shop.example.org").await.unwrap();
    let error = refused.stream.read_exact(&mut echo).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_a_broken_one() {
    let tls = Tls::trusting(Authority::new("Test CA").pem().as_bytes()).unwrap();
    let plain = server::plain(b"220 mail.example.org ESMTP\r\n").await;
    let error = tls.connect(dial(plain).await, "mail.example.org").await.unwrap_err();
    assert!(matches!(error, TlsError::NotTls { .. }), "{error:?}");

    let silent = server::plain(b"").await;
    let error = tls.connect(dial(silent).await, "mail.example.org").await.unwrap_err();
    assert!(matches!(error, TlsError::Broken { .. }), "{error:?}");
    assert!(error.next().is_some());
    assert_eq!(error.into_failure().kind(), FailureKind::Disconnected);
}

#[tokio::test]
async fn the_configuration_reads_its_files_and_names_the_one_that_is_bad() {
    let ca = Authority::new("Test CA");
    let (chain, key) = ca.issue(&Issue::new(["operator"])).pem();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let config = TlsConfig {
        ca_file: Some(file("ca.pem", &ca.pem())),
        server_name: Some("shop.example.org".into()),
        client_certificate: Some(file("client.pem", &chain)),
        client_key: Some(file("client.key", &key)),
    };
    config.build().unwrap();

    let missing = TlsConfig { ca_file: Some(dir.path().join("none.pem")), ..config.clone() };
    assert!(matches!(missing.build().unwrap_err(), TlsError::File { .. }));
    let half = TlsConfig { client_key: None, ..config.clone() };
    assert!(half.build().unwrap_err().to_string().contains("together or not at all"));
    let no_key = TlsConfig { client_key: Some(file("bad.key", "hunter2")), ..config };
    let error = no_key.build().unwrap_err().to_string();
    assert!(error.contains("no private key") && !error.contains("hunter2"), "{error}");
}

#[test]
fn what_is_no_server_name_is_refused_before_anything_is_sent() {
    let tls = Tls::trusting(Authority::new("Test CA").pem().as_bytes()).unwrap();
    let (near, _far) = tokio::io::duplex(64);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(tls.connect(Box::new(near), "https://x/")).unwrap_err();
    assert_eq!(error.to_string(), "`https://x/` is neither a host name nor an address");
}
