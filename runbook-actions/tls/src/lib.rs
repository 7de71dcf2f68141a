//! TLS over the streams that targets open, for the action crates.
