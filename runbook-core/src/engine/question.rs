//! Asks a person: through the handle while the process lives, or by suspending the run.

use super::schedule::Branch;
use super::{Halt, Run};
use crate::error::{Failure, FailureKind};
use crate::event::{Answer, Decision, EventKind, Question, QuestionKind};
use crate::plan::Unit;

/// The answer, from the journal, the handle, or nobody yet (which suspends).
pub(super) async fn ask(
    run: &Run,
    branch: &Branch,
    unit: &Unit,
    question: Question,
) -> Result<Answer, Halt> {
    if run.resumed {
        let earlier = run.recorder.state().unit(&unit.id).and_then(|u| u.answer.clone());
        // An answer is used once: what it led to decides from then on.
        if let Some((_, answer)) = earlier
            && question.kind != QuestionKind::Interrupted
        {
            return Ok(answer);
        }
    }
    ask_now(run, branch, unit, question).await
}

/// Asks whatever was answered before.
pub(super) async fn ask_now(
    run: &Run,
    branch: &Branch,
    unit: &Unit,
    question: Question,
) -> Result<Answer, Halt> {
    let answer = run.shared.ask(&unit.id, question.clone());
    run.recorder
        .record_durable(EventKind::Asked { unit: unit.id.clone(), question: question.clone() })
        .await?;
    if run.options.unattended {
        run.shared.withdraw(&unit.id);
        run.shared.suspend(&unit.id, question);
        return Err(Halt::Suspended);
    }
    let (answer, by) = tokio::select! {
        biased;
        Ok(given) = answer => given,
        () = run.shared.cancel.cancelled(), if !run.undoing() => {
            run.shared.withdraw(&unit.id);
            let by = run.shared.cancel.by().unwrap_or("somebody");
            let failure = Failure::new(FailureKind::Cancelled, format!("cancelled by {by}"));
            return Err(Halt::Cancelled(None, failure.to_problem()));
        }
        () = branch.stopping(run) => {
            run.shared.withdraw(&unit.id);
            return Err(Halt::Stopped);
        }
    };
    let by = crate::secret::scrub(&by).into_owned();
    // A secret given as an answer is refused by the unit, and is not written down on the way.
    let noted = match &answer {
        Answer::Value(text) => Answer::Value(crate::secret::scrub(text).into_owned()),
        answer => answer.clone(),
    };
    run.record(EventKind::Answered { unit: unit.id.clone(), by, answer: noted })?;
    Ok(answer)
}

/// `retry`, `skip` or `rollback`.
pub(super) fn decision(word: &str) -> Result<Decision, String> {
    match word {
        "retry" => Ok(Decision::Retry),
        "skip" => Ok(Decision::Skip),
        "rollback" => Ok(Decision::Rollback),
        _ => Err("retry, skip or rollback".into()),
    }
}
