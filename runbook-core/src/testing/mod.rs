//! What tests of runbooks need: a scripted target, surroundings for one step, and fault injection.

mod crash;
mod fake;
mod surroundings;

pub use self::crash::CrashStore;
pub use self::fake::{
    Call, CommandCall, Disk, FakeTarget, IntoMatcher, Matcher, Reply, When, prefix,
};
pub use self::surroundings::{Surroundings, context, observer};
pub use crate::faults::Faults;
