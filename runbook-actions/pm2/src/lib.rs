//! PM2 as typed steps and checks of runbooks.
