//! [`Timeline`]: what happened in a run, unit by unit, as far as its events tell.

mod apply;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::Level;
use crate::error::Problem;
use crate::event::{
    Actor, Answer, BlockOutcome, CheckRole, Decision, Event, Json, LockHolder, Question,
    ResumeMode, RunFinished, RunStarted, SkipReason, Status, Timestamp, UnitId, Waiting,
};
use crate::plan::{BlockKind, BlockOutline, Outline, OutlineNode, UnitKind};
use crate::step::UndoKind;

/// What happened in a run: a value computed from its events, whatever state they leave it in.
///
/// Feed it a whole journal with [`of`](Self::of), or a live stream with [`new`](Self::new) and
/// [`apply`](Self::apply): each event costs the same, however long the run is. It never fails:
/// an event that does not fit (the journal refuses those) changes as much as makes sense.
///
/// ```
/// use std::sync::Arc;
/// use runbook_core::{Event, EventKind, Manual, Runbook, UnitId, report::{Timeline, UnitStatus}};
///
/// let mut b = Runbook::new("greet");
/// b.manual(Manual::new("Wave"));
/// let plan = b.build()?;
///
/// let finished = EventKind::Finished { unit: UnitId::new("wave"), output: None };
/// let timeline = Timeline::of(plan.outline(), &[Arc::new(Event::now(finished))]);
/// assert_eq!(timeline.units[0].status, UnitStatus::Done);
/// # Ok::<(), runbook_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Timeline {
    /// The name of the program, put before the commands that reports advise; by default none.
    pub program: Option<String>,
    /// The plan.
    pub outline: Option<Arc<Outline>>,
    /// The head of the run: who, why, how.
    pub head: Option<RunStarted>,
    /// Where the run is.
    pub status: RunStatus,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended, if it did.
    pub ended: Option<Timestamp>,
    /// The time of the latest event.
    pub last: Option<Timestamp>,
    /// The processes that worked on it, in order.
    pub processes: Vec<Process>,
    /// Every unit, in the plan's order.
    pub units: Vec<UnitLine>,
    /// Every block, in the plan's order.
    pub blocks: Vec<BlockLine>,
    /// What happened to the run as a whole and between it and people, in order of time.
    pub moments: Vec<Moment>,
    /// What it waits for, if it is suspended.
    pub waiting: Vec<Waiting>,
    /// Its end, if it ended.
    pub finished: Option<RunFinished>,
    places: HashMap<UnitId, usize>,
    block_places: HashMap<UnitId, usize>,
    /// Titles that several units have.
    ambiguous: HashSet<String>,
    /// Locks that are waited for, and since when.
    lock_waits: HashMap<String, Timestamp>,
    /// Whether a rollback of the whole run began.
    pub(super) going_back: bool,
}

/// Where a run is, as far as events tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunStatus {
    /// It has no event yet.
    #[default]
    NotStarted,
    /// It goes forward; or its process died, and nobody took it up again.
    Running,
    /// It goes back; or its process died, and nobody took it up again.
    RollingBack,
    /// It had begun, and its process is gone: see [`Timeline::interrupted`].
    Interrupted,
    /// It waits for a person.
    Suspended,
    /// All that was to be done is done.
    Succeeded,
    /// It failed or was cancelled; what it had started is undone and verified.
    RolledBack,
    /// It failed with nothing to undo, or rolling back was declined.
    Failed,
    /// A rollback failed or did not restore: a person is needed.
    Stuck,
}

/// Where a unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnitStatus {
    /// Nothing happened yet; in a run that ended: not reached.
    #[default]
    Pending,
    /// It waits for a person.
    Asking,
    /// It is at work; in a run without a living process: interrupted.
    Running,
    /// The process at work on it died, and it was not taken up again: it may be half done.
    Interrupted,
    /// It was previewed by `plan`.
    Previewed,
    /// It was left out.
    Skipped,
    /// It did its work.
    Done,
    /// It failed.
    Failed,
    /// It is being undone.
    Undoing,
    /// It was undone, and that was verified or a person said so.
    Undone,
    /// Its undoing failed, or did not restore what was there.
    NotRestored,
}

/// What is known of one unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnitLine {
    /// Its stable id.
    pub id: UnitId,
    /// Its title.
    pub title: String,
    /// The titles of the blocks around it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<String>,
    /// What sort of unit.
    pub kind: UnitKind,
    /// How it is undone.
    pub undo: UndoKind,
    /// Whether it is done at the end come what may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finally: bool,
    /// Where it is.
    pub status: UnitStatus,
    /// Why it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkipReason>,
    /// Whether it was ever started, so that it may have changed something.
    pub was_started: bool,
    /// Attempts so far, over all processes.
    pub attempts: u32,
    /// When it worked, waited for a person, and was undone; in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    /// When it last changed its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Timestamp>,
    /// What its checks found; looks that found the same one after the other are one entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<Look>,
    /// Attempts that failed and were followed by another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<Retried>,
    /// Why it failed, if it did; stays when it is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Why it could not be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_problem: Option<Problem>,
    /// What it asks, if it waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// What people answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answered>,
    /// What operators decided about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decided>,
    /// What it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// For a preview: whether it is already so, as far as was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub satisfied: Option<bool>,
    /// Live only: the last line of output.
    #[serde(skip)]
    pub last_line: Option<String>,
    /// Live only: how far it has come, and of how much.
    #[serde(skip)]
    pub progress: Option<(u64, Option<u64>)>,
}

/// A time in which a unit was busy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Span {
    /// With what.
    pub activity: Activity,
    /// From when.
    pub from: Timestamp,
    /// Until when; for an interrupted span the last sign of life. None: not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How it ended.
    pub end: SpanEnd,
}

/// What a unit is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Its work.
    Work,
    /// Waiting for a person.
    Ask,
    /// Being undone.
    Undo,
}

/// How a [`Span`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanEnd {
    /// Not yet.
    Open,
    /// Well.
    Done,
    /// With a failure.
    Failed,
    /// Its process died.
    Interrupted,
}

/// What a check found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Look {
    /// When; the first time, if more than once.
    pub at: Timestamp,
    /// The last time, if more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// How often in a row.
    pub times: u32,
    /// What the check was made for.
    pub role: CheckRole,
    /// The check's title.
    pub title: String,
    /// Pass, warn or fail.
    pub level: Level,
    /// Why, in one line.
    pub why: String,
    /// The evidence; of the last look, if more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Json>,
}

/// An attempt that failed and was followed by another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Retried {
    /// When it failed.
    pub at: Timestamp,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Why it failed.
    pub problem: Problem,
    /// The pause before the next, in milliseconds.
    pub pause_ms: u64,
}

/// A person's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answered {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// To what, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// What.
    pub answer: Answer,
}

/// An operator's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decided {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What.
    pub decision: Decision,
}

/// What is known of one block.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BlockLine {
    /// Its stable id.
    pub id: UnitId,
    /// Its title.
    pub title: String,
    /// What sort of block.
    pub kind: BlockKind,
    /// When it was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How it was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<BlockOutcome>,
    /// What the check of a ladder found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<Look>,
}

/// A process that worked on the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Process {
    /// Who ran it, where.
    pub by: Actor,
    /// Forward or back; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ResumeMode>,
    /// Its first event.
    pub from: Timestamp,
    /// Its last event.
    pub until: Timestamp,
    /// How it ended.
    pub end: ProcessEnd,
}

/// How a process ended that worked on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessEnd {
    /// Not yet, or it died and nobody took the run up again.
    Open,
    /// It died: the next one took the run up.
    Interrupted,
    /// It left the run waiting for a person.
    Suspended,
    /// It ended the run.
    Ended,
}

/// Something that happened to the run as a whole, or between it and people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: MomentKind,
}

/// What happened in a [`Moment`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum MomentKind {
    /// The run began.
    Started {
        /// Who started it.
        by: Actor,
    },
    /// A process took the run up again.
    Resumed {
        /// Who asked for it.
        by: Actor,
        /// Forward or back.
        mode: ResumeMode,
        /// How the process before it ended.
        after: ProcessEnd,
        /// How long nobody had worked on the run, in milliseconds.
        gap_ms: u64,
        /// Units whose outcome is not known.
        interrupted: Vec<UnitId>,
    },
    /// Somebody asked for the run to end.
    CancelRequested {
        /// Who or what.
        by: String,
    },
    /// Rolling back began.
    RollbackStarted {
        /// Why.
        cause: String,
        /// The units to undo, first one first.
        units: Vec<UnitId>,
    },
    /// The run began to wait for a person.
    Suspended {
        /// The units that wait.
        units: Vec<UnitId>,
    },
    /// The run ended.
    Finished {
        /// How.
        status: Status,
    },
    /// A resource was locked by another run.
    LockWaiting {
        /// The resource.
        resource: String,
        /// Who held it.
        holder: LockHolder,
    },
    /// The run got a lock.
    LockAcquired {
        /// The resource.
        resource: String,
        /// How long it had waited, in milliseconds.
        waited_ms: u64,
    },
    /// The run gave a lock back.
    LockReleased {
        /// The resource.
        resource: String,
    },
    /// A lock was lost.
    LockLost {
        /// The resource.
        resource: String,
        /// What is known of why.
        why: String,
    },
    /// A unit asked a person.
    Asked {
        /// The unit.
        unit: UnitId,
        /// What.
        question: Question,
    },
    /// A person answered.
    Answered {
        /// The unit.
        unit: UnitId,
        /// Who.
        by: String,
        /// What.
        answer: Answer,
    },
    /// An operator decided about a unit.
    Decided {
        /// The unit.
        unit: UnitId,
        /// Who.
        by: String,
        /// What.
        decision: Decision,
    },
    /// Processes that an earlier process of the run had left were ended.
    LeftoversEnded {
        /// The unit that they belonged to.
        unit: UnitId,
        /// Where.
        host: String,
        /// Their command lines.
        processes: Vec<String>,
    },
    /// A branch or remedy failed, was undone, and the run went on without it.
    Isolated {
        /// The block.
        block: UnitId,
        /// The failure.
        problem: Problem,
    },
    /// A notification was sent, or could not be.
    Notified {
        /// Where to.
        to: String,
        /// What went wrong, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<Problem>,
    },
}

impl Timeline {
    /// An empty one, to [`apply`](Self::apply) events to; the first one brings the plan.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What happened in a run of `outline`.
    #[must_use]
    pub fn of(outline: &Outline, events: &[Arc<Event>]) -> Self {
        let mut timeline = Self::new();
        timeline.plan(Arc::new(outline.clone()));
        for event in events {
            timeline.apply(event);
        }
        timeline
    }

    /// The unit called `id`.
    #[must_use]
    pub fn unit(&self, id: &UnitId) -> Option<&UnitLine> {
        self.units.get(*self.places.get(id)?)
    }

    /// The block called `id`.
    #[must_use]
    pub fn block(&self, id: &UnitId) -> Option<&BlockLine> {
        self.blocks.get(*self.block_places.get(id)?)
    }

    /// The units in the order in which they began; those that never did come last, in the plan's
    /// order.
    #[must_use]
    pub fn chronological(&self) -> Vec<&UnitLine> {
        let mut units: Vec<&UnitLine> = self.units.iter().collect();
        units.sort_by_key(|unit| match unit.began() {
            Some(at) => (false, Some(at)),
            None => (true, None),
        });
        units
    }

    /// From the start to the end, or to the latest event; gaps included.
    #[must_use]
    pub fn duration(&self) -> Duration {
        match (self.started, self.ended.or(self.last)) {
            (Some(from), Some(until)) => until.since(from),
            _ => Duration::ZERO,
        }
    }

    /// Whether it ended, well or not.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.finished.is_some()
    }

    /// The title of a unit or block, or its id if the plan does not know it.
    #[must_use]
    pub fn title<'a>(&'a self, id: &'a UnitId) -> &'a str {
        let unit = self.unit(id).map(|unit| unit.title.as_str());
        unit.or_else(|| self.block(id).map(|block| block.title.as_str())).unwrap_or(id.as_str())
    }

    /// Tells that no process is at work on the run: unless it ended or waits for a person, it was
    /// interrupted. Events alone can't tell; who looks at the journal's lock can.
    pub fn interrupted(&mut self) {
        if matches!(self.status, RunStatus::Running | RunStatus::RollingBack) {
            self.interrupt();
            self.status = RunStatus::Interrupted;
        }
    }

    /// How long no process worked on the run, between those that did.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let pairs = self.processes.iter().zip(self.processes.iter().skip(1));
        pairs.map(|(before, after)| after.from.since(before.until)).sum()
    }

    /// A unit's title in quotes, with its place if others have the same title.
    pub(super) fn name(&self, unit: &UnitLine) -> String {
        match unit.within.last() {
            Some(block) if self.ambiguous.contains(&unit.title) => {
                format!("“{}” ({block})", unit.title)
            }
            _ => format!("“{}”", unit.title),
        }
    }

    /// As [`name`](Self::name), also for blocks and what the plan does not know.
    pub(super) fn name_of(&self, id: &UnitId) -> String {
        self.unit(id).map_or_else(|| format!("“{}”", self.title(id)), |unit| self.name(unit))
    }

    /// Takes the units and blocks of `outline`, all pending.
    pub(super) fn plan(&mut self, outline: Arc<Outline>) {
        self.units.clear();
        self.blocks.clear();
        self.places.clear();
        self.block_places.clear();
        let mut within = Vec::new();
        for (nodes, finally) in [(&outline.nodes, false), (&outline.finally, true)] {
            for node in nodes {
                self.plan_node(node, &mut within, finally);
            }
        }
        let mut seen = HashSet::new();
        let twice = self.units.iter().filter(|unit| !seen.insert(unit.title.as_str()));
        self.ambiguous = twice.map(|unit| unit.title.clone()).collect();
        self.outline = Some(outline);
    }

    fn plan_node(&mut self, node: &OutlineNode, within: &mut Vec<String>, finally: bool) {
        match node {
            OutlineNode::Unit(unit) => {
                self.places.insert(unit.id.clone(), self.units.len());
                self.units.push(UnitLine {
                    within: within.clone(),
                    finally,
                    ..UnitLine::new(&unit.id, &unit.title, unit.kind, unit.undo)
                });
            }
            OutlineNode::Block(block) => {
                self.block_places.insert(block.id.clone(), self.blocks.len());
                self.blocks.push(BlockLine {
                    id: block.id.clone(),
                    title: super::block_title(block),
                    kind: block.kind.clone(),
                    started: None,
                    ended: None,
                    outcome: None,
                    looks: Vec::new(),
                });
                // `each` is no title that says anything: its branches do.
                let named = !matches!(block.kind, BlockKind::Each(_));
                if named {
                    within.push(block.title.clone());
                }
                for child in &block.children {
                    self.plan_node(child, within, finally);
                }
                if named {
                    within.pop();
                }
            }
            OutlineNode::Lock { .. } => {}
        }
    }
}

impl UnitLine {
    fn new(id: &UnitId, title: &str, kind: UnitKind, undo: UndoKind) -> Self {
        Self {
            id: id.clone(),
            title: title.to_owned(),
            within: Vec::new(),
            kind,
            undo,
            finally: false,
            status: UnitStatus::Pending,
            skipped: None,
            was_started: false,
            attempts: 0,
            spans: Vec::new(),
            settled: None,
            looks: Vec::new(),
            retries: Vec::new(),
            problem: None,
            undo_problem: None,
            question: None,
            answers: Vec::new(),
            decisions: Vec::new(),
            output: None,
            satisfied: None,
            last_line: None,
            progress: None,
        }
    }

    /// When it first was busy, was looked at, or was left out.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        let span = self.spans.first().map(|span| span.from);
        let look = self.looks.first().map(|look| look.at);
        span.into_iter().chain(look).min().or(self.settled)
    }

    /// How long it worked in all, undoing and waiting for a person left out; none if it never
    /// did, or is still at it.
    #[must_use]
    pub fn worked(&self) -> Option<Duration> {
        let mut sum = None;
        for span in self.spans.iter().filter(|span| span.activity == Activity::Work) {
            sum = Some(sum.unwrap_or(Duration::ZERO) + span.until?.since(span.from));
        }
        sum
    }

    /// The latest warning of a check of its own, a requirement or a verification.
    #[must_use]
    pub fn warning(&self) -> Option<&Look> {
        self.looks.iter().rev().find(|look| look.level == Level::Warn)
    }

    /// Whether its effect is, or may be, there: started, changes something, and not undone.
    #[must_use]
    pub fn left_in_place(&self) -> bool {
        self.was_started
            && matches!(self.undo, UndoKind::Recorded | UndoKind::Irreversible)
            && !self.finally
            && self.status != UnitStatus::Undone
    }
}

/// The title of a block as reports show it.
pub(super) fn block_title(block: &BlockOutline) -> String {
    match block.kind {
        BlockKind::Each(_) => {
            let names: Vec<&str> = block
                .children
                .iter()
                .filter_map(|child| match child {
                    OutlineNode::Block(branch) => Some(branch.title.as_str()),
                    _ => None,
                })
                .collect();
            if names.is_empty() {
                "For each of nothing".into()
            } else {
                format!("For each of {}", super::text::listed(&names))
            }
        }
        _ => block.title.clone(),
    }
}
