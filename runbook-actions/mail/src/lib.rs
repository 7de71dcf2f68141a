//! Mail (SMTP) as typed steps and checks of runbooks.
