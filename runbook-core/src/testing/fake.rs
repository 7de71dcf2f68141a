//! [`FakeTarget`]: scripts replies and records commands.

/// A target that runs nothing: it answers from a script and records what was asked.
#[derive(Clone, Debug)]
pub struct FakeTarget {
    name: String,
}

impl FakeTarget {
    /// A target called `name`, without any reply scripted and without any file.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}
