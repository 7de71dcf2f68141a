//! The steps and checks, against real servers in temporary folders.
#![allow(missing_docs, clippy::unwrap_used)]

mod queries;
mod support;
