//! [`Node`]: what a view knows of one unit or block.

use std::collections::VecDeque;

use runbook_core::{
    BlockKind, Level, Problem, SkipReason, Timestamp, Transfer, UnitId, UnitKind, UnitOutline,
    VerdictRecord,
};

/// A unit or a block.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: UnitId,
    pub(crate) title: String,
    pub(crate) kind: Kind,
    pub(crate) parent: Option<usize>,
    pub(crate) depth: usize,
    pub(crate) children: Vec<usize>,
    pub(crate) state: State,
    /// When its turn came.
    pub(crate) began: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) started: bool,
    /// The latest lines of output.
    pub(crate) tail: VecDeque<String>,
    pub(crate) progress: Option<(u64, Option<u64>)>,
    /// The file that moved last, while it moves.
    pub(crate) transfer: Option<Transfer>,
    /// The latest verdict that says something about it.
    pub(crate) verdict: Option<VerdictRecord>,
    pub(crate) problem: Option<Problem>,
    /// The attempt that failed last, and why.
    pub(crate) retrying: Option<(u32, Problem)>,
    pub(crate) answered: Option<String>,
    pub(super) printed: bool,
    /// The end of a block was handed out as well.
    pub(super) closed: bool,
    /// It did its work; what verifies it may still be looking.
    pub(crate) finished: bool,
    pub(super) verified: usize,
    /// Of a block: an engine went in.
    pub(super) entered: bool,
    /// Of a step in a plan: whether what it brings about is already so.
    pub(crate) satisfied: Option<bool>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Unit(Box<UnitOutline>),
    Block(BlockKind),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    Pending,
    /// Its turn has come.
    Active,
    Done,
    Skipped(SkipReason),
    Failed,
    /// A block that failed and was undone while the run went on.
    Isolated,
    Undoing,
    Undone,
    UndoFailed,
}

impl Node {
    pub(super) fn new(
        id: UnitId,
        title: String,
        kind: Kind,
        parent: Option<usize>,
        depth: usize,
    ) -> Self {
        Self {
            id,
            title,
            kind,
            parent,
            depth,
            children: Vec::new(),
            state: State::Pending,
            began: None,
            ended: None,
            started: false,
            tail: VecDeque::new(),
            progress: None,
            transfer: None,
            verdict: None,
            problem: None,
            retrying: None,
            answered: None,
            printed: false,
            closed: false,
            finished: false,
            verified: 0,
            entered: false,
            satisfied: None,
        }
    }

    /// Whether nothing more comes of it, unless it is undone.
    pub(crate) fn is_over(&self) -> bool {
        !matches!(self.state, State::Pending | State::Active | State::Undoing)
    }

    pub(crate) fn is_printed(&self) -> bool {
        self.printed
    }

    pub(crate) fn is_concurrent(&self) -> bool {
        matches!(self.kind, Kind::Block(BlockKind::Parallel | BlockKind::Each(_)))
    }

    pub(crate) fn unit(&self) -> Option<&UnitOutline> {
        match &self.kind {
            Kind::Unit(unit) => Some(unit),
            Kind::Block(_) => None,
        }
    }

    /// A check whose verdict is only noted.
    pub(crate) fn is_observation(&self) -> bool {
        self.unit().is_some_and(|unit| unit.kind == UnitKind::Observe)
    }

    /// Its latest verdict is that it is not as it should be.
    pub(crate) fn is_fail(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.level == Level::Fail)
    }

    /// So many checks must pass after it.
    pub(super) fn to_verify(&self) -> usize {
        self.unit().map_or(0, |unit| unit.verify.len())
    }

    pub(crate) fn is_step(&self) -> bool {
        self.unit().is_some_and(|unit| unit.kind == UnitKind::Step)
    }
}
