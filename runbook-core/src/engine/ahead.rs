//! Tells the hosts with which a run begins to get ready, while its journal is being made.
//!
//! Connecting changes nothing on a host, so that it need not be written down first. Only those are
//! told that the run goes to before anything else has happened: what comes later may not come at
//! all, and a connection that waits long may be lost before it is used.

use super::Run;
use crate::event::Mode;
use crate::plan::{Block, BlockWork, Node, PlanInner, Work};
use crate::target::Host;

/// Before a run goes through its plan for the first time.
pub(super) fn of_plan(plan: &PlanInner, mode: Mode) {
    Ahead { plan, mode, settled: &|_| false }.prepare();
}

impl Run {
    /// Before a run that was taken up goes on, or `back`.
    pub(super) fn prepare_to_go_on(&self, back: bool) {
        if !back {
            let settled = |unit| self.is_settled(unit);
            Ahead { plan: self.plan(), mode: Mode::Run, settled: &settled }.prepare();
            return;
        }
        // The way back may have to wait for its locks first.
        let last = match self.plan().locks.is_empty() {
            true => self.recorder.state().to_undo().into_iter().next(),
            false => None,
        };
        let unit = last.and_then(|last| self.plan().units.iter().find(|unit| unit.id == last));
        for host in unit.iter().flat_map(|unit| &unit.hosts) {
            host.target().prepare();
        }
    }
}

struct Ahead<'a> {
    plan: &'a PlanInner,
    mode: Mode,
    /// Whether an earlier process has done with a unit.
    settled: &'a dyn Fn(u32) -> bool,
}

impl<'a> Ahead<'a> {
    fn prepare(&self) {
        let mut hosts = Vec::new();
        self.line(&self.plan.nodes, &mut hosts);
        hosts.iter().for_each(|host| host.target().prepare());
    }

    /// Nodes that come one after the other. True if it is known what is done first in them, or
    /// can't be known: what follows comes later.
    fn line(&self, nodes: &[Node], hosts: &mut Vec<&'a Host>) -> bool {
        nodes.iter().any(|node| self.node(*node, hosts))
    }

    fn beside<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n Node>,
        hosts: &mut Vec<&'a Host>,
    ) -> bool {
        let mut begins = false;
        for node in nodes {
            begins |= self.node(*node, hosts);
        }
        begins
    }

    fn node(&self, node: Node, hosts: &mut Vec<&'a Host>) -> bool {
        match node {
            Node::Unit(index) => self.unit(index, hosts),
            // Others may hold it for long. Whoever only looks takes none.
            Node::Lock(_) => self.mode == Mode::Run,
            Node::Block(index) => self.block(&self.plan.blocks[index as usize], hosts),
        }
    }

    fn unit(&self, index: u32, hosts: &mut Vec<&'a Host>) -> bool {
        let unit = &self.plan.units[index as usize];
        let never_runs = self.mode == Mode::Check
            && matches!(unit.work, Work::Step { .. } | Work::Manual { .. });
        if never_runs || (self.settled)(index) {
            return false;
        }
        if unit.needs.iter().all(|need| (self.settled)(*need)) {
            hosts.extend(&unit.hosts);
        }
        true
    }

    fn block(&self, block: &Block, hosts: &mut Vec<&'a Host>) -> bool {
        if block.units.clone().all(self.settled) {
            return false;
        }
        match &block.kind {
            BlockWork::Group | BlockWork::Checklist => self.line(&block.children, hosts),
            BlockWork::Parallel => self.beside(&*block.children, hosts),
            BlockWork::Each(rolling) => rolling
                .batches(block.children.len())
                .any(|batch| self.beside(&block.children[batch], hosts)),
            // What is in it may never be reached.
            BlockWork::When { .. } | BlockWork::Ladder { .. } => true,
        }
    }
}
