//! placeholder
/// s
pub struct Sudo;
