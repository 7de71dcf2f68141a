//! The site and its worker, as they answer: themselves on the loopback, and through Nginx.

use runbook::Address;
use runbook::testing::FakeTarget;
use runbook_http::testing::{FakeSite, SiteAnswer, SiteRequest};

use crate::platform::{EMAIL, PASSWORD, Platform, SITE, WORKER};

/// The token of all forms, and the session of all who are logged in.
const TOKEN: &str = "0123456789abcdef";
const SESSION: &str = "fedcba9876543210";

/// Nginx answers, and the processes while they run; gives Nginx.
pub(crate) fn listen(target: &FakeTarget, platform: &Platform) -> FakeSite {
    let loopback = |port| Address::Tcp("127.0.0.1".into(), port);
    let eaf = platform.clone();
    let process = FakeSite::new(move |asked| site(&eaf, asked));
    let (eaf, taken) = (platform.clone(), platform.clone());
    let open = move || eaf.runs(SITE) || taken.state().stranger.is_some();
    process.listen_when(target, &loopback(3000), open);

    let worker = FakeSite::new(|_| SiteAnswer::json(r#"{"status": "ok"}"#));
    let eaf = platform.clone();
    worker.listen_when(target, &loopback(3001), move || eaf.runs(WORKER));

    let eaf = platform.clone();
    let front = FakeSite::new(move |asked| match eaf.runs(SITE) {
        true => site(&eaf, asked),
        false => SiteAnswer::status(502),
    });
    front.listen(target, &Address::Tcp("eaf.example".into(), 443));
    front
}

fn site(eaf: &Platform, asked: &SiteRequest) -> SiteAnswer {
    if !eaf.runs(SITE) {
        // Somebody else has the port.
        return SiteAnswer::html("It works!");
    }
    let knows_user = asked.cookie("session") == Some(SESSION);
    match asked.line().as_str() {
        "GET /api/v1/health" if eaf.is_well() => SiteAnswer::json(r#"{"status": "ok"}"#),
        "GET /api/v1/health" => SiteAnswer::json(r#"{"status": "degraded"}"#).and_status(503),
        "GET /login" => SiteAnswer::html(format!(
            "<form method=post><input type=hidden name=csrf value={TOKEN}></form>"
        ))
        .header("set-cookie", format!("csrf={TOKEN}; Path=/; SameSite=Lax"))
        .header("content-security-policy", "default-src 'self'; script-src 'self'")
        .header("x-content-type-options", "nosniff"),
        "POST /login" | "POST /logout" if !token_is_good(eaf, asked) => {
            SiteAnswer::html("bad CSRF token").and_status(403)
        }
        "POST /login" => log_in(eaf, asked),
        "POST /logout" => {
            SiteAnswer::redirect("/login").header("set-cookie", "session=; Path=/; Max-Age=0")
        }
        "GET /" if knows_user => SiteAnswer::html("<h1>Dashboard</h1>"),
        "GET /" => SiteAnswer::redirect("/login"),
        "GET /api/v1/rag/search?q=fleurs" => SiteAnswer::json(r#"{"results": ["fleurs"]}"#),
        _ => SiteAnswer::status(404),
    }
}

fn token_is_good(eaf: &Platform, asked: &SiteRequest) -> bool {
    let confused = eaf.state().apps.get(SITE).is_some_and(|app| app.confused);
    !confused
        && asked.cookie("csrf") == Some(TOKEN)
        && asked.field("csrf").as_deref() == Some(TOKEN)
}

/// With the variables that it was started with: a cookie that is not secure is none for a browser.
fn log_in(eaf: &Platform, asked: &SiteRequest) -> SiteAnswer {
    let user = (asked.field("email"), asked.field("password"));
    if !eaf.db.is_running() || user != (Some(EMAIL.into()), Some(PASSWORD.into())) {
        return SiteAnswer::html("wrong email or password").and_status(401);
    }
    let secure = eaf.state().apps.get(SITE).map(|app| app.variables.contains("COOKIE_SECURE=true"));
    let flag = if secure == Some(true) { "; Secure" } else { "" };
    let cookie = format!("session={SESSION}; Path=/; HttpOnly; SameSite=Lax{flag}");
    SiteAnswer::redirect("/").header("set-cookie", cookie)
}
