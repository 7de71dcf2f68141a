//! Sockets as the host sees them.
