//! HTTP requests as typed steps and checks of runbooks.
//!
//! An [`Http`] is built from a host and a base address. Its connections are opened by that host, so
//! a service that listens only on its own machine's loopback is reached over SSH like any other;
//! `https` goes through [`runbook_tls`].
//!
//! ```
//! use std::time::Duration;
//! use runbook_core::{Host, Runbook, Secret};
//! use runbook_http::{Expect, Http, HttpError, Login, Request, TokenFrom, Validity};
//!
//! fn after_deploy(b: &mut Runbook, web: &Host, password: Secret) -> Result<(), HttpError> {
//!     let shop = Http::new(web, "https://shop.example.org")?;
//!     b.check(shop.get("/api/v1/health", Expect::status(200).json("status", "ok")));
//!     b.check(shop.get("/", Expect::ok().csp("default-src", "'self'")));
//!     b.check(shop.p95("/api/v1/health", 20, Duration::from_millis(500), Duration::from_secs(2)));
//!     b.check(shop.certificate(Validity::default()));
//!     b.check(shop.login(
//!         Login::new("/api/login", "watch@example.org", password)
//!             .csrf("/api/csrf", TokenFrom::Json("token".into()))
//!             .session_cookie("sid")
//!             .then("/api/me", Expect::status(200)),
//!     ));
//!     b.irreversible(
//!         shop.post(Request::post("/api/cache/warm"), Expect::status(202)),
//!         "warming a cache adds nothing that was not wanted",
//!     );
//!     Ok(())
//! }
//! ```
//!
//! A check sends `GET`, or a request whose author promised with [`Request::read_only`] that it
//! changes nothing. Whatever else is sent is a step.

extern crate runbook_core as runbook;

mod answer;
mod checks;
mod client;
mod cookies;
mod error;
mod exchange;
mod expect;
mod html;
mod post;
mod request;
mod sign_in;
mod stripe;
#[cfg(feature = "testing")]
pub mod testing;
mod url;
mod webhook;

pub use crate::answer::Answer;
pub use crate::checks::{Answered, Ask, Latency, certificate, p95};
pub use crate::client::{Http, HttpConfig, Session};
pub use crate::cookies::CookieFlags;
pub use crate::error::HttpError;
pub use crate::expect::Expect;
pub use crate::post::{Post, Posted};
pub use crate::request::{ReadOnlyRequest, Request};
pub use crate::sign_in::{LoggedIn, Login, TokenFrom, login};
pub use crate::stripe::{StripeEvent, StripeRotation, stripe_rotated};
pub use crate::webhook::{Webhook, notify_webhook};
pub use runbook_tls::{Certificate, Tls, TlsConfig, Validity};
