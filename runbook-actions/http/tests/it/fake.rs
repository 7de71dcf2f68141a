//! The fake site says what a real server says.

use runbook_core::testing::{FakeTarget, observer};
use runbook_core::{Address, Check, Host};
use runbook_http::testing::{FakeAuthority, FakeSite, SiteAnswer};
use runbook_http::{Expect, Http, Request, Tls, Validity};

use crate::server::{Authority, Server, reply};

const HEADERS: &[&str] = &["content-type: application/json", "set-cookie: sid=1; Path=/; HttpOnly"];

fn answer(line: &str, body: &str) -> SiteAnswer {
    match line {
        "GET /health" => {
            SiteAnswer::json(r#"{"status":"ok"}"#).header("set-cookie", "sid=1; Path=/; HttpOnly")
        }
        "POST /login" => SiteAnswer::html(format!("<p>{body}</p>")).and_status(401),
        "GET /old" => SiteAnswer::redirect("/health"),
        _ => SiteAnswer::status(404),
    }
}

fn real_answer(line: &str, body: &str) -> String {
    match line {
        "GET /health" => reply(200, HEADERS, r#"{"status":"ok"}"#),
        "POST /login" => {
            reply(401, &["content-type: text/html; charset=utf-8"], &format!("<p>{body}</p>"))
        }
        "GET /old" => reply(303, &["location: /health"], ""),
        _ => reply(404, &[], ""),
    }
}

/// All that a client is told, a line each; without times and where it came from.
async fn story(http: &Http) -> Vec<String> {
    let cx = observer();
    let mut lines = Vec::new();
    for (path, expect) in [
        ("/health", Expect::status(200).json("status", "ok").cookie("sid")),
        ("/health", Expect::status(200).json("status", "up").header("content-type", "html")),
        ("/old", Expect::ok().text("ok")),
        ("/none", Expect::ok()),
    ] {
        let seen = http.get(path, expect).check(&cx).await.unwrap().into_evidence();
        lines.push(format!("{path}: {} {:?}", seen.status, seen.problems));
    }
    let login = Request::post("/login").field("user", "kim & co").field("ü", "1 2").read_only();
    let answer = http.ask(&cx, &login).await.unwrap();
    lines.push(format!("{} {}", answer.status, answer.text()));
    lines
}

#[tokio::test]
async fn the_fake_answers_as_a_real_server_does() {
    let server = Server::start(|asked| real_answer(&asked.line, &asked.body)).await;
    let site = FakeSite::new(|asked| answer(&asked.line(), &String::from_utf8_lossy(&asked.body)));
    let (target, address) = (FakeTarget::new("web-1"), Address::Tcp("127.0.0.1".into(), 3000));
    site.listen(&target, &address);
    let fake = Http::new(&Host::new(target), "http://127.0.0.1:3000").unwrap();
    assert_eq!(story(&fake).await, story(&server.http()).await);
    let lines = |asked: Vec<String>| asked.join("\n");
    assert_eq!(
        lines(site.asked().iter().map(|asked| asked.line()).collect()),
        lines(server.asked().iter().map(|asked| asked.line.clone()).collect())
    );
    let login = site.asked().pop().unwrap();
    assert_eq!(login.field("user").as_deref(), Some("kim & co"));
    assert_eq!(login.field("ü").as_deref(), Some("1 2"));
    assert_eq!(login.field("none"), None);
}

#[tokio::test]
async fn certificates_of_the_fake_are_judged_as_those_of_a_real_server() {
    let (authority, real_authority) = (FakeAuthority::new(), Authority::new());
    for days in [30, 5, -2] {
        let issued = real_authority.issue("shop.example.org", days);
        let server = Server::start_tls(&issued, |_| reply(200, &[], "")).await;
        let real = server.https("shop.example.org", &real_authority);
        let site = FakeSite::new(|_| SiteAnswer::status(200));
        site.present(authority.issue("shop.example.org", i32::try_from(days).unwrap()));
        let target = FakeTarget::new("web-1");
        site.listen(&target, &Address::Tcp("shop.example.org".into(), 443));
        let fake = Http::new(&Host::new(target), "https://shop.example.org")
            .unwrap()
            .tls(Tls::trusting(authority.pem().as_bytes()).unwrap());
        let validity = Validity::default();
        let judge = async |http: &Http| {
            let verdict = http.certificate(validity).check(&observer()).await.unwrap();
            let words: Vec<_> = verdict.why().split(' ').take(4).map(str::to_owned).collect();
            (verdict.level(), words, verdict.evidence().days_left())
        };
        assert_eq!(judge(&fake).await, judge(&real).await, "{days} days");
    }
}

#[tokio::test]
async fn a_cookie_is_read_back() {
    let site = FakeSite::new(|asked| SiteAnswer::html(asked.cookie("sid").unwrap_or("none")));
    let target = FakeTarget::new("web-1");
    site.listen(&target, &Address::Tcp("127.0.0.1".into(), 3000));
    let http = Http::new(&Host::new(target), "http://127.0.0.1:3000")
        .unwrap()
        .header("cookie", "theme=dark; sid=7");
    let answer = http.ask(&observer(), &Request::get("/").read_only()).await.unwrap();
    assert_eq!(answer.text(), "7");
}
