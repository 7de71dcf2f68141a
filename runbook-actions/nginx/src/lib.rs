//! Nginx as typed steps and checks of runbooks.
//!
//! A change of a configuration is made in an order in which nothing breaks: it is written beside
//! what is used, tested with `nginx -t` as a part of the whole configuration, switched atomically,
//! reloaded, and waited for until the workers are new. What was there before is in the journal, so
//! that a change whose verification fails is put back. Edits keep the operator's comments and
//! formatting; a file that is not understood is not touched.
//!
//! ```
//! use runbook_core::{Address, Host, Runbook, Step};
//! use runbook_nginx::{Nginx, NginxConfig, Server};
//!
//! fn take_out(b: &mut Runbook, web: &Host) {
//!     let nginx = Nginx::new(web, NginxConfig::default());
//!     let local = Address::Tcp("127.0.0.1".into(), 80);
//!     b.check(nginx.config_test());
//!     b.step(
//!         nginx
//!             .upstream("/etc/nginx/conf.d/app.conf", "app", [Server::new("10.0.0.2:8000").down()])
//!             .verify(nginx.answers(&local, "shop.example.org", "/health", 200u16)),
//!     );
//! }
//! ```
//!
//! Nginx is run as the user of its host: if root started it, wrap the host in `Sudo`.

extern crate runbook_core as runbook;

mod change;
mod client;
mod control;
mod edit;
mod error;
mod get;
mod logs;
mod served;
mod splice;
mod syntax;
mod tree;
mod upstream;

pub use crate::change::{Before, Change, Changed};
pub use crate::client::{Nginx, NginxConfig};
pub use crate::control::{
    Connections, NginxStatus, Processes, config_test, connections, reload, status,
};
pub use crate::edit::Edit;
pub use crate::error::NginxError;
pub use crate::get::answers;
pub use crate::logs::{AccessLimits, AccessSeen, ErrorsSeen, Window, access_log, error_log};
pub use crate::served::{ServedCertificate, certificates};
pub use crate::upstream::{Server, Upstream};
pub use runbook_tls::Validity;
