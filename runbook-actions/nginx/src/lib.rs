//! Nginx as typed steps and checks of runbooks.
