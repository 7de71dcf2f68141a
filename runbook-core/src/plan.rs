//! [`Plan`]: the immutable result of building a runbook; [`Outline`]: what of it can be written
//! down, which is all that reports see.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::erased::{ErasedCheck, ErasedManual, ErasedStep};
use crate::event::UnitId;
use crate::input::Input;
use crate::lock::Lock;
use crate::notify::Notifier;
use crate::people::{Escalation, Severity};
use crate::policy::{Policies, Rolling, Wait};
use crate::step::UndoKind;
use crate::target::Host;

/// How a value that depends on an earlier unit is shown.
pub const KNOWN_LATER: &str = "‹known after the run›";

/// What a runbook will do: units and blocks, wired and checked. Immutable and cheap to clone.
///
/// ```
/// use runbook_core::{Manual, Runbook};
/// let mut b = Runbook::new("hello");
/// b.manual(Manual::new("Wave"));
/// let plan = b.build()?;
/// assert_eq!(plan.outline().units().count(), 1);
/// # Ok::<(), runbook_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Plan(pub(crate) Arc<PlanInner>);

pub(crate) struct PlanInner {
    pub(crate) outline: Arc<Outline>,
    pub(crate) units: Vec<Unit>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) locks: Vec<Lock>,
    pub(crate) nodes: Arc<[Node]>,
    pub(crate) finally: Arc<[Node]>,
    pub(crate) notifiers: Vec<Arc<dyn Notifier>>,
}

/// One unit, ready to run.
pub(crate) struct Unit {
    pub(crate) id: UnitId,
    pub(crate) work: Work,
    pub(crate) policies: Policies,
    /// Units whose output it needs.
    pub(crate) needs: Vec<u32>,
    /// The hosts that it speaks of, with those of its `requires` checks.
    pub(crate) hosts: Vec<Host>,
}

pub(crate) enum Work {
    Step { step: Box<dyn ErasedStep>, undo: UndoKind, repeatable: bool },
    Check { check: Arc<dyn ErasedCheck> },
    Observe { check: Arc<dyn ErasedCheck> },
    Wait { check: Arc<dyn ErasedCheck>, wait: Wait },
    Manual { manual: Box<dyn ErasedManual>, question: crate::event::Question },
}

/// A place in the plan: indices into its units, blocks and locks.
#[derive(Clone, Copy)]
pub(crate) enum Node {
    Unit(u32),
    Block(u32),
    Lock(u32),
}

pub(crate) struct Block {
    pub(crate) id: UnitId,
    pub(crate) kind: BlockWork,
    pub(crate) children: Arc<[Node]>,
    /// The units in it, however deep: they are added one after the other.
    pub(crate) units: std::ops::Range<u32>,
}

pub(crate) enum BlockWork {
    Group,
    Parallel,
    Checklist,
    When { condition: Input<bool>, needs: Vec<u32> },
    Each(Rolling),
    Ladder { check: Arc<dyn ErasedCheck>, wait: Wait, escalate: Option<String> },
}

impl Plan {
    /// What can be written down of it.
    #[must_use]
    pub fn outline(&self) -> &Arc<Outline> {
        &self.0.outline
    }

    /// Whether `unit` takes `text` as the value that it asks a person for; else what it takes.
    ///
    /// ```
    /// use runbook_core::{Manual, Runbook};
    /// let mut b = Runbook::new("incident");
    /// let _ticket = b.manual(Manual::new("Open a ticket").ask::<u16>("Which number did it get?"));
    /// let plan = b.build()?;
    /// let unit = "open-a-ticket".into();
    /// assert_eq!(plan.accepts(&unit, "4711"), Ok(()));
    /// assert_eq!(plan.accepts(&unit, "soon").unwrap_err(), "a whole number from 0 to 65535");
    /// # Ok::<(), runbook_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// What would be taken, in words, e.g. `a whole number from 0 to 65535`.
    pub fn accepts(&self, unit: &UnitId, text: &str) -> Result<(), String> {
        match self.0.units.iter().find(|known| known.id == *unit).map(|unit| &unit.work) {
            Some(Work::Manual { manual, .. }) => manual.read(text).map(drop),
            _ => Err("no value".into()),
        }
    }

    /// The name of its runbook.
    #[must_use]
    pub fn book(&self) -> &str {
        &self.0.outline.book
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan of `{}` ({} units)", self.book(), self.0.units.len())
    }
}

/// A plan as far as it can be written down: titles, documentation, structure, policies,
/// fingerprints. Kept in the journal, so that reports need no code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The runbook's name, as on the command line.
    pub book: String,
    /// Its title.
    pub title: String,
    /// Its documentation, in Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// Its parameters as given, secrets as `***`: what `resume` rebuilds the plan from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<ParamGiven>,
    /// How grave what it is about is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Whom to call, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Escalation>,
    /// Units and blocks in order.
    pub nodes: Vec<OutlineNode>,
    /// What is done at the end, come what may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finally: Vec<OutlineNode>,
    /// Over all units and their structure: 64 hex digits.
    pub fingerprint: String,
}

/// A parameter and the words that were given for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamGiven {
    /// Its name.
    pub name: String,
    /// The values; `***` for a secret.
    pub values: Vec<String>,
    /// Whether it is a secret, which a resume must be given again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// A unit, a block, or a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutlineNode {
    /// A unit.
    Unit(UnitOutline),
    /// A block.
    Block(BlockOutline),
    /// A lock, held from here to the end of the run.
    Lock {
        /// The resource.
        resource: String,
    },
}

/// A unit as far as it can be written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitOutline {
    /// Its stable id.
    pub id: UnitId,
    /// What sort of unit.
    pub kind: UnitKind,
    /// Its title.
    pub title: String,
    /// Its documentation, in Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// What would run, line by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preview: Vec<String>,
    /// Its arguments as shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<(String, String)>,
    /// The hosts that it speaks of, by name, and which they are, where a name can mean several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<(String, String)>,
    /// How it is undone.
    pub undo: UndoKind,
    /// Why it is acceptable that it can't be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible_because: Option<String>,
    /// Units whose output it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<UnitId>,
    /// Titles of the checks made before it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Titles of the checks made after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<String>,
    /// What a person is asked before it starts, or by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Attempts in all, if more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long one attempt, or the wait, may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// 16 hex digits over what makes it this unit; a difference forbids a resume.
    pub fingerprint: String,
}

/// The sort of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// A step.
    Step,
    /// A check that the run must pass.
    Check,
    /// A check whose verdict is only noted.
    Observe,
    /// A check that is waited for.
    Wait,
    /// A step that a person does.
    Manual,
}

/// A block as far as it can be written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockOutline {
    /// Its stable id.
    pub id: UnitId,
    /// What sort of block.
    pub kind: BlockKind,
    /// Its title.
    pub title: String,
    /// Units and blocks in it, in order.
    pub children: Vec<OutlineNode>,
}

/// The sort of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// One after the other, under a title.
    Group,
    /// All children at the same time.
    Parallel,
    /// Things that people do, in any order.
    Checklist,
    /// Only if an earlier output says so.
    When {
        /// The units that decide.
        needs: Vec<UnitId>,
    },
    /// The same for each host.
    Each(Rolling),
    /// One host of an `Each`.
    Branch,
    /// Remedies, tried in order until the check passes.
    Ladder {
        /// The check's title.
        check: String,
        /// What to do when no remedy helps.
        escalate: Option<String>,
        /// Whom to call then, instead of those whom the runbook names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<Escalation>,
    },
    /// One remedy of a `Ladder`.
    Remedy,
}

impl Outline {
    /// Every unit, in order, those of `finally` last.
    pub fn units(&self) -> impl Iterator<Item = &UnitOutline> {
        let mut stack: Vec<&OutlineNode> = self.finally.iter().rev().collect();
        stack.extend(self.nodes.iter().rev());
        std::iter::from_fn(move || {
            loop {
                match stack.pop()? {
                    OutlineNode::Unit(unit) => return Some(unit),
                    OutlineNode::Block(block) => stack.extend(block.children.iter().rev()),
                    OutlineNode::Lock { .. } => {}
                }
            }
        })
    }

    /// The unit called `id`.
    #[must_use]
    pub fn unit(&self, id: &UnitId) -> Option<&UnitOutline> {
        self.units().find(|unit| unit.id == *id)
    }

    /// Whom to call, given the ladders in which no remedy helped: those whom the last such ladder
    /// names, or else those whom the runbook names.
    #[must_use]
    pub fn escalation_after(&self, failed: impl Fn(&UnitId) -> bool) -> Option<&Escalation> {
        let mut own = None;
        let mut stack: Vec<&OutlineNode> = self.nodes.iter().rev().collect();
        while let Some(node) = stack.pop() {
            let OutlineNode::Block(block) = node else { continue };
            if let BlockKind::Ladder { call: Some(call), .. } = &block.kind
                && failed(&block.id)
            {
                own = Some(call);
            }
            stack.extend(block.children.iter().rev());
        }
        own.or(self.escalation.as_ref())
    }

    /// The first unit that differs from `other`, and how, in words; `None` if nothing that
    /// matters for a resume differs.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<(UnitId, String)> {
        if self.fingerprint == other.fingerprint {
            return None;
        }
        let (mut ours, mut theirs) = (self.units(), other.units());
        loop {
            match (ours.next(), theirs.next()) {
                (Some(a), Some(b)) if a.id != b.id => {
                    return Some((a.id.clone(), format!("`{}` stands there now", b.id)));
                }
                (Some(a), Some(b)) if a.fingerprint != b.fingerprint => {
                    let how = if let Some(how) = a.moved_host(b) {
                        return Some((a.id.clone(), how));
                    } else if a.args != b.args {
                        "its arguments differ"
                    } else if a.needs != b.needs {
                        "it is wired differently"
                    } else if a.undo != b.undo {
                        "it is undone differently"
                    } else {
                        "its code, checks or place differ"
                    };
                    return Some((a.id.clone(), how.into()));
                }
                (Some(a), None) => return Some((a.id.clone(), "it is gone now".into())),
                (None, Some(b)) => return Some((b.id.clone(), "it is new".into())),
                (None, None) => return Some((UnitId::new("-"), "the blocks differ".into())),
                _ => {}
            }
        }
    }
}

impl UnitOutline {
    /// The first host whose name means another in `now`.
    fn moved_host(&self, now: &Self) -> Option<String> {
        let here = |(name, was): &(String, String)| {
            let of = |(other, _): &&(String, String)| other == name;
            let (_, is) = now.hosts.iter().find(of)?;
            let still = now.hosts.iter().filter(of).any(|(_, is)| is == was);
            (!still).then(|| format!("its host {name} was {was}, and is {is} now"))
        };
        self.hosts.iter().find_map(here)
    }
}

/// Milliseconds of a duration, as outlines carry it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
