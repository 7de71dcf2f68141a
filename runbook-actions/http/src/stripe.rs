//! A Stripe webhook: an event signed with the new secret is accepted, one with the old is not.

use std::fmt;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use runbook::{Context, Failure, Result, Secret, Timestamp};
use runbook_macros::step;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::client::Http;
use crate::error::HttpError;
use crate::request::Request;

impl Http {
    /// The webhook accepts an event signed with the `new` secret and refuses one signed with the
    /// `old`. See [`stripe_rotated()`].
    ///
    /// ```
    /// use runbook_core::{Runbook, Secret};
    /// use runbook_http::{Http, StripeEvent};
    /// fn rotated(b: &mut Runbook, shop: &Http, new: &Secret, old: &Secret) {
    ///     b.step(shop.stripe_rotated("/webhooks/stripe", &StripeEvent::harmless(), new, Some(old)));
    /// }
    /// ```
    pub fn stripe_rotated(
        &self,
        path: &str,
        event: &StripeEvent,
        new: &Secret,
        old: Option<&Secret>,
    ) -> stripe_rotated {
        stripe_rotated(self, path, event, new, old.map(std::slice::from_ref).unwrap_or_default())
    }
}

/// An event as Stripe sends it.
///
/// ```
/// use runbook_http::StripeEvent;
/// let event = StripeEvent::new("customer.updated", serde_json::json!({"id": "cus_test"}));
/// assert_eq!(event.to_string(), "customer.updated");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeEvent {
    kind: String,
    object: serde_json::Value,
}

impl StripeEvent {
    /// An event of this type about this object.
    #[must_use]
    pub fn new(kind: impl Into<String>, object: serde_json::Value) -> Self {
        Self { kind: kind.into(), object }
    }

    /// An event of a type that no application handles, in test mode: a receiver checks its
    /// signature, answers 200 and forgets it.
    #[must_use]
    pub fn harmless() -> Self {
        Self::new("runbook.ping", serde_json::json!({ "object": "ping" }))
    }

    fn payload(&self, id: &str, now: u64) -> String {
        serde_json::json!({
            "id": id,
            "object": "event",
            "api_version": "2024-06-20",
            "created": now,
            "livemode": false,
            "pending_webhooks": 1,
            "request": { "id": null, "idempotency_key": null },
            "type": self.kind,
            "data": { "object": self.object },
        })
        .to_string()
    }
}

impl fmt::Display for StripeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)
    }
}

/// What [`stripe_rotated()`] saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StripeRotation {
    /// The status for the event signed with the new secret.
    pub new: u16,
    /// The status for the event signed with the old secret, if one was given.
    pub old: Option<u16>,
}

/// The Stripe webhook takes the new secret and refuses the old one
///
/// Sends an event signed with the old secret, which must be answered with a status from 400 to
/// 499, then one signed with the new secret, which must be answered with one from 200 to 299. The
/// application handles the second: it should be of a type that changes nothing.
#[step(
    harmless,
    repeatable,
    title = "The webhook {http}{path} takes the new secret only",
    preview = "POST {http}{path}: a signed `{event}`"
)]
pub async fn stripe_rotated(
    cx: &Context,
    http: &Http,
    path: &str,
    event: &StripeEvent,
    new: &Secret,
    old: &[Secret],
) -> Result<StripeRotation> {
    let mut seen = StripeRotation { new: 0, old: None };
    for old in old {
        let (status, excerpt) = deliver(cx, http, path, event, old).await?;
        seen.old = Some(status);
        if (200..300).contains(&status) {
            return Err(Failure::msg(format!(
                "{http}{path} still accepts events signed with the old secret (status {status})"
            ))
            .next("restart what holds the old secret, and check that only the new one is set"));
        }
        if !(400..500).contains(&status) {
            return Err(Failure::msg(format!(
                "{http}{path} answers status {status} to an event signed with the old secret, \
                 instead of refusing it ({excerpt})"
            ))
            .next("see the application's log: it failed before it judged the signature"));
        }
    }
    let (status, excerpt) = deliver(cx, http, path, event, new).await?;
    seen.new = status;
    if !(200..300).contains(&status) {
        return Err(Failure::msg(format!(
            "{http}{path} answers status {status} to an event signed with the new secret ({excerpt})"
        ))
        .next("check that the running application has the new secret, and that the clocks agree"));
    }
    cx.say(match seen.old {
        Some(old) => format!("new secret: status {status}; old secret: status {old}"),
        None => format!("new secret: status {status}"),
    });
    Ok(seen)
}

async fn deliver(
    cx: &Context,
    http: &Http,
    path: &str,
    event: &StripeEvent,
    secret: &Secret,
) -> Result<(u16, String)> {
    let now = Timestamp::now().as_micros() / 1_000_000;
    let id: String = cx.run_id().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let payload = event.payload(&format!("evt_runbook{id}"), now);
    let signature = signature(secret, now, &payload)?;
    let request = Request::post(path)
        .body("application/json; charset=utf-8", payload)
        .header("stripe-signature", signature);
    let answer = http.send(cx, &request).await.map_err(HttpError::into_failure)?;
    Ok((answer.status, answer.excerpt()))
}

/// The `Stripe-Signature` header: HMAC-SHA256 of `time.payload`.
fn signature(secret: &Secret, time: u64, payload: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())?;
    mac.update(format!("{time}.{payload}").as_bytes());
    let mut header = format!("t={time},v1=");
    for byte in mac.finalize().into_bytes() {
        // Writing to a String does not fail.
        let _ = write!(header, "{byte:02x}");
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_openssl_makes() {
        // printf '1700000000.{"id":1}' | openssl dgst -sha256 -hmac whsec_test
        let header = signature(&Secret::new("whsec_test"), 1_700_000_000, r#"{"id":1}"#).unwrap();
        assert_eq!(header, format!("t=1700000000,v1={OPENSSL}"));
    }

    const OPENSSL: &str = "2f441ba4b3b2d50d28a9ab9d9fd8880376ecd1eb5d0435401553f5d8d0a5dcf8";
}
