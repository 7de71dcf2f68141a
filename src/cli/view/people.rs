//! Whom to call, as the end of a run says it.

use runbook_core::{Call, Mode, UnitId};

use super::node::State;
use super::state::ViewState;
use crate::cli::text;

/// How grave it is, whom to call now, and whom later; as plain lines.
pub(super) struct ToCall {
    pub(super) severity: Option<String>,
    pub(super) now: Vec<String>,
    pub(super) later: Vec<String>,
}

impl ViewState {
    /// Whom to call, if it ended and is not solved.
    pub(super) fn to_call(&self) -> Option<ToCall> {
        let head = self.head.as_ref().filter(|head| head.mode == Mode::Run)?;
        let (began, last) = head.began.or(self.started).zip(self.last)?;
        self.end.as_ref().filter(|end| end.is_unsolved())?;
        let failed = |id: &UnitId| self.node(id).is_some_and(|node| node.state == State::Failed);
        let (now, later): (Vec<Call>, Vec<Call>) = head
            .plan
            .escalation_after(failed)
            .into_iter()
            .flat_map(|escalation| escalation.calls(began))
            .partition(|call| call.from <= last);
        let say = |calls: Vec<Call>, when: &dyn Fn(&Call) -> String| -> Vec<String> {
            let lines = |call: &Call| -> Vec<String> {
                let when = when(call);
                call.call.iter().map(|contact| format!("{when}{contact}")).collect()
            };
            calls.iter().flat_map(lines).collect()
        };
        Some(ToCall {
            severity: head.plan.severity.as_ref().map(runbook_core::Severity::sentence),
            now: say(now, &|_| String::new()),
            later: say(later, &|call| format!("from {} on: ", text::time(call.from))),
        })
    }
}
