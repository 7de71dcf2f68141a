//! PostgreSQL as typed steps and checks of runbooks.
