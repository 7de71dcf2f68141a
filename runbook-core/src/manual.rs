//! [`Manual`]: a step that a person does.

use crate::param::Param;
use crate::step::Data;

/// A step that a person does; the operator confirms it or answers a typed question.
///
/// ```
/// use runbook_core::{Manual, Runbook};
/// let mut b = Runbook::new("incident");
/// b.manual(Manual::new("Call the hosting company").doc("Phone number: see the contract."));
/// let ticket = b.manual(Manual::new("Open a ticket").ask::<u32>("Which number did it get?"));
/// # let _: runbook_core::Out<u32> = ticket;
/// ```
pub struct Manual<T = ()> {
    pub(crate) title: String,
    pub(crate) doc: String,
    pub(crate) question: Option<String>,
    pub(crate) named: Option<String>,
    pub(crate) accepts: Option<String>,
    pub(crate) read: fn(&str) -> Result<T, String>,
}

impl Manual<()> {
    /// Something that a person does and then confirms; `title` is an imperative sentence.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            doc: String::new(),
            question: None,
            named: None,
            accepts: None,
            read: |_| Ok(()),
        }
    }

    /// Asks for a value afterwards.
    #[must_use]
    pub fn ask<T: Data + Param>(self, question: impl Into<String>) -> Manual<T> {
        Manual {
            title: self.title,
            doc: self.doc,
            question: Some(question.into()),
            named: self.named,
            accepts: Some(T::kind().accepts),
            read: T::parse,
        }
    }
}

impl<T> Manual<T> {
    /// Instructions, in Markdown.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<String>) -> Self {
        self.doc = doc.into();
        self
    }

    /// Gives it a name of its own in this runbook; its id is made from it.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.named = Some(name.into());
        self
    }
}
