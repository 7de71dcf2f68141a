//! The steps and checks, against real servers in temporary folders.
#![allow(missing_docs)]

mod databases;
mod dumps;
mod failures;
mod fake;
mod operations;
mod queries;
mod ssh;
mod support;
mod tls;
mod words;
