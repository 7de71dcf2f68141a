//! Broken and hostile servers.
