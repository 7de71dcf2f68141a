//! What a report says of an incident: since when it lasts, whether somebody answered in time, whom
//! to call, and from when on.

use serde::Serialize;

use super::summary::SummaryLine;
use super::text::{duration, moment};
use super::timeline::{MomentKind, RunStatus, Timeline};
use crate::event::{Answer, BlockOutcome, Mode, ResumeMode, Status, Timestamp};
use crate::people::{Call, Contact, Escalation, Severity};

/// Whether somebody answered in time.
///
/// What counts as the answer is the first of these: the start of the run, if what it is about was
/// [said](crate::RunStarted::began) to be older; what a person answered, decided or resumed in it;
/// its good end. A journal knows of nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Response {
    /// Until when somebody had to answer.
    pub due: Timestamp,
    /// When somebody did; none if nobody did yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Who, and how: `kim answered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
}

impl Response {
    /// Whether it was in time; none if nobody answered yet.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        self.at.map(|at| at <= self.due)
    }
}

impl Timeline {
    /// When what the run is about began: as its starter said, or the run itself.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        self.head.as_ref().and_then(|head| head.began).or(self.started)
    }

    /// Whether somebody answered in time; none if the runbook names no severity, or nothing was
    /// really run.
    #[must_use]
    pub fn response(&self) -> Option<Response> {
        let head = self.head.as_ref().filter(|head| head.mode == Mode::Run)?;
        let due = self.began()?.after(self.severity()?.respond_within());
        let started =
            head.began.and(self.started).map(|at| (at, format!("{} started", head.by.name)));
        let acted = || {
            self.moments.iter().find_map(|moment| {
                let how = match &moment.what {
                    MomentKind::Answered { by, answer: Answer::No, .. } => format!("{by} said no"),
                    MomentKind::Answered { by, .. } => format!("{by} answered"),
                    MomentKind::Decided { by, .. } => format!("{by} decided"),
                    MomentKind::Resumed { by, mode: ResumeMode::Forward, .. } => {
                        format!("{} took it up again", by.name)
                    }
                    MomentKind::Resumed { by, .. } => format!("{} rolled it back", by.name),
                    MomentKind::Finished { status: Status::Succeeded } => "solved".into(),
                    _ => return None,
                };
                Some((moment.at, how))
            })
        };
        let (at, how) = started.or_else(acted).unzip();
        Some(Response { due, at, how })
    }

    /// Whom to call, and from when on; nothing if the runbook names nobody.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let both = self.escalation().zip(self.began());
        both.map_or_else(Vec::new, |(escalation, began)| escalation.calls(began).collect())
    }

    pub(super) fn severity(&self) -> Option<&Severity> {
        self.outline.as_ref()?.severity.as_ref()
    }

    /// Whom to call: those of the last ladder that did not help, or of the runbook.
    pub(super) fn escalation(&self) -> Option<&Escalation> {
        let failed = |id: &_| {
            self.block(id).is_some_and(|block| block.outcome == Some(BlockOutcome::Failed))
        };
        self.outline.as_ref()?.escalation_after(failed)
    }

    /// The severity in a line, and whether somebody answered in time.
    pub(super) fn severity_line(&self) -> Option<SummaryLine> {
        let mut text = self.severity()?.sentence();
        if let Some((response, began)) = self.response().zip(self.began()) {
            text.push_str(&format!(", by {}; ", moment(response.due)));
            let after = |at: Timestamp| duration(at.since(began));
            text.push_str(&match (response.met(), response.at.zip(response.how)) {
                (Some(true), Some((at, how))) => format!("in time: {how} after {}", after(at)),
                (_, Some((at, how))) => format!("too late: {how} after {}", after(at)),
                _ => "no answer in this run yet".into(),
            });
        }
        Some(SummaryLine { label: "Severity".into(), text })
    }

    /// Whom to call, if it ended and is not solved.
    pub(super) fn call_lines(&self) -> Vec<SummaryLine> {
        let unsolved = match &self.finished {
            Some(end) => end.is_unsolved(),
            None => self.status == RunStatus::Interrupted,
        };
        if !unsolved || self.head.as_ref().is_none_or(|head| head.mode != Mode::Run) {
            return Vec::new();
        }
        let mut lines = Vec::new();
        for call in self.calls() {
            let label = match self.last {
                Some(last) if call.from <= last => "Call now".into(),
                _ => format!("Call from {} on", moment(call.from)),
            };
            let line =
                |contact: &Contact| SummaryLine { label: label.clone(), text: contact.to_string() };
            lines.extend(call.call.iter().map(line));
        }
        lines
    }
}
