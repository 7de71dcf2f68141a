//! A Unix host's facts, files and services as typed steps and checks of runbooks.
