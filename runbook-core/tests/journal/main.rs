//! The journal: what every store does, what happens when its files are harmed, and which orders of
//! events are taken.

mod conformance;

mod kit;
