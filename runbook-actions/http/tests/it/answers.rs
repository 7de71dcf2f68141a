//! What checks find in answers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use runbook_core::testing::observer;
use runbook_core::{Check, Level, Verdict};
use runbook_http::{Answered, Expect, Request, Validity};

use crate::server::{Authority, Server, reply};

const HEADERS: &[&str] = &[
    "content-type: application/json",
    "content-security-policy: default-src 'self'; script-src 'self' https://cdn.example.org",
    "set-cookie: sid=0123456789abcdef0123; Path=/; HttpOnly; SameSite=Lax",
    "set-cookie: theme=dark",
];
const BODY: &str = r#"{"status":"ok","checks":[{"name":"db","up":true}]}"#;

async fn judge(server: &Server, expect: Expect) -> Verdict<Answered> {
    server.http().get("/health", expect).check(&observer()).await.unwrap()
}

#[tokio::test]
async fn an_answer_that_is_as_expected_passes() {
    let server = Server::start(|_| reply(200, HEADERS, BODY)).await;
    let expect = Expect::status(200)
        .json("status", "ok")
        .json("checks[0].up", true)
        .has_json("/checks/0/name")
        .header("Content-Type", "JSON")
        .no_header("x-powered-by")
        .csp("script-src", "https://cdn.example.org")
        .cookie("sid")
        .text("\"db\"");
    let verdict = judge(&server, expect).await;
    assert_eq!(verdict.level(), Level::Pass, "{}", verdict.why());
    assert!(verdict.why().starts_with("status 200 in "), "{}", verdict.why());
    let asked = &server.asked()[0];
    assert_eq!(asked.line, "GET /health");
    assert_eq!(asked.header("host"), format!("127.0.0.1:{}", server.port));
}

#[tokio::test]
async fn everything_that_is_not_as_expected_is_named() {
    let server = Server::start(|_| reply(503, HEADERS, BODY)).await;
    for (expect, why) in [
        (Expect::ok(), format!("status 503 instead of 200..299 ({BODY})")),
        (Expect::status(503).json("status", "up"), "status is \"ok\" instead of \"up\"".into()),
        (Expect::status(503).json("database", "up"), "the JSON has no database".into()),
        (Expect::status(503).has_json("checks[1]"), "the JSON has no checks[1]".into()),
        (Expect::status(503).has_header("etag"), "there is no header etag".into()),
        (
            Expect::status(503).header("content-type", "html"),
            "the header content-type is `application/json`, without `html`".into(),
        ),
        (
            Expect::status(503).csp("default-src", "https:"),
            "the content security policy's default-src is `'self'`, without `https:`".into(),
        ),
        (
            Expect::status(503).csp("frame-ancestors", "'none'"),
            "the content security policy has no frame-ancestors".into(),
        ),
        (Expect::status(503).cookie("theme"), "the cookie theme is not HttpOnly, SameSite".into()),
        (Expect::status(503).cookie("other"), "the cookie other is not set".into()),
    ] {
        let verdict = judge(&server, expect).await;
        assert_eq!((verdict.level(), verdict.why()), (Level::Fail, why.as_str()));
    }
    let both = judge(&server, Expect::ok().no_header("content-type")).await;
    assert_eq!(both.evidence().problems.len(), 2);
}

#[tokio::test]
async fn a_policy_that_only_reports_protects_nobody() {
    let only = ["content-security-policy-report-only: default-src 'self'"];
    let server = Server::start(move |_| reply(200, &only, "")).await;
    let verdict = judge(&server, Expect::ok().csp("default-src", "'self'")).await;
    assert_eq!(verdict.why(), "no content security policy is enforced: it only reports");
}

#[tokio::test]
async fn over_https_a_session_cookie_must_be_secure() {
    let ca = Authority::new();
    let issued = ca.issue("shop.example.org", 60);
    let server = Server::start_tls(&issued, |_| reply(200, HEADERS, BODY)).await;
    let http = server.https("shop.example.org", &ca);
    let verdict = http.get("/", Expect::ok().cookie("sid")).check(&observer()).await.unwrap();
    assert_eq!(verdict.why(), "the cookie sid is not Secure");
    assert_eq!(server.asked()[0].header("host"), format!("shop.example.org:{}", server.port));
}

#[tokio::test]
async fn a_check_sends_a_post_whose_author_promised_that_it_only_reads() {
    let server = Server::start(|_| reply(200, &[], r#"{"hits":[1]}"#)).await;
    let search = Request::post("/search").json(&serde_json::json!({"q": "shoes"})).read_only();
    let check = server.http().check(search, Expect::ok().has_json("hits[0]"));
    assert_eq!(check.check(&observer()).await.unwrap().level(), Level::Pass);
    assert_eq!(server.asked()[0].line, "POST /search");
    assert_eq!(server.asked()[0].body, r#"{"q":"shoes"}"#);
}

#[tokio::test]
async fn the_latency_fails_on_a_failed_call_and_counts_them() {
    let count = AtomicU32::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        3 => reply(502, &[], "bad gateway"),
        _ => reply(200, &[], "ok"),
    })
    .await;
    let minute = Duration::from_secs(60);
    let check = server.http().p95("/", 4, minute, minute);
    let verdict = check.check(&observer()).await.unwrap();
    assert_eq!(verdict.why(), "1 of 4 calls failed, the last one: status 502 (bad gateway)");
    assert_eq!((verdict.evidence().calls, verdict.evidence().answered), (4, 3));

    let verdict = check.check(&observer()).await.unwrap();
    assert_eq!(verdict.level(), Level::Pass, "{}", verdict.why());
    assert!(verdict.evidence().p95 <= verdict.evidence().max);
}

#[tokio::test]
async fn a_slow_service_is_told_from_a_fast_one() {
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_millis(5));
        reply(200, &[], "ok")
    })
    .await;
    let http = server.http();
    let (none, minute) = (Duration::ZERO, Duration::from_secs(60));
    let slow = http.p95("/", 3, none, none).check(&observer()).await.unwrap();
    assert_eq!(slow.level(), Level::Fail, "{}", slow.why());
    let warned = http.p95("/", 3, none, minute).check(&observer()).await.unwrap();
    assert_eq!(warned.level(), Level::Warn, "{}", warned.why());
}

#[tokio::test]
async fn a_certificate_is_judged_by_name_date_and_issuer() {
    let ca = Authority::new();
    for (days, level, why) in [
        (60, Level::Pass, "60 days left"),
        (20, Level::Warn, "20 days left"),
        (6, Level::Fail, "6 days left"),
        (-5, Level::Fail, "it expired at "),
    ] {
        let issued = ca.issue("shop.example.org", days);
        let server = Server::start_tls(&issued, |_| String::new()).await;
        let http = server.https("shop.example.org", &ca);
        let verdict = http.certificate(Validity::default()).check(&observer()).await.unwrap();
        assert_eq!(verdict.level(), level, "{}", verdict.why());
        assert!(verdict.why().starts_with(why), "{}", verdict.why());
    }
    let server = Server::start_tls(&ca.issue("shop.example.org", 60), |_| String::new()).await;
    let other = server.https("mail.example.org", &ca).certificate(Validity::default());
    let verdict = other.check(&observer()).await.unwrap();
    assert_eq!(verdict.why(), "it is for shop.example.org, not for mail.example.org");

    let stranger = server.https("shop.example.org", &Authority::new());
    let verdict = stranger.certificate(Validity::default()).check(&observer()).await.unwrap();
    assert!(verdict.why().contains("which is not trusted here"), "{}", verdict.why());
    assert!(server.asked().is_empty(), "no request was sent");
}
