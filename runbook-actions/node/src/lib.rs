//! npm and Prisma as typed steps and checks of runbooks.
//!
//! A [`Npm`] is a package (or the root of workspaces) in a folder of a host. Installing and
//! building keep what was there beside it, so that both can be undone at once and without the
//! registry; [`Npm::forget_kept`] gives the space back when all is well.
//!
//! ```
//! use runbook_core::{Host, Runbook, testing::FakeTarget};
//! use runbook_node::{Npm, Prisma};
//!
//! let web = Host::new(FakeTarget::new("web-1"));
//! let shop = Npm::new(&web, "/srv/shop");
//!
//! let mut b = Runbook::new("deploy");
//! b.check(shop.node_at_least("20.9"));
//! b.step(shop.install());
//! b.step(Prisma::new(&shop).generate());
//! let built = b.step(shop.build("build", [".next"]));
//! b.finally(|b| {
//!     b.step(shop.forget_kept(&built));
//! });
//! b.build().unwrap();
//! ```
//!
//! `node` and `npm` are to be in the host's `PATH`.

// That a record undoes its step is proven where the step is; the opaque type shows its name only.
#![allow(opaque_hidden_inferred_bound)]

extern crate runbook_core as runbook;

mod audit;
mod build;
mod error;
mod install;
mod kept;
mod package;
mod prisma;
mod script;
mod version;

pub use crate::audit::{Severity, Vulnerabilities};
pub use crate::build::Built;
pub use crate::error::Error;
pub use crate::install::Installed;
pub use crate::package::Npm;
pub use crate::prisma::{Migrations, Prisma};
