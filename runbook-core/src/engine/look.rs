//! Makes the checks of a run, once or until they pass, and notes what they found.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::guard::guarded;
use super::unit::no_secret;
use super::{Halt, Run};
use crate::check::Level;
use crate::context::{Observer, Scope};
use crate::erased::{ErasedCheck, Given, Gives, Looked};
use crate::error::{Failure, FailureKind, Problem, Result};
use crate::event::{CheckRole, EventKind, UnitId, VerdictRecord};
use crate::input::with_known;
use crate::plan::Unit;
use crate::policy::Wait;

/// Looks once, notes the verdict; `Err` with a problem if it is a fail.
pub(super) async fn look(
    run: &Arc<Run>,
    unit: &Unit,
    check: &dyn ErasedCheck,
    scope: &Arc<Scope>,
    role: CheckRole,
) -> Result<Result<Option<Given>, Problem>, Halt> {
    let observer = Observer::new(Arc::clone(scope));
    let looked =
        guarded(run, scope, unit.policies.timeout, check.look(&observer, Gives::Evidence)).await;
    let (record, output) = match looked {
        Ok(Looked { record, output }) => (record, output),
        Err(failure) if failure.kind() == FailureKind::Cancelled => {
            return Err(Halt::Cancelled(None, failure.to_problem()));
        }
        Err(failure) => {
            let problem = failure.to_problem();
            let why = problem.message.clone();
            note_verdict(run, &unit.id, check, role, failed(why))?;
            return Ok(Err(problem));
        }
    };
    let is_fail = record.level == Level::Fail;
    let why = record.why.clone();
    let title = note_verdict(run, &unit.id, check, role, record)?;
    if is_fail {
        let message = if why.is_empty() { title } else { format!("{title}: {why}") };
        return Ok(Err(Failure::new(FailureKind::Refused, message).to_problem()));
    }
    Ok(Ok(output))
}

/// What is known where a look failed.
fn failed(why: String) -> VerdictRecord {
    VerdictRecord { level: Level::Fail, why, evidence: None }
}

/// Writes the verdict down; gives the check's title.
pub(super) fn note_verdict(
    run: &Run,
    unit: &UnitId,
    check: &dyn ErasedCheck,
    role: CheckRole,
    mut verdict: VerdictRecord,
) -> Result<String, Halt> {
    let title = with_known(&run.outputs, || check.about().title);
    let title = crate::secret::scrub(&title).into_owned();
    if no_secret(verdict.evidence.as_ref(), "evidence").is_err() {
        verdict.evidence = None;
    }
    run.record(EventKind::Checked { unit: unit.clone(), role, title: title.clone(), verdict })?;
    Ok(title)
}

/// Looks until the check passes or the time is up; notes the first look, every change of mind and
/// the last one, so that a long wait does not fill the journal. What the last look that came to
/// its end found is why the wait failed: that the time was up is known from the wait.
pub(super) async fn look_until(
    run: &Arc<Run>,
    id: &UnitId,
    check: &dyn ErasedCheck,
    wait: Wait,
    role: CheckRole,
) -> Result<Result<Option<Given>, Problem>, Halt> {
    let scope = run.scope(id, false);
    let began = Instant::now();
    let mut noted: Option<(Level, String)> = None;
    let mut last: Option<VerdictRecord> = None;
    loop {
        let observer = Observer::new(Arc::clone(&scope));
        // One look may take no longer than what is left, but is given a second.
        let left = wait.at_most.saturating_sub(began.elapsed()).max(Duration::from_secs(1));
        let limit = if wait.at_most.is_zero() { None } else { Some(left) };
        let looked = guarded(run, &scope, limit, check.look(&observer, Gives::Evidence)).await;
        let told_to_stop = scope.stop.reason().is_some();
        scope.stop.reset();
        let mut cut_off = false;
        let (record, output) = match looked {
            Ok(Looked { record, output }) => (record, output),
            Err(failure) if failure.kind() == FailureKind::Cancelled => {
                return Err(Halt::Cancelled(Some(id.clone()), failure.to_problem()));
            }
            // It says nothing of what it looked at, but that it did not answer.
            Err(failure) if failure.kind() == FailureKind::TimedOut && told_to_stop => {
                cut_off = true;
                let none = || failed("no answer came".into());
                (last.clone().unwrap_or_else(none), None)
            }
            Err(failure) => (failed(failure.to_problem().message), None),
        };
        let passed = record.level != Level::Fail;
        let this = (record.level, record.why.clone());
        let over = cut_off || began.elapsed().saturating_add(wait.every) > wait.at_most;
        let answered = last.is_some() || !cut_off;
        last = Some(record.clone());
        if passed || over || noted.as_ref() != Some(&this) {
            let why = this.1.clone();
            noted = Some(this);
            let title = note_verdict(run, id, check, role, record)?;
            if passed {
                return Ok(Ok(output));
            }
            if over {
                let time = humantime::format_duration(wait.at_most);
                let message = match (wait.at_most.is_zero(), cut_off && answered) {
                    (true, _) => format!("{title}: {why}"),
                    (_, false) => format!("{title}: {why} (not within {time})"),
                    (_, true) => {
                        format!("{title}: {why} (not within {time}, and the last look did not end)")
                    }
                };
                return Ok(Err(Failure::new(FailureKind::Refused, message).to_problem()));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait.every) => {}
            () = run.shared.cancel.cancelled(), if !run.undoing() => {
                let by = run.shared.cancel.by().unwrap_or("somebody");
                let failure = Failure::new(FailureKind::Cancelled, format!("cancelled by {by}"));
                return Err(Halt::Cancelled(Some(id.clone()), failure.to_problem()));
            }
        }
    }
}
