//! A mail, the step that sends it, the check that asks whether it could be sent, and the news of
//! a run by mail.

use std::fmt;

use lettre::Message;
use lettre::message::{MultiPart, SinglePart};
use runbook::{Context, IntoInput, News, Notifier, Observer, Result, Verdict, async_trait, scrub};
use runbook_macros::{check, step};
use runbook_tls::Certificate;
use serde::{Deserialize, Serialize};

use crate::client::{Smtp, mailbox};
use crate::connection::Caller;
use crate::error::MailError;

/// A mail: to whom, about what, as text and perhaps as HTML.
///
/// ```
/// use runbook_mail::Mail;
/// let mail = Mail::to(["users@example.org"])
///     .subject("The shop is back")
///     .text("Thank you for your patience.")
///     .html("<p>Thank you for your patience.</p>");
/// assert_eq!(mail.to_string(), "`The shop is back` to users@example.org");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    to: Vec<String>,
    subject: String,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    html: Option<String>,
}

impl Mail {
    /// To these addresses.
    #[must_use]
    pub fn to<T: Into<String>>(addresses: impl IntoIterator<Item = T>) -> Self {
        Self { to: addresses.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// What it is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Its words.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// The same words as HTML, for those who prefer it.
    #[must_use]
    pub fn html(mut self, html: impl Into<String>) -> Self {
        self.html = Some(html.into());
        self
    }

    /// As it is sent, scrubbed of secrets.
    fn message(&self, smtp: &Smtp) -> Result<Message, MailError> {
        let bad = |why: &dyn fmt::Display| MailError::Message { why: why.to_string() };
        if self.to.is_empty() {
            return Err(bad(&"it is to nobody"));
        }
        // A line break in it would begin another header.
        let subject = scrub(&self.subject).replace(['\r', '\n'], " ");
        let mut builder = Message::builder().from(smtp.from.clone()).subject(subject);
        for address in &self.to {
            builder = builder.to(mailbox(address)?);
        }
        let text = scrub(&self.text).into_owned();
        let message = match &self.html {
            Some(html) => {
                builder.multipart(MultiPart::alternative_plain_html(text, scrub(html).into_owned()))
            }
            None => builder.singlepart(SinglePart::plain(text)),
        };
        message.map_err(|error| bad(&error))
    }
}

impl fmt::Display for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` to {}", self.subject, self.to.join(", "))
    }
}

impl Smtp {
    /// The server takes connections, and this login if there is one. See [`reachable()`].
    pub fn reachable(&self) -> reachable {
        reachable(self)
    }

    /// Sends a mail. See [`send_mail()`].
    pub fn send(&self, mail: impl IntoInput<Mail>) -> send_mail {
        send_mail(self, mail)
    }

    /// Mails these addresses how a run ends.
    ///
    /// ```
    /// use runbook_core::Runbook;
    /// use runbook_mail::Smtp;
    /// fn watched(b: &mut Runbook, smtp: &Smtp) {
    ///     b.notify(smtp.notifier(["oncall@example.org"]));
    /// }
    /// ```
    #[must_use]
    pub fn notifier<T: Into<String>>(&self, to: impl IntoIterator<Item = T>) -> MailNotifier {
        MailNotifier { smtp: self.clone(), to: to.into_iter().map(Into::into).collect() }
    }

    /// Gives what the server said when it took the mail.
    async fn deliver(&self, caller: Caller<'_>, mail: &Mail) -> Result<String, MailError> {
        // Written before anything is opened: a wrong address is nobody else's fault.
        let message = mail.message(self)?;
        let bytes = message.formatted();
        self.with(caller, async |ready| {
            let sent = ready.smtp.send(message.envelope(), &bytes).await;
            let reply = sent.map_err(|error| self.explain(&error))?;
            Ok(reply.message().collect::<Vec<_>>().join(" "))
        })
        .await
    }
}

/// What [`reachable()`] saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reachable {
    /// How the server greets.
    pub banner: String,
    /// Its certificate, if the connection is private.
    pub certificate: Option<Certificate>,
    /// Whether a login was tried, and worked.
    pub logged_in: bool,
}

/// The mail server takes connections
///
/// Connects, makes the connection private, introduces itself and logs in, as for a mail, and
/// leaves without sending one.
///
/// ```
/// use runbook_core::Runbook;
/// use runbook_mail::Smtp;
/// fn before(b: &mut Runbook, smtp: &Smtp) {
///     b.check(smtp.reachable());
/// }
/// ```
#[check(title = "The mail server {smtp} takes connections", preview = "EHLO {smtp}")]
pub async fn reachable(cx: &Observer, smtp: &Smtp) -> Result<Verdict<Reachable>> {
    let seen = smtp
        .with(Caller::Looking(cx), async |ready| {
            Ok(Reachable {
                banner: ready.banner.clone(),
                certificate: ready.peer.as_ref().map(|peer| peer.certificate.clone()),
                logged_in: smtp.login.is_some(),
            })
        })
        .await
        .map_err(MailError::into_failure)?;
    let private = if seen.certificate.is_some() { "private" } else { "in plain text" };
    let login = if seen.logged_in { ", logged in" } else { "" };
    let why = format!("{} ({private}{login})", seen.banner.lines().next().unwrap_or_default());
    Ok(Verdict::pass(seen, why))
}

/// Send a mail
///
/// The output is what the server said when it took the mail. A mail that was taken can't be called
/// back.
///
/// ```
/// use runbook_core::Runbook;
/// use runbook_mail::{Mail, Smtp};
/// fn tell(b: &mut Runbook, smtp: &Smtp) {
///     let mail = Mail::to(["users@example.org"]).subject("Back").text("The shop is open again.");
///     b.irreversible(smtp.send(mail), "the users have to know");
/// }
/// ```
#[step(irreversible, title = "Send a mail through {smtp}", preview = "send {mail}")]
pub async fn send_mail(cx: &Context, smtp: &Smtp, mail: Mail) -> Result<String> {
    let said = smtp.deliver(Caller::Acting(cx), &mail).await.map_err(MailError::into_failure)?;
    cx.say(format!("{mail}: {said}"));
    Ok(said)
}

/// Mails how a run ends; from [`Smtp::notifier`].
#[derive(Clone, Debug)]
pub struct MailNotifier {
    smtp: Smtp,
    to: Vec<String>,
}

#[async_trait]
impl Notifier for MailNotifier {
    fn to(&self) -> String {
        self.to.join(", ")
    }

    async fn notify(&self, news: &News) -> Result<()> {
        let mail = Mail::to(self.to.iter()).subject(news.subject()).text(news.text());
        let sent = self.smtp.deliver(Caller::Notifying, &mail).await;
        sent.map(|_| ()).map_err(MailError::into_failure)
    }
}
