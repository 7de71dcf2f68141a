//! How units and blocks are put together: their ids, their places, and what they need of each other.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Frame, Runbook};
use crate::erased::{ErasedCheck, StepObject};
use crate::event::UnitId;
use crate::fingerprint;
use crate::input::{Out, Visit};
use crate::plan::{
    Block, BlockKind, BlockOutline, BlockWork, Node, OutlineNode, Unit, UnitKind, UnitOutline,
    Work, millis,
};
use crate::policy::{Policies, With};
use crate::step::private::Sealed;
use crate::step::{About, Step, UndoKind};
use crate::target::{Host, spoken_of};

impl Runbook {
    pub(super) fn frame(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    pub(super) fn add_step<S: Step>(
        &mut self,
        step: With<S>,
        why: Option<String>,
    ) -> Out<S::Output> {
        let With { unit: step, policies } = step;
        let (about, hosts) = spoken_of::during(|| step.about());
        let mut needs = Needs::default();
        step.inputs(&mut needs);
        let undo = <S::Rollback as Sealed<S>>::KIND;
        let repeatable = about.repeatable || policies.repeatable || policies.retry.is_some();
        let work = Work::Step { step: Box::new(StepObject(step)), undo, repeatable };
        self.add(UnitKind::Step, about, hosts, policies, needs, work, undo, why)
    }

    pub(super) fn add_check<T>(
        &mut self,
        kind: UnitKind,
        check: Arc<dyn ErasedCheck>,
        policies: Policies,
        work: impl FnOnce(Arc<dyn ErasedCheck>) -> Work,
    ) -> Out<T> {
        let (about, hosts) = spoken_of::during(|| check.about());
        let mut needs = Needs::default();
        check.inputs(&mut needs);
        self.add(kind, about, hosts, policies, needs, work(check), UndoKind::ReadOnly, None)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn add<T>(
        &mut self,
        kind: UnitKind,
        about: About,
        mut hosts: Vec<Host>,
        policies: Policies,
        mut needs: Needs,
        work: Work,
        undo: UndoKind,
        irreversible_because: Option<String>,
    ) -> Out<T> {
        let index = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        let title = policies.named.clone().unwrap_or(about.title);
        for check in policies.requires.iter().chain(&policies.verify) {
            check.inputs(&mut needs);
        }
        let resolved = self.resolve(&title, &needs);
        let word = policies.named.as_deref().map_or_else(|| slug(&about.id), slug);
        let id = self.fresh_id(&word);
        let scrub = |text: String| match crate::secret::scrub(&text) {
            std::borrow::Cow::Borrowed(_) => text,
            std::borrow::Cow::Owned(clean) => clean,
        };
        let titles = |checks: &[Arc<dyn ErasedCheck>]| {
            checks.iter().map(|check| check.about().title).collect::<Vec<_>>()
        };
        let (requires, required) = spoken_of::during(|| titles(&policies.requires));
        let (verify, verified) = spoken_of::during(|| titles(&policies.verify));
        hosts.extend(required);
        let identities = spoken_of::identities(hosts.iter().chain(&verified));
        let mut outline = UnitOutline {
            id: id.clone(),
            kind,
            title: scrub(title),
            doc: about.doc,
            preview: about.preview.into_iter().map(scrub).collect(),
            args: about.args.into_iter().map(|(name, value)| (name, scrub(value))).collect(),
            undo,
            irreversible_because,
            needs: resolved.iter().map(|unit| self.units[*unit as usize].id.clone()).collect(),
            hosts: identities.into_iter().map(|(name, value)| (name, scrub(value))).collect(),
            requires,
            verify,
            question: match &work {
                Work::Manual { question, .. } => Some(question.text.clone()),
                _ => policies.confirm.clone(),
            },
            attempts: policies.retry.map(|retry| retry.attempts),
            timeout_ms: policies.timeout.map(millis),
            fingerprint: String::new(),
        };
        outline.fingerprint = fingerprint::unit(&outline, &about.id);
        let optional = self.frame().optional.clone().unwrap_or_default();
        self.optional.push(optional);
        self.units.push(Unit { id, work, policies, needs: resolved, hosts });
        let frame = self.frame();
        frame.nodes.push(Node::Unit(index));
        frame.outlines.push(OutlineNode::Unit(outline));
        Out { runbook: self.id, unit: index, kind: PhantomData }
    }

    pub(super) fn block<R>(
        &mut self,
        title: &str,
        work: BlockWork,
        kind: BlockKind,
        optional: bool,
        fill: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let id = self.fresh_id(&slug(title));
        let outer = self.frame().optional.clone().unwrap_or_default();
        self.blocks += 1;
        let around =
            if optional { outer.iter().copied().chain([self.blocks]).collect() } else { outer };
        self.frames.push(Frame {
            path: id.to_string(),
            optional: Some(around),
            ..Frame::default()
        });
        let first = self.units.len() as u32;
        let result = fill(self);
        let frame = self.frames.pop().unwrap_or_default();
        let index = self.block_list.len() as u32;
        self.block_list.push(Block {
            id: id.clone(),
            kind: work,
            children: frame.nodes.into(),
            units: first..self.units.len() as u32,
        });
        let outer = self.frame();
        outer.nodes.push(Node::Block(index));
        outer.outlines.push(OutlineNode::Block(BlockOutline {
            id,
            kind,
            title: title.to_owned(),
            children: frame.outlines,
        }));
        result
    }

    /// An id under the current block: the word, or the word and a number.
    pub(super) fn fresh_id(&mut self, word: &str) -> UnitId {
        let path = &self.frame().path;
        let base = if path.is_empty() { word.to_owned() } else { format!("{path}/{word}") };
        let id = UnitId::new(base.as_str());
        if self.ids.insert(id.clone()) {
            return id;
        }
        let n = self.numbers.entry(base.clone()).or_insert(1);
        loop {
            *n += 1;
            let id = UnitId::new(format!("{base}-{n}"));
            // Another word may end so.
            if self.ids.insert(id.clone()) {
                return id;
            }
        }
    }

    /// The units that are needed, in order and once each; wiring that can't hold is noted.
    pub(super) fn resolve(&mut self, title: &str, needs: &Needs) -> Vec<u32> {
        let here = self.frame().optional.clone().unwrap_or_default();
        let mut units = Vec::with_capacity(needs.0.len());
        for (input, runbook, unit) in &needs.0 {
            if *runbook != self.id || *unit as usize >= self.units.len() {
                self.problems.push(format!(
                    "`{title}`: its input `{input}` is wired to a unit of another runbook"
                ));
                continue;
            }
            let around = &self.optional[*unit as usize];
            if !here.starts_with(around) && !self.in_finally {
                let id = &self.units[*unit as usize].id;
                self.problems.push(format!(
                    "`{title}`: its input `{input}` needs the output of `{id}`, which may be left \
                     out; move the two into the same block"
                ));
            }
            units.push(*unit);
        }
        units.sort_unstable();
        units.dedup();
        units
    }
}

/// The inputs of one unit.
#[derive(Default)]
pub(super) struct Needs(Vec<(String, u64, u32)>);

impl Visit for Needs {
    fn input(&mut self, name: &str, deps: &[(u64, u32)]) {
        self.0.extend(deps.iter().map(|(runbook, unit)| (name.to_owned(), *runbook, *unit)));
    }
}

/// `Switch to v1.2!` becomes `switch-to-v1.2`.
pub(super) fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for c in text.chars() {
        if c.is_alphanumeric() || c == '.' {
            if gap && !out.is_empty() {
                out.push('-');
            }
            gap = false;
            out.extend(c.to_lowercase());
        } else {
            gap = true;
        }
    }
    if out.is_empty() { "unit".into() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_given_once() {
        let mut b = Runbook::new("test");
        let given = ["run", "run-3", "run", "run", "stop", "run", "run-3", "stop"]
            .map(|word| b.fresh_id(word).to_string());
        let ids = ["run", "run-3", "run-2", "run-4", "stop", "run-5", "run-3-2", "stop-2"];
        assert_eq!(given, ids);
    }

    /// As many words that are the same take no longer than as many others.
    #[test]
    fn the_same_word_may_come_often() {
        let mut b = Runbook::new("test");
        let last = (0..100_000).map(|_| b.fresh_id("run")).last();
        assert_eq!(last.unwrap().as_str(), "run-100000");
    }
}
