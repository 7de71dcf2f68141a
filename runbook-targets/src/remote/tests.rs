//! Everything against shells of this machine, each test with dash, bash and BusyBox.

mod commands;
mod ending;
mod here;
mod support;
