//! How commands end, with all that they started.
