//! Requests that change something: steps, notifications, signed events.

use hmac::{Hmac, KeyInit as _, Mac as _};
use runbook_core::testing::context;
use runbook_core::{
    Engine, Failure, MemoryStore, RunOptions, Runbook, Secret, Status, Step, scrub,
};
use runbook_http::{Expect, Request, StripeEvent, Webhook};
use sha2::Sha256;

use crate::server::{Asked, Server, here, reply};

#[tokio::test]
async fn a_post_gives_its_status_and_json_to_later_steps() {
    let server = Server::start(|_| reply(201, &[], r#"{"id":7}"#)).await;
    let request = Request::post("/items").json(&serde_json::json!({"name": "shoe"}));
    let posted = server.http().post(request, Expect::status(201)).run(&context()).await.unwrap();
    assert_eq!((posted.status, &posted.json["id"]), (201, &7.into()));
}

#[tokio::test]
async fn a_post_that_is_answered_otherwise_fails_and_says_with_what() {
    let server = Server::start(|_| reply(409, &[], "it is there already")).await;
    let post = server.http().post(Request::post("/items"), Expect::status(201));
    let failure = post.run(&context()).await.unwrap_err();
    let wanted = format!(
        "asking http://127.0.0.1:{}/items: status 409 instead of 201 (it is there already)",
        server.port
    );
    assert_eq!(failure.to_string(), wanted);
}

#[tokio::test]
async fn a_plan_shows_the_request_and_neither_its_body_nor_its_secrets() {
    let server = Server::start(|_| reply(200, &[], "")).await;
    let request = Request::post("/token").secret_field("key", &Secret::new("0123456789abcdef"));
    let mut b = Runbook::new("Post");
    b.step(server.http().post(request, Expect::ok()).harmless());
    let plan = serde_json::to_string(&b.build().unwrap().outline()).unwrap();
    assert!(plan.contains("POST /token"), "{plan}");
    assert!(!plan.contains("0123456789abcdef"), "{plan}");
}

#[tokio::test]
async fn a_chat_is_told_by_a_step_and_by_the_end_of_a_run() {
    let server = Server::start(|_| reply(200, &[], "ok")).await;
    let address = Secret::new(format!("http://127.0.0.1:{}/services/T0/B0/abcdefgh", server.port));
    let hook = Webhook::new(&here(), "#ops", &address).unwrap();
    let mut b = Runbook::new("Deploy the shop");
    b.step(hook.say("the deploy \"begins\""));
    b.step(fails());
    b.notify(hook);
    let plan = b.build().unwrap();
    let run = Engine::new(MemoryStore::new()).run(&plan, RunOptions::new());
    assert_eq!(run.outcome().await.unwrap().status, Status::Failed);

    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /services/T0/B0/abcdefgh");
    assert_eq!(asked[0].body, r#"{"text":"the deploy \"begins\""}"#);
    let news: serde_json::Value = serde_json::from_str(&asked[1].body).unwrap();
    let news = news["text"].as_str().unwrap();
    assert!(news.starts_with("Deploy the shop: failed\n"), "{news}");
    assert!(news.contains("the disk is full") && news.contains("next: make room"), "{news}");
}

#[tokio::test]
async fn the_address_of_a_webhook_is_in_no_error() {
    let server = Server::start(|_| reply(404, &[], "no_such_hook")).await;
    let address = Secret::new(format!("http://127.0.0.1:{}/services/T0/B1/ijklmnop", server.port));
    let hook = Webhook::new(&here(), "#ops", &address).unwrap();
    let failure = hook.say("hello").run(&context()).await.unwrap_err();
    let text = failure.to_string();
    assert!(text.ends_with("status 404 (no_such_hook)") && !text.contains("ijklmnop"), "{text}");

    drop(server);
    let bad = Secret::new("hooks.example.org/services/T0/B1/qrstuvwx");
    let error = Webhook::new(&here(), "#ops", &bad).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("qrstuvwx"), "{error:?}");
    assert_eq!(scrub("asked /services/T0/B1/ijklmnop"), "asked ***");
}

/// An application that checks Stripe's signature with these secrets.
fn receiver(secrets: &'static [&'static str]) -> impl Fn(&Asked) -> String {
    move |asked| {
        let (time, given) = asked.header("stripe-signature").split_once(",v1=").unwrap();
        let time = time.strip_prefix("t=").unwrap();
        let signed = |secret: &&str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(format!("{time}.{}", asked.body).as_bytes());
            let sum: String =
                mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            sum == given
        };
        if secrets.iter().any(signed) {
            reply(200, &[], r#"{"received":true}"#)
        } else {
            reply(400, &[], "bad signature")
        }
    }
}

#[tokio::test]
async fn a_rotated_stripe_secret_is_proven_by_both_sides() {
    let (new, old) = (Secret::new("whsec_new_0123456789"), Secret::new("whsec_old_0123456789"));
    let event = StripeEvent::harmless();
    let run = async |server: &Server| {
        server.http().stripe_rotated("/webhook", &event, &new, Some(&old)).run(&context()).await
    };

    let done = Server::start(receiver(&["whsec_new_0123456789"])).await;
    let seen = run(&done).await.unwrap();
    assert_eq!((seen.new, seen.old), (200, Some(400)));
    let body: serde_json::Value = serde_json::from_str(&done.asked()[1].body).unwrap();
    assert_eq!((body["object"].as_str(), body["livemode"].as_bool()), (Some("event"), Some(false)));

    let both = Server::start(receiver(&["whsec_new_0123456789", "whsec_old_0123456789"])).await;
    let failure = run(&both).await.unwrap_err().to_string();
    assert!(failure.contains("still accepts events signed with the old secret"), "{failure}");
    assert_eq!(both.asked().len(), 1, "nothing more is sent");

    let neither = Server::start(receiver(&["whsec_other"])).await;
    let failure = run(&neither).await.unwrap_err().to_string();
    assert!(failure.contains("status 400 to an event signed with the new secret"), "{failure}");

    let crashes = Server::start(|_| reply(500, &[], "oops")).await;
    let failure = run(&crashes).await.unwrap_err().to_string();
    assert!(failure.contains("instead of refusing it (oops)"), "{failure}");
}

struct Fails;

impl Step for Fails {
    type Output = ();
    type Rollback = runbook_core::Harmless;
    fn about(&self) -> runbook_core::About {
        runbook_core::About::new("fails", "Fail")
    }
    async fn run(&self, _: &runbook_core::Context) -> runbook_core::Result<()> {
        Err(Failure::msg("the disk is full").next("make room"))
    }
}

fn fails() -> Fails {
    Fails
}
