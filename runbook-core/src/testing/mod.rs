//! What tests of runbooks need: a scripted target and fault injection.

mod crash;
mod fake;
mod faults;

pub use self::crash::CrashStore;
pub use self::fake::FakeTarget;
pub(crate) use self::faults::Fault;
pub use self::faults::Faults;
