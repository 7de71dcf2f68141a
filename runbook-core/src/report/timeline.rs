//! [`Timeline`]: what happened in a run, unit by unit, as far as its events tell.

mod apply;
mod moment;
mod unit;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use self::moment::{BlockLine, Moment, MomentKind, Process, ProcessEnd};
pub use self::unit::{
    Activity, Answered, Decided, Look, Retried, Span, SpanEnd, UnitLine, UnitStatus,
};
use crate::event::{Event, Mode, RunFinished, RunStarted, Timestamp, UnitId, Waiting};
use crate::plan::{BlockKind, BlockOutline, Outline, OutlineNode};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
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

    /// Whether only checks were run.
    pub(super) fn only_looks(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.mode == Mode::Check)
    }

    /// Whether a report shows the unit: a run of checks has nothing to say of what is no check.
    pub(super) fn shows(&self, unit: &UnitLine) -> bool {
        !self.only_looks() || unit.status != UnitStatus::Pending || !unit.looks.is_empty()
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
