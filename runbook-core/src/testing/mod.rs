//! What tests of runbooks need: a scripted target and fault injection.

mod fake;

pub use self::fake::FakeTarget;
