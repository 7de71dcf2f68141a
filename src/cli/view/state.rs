//! [`ViewState`]: what a view knows of a run, a fold over its events.

use std::collections::HashMap;

use runbook_core::{
    BlockKind, BlockOutcome, CheckRole, Decision, Event, EventKind, Level, LockHolder, Mode,
    OutlineNode, Problem, Question, ResumeMode, RunFinished, RunStarted, SkipReason, Timestamp,
    TransferState, UnitId, Waiting,
};

use super::node::{Kind, Node, State};

/// What a view knows of a run.
#[derive(Debug, Default)]
pub(crate) struct ViewState {
    pub(crate) head: Option<RunStarted>,
    /// When it began, however often it was resumed.
    pub(super) started: Option<Timestamp>,
    /// When this process took it up: its start, or its resumption.
    pub(crate) since: Option<Timestamp>,
    /// Units and blocks, each before its children.
    pub(crate) nodes: Vec<Node>,
    index: HashMap<UnitId, usize>,
    pub(super) top: Vec<usize>,
    pub(crate) finally: Vec<usize>,
    pub(crate) phase: Phase,
    /// Units that are still to be undone.
    pub(crate) to_undo: Vec<usize>,
    /// Questions that wait for an answer, oldest first.
    pub(crate) questions: Vec<(usize, Question)>,
    pub(crate) locks_wanted: Vec<(String, LockHolder)>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) end: Option<RunFinished>,
    /// A fleet that pauses between two batches, and until when.
    pub(super) pausing: Option<(usize, Timestamp)>,
    pub(crate) last: Option<Timestamp>,
    /// What failed first: what a rollback that fails began with.
    pub(crate) first_failure: Option<(usize, Problem)>,
    /// Show every line of output.
    pub(crate) verbose: bool,
    pub(super) settled: Vec<Settled>,
    pub(super) finally_shown: bool,
}

/// Which way a run goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Forward,
    /// Asked to end.
    Cancelling,
    Back,
    Over,
}

/// Something that will not change any more and can scroll away.
#[derive(Debug)]
pub(crate) enum Settled {
    Head,
    Unit(usize),
    Header(usize),
    /// A block that was left out or isolated.
    Block(usize),
    Rollback {
        cause: String,
    },
    Undone(usize),
    FinallyHeader,
    Resumed {
        by: String,
        back: bool,
        done: usize,
    },
    Cancel {
        by: String,
    },
    LockWaiting {
        resource: String,
        holder: LockHolder,
    },
    LockLost {
        resource: String,
        why: String,
    },
    Leftovers {
        unit: usize,
        host: String,
        processes: Vec<String>,
    },
    NotNotified {
        to: String,
        problem: Problem,
    },
    Decided {
        unit: usize,
        by: String,
        what: String,
    },
    Output {
        unit: usize,
        line: String,
    },
}

/// So many lines of output are kept of each unit, to be shown if it fails.
const TAIL: usize = 10;

impl ViewState {
    pub(crate) fn new(verbose: bool) -> Self {
        Self { verbose, ..Self::default() }
    }

    /// The state after `events` of an earlier process of the run. What they settled is not shown
    /// again.
    pub(crate) fn replay<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) {
        for event in events {
            self.apply(event);
        }
        self.settled.clear();
        self.questions.clear();
        self.locks_wanted.clear();
    }

    /// What has settled since it was last asked.
    pub(crate) fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// What is known of the run's mode; a run until then.
    pub(crate) fn mode(&self) -> Mode {
        self.head.as_ref().map_or(Mode::Run, |head| head.mode)
    }

    pub(crate) fn is_cancelling(&self) -> bool {
        self.phase == Phase::Cancelling
    }

    pub(crate) fn top(&self) -> &[usize] {
        &self.top
    }

    pub(crate) fn node(&self, id: &UnitId) -> Option<&Node> {
        self.index.get(id).map(|at| &self.nodes[*at])
    }

    /// Whether it is the block of a host of a fleet.
    pub(crate) fn is_host(&self, block: &UnitId) -> bool {
        self.node(block).is_some_and(|node| matches!(node.kind, Kind::Block(BlockKind::Branch)))
    }

    pub(crate) fn units(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| matches!(node.kind, Kind::Unit(_)))
    }

    /// What is, or may still be, gone through.
    pub(crate) fn roots(&self) -> impl Iterator<Item = usize> {
        let finally: &[usize] = if self.finally_is_due() { &self.finally } else { &[] };
        // On the way back nothing more is begun.
        let top: &[usize] = if self.phase == Phase::Back { &[] } else { &self.top };
        top.iter().chain(finally).copied()
    }

    /// Takes the next event.
    pub(crate) fn apply(&mut self, event: &Event) {
        let at = event.at;
        self.last = Some(at);
        self.pausing = self.pausing.filter(|(_, until)| at < *until);
        self.note(event);
        if matches!(self.phase, Phase::Forward | Phase::Cancelling | Phase::Back) {
            self.activate(at);
            self.settle();
        }
    }

    fn note(&mut self, event: &Event) {
        use EventKind as E;
        let at = event.at;
        match &event.event {
            E::RunStarted(start) if self.head.is_none() => self.begin(start, at),
            E::RunResumed { by, mode } => self.resume(by.name.clone(), *mode, at),
            E::CancelRequested { by } => {
                if self.phase == Phase::Forward {
                    self.phase = Phase::Cancelling;
                    self.settled.push(Settled::Cancel { by: by.clone() });
                }
            }
            E::RollbackStarted { cause, units } => {
                self.settle_all();
                self.pausing = None;
                self.phase = Phase::Back;
                self.questions.clear();
                self.to_undo = units.iter().filter_map(|id| self.at(id)).collect();
                self.settled.push(Settled::Rollback { cause: cause.clone() });
            }
            E::Suspended { waiting } => {
                self.settle_all();
                self.phase = Phase::Over;
                self.waiting.clone_from(waiting);
            }
            E::RunFinished(end) => {
                self.settle_all();
                self.phase = Phase::Over;
                self.end = Some((**end).clone());
            }
            E::LockWaiting { resource, holder } => {
                self.locks_wanted.retain(|(known, _)| known != resource);
                self.locks_wanted.push((resource.clone(), holder.clone()));
                self.settled.push(Settled::LockWaiting {
                    resource: resource.clone(),
                    holder: holder.clone(),
                });
            }
            E::LockAcquired { resource } => {
                self.locks_wanted.retain(|(known, _)| known != resource);
            }
            E::LockLost { resource, why } => self
                .settled
                .push(Settled::LockLost { resource: resource.clone(), why: why.clone() }),
            E::Notified { to, problem: Some(problem) } => {
                self.settled.push(Settled::NotNotified { to: to.clone(), problem: problem.clone() })
            }
            E::Pausing { block, pause_ms } => {
                let until = Timestamp::from_micros(at.as_micros() + pause_ms * 1000);
                self.pausing = self.at(block).map(|fleet| (fleet, until));
            }
            E::BlockStarted { block } => {
                self.change(block, |node| {
                    node.state = State::Active;
                    node.entered = true;
                    node.began.get_or_insert(at);
                });
                let fleet = self.node(block).and_then(|node| node.parent);
                self.pausing = self.pausing.filter(|(pausing, _)| Some(*pausing) != fleet);
            }
            E::BlockFinished { block, outcome } => self.change(block, |node| {
                node.ended = Some(at);
                node.closed = false;
                node.state = match outcome {
                    BlockOutcome::Succeeded => State::Done,
                    BlockOutcome::Skipped => State::Skipped(match node.kind {
                        Kind::Block(BlockKind::When { .. }) => SkipReason::Condition,
                        _ => SkipReason::NotNeeded,
                    }),
                    BlockOutcome::Failed => State::Failed,
                    BlockOutcome::Isolated { problem } => {
                        node.problem = Some(problem.clone());
                        State::Isolated
                    }
                    BlockOutcome::NotRestored { not_restored, .. } => {
                        node.problem = Some(not_restored.clone());
                        State::UndoFailed
                    }
                };
            }),

            other => self.note_unit(other, at),
        }
    }

    fn note_unit(&mut self, event: &EventKind, at: Timestamp) {
        use EventKind as E;
        let Some(unit) = event.unit().and_then(|id| self.at(id)) else { return };
        // A resumed run may be inside blocks that it does not enter again.
        let mut up = self.nodes[unit].parent.filter(|_| !matches!(event, E::Skipped { .. }));
        while let Some(parent) = up {
            if self.nodes[parent].state == State::Pending {
                self.nodes[parent].state = State::Active;
            }
            up = self.nodes[parent].parent;
        }
        let mode = self.mode();
        let node = &mut self.nodes[unit];
        let end = |node: &mut Node, state: State| {
            node.state = state;
            node.ended = Some(at);
        };
        match event {
            E::Skipped { why, .. } => {
                end(node, State::Skipped(why.clone()));
                self.skip_blocks_around(unit, why);
            }
            E::Resolved { title, preview, args, .. } => {
                node.title.clone_from(title);
                if let Kind::Unit(outline) = &mut node.kind {
                    outline.preview.clone_from(preview);
                    outline.args.clone_from(args);
                }
            }
            E::Asked { question, .. } => self.questions.push((unit, question.clone())),
            E::Answered { by, answer, .. } => {
                let said = match answer {
                    runbook_core::Answer::Yes => "yes".to_owned(),
                    runbook_core::Answer::No => "no".to_owned(),
                    runbook_core::Answer::Value(value) => value.clone(),
                };
                node.answered = Some(format!("{said}, says {by}"));
                self.questions.retain(|(asking, _)| *asking != unit);
            }
            E::Started { .. } => {
                node.state = State::Active;
                node.started = true;
                node.began = Some(at);
                node.verified = 0;
            }
            E::Retrying { attempt, problem, .. } => {
                node.retrying = Some((*attempt, problem.clone()));
            }
            E::Checked { role: CheckRole::Ladder, verdict, .. } => {
                // It is about the ladder, and named after the first unit in it.
                let mut up = Some(unit);
                while let Some(at) = up {
                    if matches!(self.nodes[at].kind, Kind::Block(BlockKind::Ladder { .. })) {
                        self.nodes[at].verdict = Some(verdict.clone());
                        break;
                    }
                    up = self.nodes[at].parent;
                }
            }
            E::Checked { role, verdict, .. } => {
                // A requirement that holds says nothing about the unit itself.
                if *role != CheckRole::Requires || verdict.level != Level::Pass {
                    node.verdict = Some(verdict.clone());
                }
                if node.state == State::Pending && mode == Mode::Run {
                    node.state = State::Active;
                    node.began.get_or_insert(at);
                }
                if *role == CheckRole::Verify && verdict.level != Level::Fail {
                    node.verified += 1;
                    if node.finished && node.verified >= node.to_verify() {
                        end(node, State::Done);
                    }
                }
            }
            E::Finished { .. } => {
                node.finished = true;
                if node.to_verify() == 0 {
                    end(node, State::Done);
                }
                self.questions.retain(|(asking, _)| *asking != unit);
            }
            E::Failed { problem, .. } => {
                end(node, State::Failed);
                node.problem = Some(problem.clone());
                self.first_failure.get_or_insert((unit, problem.clone()));
                self.questions.retain(|(asking, _)| *asking != unit);
            }
            E::UndoStarted { .. } => {
                node.state = State::Undoing;
                node.began = Some(at);
                node.ended = None;
                node.tail.clear();
                node.progress = None;
                node.transfer = None;
            }
            E::Undone { .. } => {
                end(node, State::Undone);
                self.undo_settled(unit);
            }
            E::UndoFailed { problem, .. } => {
                end(node, State::UndoFailed);
                node.problem = Some(problem.clone());
                self.undo_settled(unit);
            }
            E::Decided { by, decision, .. } => {
                if *decision == Decision::Restored {
                    end(node, State::Undone);
                }
                self.settled.push(Settled::Decided {
                    unit,
                    by: by.clone(),
                    what: format!("{decision:?}").to_lowercase(),
                });
            }
            E::LeftoversEnded { host, processes, .. } => self.settled.push(Settled::Leftovers {
                unit,
                host: host.clone(),
                processes: processes.clone(),
            }),
            E::Output { line, .. } => {
                let line = super::super::text::clean(line).trim_end().to_owned();
                if line.is_empty() {
                    return;
                }
                if self.verbose {
                    self.settled.push(Settled::Output { unit, line: line.clone() });
                }
                let node = &mut self.nodes[unit];
                node.tail.push_back(line);
                if node.tail.len() > TAIL {
                    node.tail.pop_front();
                }
            }
            E::Progress { done, total, .. } => node.progress = Some((*done, *total)),
            E::Transfer(transfer) => match &node.transfer {
                _ if transfer.state == TransferState::Moving => {
                    node.transfer = Some((**transfer).clone());
                }
                // Of several at a time, the end of one is not that of the others.
                Some(moving) if moving.is_of(transfer) => node.transfer = None,
                _ => {}
            },
            E::Previewed { satisfied, .. } => node.satisfied = *satisfied,
            _ => {}
        }
    }

    fn begin(&mut self, start: &RunStarted, at: Timestamp) {
        self.started = Some(at);
        self.since = Some(at);
        self.top = start.plan.nodes.iter().filter_map(|n| self.add(n, None, 0)).collect();
        self.finally = start.plan.finally.iter().filter_map(|n| self.add(n, None, 0)).collect();
        self.head = Some(start.clone());
        // A plan is printed as a page, which has a head of its own.
        if start.mode != Mode::Plan {
            self.settled.push(Settled::Head);
        }
    }

    fn add(&mut self, outline: &OutlineNode, parent: Option<usize>, depth: usize) -> Option<usize> {
        let (id, title, kind, inner): (_, _, _, &[OutlineNode]) = match outline {
            OutlineNode::Unit(unit) => {
                (&unit.id, &unit.title, Kind::Unit(Box::new(unit.clone())), &[])
            }
            OutlineNode::Block(block) => {
                (&block.id, &block.title, Kind::Block(block.kind.clone()), &block.children)
            }
            OutlineNode::Lock { .. } => return None,
        };
        let at = self.nodes.len();
        self.nodes.push(Node::new(id.clone(), title.clone(), kind, parent, depth));
        self.index.insert(id.clone(), at);
        let children: Vec<usize> =
            inner.iter().filter_map(|n| self.add(n, Some(at), depth + 1)).collect();
        if let Kind::Block(BlockKind::Each(_)) = self.nodes[at].kind
            && self.nodes[at].title == "each"
        {
            let names: Vec<&str> =
                children.iter().map(|child| self.nodes[*child].title.as_str()).collect();
            self.nodes[at].title = match names.as_slice() {
                [first, .., last] if names.len() > 4 => {
                    format!("Each of {}: {first} to {last}", names.len())
                }
                names => format!("Each of {}", names.join(", ")),
            };
        }
        self.nodes[at].children = children;
        Some(at)
    }

    /// Takes up a run whose events so far are known: what failed or was interrupted is open again.
    fn resume(&mut self, by: String, mode: ResumeMode, at: Timestamp) {
        let back = mode == ResumeMode::Rollback || self.phase == Phase::Back;
        let done = self.units().filter(|node| node.state == State::Done).count();
        for node in &mut self.nodes {
            node.printed = node.is_over() && node.state != State::Failed;
            if matches!(node.state, State::Failed | State::Active) && !back {
                node.state = State::Pending;
                node.began = None;
                node.ended = None;
                node.problem = None;
            }
        }
        self.phase = Phase::Forward;
        self.end = None;
        self.waiting.clear();
        self.since = Some(at);
        self.settled.push(Settled::Head);
        self.settled.push(Settled::Resumed { by, back, done });
    }

    fn at(&self, id: &UnitId) -> Option<usize> {
        self.index.get(id).copied()
    }

    fn change(&mut self, id: &UnitId, change: impl FnOnce(&mut Node)) {
        if let Some(at) = self.at(id) {
            change(&mut self.nodes[at]);
        }
    }

    /// A block that was never entered and whose units are all left out is left out.
    fn skip_blocks_around(&mut self, unit: usize, why: &SkipReason) {
        if !matches!(why, SkipReason::Condition | SkipReason::NotNeeded) {
            return;
        }
        let mut up = self.nodes[unit].parent;
        while let Some(parent) = up {
            let block = &self.nodes[parent];
            let all = block
                .children
                .iter()
                .all(|child| matches!(self.nodes[*child].state, State::Skipped(_)));
            if !all || block.entered {
                break;
            }
            self.nodes[parent].state = State::Skipped(why.clone());
            up = self.nodes[parent].parent;
        }
    }

    fn undo_settled(&mut self, unit: usize) {
        self.to_undo.retain(|waiting| *waiting != unit);
        // A unit of a branch that is undone while the run goes on is shown with its branch.
        if self.nodes[unit].printed || self.phase == Phase::Back {
            self.nodes[unit].printed = true;
            self.settled.push(Settled::Undone(unit));
        }
    }
}
