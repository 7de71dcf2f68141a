//! What crosses crates, in one binary.
#![allow(missing_docs)]

mod arrows;
mod secrets;
