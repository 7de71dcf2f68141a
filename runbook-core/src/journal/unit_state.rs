//! [`UnitState`]: the state of one unit, and the steps from one stage to the next.

use std::borrow::Cow;

use crate::error::Problem;
use crate::event::{Answer, Decision, Json, SkipReason, UnitId};
use crate::plan::{UnitKind, UnitOutline};
use crate::step::UndoKind;

/// Why an event can't follow.
pub(super) type Refused = Cow<'static, str>;

/// Where a unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing happened yet.
    #[default]
    Pending,
    /// It was left out.
    Skipped,
    /// Its record is durable and it may have begun; without a living process: interrupted.
    Started,
    /// It did its work.
    Finished,
    /// It failed.
    Failed,
    /// Its undoing began.
    Undoing,
    /// It was undone and that was verified.
    Undone,
    /// Its undoing failed.
    UndoFailed,
}

/// What is known of one unit.
#[derive(Clone, Debug)]
pub struct UnitState {
    /// Where it is.
    pub stage: Stage,
    /// Whether it was ever started.
    pub started: bool,
    /// What its rollback needs.
    pub record: Option<Json>,
    /// What it gave.
    pub output: Option<Json>,
    /// Whether it gave an output (which may be `()`, that has no JSON).
    pub has_output: bool,
    /// The latest answer to its question.
    pub answer: Option<(String, Answer)>,
    /// The operator's latest decision, until it is acted on.
    pub decision: Option<Decision>,
    /// Why it failed, if it did since it was last started; stays when it is undone.
    pub problem: Option<Problem>,
    kind: UnitKind,
    undo: UndoKind,
    in_finally: bool,
    /// Whether it was started and not undone since: its effect is or may be there.
    effect: bool,
    /// How often the run had been resumed when its stage last changed.
    changed_in: u32,
}

impl UnitState {
    pub(super) fn new(unit: &UnitOutline, in_finally: bool) -> Self {
        Self {
            stage: Stage::Pending,
            started: false,
            record: None,
            output: None,
            has_output: false,
            answer: None,
            decision: None,
            problem: None,
            kind: unit.kind,
            undo: unit.undo,
            in_finally,
            effect: false,
            changed_in: 0,
        }
    }

    /// Whether its effect is or may be there, has a record to undo it by, and goes when the run is
    /// rolled back. What is done at the end come what may (`finally`) stays.
    #[must_use]
    pub fn wants_undo(&self) -> bool {
        self.can_be_undone() && !self.in_finally
    }

    /// Whether its effect is or may be there and has a record to undo it by.
    pub(super) fn can_be_undone(&self) -> bool {
        self.effect && self.undo == UndoKind::Recorded
    }

    /// Whether its effect is or may be there and stays, since it can't be undone.
    pub(super) fn is_kept(&self) -> bool {
        self.effect && self.undo == UndoKind::Irreversible
    }

    /// Whether its effect is or may be there.
    pub(super) fn has_effect(&self) -> bool {
        self.effect
    }

    pub(super) fn is_step(&self) -> bool {
        self.kind == UnitKind::Step
    }

    pub(super) fn in_finally(&self) -> bool {
        self.in_finally
    }

    /// Whether the present process is at work on it, going forward or back.
    pub(super) fn is_running(&self, resumes: u32) -> bool {
        matches!(self.stage, Stage::Started | Stage::Undoing) && !self.is_left_over(resumes)
    }

    /// Whether an earlier process left it as it is.
    fn is_left_over(&self, resumes: u32) -> bool {
        self.changed_in < resumes
    }

    /// Whether it can begin as if it never had.
    fn is_fresh(&self) -> bool {
        matches!(self.stage, Stage::Pending | Stage::Undone)
    }

    /// Whether it did not come to its end, and may be taken up once more.
    fn is_reopened(&self, resumes: u32) -> bool {
        matches!(self.stage, Stage::Started | Stage::Failed)
            && (self.is_left_over(resumes)
                || matches!(self.decision, Some(Decision::Retry | Decision::Skip)))
    }

    fn to(&mut self, stage: Stage, resumes: u32) {
        self.stage = stage;
        self.changed_in = resumes;
        self.decision = None;
    }

    pub(super) fn skip(
        &mut self,
        id: &UnitId,
        why: &SkipReason,
        output: Option<&Json>,
        resumes: u32,
    ) -> Result<(), Refused> {
        let reopened = self.is_reopened(resumes)
            && matches!(why, SkipReason::Operator | SkipReason::Satisfied);
        self.must(self.is_fresh() || reopened, id, "skipped")?;
        self.to(Stage::Skipped, resumes);
        self.output = output.cloned();
        self.has_output = *why == SkipReason::Satisfied || output.is_some();
        Ok(())
    }

    pub(super) fn start(
        &mut self,
        id: &UnitId,
        record: Option<&Json>,
        resumes: u32,
    ) -> Result<(), Refused> {
        self.must(self.is_step(), id, "started: it is no step")?;
        self.must(self.is_fresh() || self.is_reopened(resumes), id, "started")?;
        let takes_record = self.undo == UndoKind::Recorded;
        // A repeated unit keeps its first record, which shows the state to go back to.
        let fits = if self.effect {
            takes_record || record.is_none()
        } else {
            takes_record == record.is_some()
        };
        self.must(
            fits,
            id,
            if takes_record {
                "started without a record to undo it by"
            } else {
                "started with a record: it is not undone"
            },
        )?;
        if !self.effect {
            self.record = record.cloned();
        }
        self.to(Stage::Started, resumes);
        self.started = true;
        self.effect = true;
        self.output = None;
        self.has_output = false;
        self.problem = None;
        Ok(())
    }

    pub(super) fn finish(
        &mut self,
        id: &UnitId,
        output: Option<&Json>,
        resumes: u32,
    ) -> Result<(), Refused> {
        let fits = if self.is_step() {
            self.stage == Stage::Started
        } else {
            self.is_fresh() || self.is_reopened(resumes)
        };
        self.must(fits, id, "finished")?;
        self.to(Stage::Finished, resumes);
        self.problem = None;
        self.output = output.cloned();
        self.has_output = true;
        Ok(())
    }

    pub(super) fn fail(
        &mut self,
        id: &UnitId,
        problem: &Problem,
        resumes: u32,
    ) -> Result<(), Refused> {
        // From finished too: a verification came to nothing.
        let fits = matches!(self.stage, Stage::Started | Stage::Finished)
            || self.is_fresh()
            || self.is_reopened(resumes);
        self.must(fits, id, "failed")?;
        self.to(Stage::Failed, resumes);
        self.problem = Some(problem.clone());
        Ok(())
    }

    pub(super) fn retry(&self, id: &UnitId, resumes: u32) -> Result<(), Refused> {
        let fits = if self.is_step() {
            self.stage == Stage::Started
        } else {
            self.is_fresh() || self.is_reopened(resumes)
        };
        self.must(fits, id, "retried")
    }

    pub(super) fn decide(
        &mut self,
        id: &UnitId,
        decision: Decision,
        resumes: u32,
    ) -> Result<(), Refused> {
        let undo = matches!(self.stage, Stage::Undoing | Stage::UndoFailed);
        if decision == Decision::Restored {
            self.must(undo, id, "taken as restored")?;
            self.restored(resumes);
            return Ok(());
        }
        let open = undo || matches!(self.stage, Stage::Started | Stage::Failed);
        self.must(open, id, "decided about")?;
        self.decision = Some(decision);
        Ok(())
    }

    pub(super) fn undo(&mut self, id: &UnitId, resumes: u32) -> Result<(), Refused> {
        self.must(self.can_be_undone(), id, "undone: there is nothing to undo")?;
        self.must(!self.is_running(resumes), id, "undone while it is at work")?;
        self.to(Stage::Undoing, resumes);
        Ok(())
    }

    pub(super) fn undone(&mut self, id: &UnitId, resumes: u32) -> Result<(), Refused> {
        self.must(self.stage == Stage::Undoing, id, "undone before its undoing started")?;
        self.restored(resumes);
        Ok(())
    }

    pub(super) fn undo_failed(&mut self, id: &UnitId, resumes: u32) -> Result<(), Refused> {
        let fits = self.stage == Stage::Undoing;
        self.must(fits, id, "left unrestored before its undoing started")?;
        self.to(Stage::UndoFailed, resumes);
        Ok(())
    }

    fn restored(&mut self, resumes: u32) {
        self.to(Stage::Undone, resumes);
        self.effect = false;
    }

    fn must(&self, fits: bool, id: &UnitId, what: &str) -> Result<(), Refused> {
        if fits {
            return Ok(());
        }
        let stage = match self.stage {
            Stage::Pending => "pending",
            Stage::Skipped => "skipped",
            Stage::Started => "started",
            Stage::Finished => "finished",
            Stage::Failed => "failed",
            Stage::Undoing => "being undone",
            Stage::Undone => "undone",
            Stage::UndoFailed => "not restored",
        };
        Err(format!("unit `{id}` is {stage} and can't be {what}").into())
    }
}
