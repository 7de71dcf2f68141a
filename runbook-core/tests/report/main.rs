//! What a person and a program read about a runbook and its runs.

mod fixture;
mod fleet;
mod hostile;
mod incident;
mod runbooks;
mod runs;
