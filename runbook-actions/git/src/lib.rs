//! Git as typed steps and checks of runbooks.
//!
//! A [`Git`] is a work tree on a host. Its methods make checks and steps: nothing runs before the
//! runbook does.
//!
//! ```
//! use runbook_core::{Host, Runbook, testing::FakeTarget};
//! use runbook_git::Git;
//!
//! let web = Host::new(FakeTarget::new("web-1"));
//! let app = Git::new(&web, "/srv/shop");
//!
//! let mut b = Runbook::new("deploy");
//! b.check(app.is_clean());
//! b.step(app.fetch());
//! // Undone by going back to the commit and branch that it came from.
//! let release = b.step(app.checkout("v2"));
//! b.check(app.is_at(release.map(|commit| commit.id.clone())));
//! b.build().unwrap();
//! ```
//!
//! Git 2.23 or later is to be on the host. It is run without a terminal and never asks: what
//! needs a password or an unknown host key fails, and says so.

// That a record undoes its step is proven where the step is; the opaque type shows its name only.
#![allow(opaque_hidden_inferred_bound)]

extern crate runbook_core as runbook;

mod checkout;
mod commit;
mod error;
mod fetch;
mod look;
mod pull;
mod repository;
mod tag;

pub use crate::checkout::Was;
pub use crate::commit::{Change, Commit};
pub use crate::error::Error;
pub use crate::repository::Git;
pub use crate::tag::TagWas;
