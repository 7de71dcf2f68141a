//! [`Notifier`]: tells people how a run ends. A notification that fails is noted and changes
//! nothing.

use async_trait::async_trait;

use crate::error::Result;
use crate::event::{Actor, RunFinished, RunId, Waiting};

/// Tells somebody about a run.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Where to, as shown in the journal: `#ops`, `oncall@example.org`.
    fn to(&self) -> String;

    /// Sends the news. Cut off after 10 seconds.
    ///
    /// # Errors
    /// It could not be sent; noted in the journal, and the run goes on.
    async fn notify(&self, news: &News) -> Result<()>;
}

/// What there is to tell.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct News {
    /// The run.
    pub run: RunId,
    /// Its runbook's title.
    pub title: String,
    /// Who runs it.
    pub by: Actor,
    /// What happened.
    pub what: NewsKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum NewsKind {
    /// The run ended.
    Finished(RunFinished),
    /// The run waits for a person.
    Suspended(Vec<Waiting>),
}
