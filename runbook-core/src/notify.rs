//! [`Notifier`]: tells people how a run ends. A notification that fails is noted and changes
//! nothing.

use async_trait::async_trait;

use crate::error::Result;
use crate::event::{Actor, RunFinished, RunId, UnitId, Waiting};
use crate::people::Severity;

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
    /// How grave what it is about is, if the runbook says so.
    pub severity: Option<Severity>,
    /// Whom to call now, and whom later, if it is not solved; empty if the runbook names nobody.
    pub advice: String,
    /// What happened.
    pub what: NewsKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum NewsKind {
    /// The run ended.
    Finished(Box<RunFinished>),
    /// The run waits for a person.
    Suspended(Vec<Waiting>),
}

impl News {
    /// One line: `SEV1: Bring the shop back: failed`. Free of secrets, and of line breaks.
    #[must_use]
    pub fn subject(&self) -> String {
        let what = match &self.what {
            NewsKind::Finished(end) => end.status.to_string(),
            NewsKind::Suspended(_) => "waits for a person".into(),
        };
        let severity = self.severity.as_ref().map(|severity| format!("{severity}: "));
        let line = format!("{}{}: {what}", severity.unwrap_or_default(), self.title);
        crate::secret::scrub(&line).replace(['\r', '\n'], " ")
    }

    /// A few lines: what happened, why, and what to do next. Free of secrets.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![self.subject(), format!("run {} by {}", self.run, self.by)];
        match &self.what {
            NewsKind::Finished(end) => {
                if let Some(problem) = &end.problem {
                    let unit =
                        end.unit.as_ref().map(|unit| format!("{unit}: ")).unwrap_or_default();
                    lines.push(format!("{unit}{}", problem.message));
                    lines.extend(problem.next.iter().map(|next| format!("next: {next}")));
                }
                if !end.undone.is_empty() {
                    lines.push(format!("undone: {}", listed(&end.undone)));
                }
                if !end.not_restored.is_empty() {
                    lines.push(format!("not restored: {}", listed(&end.not_restored)));
                }
                if !end.kept.is_empty() {
                    lines.push(format!("stays: {}", listed(&end.kept)));
                }
                lines.extend(end.next.iter().map(|next| format!("`{next}`")));
            }
            NewsKind::Suspended(waiting) => {
                lines.extend(
                    waiting.iter().map(|one| format!("{}: {}", one.unit, one.question.text)),
                );
            }
        }
        let unsolved = matches!(&self.what, NewsKind::Finished(end) if end.is_unsolved());
        if unsolved && !self.advice.is_empty() {
            lines.push(self.advice.clone());
        }
        crate::secret::scrub(&lines.join("\n")).into_owned()
    }
}

fn listed(units: &[UnitId]) -> String {
    units.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
