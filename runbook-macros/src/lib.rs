//! The macros of `runbook`.
