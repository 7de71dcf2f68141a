//! [`HostLine`]: what became of each host of a fleet.

use serde::Serialize;

use super::text::{listed, shortened};
use super::timeline::{Timeline, UnitLine, UnitStatus};
use super::words::Tone;
use crate::error::Problem;
use crate::event::{BlockOutcome, UnitId};
use crate::plan::{BlockKind, BlockOutline, OutlineNode};

/// What became of one host of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HostLine {
    /// The block of its units.
    pub id: UnitId,
    /// The block of its fleet.
    pub fleet: UnitId,
    /// Its name.
    pub host: String,
    /// Its batch, from 1.
    pub batch: usize,
    /// Whether it goes before the others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub canary: bool,
    /// Where it is.
    pub status: HostStatus,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Why it could not be put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_restored: Option<Problem>,
}

/// Where a host of a fleet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HostStatus {
    /// Nothing was begun on it.
    NotStarted,
    /// Something is at work on it, or waits for a person.
    Running,
    /// All is done on it.
    Done,
    /// It was left out.
    Skipped,
    /// It was rolled back with the others.
    RolledBack,
    /// It failed and was rolled back, or had changed nothing.
    FailedAndRolledBack,
    /// It failed, and what was done on it is left as it is.
    Failed,
    /// It was stopped in the middle, and what was done on it is left as it is.
    Unfinished,
    /// What was begun on it may be half done.
    Interrupted,
    /// It could not be rolled back: a person is needed.
    NotRestored,
}

impl HostStatus {
    /// In words: `not started`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NotStarted => "not started",
            Self::Running => "at work",
            Self::Done => "done",
            Self::Skipped => "left out",
            Self::RolledBack => "rolled back",
            Self::FailedAndRolledBack => "failed and rolled back",
            Self::Failed => "failed",
            Self::Unfinished => "not finished",
            Self::Interrupted => "interrupted",
            Self::NotRestored => "NOT restored",
        }
    }

    pub(super) fn tone(self) -> Tone {
        match self {
            Self::Done => Tone::Good,
            Self::NotStarted | Self::Skipped => Tone::Plain,
            Self::Running | Self::RolledBack | Self::Unfinished | Self::Interrupted => Tone::Warn,
            Self::FailedAndRolledBack | Self::Failed | Self::NotRestored => Tone::Bad,
        }
    }

    /// Whether it is not as it was to be, although its fleet went on.
    #[must_use]
    pub fn is_lost(self) -> bool {
        self.tone() == Tone::Bad
    }
}

impl HostLine {
    /// Why it is as it is, in a line; empty if all is well.
    pub(super) fn why(&self) -> String {
        let failed = self.problem.as_ref().map(|problem| shortened(&problem.message, 300));
        match (&self.not_restored, failed) {
            (Some(problem), Some(failed)) if problem.message != failed => {
                format!("{}; it had failed: {failed}", shortened(&problem.message, 300))
            }
            (Some(problem), _) => shortened(&problem.message, 300).into_owned(),
            (None, failed) => failed.unwrap_or_default().into_owned(),
        }
    }
}

impl Timeline {
    /// What became of each host of its fleets, in the plan's order.
    ///
    /// ```
    /// use runbook_core::{Manual, Rolling, Runbook, report::{HostStatus, Timeline}};
    ///
    /// let mut b = Runbook::new("restart");
    /// b.each(["web-1", "web-2"], Rolling::default(), |_, b| {
    ///     b.manual(Manual::new("Restart it"));
    /// });
    /// let hosts = Timeline::of(b.build()?.outline(), &[]).hosts();
    /// assert_eq!((hosts[1].host.as_str(), hosts[1].batch), ("web-2", 2));
    /// assert_eq!(hosts[1].status, HostStatus::NotStarted);
    /// # Ok::<(), runbook_core::Error>(())
    /// ```
    #[must_use]
    pub fn hosts(&self) -> Vec<HostLine> {
        let mut hosts = Vec::new();
        if let Some(outline) = &self.outline {
            self.hosts_in(&outline.nodes, &mut hosts);
            self.hosts_in(&outline.finally, &mut hosts);
        }
        hosts
    }

    fn hosts_in(&self, nodes: &[OutlineNode], hosts: &mut Vec<HostLine>) {
        for node in nodes {
            let OutlineNode::Block(block) = node else { continue };
            if let BlockKind::Each(rolling) = &block.kind {
                let branches: Vec<&BlockOutline> = branches(block).collect();
                for (n, batch) in rolling.batches(branches.len()).enumerate() {
                    let canary = batch.start < rolling.canary;
                    for branch in &branches[batch] {
                        hosts.push(self.host(block, branch, n + 1, canary));
                    }
                }
            }
            self.hosts_in(&block.children, hosts);
        }
    }

    fn host(
        &self,
        fleet: &BlockOutline,
        branch: &BlockOutline,
        batch: usize,
        canary: bool,
    ) -> HostLine {
        let mut units = Vec::new();
        self.units_in(&branch.children, &mut units);
        let line = self.block(&branch.id);
        let outcome = line.and_then(|line| line.outcome.as_ref());
        let failed = units.iter().filter_map(|unit| unit.problem.as_ref()).next_back();
        let problem = match outcome {
            Some(
                BlockOutcome::Isolated { problem } | BlockOutcome::NotRestored { problem, .. },
            ) => Some(problem),
            _ => failed,
        };
        let mut not_restored = units.iter().filter_map(|unit| {
            unit.undo_problem.as_ref().filter(|_| unit.status == UnitStatus::NotRestored)
        });
        let entered = line.is_some_and(|line| line.started.is_some());
        HostLine {
            id: branch.id.clone(),
            fleet: fleet.id.clone(),
            host: branch.title.clone(),
            batch,
            canary,
            status: self.host_status(&units, outcome, entered),
            problem: problem.cloned(),
            not_restored: not_restored.next_back().cloned(),
        }
    }

    fn host_status(
        &self,
        units: &[&UnitLine],
        outcome: Option<&BlockOutcome>,
        entered: bool,
    ) -> HostStatus {
        use UnitStatus as U;
        let any = |status: U| units.iter().any(|unit| unit.status == status);
        let failed = units.iter().any(|unit| unit.problem.is_some());
        let undone = any(U::Undone);
        if any(U::NotRestored) {
            return HostStatus::NotRestored;
        }
        if any(U::Interrupted) {
            return HostStatus::Interrupted;
        }
        if any(U::Running) || any(U::Undoing) || any(U::Asking) {
            return HostStatus::Running;
        }
        match outcome {
            Some(BlockOutcome::Isolated { .. }) => HostStatus::FailedAndRolledBack,
            Some(BlockOutcome::Skipped) => HostStatus::Skipped,
            _ if failed && units.iter().any(|unit| unit.left_in_place()) => HostStatus::Failed,
            _ if failed => HostStatus::FailedAndRolledBack,
            _ if undone => HostStatus::RolledBack,
            Some(BlockOutcome::Succeeded) => HostStatus::Done,
            _ if units.iter().all(|unit| unit.status == U::Skipped) && !units.is_empty() => {
                HostStatus::Skipped
            }
            _ if !entered => HostStatus::NotStarted,
            _ if !self.is_over() => HostStatus::Running,
            _ => HostStatus::Unfinished,
        }
    }

    fn units_in<'a>(&'a self, nodes: &[OutlineNode], units: &mut Vec<&'a UnitLine>) {
        for node in nodes {
            match node {
                OutlineNode::Unit(unit) => units.extend(self.unit(&unit.id)),
                OutlineNode::Block(block) => self.units_in(&block.children, units),
                OutlineNode::Lock { .. } => {}
            }
        }
    }
}

/// The hosts of a fleet, as blocks.
pub(super) fn branches(each: &BlockOutline) -> impl Iterator<Item = &BlockOutline> {
    each.children.iter().filter_map(|child| match child {
        OutlineNode::Block(branch) => Some(branch),
        _ => None,
    })
}

/// More names of hosts that fared alike are counted, not listed.
const LISTED: usize = 8;

/// `web-1 and web-2 done; web-3 failed and rolled back; web-4 not started`.
pub(super) fn in_words(hosts: &[HostLine]) -> String {
    let mut kinds: Vec<HostStatus> = Vec::new();
    for host in hosts {
        if !kinds.contains(&host.status) {
            kinds.push(host.status);
        }
    }
    let parts = kinds.into_iter().map(|status| {
        let alike = hosts.iter().filter(|host| host.status == status);
        let names: Vec<&str> = alike.map(|host| host.host.as_str()).collect();
        // Whoever is to look at a host has to know which.
        let who = match names.as_slice() {
            names if names.len() > LISTED && !status.is_lost() => names.len().to_string(),
            names => listed(names),
        };
        format!("{who} {}", status.words())
    });
    parts.collect::<Vec<_>>().join("; ")
}
