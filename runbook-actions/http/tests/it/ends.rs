//! How requests end that get no answer, and where redirects lead.

use std::time::Duration;

use runbook_core::testing::{Surroundings, context, observer};
use runbook_core::{Address, FailureKind, Secret};
use runbook_http::{Expect, Http, HttpError, Request};

use crate::server::{Authority, Server, here, reply};

#[tokio::test]
async fn nobody_listening_is_a_connection_error_that_says_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let http = Http::new(&here(), &format!("http://127.0.0.1:{port}")).unwrap();
    let error = http.ask(&observer(), &Request::get("/").read_only()).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.next().is_some());
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let server = Server::start(|_| String::new()).await;
    let http = server.http().timeout(Duration::from_millis(200));
    let error = http.ask(&observer(), &Request::get("/").read_only()).await.unwrap_err();
    assert!(matches!(error, HttpError::TimedOut { .. }), "{error:?}");
    let failure = error.into_failure();
    assert_eq!(failure.kind(), FailureKind::TimedOut);
    assert!(failure.to_string().ends_with("no whole answer came within 200ms"), "{failure}");
}

#[tokio::test]
async fn who_waits_for_ever_has_the_answer_when_it_comes() {
    let server = Server::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into()).await;
    let http = server.http().timeout(Duration::MAX);
    let answer = http.ask(&observer(), &Request::get("/").read_only()).await.unwrap();
    assert_eq!(answer.text(), "ok");
}

#[tokio::test]
async fn a_check_that_is_cancelled_stops_waiting() {
    let server = Server::start(|_| String::new()).await;
    let around = Surroundings::new();
    let cx = around.observer();
    let http = server.http();
    let request = Request::get("/").read_only();
    let (ended, ()) = tokio::join!(http.ask(&cx, &request), async {
        while server.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        around.cancel();
    });
    assert_eq!(ended.unwrap_err().into_failure().kind(), FailureKind::Cancelled);
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_none_is_told() {
    let cut = Server::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".into()).await;
    let request = Request::get("/").read_only();
    let error = cut.http().ask(&observer(), &request).await.unwrap_err();
    assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");

    let smtp = Server::start(|_| "220 mail.example.org ESMTP\r\n".into()).await;
    let error = smtp.http().ask(&observer(), &request).await.unwrap_err();
    assert!(error.next().unwrap().starts_with("check the port"), "{error:?}");

    let ca = Authority::new();
    let server = Server::start_tls(&ca.issue("127.0.0.1", 9), |_| reply(200, &[], "")).await;
    server.http().ask(&observer(), &request).await.expect_err("plain text to a TLS port");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let server = Server::start(|_| reply(200, &[], &"x".repeat(100_000))).await;
    let http = server.http().body_limit(1000);
    let error = http.ask(&observer(), &Request::get("/").read_only()).await.unwrap_err();
    assert!(error.to_string().ends_with("the answer is longer than 1000 bytes"), "{error}");
    server.http().ask(&observer(), &Request::get("/").read_only()).await.unwrap();
}

#[tokio::test]
async fn redirects_are_followed_with_cookies_and_not_for_ever() {
    let server = Server::start(|asked| match asked.line.as_str() {
        "GET /old/page" => {
            reply(302, &["location: ../new?x=1", "set-cookie: seen=yes; Path=/"], "")
        }
        "GET /new?x=1" => reply(200, &[], &format!("cookie {}", asked.header("cookie"))),
        _ => reply(301, &["location: /again"], ""),
    })
    .await;
    let http = server.http();
    let ask = async |path: &str| http.ask(&observer(), &Request::get(path).read_only()).await;
    let answer = ask("/old/page").await.unwrap();
    assert_eq!(answer.text(), "cookie seen=yes");
    assert!(answer.url.ends_with("/new?x=1"), "{}", answer.url);

    let error = ask("/again").await.unwrap_err();
    assert!(matches!(error, HttpError::TooManyRedirects { limit: 5, .. }), "{error:?}");
    let raw = http.clone().redirects(0);
    let answer = raw.ask(&observer(), &Request::get("/again").read_only()).await.unwrap();
    assert_eq!((answer.status, answer.header("location")), (301, Some("/again")));
}

#[tokio::test]
async fn a_redirect_to_another_origin_takes_no_secret_along() {
    let there = Server::start(|_| reply(200, &[], "there")).await;
    let location = format!("location: http://127.0.0.1:{}/x", there.port);
    let here = Server::start(move |_| reply(302, &[&location], "")).await;
    let token = Secret::new("Bearer 0123456789abcdef");
    let http = here.http().secret_header("authorization", &token).header("x-client", "runbook");
    let request = Request::get("/").secret_header("x-token", &token).header("accept", "text/plain");
    let answer = http.ask(&observer(), &request.read_only()).await.unwrap();
    assert_eq!(answer.text(), "there");
    assert_eq!(here.asked()[0].header("authorization"), token.expose());
    assert_eq!(here.asked()[0].header("x-token"), token.expose());
    let asked = &there.asked()[0];
    assert_eq!(asked.header("authorization"), "");
    assert_eq!(asked.header("x-token"), "");
    assert_eq!(asked.header("accept"), "text/plain");
}

#[tokio::test]
async fn a_redirect_does_not_lead_out_of_https_nor_carry_a_body_away() {
    let ca = Authority::new();
    let issued = ca.issue("shop.example.org", 60);
    let out = ["location: http://shop.example.org/"];
    let server = Server::start_tls(&issued, move |_| reply(302, &out, "")).await;
    let http = server.https("shop.example.org", &ca);
    let error = http.ask(&observer(), &Request::get("/").read_only()).await.unwrap_err();
    assert!(error.to_string().contains("it leads from HTTPS to plain HTTP"), "{error}");

    let there = Server::start(|_| reply(200, &[], "")).await;
    let location = format!("location: http://127.0.0.1:{}/x", there.port);
    let server = Server::start(move |_| reply(307, &[&location], "")).await;
    let request = Request::post("/").field("password", "correct horse");
    let error = server.http().send(&context(), &request).await.unwrap_err();
    assert!(matches!(error, HttpError::Redirect { .. }), "{error:?}");
    assert!(there.asked().is_empty());
}

#[tokio::test]
async fn after_a_redirect_a_post_becomes_a_get() {
    let server = Server::start(|asked| match asked.line.as_str() {
        "POST /login" => reply(303, &["location: /"], ""),
        _ => reply(200, &[], ""),
    })
    .await;
    let request = Request::post("/login").field("user", "ops");
    server.http().send(&context(), &request).await.unwrap();
    let asked = server.asked();
    assert_eq!((asked[0].line.as_str(), asked[0].body.as_str()), ("POST /login", "user=ops"));
    assert_eq!((asked[1].line.as_str(), asked[1].body.as_str()), ("GET /", ""));
    assert_eq!(asked[1].header("content-type"), "");
}

#[tokio::test]
async fn a_service_on_a_unix_socket_is_reached_as_well() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 1024];
        let _ = stream.read(&mut asked).await;
        stream.write_all(reply(200, &[], "over a socket").as_bytes()).await.unwrap();
    });
    let http = Http::new(&here(), "http://app").unwrap().via(Address::Unix(path));
    let answer = http.ask(&observer(), &Request::get("/").read_only()).await.unwrap();
    assert_eq!(answer.text(), "over a socket");
}

#[test]
fn a_header_that_can_not_be_sent_does_not_show_its_value() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let http = Http::new(&here(), "http://127.0.0.1:9").unwrap();
    let bad = Secret::new("two\nlines of secret");
    let request = Request::get("/").secret_header("authorization", &bad).read_only();
    let error = runtime.block_on(http.ask(&observer(), &request)).unwrap_err();
    assert!(matches!(error, HttpError::Header { .. }), "{error:?}");
    assert!(!error.to_string().contains("lines of secret"), "{error}");
    let _ = http.get("/", Expect::ok());
}
