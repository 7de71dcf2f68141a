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

mod agent;
mod docker;
mod process;
mod proxy;
mod sshd;
mod wait;

pub use crate::agent::{Agent, KeyKind, keygen};
pub use crate::docker::{Container, Docker};
pub use crate::process::{Child, descendants, is_alive, kill_tree, with_environment};
pub use crate::proxy::Proxy;
pub use crate::sshd::{Sshd, SshdBuilder};
pub use crate::wait::{free_port, wait_until};
