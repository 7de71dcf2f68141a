//! Mail (SMTP) as typed steps and checks of runbooks.
//!
//! The connection to the mail server is opened by a host, so a server that takes mail from its own
//! machine only is reached over SSH like any other; TLS and STARTTLS go through [`runbook_tls`].
//!
//! ```
//! use runbook_core::{Host, Runbook, Secret};
//! use runbook_mail::{Mail, MailError, Smtp, SmtpConfig};
//!
//! fn tell(b: &mut Runbook, web: &Host, password: Secret) -> Result<(), MailError> {
//!     let config = SmtpConfig::new("mail.example.org", "ops@example.org");
//!     let smtp = config.build(web)?.login("ops@example.org", password);
//!     b.check(smtp.reachable());
//!     let mail = Mail::to(["users@example.org"])
//!         .subject("Maintenance tonight")
//!         .text("The shop is closed from 22:00 to 22:30 UTC.");
//!     b.irreversible(smtp.send(mail), "the users have to know");
//!     b.notify(smtp.notifier(["oncall@example.org"]));
//!     Ok(())
//! }
//! ```

extern crate runbook_core as runbook;

mod client;
mod connection;
mod error;
mod mail;

pub use crate::client::{Security, Smtp, SmtpConfig};
pub use crate::error::MailError;
pub use crate::mail::{Mail, MailNotifier, Reachable, reachable, send_mail};
pub use runbook_tls::{Tls, TlsConfig};
