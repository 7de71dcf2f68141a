//! A test program made of a catalog, which the tests of the harness run: one runbook as it should
//! be, and some with faults that only a fault matrix finds.

#![allow(missing_docs)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use runbook::harness::{Fakes, Harness, Test};
use runbook::prelude::*;
use runbook::testing::{FakeTarget, Reply};
use serde::Deserialize;

#[derive(Deserialize)]
struct Shop {
    /// `None` is what a configuration file gives: the live environment, which has no host here.
    #[serde(skip)]
    host: Option<Host>,
    /// Others that do the same.
    #[serde(skip)]
    fleet: Vec<Host>,
}

impl Shop {
    fn host(&self) -> Host {
        self.host.clone().unwrap_or_else(|| Host::new(FakeTarget::new("live")))
    }
}

async fn what_is(cx: &Observer, host: &Host, path: &str, _: &str) -> Result<Option<String>> {
    let there = cx.on(host).exists(path).await?;
    Ok(if there { Some(cx.on(host).read_text(path).await?) } else { None })
}

async fn put_back(
    cx: &Context,
    was: &Option<String>,
    _: Option<&()>,
    host: &Host,
    path: &str,
    _: &str,
) -> Result<()> {
    match was {
        Some(text) => cx.on(host).write(path, text.as_str()).await,
        None => cx.on(host).remove(path).await,
    }
}

/// Write
#[step(before = what_is, rollback = put_back, title = "Write {text} to {path}")]
async fn put(cx: &Context, host: &Host, path: &str, text: String) -> Result<()> {
    cx.on(host).write(path, text).await
}

/// Append
#[step(before = what_is, rollback = put_back, title = "Append {text} to {path}")]
async fn append(cx: &Context, host: &Host, path: &str, text: String) -> Result<()> {
    let old = cx.on(host).read_text(path).await.unwrap_or_default();
    cx.on(host).write(path, old + &text).await
}

/// Write
#[step(harmless, title = "Write {text} to {path}, and think nothing of it")]
async fn scribble(cx: &Context, host: &Host, path: &str, text: String) -> Result<()> {
    cx.on(host).write(path, text).await
}

/// The shop is there
#[check]
async fn there(cx: &Observer, host: &Host) -> Result<Verdict<()>> {
    let there = cx.on(host).exists("/srv/shop").await?;
    Ok(Verdict::pass_if(there, (), if there { "it is" } else { "no folder /srv/shop" }))
}

/// Deploy a release
#[runbook]
fn deploy(
    b: &mut Runbook,
    env: &Shop,
    /// The release
    release: String,
    /// The token of the registry
    token: Secret,
) {
    let _ = token;
    let host = env.host();
    b.check(there(&host));
    b.step(put(&host, "/srv/shop/release", release));
    let who = b.manual(Manual::new("Name who is on call").ask::<String>("Who is on call?"));
    b.step(put(&host, "/srv/shop/on-call", who));
}

/// Leave something behind
#[runbook]
fn leaky(b: &mut Runbook, env: &Shop) {
    b.step(scribble(&env.host(), "/srv/shop/notes", "n".to_owned()));
    b.step(put(&env.host(), "/srv/shop/release", "v2".to_owned()));
}

/// Count the runs
#[runbook]
fn twice(b: &mut Runbook, env: &Shop) {
    b.step(append(&env.host(), "/srv/shop/log", "ran\n".to_owned()));
}

/// Have the shop send its mails
#[step(harmless, title = "Send the mails")]
async fn send(cx: &Context, host: &Host) -> Result<()> {
    cx.on(host).run(&Command::new("mail").arg("--send")).await.map(drop)
}

/// Mail those who wait
#[runbook]
fn mail(b: &mut Runbook, env: &Shop) {
    let host = env.host();
    b.manual(Manual::new("Write the mail"));
    b.check(written(&host));
    b.step(send(&host));
    b.step(put(&host, "/srv/shop/release", "mailed".to_owned()));
}

/// The mail is written
#[check]
async fn written(cx: &Observer, host: &Host) -> Result<Verdict<()>> {
    let there = cx.on(host).exists("/srv/shop/mail").await?;
    Ok(Verdict::pass_if(there, (), if there { "it is" } else { "there is none" }))
}

/// How many mails were sent, and who writes them.
fn mailing() -> Fakes<Shop> {
    let web = FakeTarget::new("web-1").dir("/srv/shop").file("/srv/shop/release", "v1");
    let (sent, disk) = (Arc::new(AtomicU32::new(0)), web.disk());
    let count = Arc::clone(&sent);
    web.on("mail --send").reply_with(move |_| {
        count.fetch_add(1, SeqCst);
        Reply::ok()
    });
    Fakes::new(Shop { host: Some(Host::new(web.clone())), fleet: Vec::new() })
        .target(&web)
        .state("mails", move || sent.load(SeqCst).to_string())
        .person("write-the-mail", move || disk.write("/srv/shop/mail", "hello").unwrap())
}

/// Roll a release out
#[runbook]
fn roll(b: &mut Runbook, env: &Shop) {
    let rolling = Rolling { at_once: 2, canary: 1, max_failed: 1, ..Rolling::default() };
    b.each(&env.fleet, rolling, |host, b| {
        b.step(put(host, "/srv/shop/old", "v1".to_owned()));
        b.step(put(host, "/srv/shop/release", "v2".to_owned()));
    });
}

fn catalog() -> Catalog<Shop> {
    let catalog = Catalog::new("shop").book::<deploy>().book::<leaky>().book::<twice>();
    if std::env::var("DEMO").is_ok_and(|demo| demo == "fleet") {
        return Catalog::new("shop").book::<roll>();
    }
    if std::env::var("DEMO").is_ok_and(|demo| demo.starts_with("mail")) {
        return Catalog::new("shop").book::<mail>();
    }
    if std::env::var("DEMO").is_ok_and(|demo| demo == "live") {
        return catalog.env("staging", Shop { host: None, fleet: Vec::new() });
    }
    catalog
}

fn main() -> ExitCode {
    let harness = Harness::new(catalog, || {
        let dir = std::env::var("DEMO_DIR").unwrap_or_else(|_| "/srv/shop".into());
        let web = FakeTarget::new("web-1").dir(&dir).file(format!("{dir}/release"), "v1");
        let others = ["web-2", "web-3", "web-4"].map(|name| FakeTarget::new(name).dir(&dir));
        let fleet = others.iter().map(|target| Host::new(target.clone())).collect();
        let fakes = Fakes::new(Shop { host: Some(Host::new(web.clone())), fleet }).target(&web);
        others.iter().fold(fakes, Fakes::target)
    })
    .snapshots(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/snapshots"));
    if std::env::var("DEMO").is_ok_and(|demo| demo == "fleet") {
        return harness.main();
    }
    if let Ok(demo) = std::env::var("DEMO")
        && demo.starts_with("mail")
    {
        let known = demo == "mail-known";
        return harness
            .book("mail", |case| {
                let case = case.fakes(mailing).may_leave("/srv/shop/mail");
                if demo == "mail-unknown" {
                    return case.answer("write-the-mial", "yes");
                }
                if !known {
                    return case;
                }
                case.may_leave("mails").may_repeat("mails")
            })
            .main();
    }
    let harness = harness.book("deploy", |case| {
        case.arg("release", "v2").arg("token", "t0ps3cret").answer("name-who-is-on-call", "kim")
    });
    match std::env::var("DEMO").as_deref() {
        Ok("known") => harness
            .book("leaky", |case| case.may_leave("/srv/shop/notes"))
            .book("twice", |case| case.without(Test::RepeatEveryUnit, "it counts its runs"))
            .main(),
        Ok("unknown") => harness.book("deplyo", |case| case).main(),
        _ => harness.main(),
    }
}
