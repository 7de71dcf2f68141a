//! A Unix host's facts, files and services as typed steps and checks of runbooks.
//!
//! A [`Machine`] is a host as something to look at and to put in order; its [`Service`]s,
//! [`Folder`]s, [`EnvFile`]s and its [`Firewall`] are got from it. Their methods make checks and
//! steps: nothing runs before the runbook does.
//!
//! ```
//! use runbook_core::{Host, Runbook, testing::FakeTarget};
//! use runbook_host::{By, Bytes, Machine, Retention};
//!
//! let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
//! let logs = web.folder("/var/log/shop");
//!
//! let mut b = Runbook::new("disk-full");
//! let room = b.observe(web.disk_free("/var", Bytes::gib(5)));
//! b.check(web.largest_folders("/var", 10));
//! b.when("there is no room", room.failed(), |b| {
//!     let old = b.check(logs.list_old(Retention::days(30).keep_last(5).named("*.log")));
//!     b.irreversible(logs.remove(old), "logs are kept for 30 days");
//!     b.check(web.disk_free("/var", Bytes::gib(5)));
//! });
//! b.check(web.top_processes(5, By::Memory));
//! b.build().unwrap();
//! ```
//!
//! Facts are read from `/proc` and POSIX tools in the C locale, so of Linux, with GNU's tools or
//! busybox's; in a container they are those that its limits leave. Who owns a port, firewalls and
//! services take root (a `Sudo` host).

// That a record undoes its step is proven where the step is; the opaque type shows its name only.
#![allow(opaque_hidden_inferred_bound)]

extern crate runbook_core as runbook;

mod about;
mod archive;
mod bytes;
mod cgroup;
mod clamav;
mod clock;
mod disk;
mod env;
mod error;
mod file;
mod firewall;
mod folder;
mod kept;
mod load;
mod machine;
mod network;
mod ports;
mod secrets;
mod service;
mod sockets;
mod upkeep;

pub use crate::about::Os;
pub use crate::archive::{Archive, FolderWas, NotThere, VerifiedArchive};
pub use crate::bytes::Bytes;
pub use crate::clamav::Clamd;
pub use crate::disk::{Disk, FolderSize, Inodes};
pub use crate::env::{Changed, EnvFile, Required};
pub use crate::error::Error;
pub use crate::firewall::{Allowed, Firewall, Isolated, Operator, Ufw};
pub use crate::folder::{Folder, OldFile, OldFiles, Retention, Uncompressed};
pub use crate::kept::FileWas;
pub use crate::load::{By, Cpu, Load, Memory, Usage};
pub use crate::machine::Machine;
pub use crate::network::Skew;
pub use crate::ports::{Connections, Listener, Owner};
pub use crate::secrets::Generate;
pub use crate::service::{Service, ServiceRan, ServiceState, ServiceWas};
pub use crate::upkeep::Package;
