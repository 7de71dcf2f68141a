//! The command line, driven as an operator and as a machine drive it.
#![allow(missing_docs, unreachable_pub)]

#[allow(dead_code)]
mod demo;
mod errors;
mod fleet;
mod machine;
mod pages;
mod screen;
mod support;
