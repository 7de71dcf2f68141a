//! The steps and checks, against real servers in temporary folders.
#![allow(missing_docs)]

mod failures;
mod keys;
mod server;
mod support;
