//! The steps and checks, against real servers in temporary folders.
#![allow(missing_docs)]

mod bull;
mod failures;
mod fake;
mod keys;
mod queues;
mod server;
mod support;
mod words;
