//! Logins with cookie and CSRF token.

use std::sync::atomic::{AtomicBool, Ordering};

use runbook_core::testing::observer;
use runbook_core::{Check, Level, Secret, Verdict};
use runbook_http::{Expect, LoggedIn, Login, TokenFrom};

use crate::server::{Asked, Server, reply};

const TOKEN: &str = "tok+en/0123456789=";
const SESSION: &str = "set-cookie: sid=0123456789abcdef0123; Path=/; HttpOnly; SameSite=Lax";

fn password() -> Secret {
    Secret::new("correct horse battery")
}

/// An application whose login takes JSON and a header.
fn api(asked: &Asked) -> String {
    match asked.line.as_str() {
        "GET /api/csrf" => reply(
            200,
            &["set-cookie: csrf=one; Path=/", "set-cookie: XSRF=tok%2Ben%2F0123456789%3D; Path=/"],
            &format!(r#"{{"csrf":{{"token":"{TOKEN}"}}}}"#),
        ),
        "POST /api/login" if !asked.header("cookie").contains("csrf=one") => {
            reply(403, &[], "no cookie")
        }
        "POST /api/login" if asked.header("x-csrf-token") != TOKEN => reply(403, &[], "bad token"),
        "POST /api/login"
            if asked.body
                == r#"{"email":"watch@example.org","password":"correct horse battery"}"# =>
        {
            reply(200, &[SESSION], "{}")
        }
        "POST /api/login" => reply(401, &[], "who are you"),
        "GET /api/me" if asked.header("cookie").contains("sid=0123456789abcdef0123") => {
            reply(200, &[], r#"{"email":"watch@example.org"}"#)
        }
        _ => reply(401, &[], "log in first"),
    }
}

fn by_api(password: Secret, from: TokenFrom) -> Login {
    Login::new("/api/login", "watch@example.org", password)
        .csrf("/api/csrf", from)
        .session_cookie("sid")
        .then("/api/me", Expect::ok().json("email", "watch@example.org"))
}

async fn judge(server: &Server, how: Login) -> Verdict<LoggedIn> {
    server.http().login(how).check(&observer()).await.unwrap()
}

#[tokio::test]
async fn a_login_goes_from_the_token_to_the_users_page() {
    let server = Server::start(api).await;
    for from in [TokenFrom::Json("csrf.token".into()), TokenFrom::Cookie("XSRF".into())] {
        let verdict = judge(&server, by_api(password(), from)).await;
        assert_eq!(verdict.why(), "logged in, and /api/me answers with status 200");
        assert_eq!(verdict.level(), Level::Pass);
        let names: Vec<_> = verdict.evidence().cookies.iter().map(|one| &one.name).collect();
        assert!(names.contains(&&"sid".to_owned()), "{names:?}");
    }
    let lines: Vec<_> = server.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines[..3], ["GET /api/csrf", "POST /api/login", "GET /api/me"]);
}

#[tokio::test]
async fn a_wrong_password_a_missing_token_and_a_wrong_one_are_told_apart() {
    let server = Server::start(api).await;
    let json = || TokenFrom::Json("csrf.token".into());
    let wrong = judge(&server, by_api(Secret::new("wrong horse"), json())).await;
    assert_eq!(wrong.why(), "status 401: user or password are refused (who are you)");

    let nowhere = judge(&server, by_api(password(), TokenFrom::Meta("csrf".into()))).await;
    assert_eq!(
        nowhere.why(),
        "no CSRF token: /api/csrf (status 200) does not give it in the meta tag csrf"
    );

    let elsewhere = by_api(password(), json()).token_header("x-other");
    let refused = judge(&server, elsewhere).await;
    assert_eq!(
        refused.why(),
        "status 403: refused: most often a CSRF token that is missing or does not match (bad token)"
    );
}

#[tokio::test]
async fn an_application_that_forgets_the_session_is_found_out() {
    let forgets = AtomicBool::new(true);
    let server = Server::start(move |asked| match asked.line.as_str() {
        "GET /login" => reply(
            200,
            &["set-cookie: connect=1; Path=/"],
            &format!(r#"<form><input type="hidden" name="_csrf" value="{TOKEN}"></form>"#),
        ),
        "POST /login" if asked.body.ends_with("&_csrf=tok%2Ben%2F0123456789%3D") => {
            // The next answer is the form again, with status 200 as many applications do.
            reply(302, &["location: /account", SESSION], "")
        }
        "GET /account" if forgets.swap(false, Ordering::SeqCst) => reply(200, &[], "Sign out"),
        _ => reply(200, &[], "Sign in"),
    })
    .await;
    let how = Login::new("/login", "watch@example.org", password())
        .fields("user", "pass")
        .csrf("/login", TokenFrom::Field("_csrf".into()))
        .as_form()
        .session_cookie("sid")
        .then("/account", Expect::ok().text("Sign out"));
    let verdict = judge(&server, how).await;
    assert_eq!(
        verdict.why(),
        "logged in, but /account: the body does not contain `Sign out` (Sign in)"
    );
    let posted = server.asked().into_iter().find(|asked| asked.line == "POST /login").unwrap();
    assert!(posted.body.starts_with("user=watch%40example.org&pass=correct+horse+battery&"));
}

#[tokio::test]
async fn a_session_that_scripts_can_read_is_refused() {
    let server = Server::start(|_| reply(200, &["set-cookie: sid=1; SameSite=Lax"], "")).await;
    let how = Login::new("/login", "watch@example.org", password()).session_cookie("sid");
    assert_eq!(judge(&server, how).await.why(), "the cookie sid is not HttpOnly");
    let how = Login::new("/login", "watch@example.org", password()).session_cookie("other");
    assert_eq!(judge(&server, how).await.why(), "status 200, but the cookie other is not set");
}
