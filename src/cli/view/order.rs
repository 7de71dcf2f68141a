//! In which order a run is told: whose turn it is, and what is over and may scroll away.

use runbook_core::{BlockKind, Mode, SkipReason, Timestamp};

use super::node::{Kind, State};
use super::state::{Phase, Settled, ViewState};

impl ViewState {
    /// Whether what is done come what may is next: all else is over, failed, or undone.
    pub(super) fn finally_is_due(&self) -> bool {
        match self.phase {
            Phase::Back => self.to_undo.is_empty(),
            Phase::Over => false,
            _ => {
                let failed = |at: &usize| self.nodes[*at].state == State::Failed;
                self.top.iter().any(failed) || self.top.iter().all(|at| self.nodes[*at].is_over())
            }
        }
    }

    /// Engines do not say when a check, or a step that is not started yet, has its turn; in a
    /// sequence that follows from what is over.
    pub(super) fn activate(&mut self, at: Timestamp) {
        if self.head.as_ref().is_none_or(|head| head.mode != Mode::Run) {
            return;
        }
        if self.phase == Phase::Forward {
            self.activate_next(self.top.clone(), at);
        }
        if self.finally_is_due() {
            self.activate_next(self.finally.clone(), at);
        }
    }

    fn activate_next(&mut self, nodes: Vec<usize>, at: Timestamp) {
        for child in nodes {
            let node = &mut self.nodes[child];
            if node.is_over() && !matches!(node.state, State::Failed) {
                continue;
            }
            if matches!(node.kind, Kind::Unit(_)) {
                if node.state == State::Pending {
                    node.state = State::Active;
                    node.began.get_or_insert(at);
                }
            } else if node.state == State::Active {
                let children = node.children.clone();
                if node.is_concurrent() {
                    for child in children {
                        self.activate_next(vec![child], at);
                    }
                } else {
                    self.activate_next(children, at);
                }
            }
            return;
        }
    }

    /// Hands out what is over, in an order that reads well: a sequence from its beginning, the
    /// branches of a concurrent block each as a whole.
    pub(super) fn settle(&mut self) {
        match self.head.as_ref().map(|head| head.mode) {
            Some(Mode::Run) => {}
            // Only checks are made, in order.
            Some(Mode::Check) => {
                for at in 0..self.nodes.len() {
                    if matches!(self.nodes[at].kind, Kind::Unit(_)) {
                        self.settle_node(at);
                    }
                }
                return;
            }
            // A plan is shown as a whole.
            Some(Mode::Plan) | None => return,
        }
        if self.phase != Phase::Back {
            for node in self.top.clone() {
                if !self.settle_node(node) {
                    break;
                }
            }
        }
        if self.finally_is_due() {
            for node in self.finally.clone() {
                if !self.settle_node(node) {
                    break;
                }
            }
        }
    }

    /// Whether the node is over and handed out.
    pub(super) fn settle_node(&mut self, at: usize) -> bool {
        let node = &self.nodes[at];
        if matches!(node.kind, Kind::Unit(_)) {
            let over = node.is_over();
            // Units of a block that is left out say nothing: the block does.
            let quiet = node.parent.is_some()
                && matches!(
                    node.state,
                    State::Skipped(SkipReason::Condition | SkipReason::NotNeeded)
                );
            if over && !quiet {
                self.hand_out(at, Settled::Unit(at));
            }
            return over;
        }
        // A branch or remedy that failed may be undone by itself: its lines wait for that.
        let may_be_isolated =
            matches!(node.kind, Kind::Block(BlockKind::Branch | BlockKind::Remedy));
        if may_be_isolated && node.state == State::Failed {
            return false;
        }
        let (over, concurrent) = (node.is_over(), node.is_concurrent());
        if over && matches!(node.state, State::Skipped(_)) {
            self.hand_out(at, Settled::Block(at));
            return true;
        }
        for child in node.children.clone() {
            let inner = &self.nodes[child];
            // Lines of branches that run at the same time must not be mixed.
            let whole = !concurrent || matches!(inner.kind, Kind::Unit(_)) || inner.is_over();
            let gone = whole && self.settle_node(child);
            if !(gone || concurrent || over) {
                break;
            }
        }
        let node = &self.nodes[at];
        let ladder = matches!(node.kind, Kind::Block(BlockKind::Ladder { .. }));
        let alone = matches!(node.state, State::Isolated | State::UndoFailed);
        let tells = alone || (ladder && node.state == State::Done);
        if over && tells && !node.closed {
            self.nodes[at].closed = true;
            self.nodes[at].printed = true;
            self.hand_out_headers(at);
            self.settled.push(Settled::Block(at));
        }
        over
    }

    /// Hands out all that is over: the run turns back or ends.
    pub(super) fn settle_all(&mut self) {
        if self.phase == Phase::Back || self.head.as_ref().is_none_or(|h| h.mode != Mode::Run) {
            return;
        }
        for at in 0..self.nodes.len() {
            if matches!(self.nodes[at].kind, Kind::Unit(_)) {
                self.settle_node(at);
            }
        }
    }

    pub(super) fn hand_out(&mut self, at: usize, what: Settled) {
        if std::mem::replace(&mut self.nodes[at].printed, true) {
            return;
        }
        self.hand_out_headers(at);
        self.settled.push(what);
    }

    /// The headers of the blocks around a node, those that have not been handed out.
    fn hand_out_headers(&mut self, at: usize) {
        if !self.finally_shown && self.finally.iter().any(|top| self.is_within(at, *top)) {
            self.finally_shown = true;
            self.settled.push(Settled::FinallyHeader);
        }
        let mut blocks = Vec::new();
        let mut up = self.nodes[at].parent;
        while let Some(parent) = up {
            if !std::mem::replace(&mut self.nodes[parent].printed, true) {
                blocks.push(Settled::Header(parent));
            }
            up = self.nodes[parent].parent;
        }
        self.settled.extend(blocks.into_iter().rev());
    }

    fn is_within(&self, mut at: usize, top: usize) -> bool {
        loop {
            if at == top {
                return true;
            }
            match self.nodes[at].parent {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }
}
