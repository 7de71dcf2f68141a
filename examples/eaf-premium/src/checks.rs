//! What the runbooks look at and no crate of actions knows. Checks read and change nothing.

use std::time::Duration;

use runbook::{Check, Input, Observer, Result, Verdict, check};
use runbook_host::{Listener, Machine};
use runbook_http::{Answer, Http, Request};
use runbook_pm2::{App, Pm2, Restarted};

use crate::env::Account;

/// The app stays up after its start
///
/// It is online, is not restarted by PM2 in the time that it is watched, and its port answers. If it
/// does not, its log since the restart says why.
#[check(title = "{app} stays up, and port {port} answers", preview = "pm2 jlist")]
pub(crate) async fn stays_up(
    cx: &Observer,
    pm2: &Pm2,
    app: &str,
    port: &u16,
    steady: &Duration,
    restarted: Option<Restarted>,
) -> Result<Verdict<Vec<App>>> {
    let verdict = pm2.is_healthy(app).port(*port).steady_for(*steady).check(cx).await?;
    let Some(restarted) = restarted.filter(|_| !verdict.passed()) else { return Ok(verdict) };
    let log = pm2.no_errors_since(app, Input::value(restarted)).check(cx).await?;
    if log.passed() {
        return Ok(verdict);
    }
    let why = format!("{}; its log: {}", verdict.why(), log.why());
    Ok(Verdict::fail(verdict.into_evidence(), why))
}

/// Nobody but the app listens on its port
///
/// A process that a crashed deploy left behind keeps the app from starting.
#[check(title = "Nobody but {app} listens on port {port}", preview = "/proc/net/tcp, pm2 jlist")]
pub(crate) async fn port_is_ours(
    cx: &Observer,
    machine: &Machine,
    pm2: &Pm2,
    app: &str,
    port: &u16,
) -> Result<Verdict<Option<Listener>>> {
    let listening = machine.listening().check(cx).await?.into_evidence();
    let Some(found) = listening.into_iter().find(|listener| listener.port == *port) else {
        return Ok(Verdict::pass(None, "nobody does"));
    };
    let apps = pm2.is_online(app).check(cx).await?.into_evidence();
    let ours = |pid: u32| apps.iter().any(|app| app.pid == Some(pid));
    let strangers: Vec<_> = found
        .owners
        .iter()
        .filter(|owner| !ours(owner.pid) && !ours(owner.parent))
        .map(|owner| format!("{} (pid {}: {})", owner.program, owner.pid, owner.command))
        .collect();
    let why = match (strangers.as_slice(), found.owners.is_empty()) {
        (_, true) => "somebody does whose processes can't be seen".to_owned(),
        ([], _) => format!("{app} does"),
        (some, _) => some.join(", "),
    };
    Ok(Verdict::pass_if(strangers.is_empty(), Some(found), why))
}

/// A user can log in, see the dashboard, and log out again
///
/// Sessions of this site are signed and not stored, so that this leaves nothing behind.
#[check(
    title = "{account} logs in to {site}, sees the dashboard, and logs out",
    preview = "GET /login, POST /login, GET /, POST /logout, GET /"
)]
pub(crate) async fn logs_in_and_out(
    cx: &Observer,
    site: &Http,
    account: &Account,
) -> Result<Verdict<String>> {
    let mut session = site.session();
    let page = session.ask(cx, &Request::get("/login").read_only()).await?;
    let Some(token) = csrf_token(&page) else {
        let why = format!("status {}: the login page sets no cookie `csrf`", page.status);
        return Ok(Verdict::fail("login page".into(), why));
    };
    let login = Request::post("/login")
        .field("csrf", &token)
        .field("email", &account.email)
        .secret_field("password", &account.password);
    let dashboard = session.ask(cx, &login.read_only()).await?;
    if dashboard.status != 200 || !dashboard.text().contains("Dashboard") {
        return Ok(Verdict::fail("login".into(), refused("the login", &dashboard)));
    }
    let logout = Request::post("/logout").field("csrf", &token);
    let out = session.ask(cx, &logout.read_only()).await?;
    if out.status != 200 {
        return Ok(Verdict::fail("logout".into(), refused("the logout", &out)));
    }
    let after = session.ask(cx, &Request::get("/").read_only()).await?;
    let gone = after.url.ends_with("/login");
    let why = if gone { "the dashboard asks for a login again" } else { "still logged in" };
    Ok(Verdict::pass_if(gone, after.url, why))
}

fn refused(what: &str, answer: &Answer) -> String {
    let text = answer.text();
    let start: String = text.chars().take(120).collect();
    let hint = match answer.status {
        401 => "email or password are refused",
        403 => "its CSRF token is refused",
        _ => "that is not what was to come",
    };
    format!(
        "{what} ended at {} with status {}: {hint} ({})",
        answer.url,
        answer.status,
        start.trim()
    )
}

/// The token that must come back with every form.
fn csrf_token(answer: &Answer) -> Option<String> {
    answer.all_headers("set-cookie").find_map(|cookie| {
        let value = cookie.strip_prefix("csrf=")?;
        Some(value.split(';').next().unwrap_or(value).to_owned())
    })
}
