//! The lab itself: each part starts, answers and stops, and nothing is left of it.

#![expect(clippy::print_stderr, reason = "how long it took; what a dying process tells")]

mod leftovers;
mod parts;
mod world;
