//! Real servers, started by the tests in temporary folders on free loopback ports.
//!
//! Everything here ends what it started when it is dropped, by process id: a test that fails
//! leaves no process and no file behind. What can't be started panics and says why, with the end
//! of the server's log: this crate is for tests only, and knows no crate of the workspace.
//!
//! ```no_run
//! let sshd = lab::Sshd::start();
//! assert!(sshd.ssh().arg("true").status().unwrap().success());
//! ```
//!
//! [`World`] puts the parts together: a host reached over SSH that runs an application.
//! `cargo run -p lab` starts one for a person to play with. `scripts/setup` installs what all of it
//! needs.

mod agent;
pub mod app;
mod ca;
mod command;
mod docker;
mod faults;
mod folder;
mod git;
mod http;
mod nginx;
mod pm2;
mod postgres;
mod process;
mod proxy;
mod redis;
mod session;
mod smtp;
mod sshd;
mod user;
mod wait;
mod world;

pub use crate::agent::{Agent, KeyKind, keygen};
pub use crate::ca::{Ca, Certificate};
pub use crate::command::{Failure, try_run};
pub use crate::docker::{Container, Docker};
pub use crate::faults::SmallDisk;
pub use crate::folder::{Folder, free_space};
pub use crate::git::{Release, Remote};
pub use crate::http::{Http, Reply, Request, get};
pub use crate::nginx::Nginx;
pub use crate::pm2::Pm2;
pub use crate::postgres::{Postgres, PostgresBuilder};
pub use crate::process::{Child, descendants, is_alive, kill_tree, with_environment};
pub use crate::proxy::Proxy;
pub use crate::redis::{Redis, RedisBuilder};
pub use crate::session::Session;
pub use crate::smtp::{Mail, Smtp};
pub use crate::sshd::{Sshd, SshdBuilder};
pub use crate::wait::{free_port, wait_until};
pub use crate::world::World;
