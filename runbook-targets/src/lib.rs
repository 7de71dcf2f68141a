//! Where the commands of a runbook run.
