//! Everything against shells of this machine, each test with dash, bash and BusyBox.

mod arguments;
mod commands;
mod ending;
mod files;
mod fill;
mod here;
mod output;
mod support;
