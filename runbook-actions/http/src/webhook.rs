//! [`Webhook`]: words into a chat, as a step or as the news of a run.

use std::fmt;

use runbook::{Context, Host, News, Notifier, Result, Secret, async_trait};
use runbook_macros::step;

use crate::client::Http;
use crate::error::HttpError;
use crate::exchange::Caller;
use crate::request::Request;
use crate::url::Url;

/// An incoming webhook that takes `{"text": ".."}`: Slack, Mattermost, Rocket.Chat.
///
/// Its address is its password, so it is a secret and shown nowhere.
///
/// ```
/// use runbook_core::{Host, Runbook, Secret, testing::FakeTarget};
/// use runbook_http::{HttpError, Webhook};
/// fn tell(b: &mut Runbook, here: &Host, address: &Secret) -> Result<(), HttpError> {
///     let ops = Webhook::new(here, "#ops", address)?;
///     b.step(ops.say("the deploy begins"));
///     b.notify(ops);
///     Ok(())
/// }
/// let address = Secret::new("https://hooks.example.org/services/T0/B0/abcdefgh");
/// let ops = Webhook::new(&Host::new(FakeTarget::new("here")), "#ops", &address)?;
/// assert_eq!(ops.to_string(), "#ops");
/// # Ok::<(), HttpError>(())
/// ```
#[derive(Clone)]
pub struct Webhook {
    http: Http,
    channel: String,
    path: Secret,
}

impl Webhook {
    /// The webhook at `address`, called by `host`; `channel` is how people call it.
    ///
    /// # Errors
    /// The address is no HTTP address. The error does not show it.
    pub fn new(
        host: &Host,
        channel: impl Into<String>,
        address: &Secret,
    ) -> Result<Self, HttpError> {
        let url = Url::parse(address.expose()).map_err(|error| match error {
            HttpError::Address { why, .. } => HttpError::Address { address: "***".into(), why },
            other => other,
        })?;
        let http = Http::new(host, &url.origin())?.redirects(0);
        // The path alone gives it away as well as the whole address does.
        Ok(Self { http, channel: channel.into(), path: Secret::new(url.path) })
    }

    /// The client that it uses, to give it a timeout, a certificate authority, or another way.
    ///
    /// ```
    /// use std::time::Duration;
    /// use runbook_http::Webhook;
    /// fn patient(hook: Webhook) -> Webhook {
    ///     hook.with(|http| http.timeout(Duration::from_secs(30)))
    /// }
    /// ```
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Http) -> Http) -> Self {
        self.http = change(self.http);
        self
    }

    /// A step that says `text`. See [`notify_webhook()`].
    pub fn say(&self, text: impl runbook::IntoInput<String>) -> notify_webhook {
        notify_webhook(self, text)
    }

    async fn send(&self, caller: Caller<'_>, text: &str) -> Result<(), HttpError> {
        let text = runbook::scrub(text);
        let request = Request::post(self.path.expose()).json(&serde_json::json!({ "text": text }));
        let answer =
            self.http.session().talk(caller, &request).await.map_err(|error| self.hidden(error))?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        let problem = format!("status {} ({})", answer.status, answer.excerpt());
        Err(HttpError::Unexpected { url: self.http.to_string(), problems: vec![problem] })
    }

    /// The same error about the origin alone.
    fn hidden(&self, error: HttpError) -> HttpError {
        let shown = self.http.to_string();
        match error {
            HttpError::Connect { problem, .. } => HttpError::Connect { url: shown, problem },
            HttpError::Tls { source, .. } => HttpError::Tls { url: shown, source },
            HttpError::TimedOut { after, .. } => HttpError::TimedOut { url: shown, after },
            HttpError::Broken { source, .. } => HttpError::Broken { url: shown, source },
            other => HttpError::Unexpected {
                url: shown,
                problems: vec![runbook::scrub(&other.to_string()).into_owned()],
            },
        }
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.channel)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({} at {})", self.channel, self.http)
    }
}

#[async_trait]
impl Notifier for Webhook {
    fn to(&self) -> String {
        self.channel.clone()
    }

    async fn notify(&self, news: &News) -> Result<()> {
        self.send(Caller::Notifying, &news.text()).await.map_err(HttpError::into_failure)
    }
}

/// Tell people in a chat
///
/// Words that were said stay said, which harms nothing.
#[step(harmless, title = "Tell {hook}", preview = "say in {hook}: {text}")]
pub async fn notify_webhook(cx: &Context, hook: &Webhook, text: String) -> Result<()> {
    hook.send(Caller::Acting(cx), &text).await.map_err(HttpError::into_failure)
}
