//! The steps and checks, against real servers in temporary folders.
#![allow(missing_docs)]

mod databases;
mod dumps;
mod failures;
mod fake;
mod large;
mod operations;
mod queries;
mod restores;
mod ssh;
mod support;
mod tls;
mod words;
