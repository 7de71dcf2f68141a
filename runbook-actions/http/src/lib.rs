//! HTTP requests as typed steps and checks of runbooks.
