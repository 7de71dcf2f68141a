//! HTTP against a real server, over sockets that a target opened.

mod answers;
mod changes;
mod ends;
mod fake;
mod logins;
mod server;
