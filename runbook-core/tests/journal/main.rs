//! The journal: what every store does, what happens when its files are harmed, and which orders of
//! events are taken.

mod child;
mod conformance;
mod disk_full;
mod hostile;
mod kit;
mod locks;
mod model;
mod state;
mod torn;
mod two_processes;
