//! PM2 as typed steps and checks of runbooks.
//!
//! A [`Pm2`] is one PM2 daemon of one user on a host: that of the host's user (a `Sudo` host for
//! another), in its own home, or in another [`PM2_HOME`](Pm2::home). Its methods make checks and
//! steps for one process, which PM2 calls an app.
//!
//! ```
//! use std::time::Duration;
//! use runbook_core::{Host, Runbook, Wait, testing::FakeTarget};
//! use runbook_pm2::Pm2;
//!
//! let web = Host::new(FakeTarget::new("web-1"));
//! let pm2 = Pm2::new(&web);
//!
//! let mut b = Runbook::new("restart");
//! b.check(pm2.is_online("shop"));
//! // What is undone, is undone in reverse: put first, this restarts the app last of all, when its
//! // files are what they were.
//! b.step(pm2.restart_on_the_way_back("shop"));
//! let restarted = b.step(pm2.restart("shop"));
//! b.wait_until(
//!     pm2.is_healthy("shop").port(3000).steady_for(Duration::from_secs(5)),
//!     Wait::at_most(Duration::from_secs(60)),
//! );
//! b.check(pm2.no_errors_since("shop", restarted));
//! b.build().unwrap();
//! ```
//!
//! `pm2` and `node` are to be in the host's `PATH`. A look never starts a daemon, and never takes
//! the environment of apps along, which PM2 shows with all their secrets.

// That a record undoes its step is proven where the step is; the opaque type shows its name only.
#![allow(opaque_hidden_inferred_bound)]

extern crate runbook_core as runbook;

mod app;
mod daemon;
mod error;
mod health;
mod log;
mod restart;
mod save;
mod start;

pub use crate::app::{App, State};
pub use crate::daemon::Pm2;
pub use crate::error::Error;
pub use crate::health::Healthy;
pub use crate::log::{Logs, Restarted};
pub use crate::restart::Uptime;
pub use crate::save::SavedList;
pub use crate::start::StateWas;
