//! Looking without touching: `plan` (checks run, steps preview) and `check` (checks only).

use std::sync::Arc;

use super::guard::guarded;
use super::{Outcome, Run};
use crate::check::Level;
use crate::context::Observer;
use crate::erased::{ErasedCheck, Gives, Looked};
use crate::error::{Error, Failure, FailureKind};
use crate::event::{CheckRole, EventKind, Mode, RunFinished, SkipReason, Status, VerdictRecord};
use crate::plan::{BlockWork, Node, Unit, Work};

/// What is known so far.
struct Looking<'a> {
    run: &'a Arc<Run>,
    mode: Mode,
    /// A step came before: what a check finds now says little about what it will find then.
    past_first_step: bool,
    failed: bool,
    first_problem: Option<(crate::event::UnitId, crate::error::Problem)>,
}

impl Run {
    pub(super) async fn look(self: Arc<Self>, mode: Mode) -> Result<Outcome, Error> {
        let mut looking = Looking {
            run: &self,
            mode,
            past_first_step: false,
            failed: false,
            first_problem: None,
        };
        let plan = self.plan();
        looking.nodes(&plan.nodes).await?;
        looking.past_first_step = true;
        if mode == Mode::Plan {
            looking.nodes(&plan.finally).await?;
        }
        let Looking { failed, first_problem, .. } = looking;
        let (unit, problem) = first_problem.unzip();
        let status = if failed { Status::Failed } else { Status::Succeeded };
        let finished = RunFinished {
            status,
            problem,
            unit,
            undone: Vec::new(),
            not_restored: Vec::new(),
            kept: Vec::new(),
            without: Vec::new(),
            call: Vec::new(),
            next: Vec::new(),
        };
        self.record(EventKind::RunFinished(Box::new(finished.clone())))?;
        Ok(Outcome {
            run: self.shared.run.clone(),
            status,
            finished: Some(finished),
            checks_failed: failed,
            state: std::mem::take(&mut *self.recorder.state()),
        })
    }
}

type Boxed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Looking<'_> {
    fn nodes<'b>(&'b mut self, nodes: &'b [Node]) -> Boxed<'b, Result<(), Error>> {
        Box::pin(async move {
            for node in nodes {
                if let Some(by) = self.run.shared.cancel.by() {
                    return Err(Error::state(format!("cancelled by {by}; nothing was changed")));
                }
                match node {
                    Node::Unit(index) => self.unit(*index).await?,
                    Node::Block(index) => self.block(*index).await?,
                    Node::Lock(_) => {}
                }
            }
            Ok(())
        })
    }

    async fn block(&mut self, index: u32) -> Result<(), Error> {
        let run = self.run;
        let block = &run.plan().blocks[index as usize];
        if let BlockWork::When { condition, needs } = &block.kind
            && self.known(needs)
        {
            let scope = run.scope(&block.id, false);
            if matches!(condition.get(&Run::context(&scope)), Ok(false)) {
                for unit in block.units.clone() {
                    self.skip(unit, SkipReason::Condition)?;
                }
                return Ok(());
            }
        }
        let children = Arc::clone(&block.children);
        let outer = self.past_first_step;
        // What is inside may be left out: a check there decides nothing now.
        self.past_first_step |= !matches!(
            block.kind,
            BlockWork::Group | BlockWork::Parallel | BlockWork::Checklist | BlockWork::Each(_)
        );
        let inside = self.past_first_step;
        self.nodes(&children).await?;
        if inside != outer {
            let steps = block
                .units
                .clone()
                .any(|unit| matches!(run.unit(unit).work, Work::Step { .. } | Work::Manual { .. }));
            self.past_first_step = outer || steps;
        }
        Ok(())
    }

    async fn unit(&mut self, index: u32) -> Result<(), Error> {
        let run = self.run;
        let unit = run.unit(index);
        let known = self.known(&unit.needs);
        match &unit.work {
            Work::Check { check } | Work::Wait { check, .. } if known => {
                let waits = matches!(unit.work, Work::Wait { .. });
                let role = if waits { CheckRole::Wait } else { CheckRole::Gate };
                let decides = self.mode == Mode::Check || !(self.past_first_step || waits);
                self.check(index, unit, &**check, role, Gives::Evidence, decides).await
            }
            Work::Observe { check } if known => {
                let role = CheckRole::Observation;
                self.check(index, unit, &**check, role, Gives::Verdict, false).await
            }
            Work::Step { step, .. } if self.mode == Mode::Plan => {
                let mut satisfied = None;
                if known {
                    let decides = !self.past_first_step;
                    for check in &unit.policies.requires {
                        self.requirement(unit, &**check, decides).await?;
                    }
                    let scope = run.scope(&unit.id, false);
                    let observer = Observer::new(Arc::clone(&scope));
                    let limit = unit.policies.timeout;
                    if let Ok(found) = guarded(run, &scope, limit, step.satisfied(&observer)).await
                    {
                        satisfied = Some(found.is_some());
                        if let Some(output) = found {
                            run.outputs.set(index, output.value);
                        }
                    }
                }
                self.past_first_step = true;
                use crate::context::Sink;
                run.recorder.pass(EventKind::Previewed { unit: unit.id.clone(), satisfied });
                Ok(())
            }
            Work::Manual { .. } if self.mode == Mode::Plan => {
                self.past_first_step = true;
                use crate::context::Sink;
                let unit = unit.id.clone();
                run.recorder.pass(EventKind::Previewed { unit, satisfied: None });
                Ok(())
            }
            Work::Check { .. } | Work::Wait { .. } | Work::Observe { .. } => {
                self.skip(index, SkipReason::NoInput)
            }
            Work::Step { .. } | Work::Manual { .. } => Ok(()),
        }
    }

    async fn check(
        &mut self,
        index: u32,
        unit: &Unit,
        check: &dyn ErasedCheck,
        role: CheckRole,
        gives: Gives,
        decides: bool,
    ) -> Result<(), Error> {
        let run = self.run;
        let (verdict, output) = self.verdict(unit, check, gives).await?;
        let failed = verdict.level == Level::Fail && role != CheckRole::Observation;
        let title = check.about().title;
        let why = verdict.why.clone();
        let id = unit.id.clone();
        run.record(EventKind::Checked { unit: id.clone(), role, title: title.clone(), verdict })?;
        if failed {
            let message = format!("{title}: {why}");
            let problem = Failure::new(FailureKind::Refused, message).to_problem();
            if decides {
                self.failed = true;
                self.first_problem.get_or_insert((id.clone(), problem.clone()));
                run.record(EventKind::Failed { unit: id, problem })?;
            }
            return Ok(());
        }
        let json = output.as_ref().and_then(|output| output.json.clone());
        if let Some(output) = output {
            run.outputs.set(index, output.value);
        }
        run.record(EventKind::Finished { unit: id, output: json })
    }

    async fn requirement(
        &mut self,
        unit: &Unit,
        check: &dyn ErasedCheck,
        decides: bool,
    ) -> Result<(), Error> {
        let (verdict, _) = self.verdict(unit, check, Gives::Evidence).await?;
        let title = check.about().title;
        if verdict.level == Level::Fail && decides {
            self.failed = true;
            let message = format!("{title}: {}", verdict.why);
            let problem = Failure::new(FailureKind::Refused, message).to_problem();
            self.first_problem.get_or_insert((unit.id.clone(), problem));
        }
        let unit = unit.id.clone();
        self.run.record(EventKind::Checked { unit, role: CheckRole::Requires, title, verdict })
    }

    async fn verdict(
        &self,
        unit: &Unit,
        check: &dyn ErasedCheck,
        gives: Gives,
    ) -> Result<(VerdictRecord, Option<crate::erased::Given>), Error> {
        let scope = self.run.scope(&unit.id, false);
        let observer = Observer::new(Arc::clone(&scope));
        let limit = unit.policies.timeout;
        match guarded(self.run, &scope, limit, check.look(&observer, gives)).await {
            Ok(Looked { record, output }) => Ok((record, output)),
            Err(failure) if failure.kind() == FailureKind::Cancelled => {
                Err(Error::state(format!("{failure}; nothing was changed")))
            }
            Err(failure) => {
                let why = failure.to_problem().message;
                Ok((VerdictRecord { level: Level::Fail, why, evidence: None }, None))
            }
        }
    }

    fn known(&self, needs: &[u32]) -> bool {
        needs.iter().all(|unit| self.run.outputs.any(*unit).is_some())
    }

    fn skip(&self, index: u32, why: SkipReason) -> Result<(), Error> {
        let unit = self.run.unit(index).id.clone();
        self.run.record(EventKind::Skipped { unit, why, output: None })
    }
}
