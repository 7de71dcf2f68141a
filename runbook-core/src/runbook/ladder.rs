//! [`Ladder`]: remedies, tried in order until a check passes.

use std::sync::Arc;

use super::Runbook;
use super::wiring::Needs;
use crate::check::Check;
use crate::erased::{CheckObject, ErasedCheck};
use crate::people::Escalation;
use crate::plan::{BlockKind, BlockOutline, BlockWork, Node, OutlineNode};
use crate::policy::Wait;

/// The remedies of a [`Runbook::ladder`].
pub struct Ladder<'a> {
    b: &'a mut Runbook,
    wait: Wait,
    escalate: Option<String>,
    call: Option<Escalation>,
}

impl Ladder<'_> {
    /// The next remedy.
    pub fn remedy(&mut self, title: &str, fill: impl FnOnce(&mut Runbook)) -> &mut Self {
        self.b.block(title, BlockWork::Group, BlockKind::Remedy, true, fill);
        self
    }

    /// How long to look after each remedy until the check passes; by default one look.
    pub fn wait(&mut self, wait: Wait) -> &mut Self {
        self.wait = wait;
        self
    }

    /// What to do when no remedy helps; shown with the failure.
    pub fn escalate(&mut self, to: impl Into<String>) -> &mut Self {
        self.escalate = Some(to.into());
        self
    }

    /// Whom to call when no remedy helps, instead of those whom the
    /// [runbook](Runbook::escalation) names.
    pub fn call(&mut self, escalation: &Escalation) -> &mut Self {
        self.call = Some(escalation.clone().scrubbed());
        self
    }
}

impl Runbook {
    /// Remedies, tried in order until `check` passes; nothing is done if it passes at once. A
    /// remedy that fails is undone before the next is tried. If none helps, the run fails.
    pub fn ladder(&mut self, title: &str, check: impl Check, fill: impl FnOnce(&mut Ladder<'_>)) {
        let check: Arc<dyn ErasedCheck> = Arc::new(CheckObject(check));
        let about = check.about();
        let mut needs = Needs::default();
        check.inputs(&mut needs);
        self.resolve(title, &needs);
        let wait = Wait::at_most(std::time::Duration::ZERO);
        let (mut chosen_wait, mut chosen_words, mut chosen_call) = (wait, None, None);
        let work = BlockWork::Ladder { check, wait, escalate: None };
        let kind = BlockKind::Ladder { check: about.title, escalate: None, call: None };
        self.block(title, work, kind, false, |b| {
            let mut ladder = Ladder { b, wait, escalate: None, call: None };
            fill(&mut ladder);
            chosen_wait = ladder.wait;
            chosen_words = ladder.escalate;
            chosen_call = ladder.call;
        });
        if let Some(Node::Block(block)) = self.frame().nodes.last().copied()
            && let Some(block) = self.block_list.get_mut(block as usize)
            && let BlockWork::Ladder { wait, escalate, .. } = &mut block.kind
        {
            *wait = chosen_wait;
            escalate.clone_from(&chosen_words);
        }
        let frame = self.frame();
        if let Some(OutlineNode::Block(BlockOutline {
            kind: BlockKind::Ladder { escalate, call, .. },
            ..
        })) = frame.outlines.last_mut()
        {
            *escalate = chosen_words;
            *call = chosen_call;
        }
    }
}
