//! [`Runbook`]: the builder that ordinary Rust code adds steps and checks to.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::check::{Check, Observation};
use crate::erased::{CheckObject, ErasedCheck, ManualObject, StepObject};
use crate::error::Error;
use crate::event::{Question, QuestionKind, UnitId};
use crate::fingerprint;
use crate::input::{IntoInput, Out, Visit};
use crate::lock::Lock;
use crate::manual::Manual;
use crate::notify::Notifier;
use crate::people::{Escalation, Severity};
use crate::plan::{
    Block, BlockKind, BlockOutline, BlockWork, Node, Outline, OutlineNode, ParamGiven, Plan,
    PlanInner, Unit, UnitKind, UnitOutline, Work, millis,
};
use crate::policy::{IntoCheck, IntoStep, Policies, Rolling, Wait, With};
use crate::step::private::Sealed;
use crate::step::{About, Data, NotReversible, Reversible, Step, UndoKind};
use crate::target::spoken_of;

/// Collects steps and checks in the order in which they are to happen; [`build`](Self::build)
/// gives an immutable [`Plan`].
///
/// Units run one after the other, except in [`parallel`](Self::parallel) and
/// [`each`](Self::each). A unit may use the output of any unit that was added before it.
///
/// ```
/// use runbook_core::{About, Check, Manual, Observer, Result, Runbook, Verdict};
///
/// struct Answers;
/// impl Check for Answers {
///     type Evidence = ();
///     fn about(&self) -> About {
///         About::new("answers", "The site answers")
///     }
///     async fn check(&self, _: &Observer) -> Result<Verdict<()>> {
///         Ok(Verdict::pass((), "200 OK"))
///     }
/// }
///
/// let mut b = Runbook::new("restart-by-hand");
/// b.title("Restart the site by hand");
/// b.manual(Manual::new("Restart the site"));
/// b.check(Answers);
/// let plan = b.build()?;
/// assert_eq!(plan.outline().units().count(), 2);
/// # Ok::<(), runbook_core::Error>(())
/// ```
pub struct Runbook {
    id: u64,
    name: String,
    title: String,
    doc: String,
    params: Vec<ParamGiven>,
    severity: Option<Severity>,
    escalation: Option<Escalation>,
    units: Vec<Unit>,
    block_list: Vec<Block>,
    locks: Vec<Lock>,
    /// For each unit, the blocks around it that may leave it out.
    optional: Vec<Arc<[u32]>>,
    ids: HashSet<UnitId>,
    frames: Vec<Frame>,
    finally: Vec<(Node, OutlineNode)>,
    notifiers: Vec<Arc<dyn Notifier>>,
    problems: Vec<String>,
    blocks: u32,
    in_finally: bool,
}

/// A block that is being filled.
#[derive(Default)]
struct Frame {
    path: String,
    optional: Option<Arc<[u32]>>,
    nodes: Vec<Node>,
    outlines: Vec<OutlineNode>,
}

static NEXT_RUNBOOK: AtomicU64 = AtomicU64::new(1);

impl Runbook {
    /// An empty runbook called `name`, as on the command line: `deploy`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            id: NEXT_RUNBOOK.fetch_add(1, Ordering::Relaxed),
            title: name.clone(),
            name,
            doc: String::new(),
            params: Vec::new(),
            severity: None,
            escalation: None,
            units: Vec::new(),
            block_list: Vec::new(),
            locks: Vec::new(),
            optional: Vec::new(),
            ids: HashSet::new(),
            frames: vec![Frame::default()],
            finally: Vec::new(),
            notifiers: Vec::new(),
            problems: Vec::new(),
            blocks: 0,
            in_finally: false,
        }
    }

    /// Its title: an imperative sentence.
    pub fn title(&mut self, title: impl Into<String>) -> &mut Self {
        self.title = title.into();
        self
    }

    /// Its documentation, in Markdown.
    pub fn doc(&mut self, doc: impl Into<String>) -> &mut Self {
        self.doc = doc.into();
        self
    }

    /// The words given for its parameters; set by the catalog.
    pub fn params(&mut self, params: Vec<ParamGiven>) -> &mut Self {
        self.params = params;
        self
    }

    /// How grave what it is about is: shown with plan, page, end and report, and told to those who
    /// are notified.
    pub fn severity(&mut self, severity: Severity) -> &mut Self {
        self.severity = Some(severity.scrubbed());
        self
    }

    /// Whom to call, and when, if it does not end well: shown with plan and page, and at its end
    /// with those whose turn has come by then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use runbook_core::{Contact, Escalation, Manual, Runbook, Severity};
    ///
    /// let mut b = Runbook::new("site-down");
    /// b.severity(Severity::SEV1);
    /// b.escalation(
    ///     &Escalation::at_once([Contact::new("Kim").reach("+1 555 0100")?])
    ///         .after(Duration::from_secs(15 * 60), [Contact::new("Lee").reach("+1 555 0101")?]),
    /// );
    /// b.manual(Manual::new("Bring the site back"));
    /// # Ok::<(), runbook_core::Error>(())
    /// ```
    pub fn escalation(&mut self, escalation: &Escalation) -> &mut Self {
        self.escalation = Some(escalation.clone().scrubbed());
        self
    }

    /// Adds a step that can be undone, or needs no undoing.
    pub fn step<T: IntoStep>(&mut self, step: T) -> Out<<T::Step as Step>::Output>
    where
        <T::Step as Step>::Rollback: Reversible<T::Step>,
    {
        self.add_step(step.into_step(), None)
    }

    /// Adds a step that can't be undone, with the reason why that is acceptable; plan, page and
    /// progress view show it.
    pub fn irreversible<T: IntoStep>(
        &mut self,
        step: T,
        why: impl Into<String>,
    ) -> Out<<T::Step as Step>::Output>
    where
        <T::Step as Step>::Rollback: NotReversible,
    {
        self.add_step(step.into_step(), Some(why.into()))
    }

    /// Adds a check that must pass for the run to go on; gives its evidence.
    pub fn check<T: IntoCheck>(&mut self, check: T) -> Out<<T::Check as Check>::Evidence> {
        let With { unit, policies } = check.into_check();
        let check: Arc<dyn ErasedCheck> = Arc::new(CheckObject(unit));
        self.add_check(UnitKind::Check, check, policies, |check| Work::Check { check })
    }

    /// Adds a check whose verdict is noted and never fails the run, even if it can't look; for
    /// diagnosis. Wire
    /// [`Out::passed`] or [`Out::failed`] into [`when`](Self::when).
    pub fn observe<T: IntoCheck>(
        &mut self,
        check: T,
    ) -> Out<Observation<<T::Check as Check>::Evidence>> {
        let With { unit, policies } = check.into_check();
        let check: Arc<dyn ErasedCheck> = Arc::new(CheckObject(unit));
        self.add_check(UnitKind::Observe, check, policies, |check| Work::Observe { check })
    }

    /// Looks again and again until the check passes; fails when the time is up.
    pub fn wait_until<T: IntoCheck>(
        &mut self,
        check: T,
        wait: Wait,
    ) -> Out<<T::Check as Check>::Evidence> {
        let With { unit, mut policies } = check.into_check();
        policies.timeout = policies.timeout.or(Some(wait.at_most));
        let check: Arc<dyn ErasedCheck> = Arc::new(CheckObject(unit));
        self.add_check(UnitKind::Wait, check, policies, |check| Work::Wait { check, wait })
    }

    /// Adds a step that a person does.
    pub fn manual<T: Data>(&mut self, manual: Manual<T>) -> Out<T> {
        let question = match (&manual.question, &manual.accepts) {
            (Some(text), Some(accepts)) => Question {
                kind: QuestionKind::Value { accepts: accepts.clone() },
                text: text.clone(),
            },
            _ => Question { kind: QuestionKind::Confirmation, text: manual.title.clone() },
        };
        let about = About::new(slug(&manual.title), manual.title).doc(manual.doc);
        let policies = Policies { named: manual.named, ..Policies::default() };
        let object = Box::new(ManualObject { read: manual.read, kind: PhantomData });
        let work = Work::Manual { manual: object, question };
        self.add(
            UnitKind::Manual,
            about,
            policies,
            Needs::default(),
            work,
            UndoKind::ReadOnly,
            None,
        )
    }

    /// Things that people do, in any order; each is confirmed by itself, and the page has a box to
    /// tick for each. A run that nobody watches is suspended with all that are open.
    ///
    /// ```
    /// use runbook_core::{Manual, Runbook};
    /// let mut b = Runbook::new("go-live");
    /// b.checklist("Before the go-live", [
    ///     Manual::new("Tell the users"),
    ///     Manual::new("See that support is there").doc("Two people, until 18:00."),
    /// ]);
    /// assert_eq!(b.build()?.outline().units().count(), 2);
    /// # Ok::<(), runbook_core::Error>(())
    /// ```
    pub fn checklist(&mut self, title: &str, items: impl IntoIterator<Item = Manual>) {
        self.block(title, BlockWork::Checklist, BlockKind::Checklist, false, |b| {
            items.into_iter().for_each(|item| {
                b.manual(item);
            });
        });
    }

    /// Units that belong together, under a title.
    pub fn group<R>(&mut self, title: &str, fill: impl FnOnce(&mut Self) -> R) -> R {
        self.block(title, BlockWork::Group, BlockKind::Group, false, fill)
    }

    /// Everything that `fill` adds directly (units, groups) runs at the same time.
    pub fn parallel<R>(&mut self, title: &str, fill: impl FnOnce(&mut Self) -> R) -> R {
        self.block(title, BlockWork::Parallel, BlockKind::Parallel, false, fill)
    }

    /// Units that run only if `condition` turns out true. What they give can't be used outside.
    pub fn when(
        &mut self,
        title: &str,
        condition: impl IntoInput<bool>,
        fill: impl FnOnce(&mut Self),
    ) {
        let condition = condition.into_input();
        let mut needs = Needs::default();
        <dyn Visit>::see(&mut needs, "condition", &condition);
        let needs = self.resolve(title, &needs);
        let ids = needs.iter().map(|unit| self.units[*unit as usize].id.clone()).collect();
        let work = BlockWork::When { condition, needs };
        self.block(title, work, BlockKind::When { needs: ids }, true, fill);
    }

    /// The same for each of `items`, as a branch of its own named after it, in their order:
    /// canaries first, then batches. See [`Rolling`] for what happens when one fails, and
    /// [`Inventory`](crate::Inventory) for where hosts come from.
    ///
    /// ```
    /// use std::time::Duration;
    /// use runbook_core::{
    ///     Entry, Host, Inventory, Manual, Rolling, Runbook, Selection, Share, testing::FakeTarget,
    /// };
    ///
    /// fn restart(
    ///     b: &mut Runbook,
    ///     fleet: &Inventory,
    ///     hosts: &Selection,
    ///     at_once: Share,
    /// ) -> Result<(), runbook_core::Error> {
    ///     let hosts = fleet.select(hosts)?;
    ///     let rolling = Rolling {
    ///         canary: 1,
    ///         at_once: at_once.of(hosts.len()),
    ///         max_failed: 1,
    ///         pause: Duration::from_secs(30),
    ///     };
    ///     let hosts = hosts.hosts(|entry| Host::new(FakeTarget::new(entry.name())));
    ///     b.each(&hosts, rolling, |member, b| {
    ///         b.manual(Manual::new(format!("Take {member} out of the load balancer")));
    ///         // b.step(restart_service(&member.host, "shop").verify(answers(&member.host)));
    ///     });
    ///     Ok(())
    /// }
    ///
    /// let fleet = Inventory::new((1..=5).map(|n| Entry::new(format!("web-{n}"), ())))?;
    /// let mut b = Runbook::new("restart");
    /// restart(&mut b, &fleet, &"web-*,!web-3".parse()?, Share::Percent(50))?;
    /// assert_eq!(b.build()?.outline().units().count(), 4);
    /// # Ok::<(), runbook_core::Error>(())
    /// ```
    pub fn each<T: fmt::Display>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        rolling: Rolling,
        mut fill: impl FnMut(&T, &mut Self),
    ) {
        let rolling = Rolling { at_once: rolling.at_once.max(1), ..rolling };
        let optional = rolling.max_failed > 0;
        self.block("each", BlockWork::Each(rolling), BlockKind::Each(rolling), false, |b| {
            for item in items {
                let name = item.to_string();
                b.block(&name, BlockWork::Group, BlockKind::Branch, optional, |b| fill(&item, b));
            }
        });
    }

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

    /// What is done at the end of the run, come what may: after success, after a rollback. A unit
    /// in it that needs an output which never came is skipped. It is not undone.
    pub fn finally(&mut self, fill: impl FnOnce(&mut Self)) {
        let path = if self.frames.len() == 1 { String::new() } else { self.frame().path.clone() };
        self.frames.push(Frame { path, ..Frame::default() });
        let outer = std::mem::replace(&mut self.in_finally, true);
        fill(self);
        self.in_finally = outer;
        let frame = self.frames.pop().unwrap_or_default();
        self.finally.extend(frame.nodes.into_iter().zip(frame.outlines));
    }

    /// Takes a lock here and holds it to the end of the run, rollback included.
    pub fn lock(&mut self, lock: impl Into<Lock>) {
        let lock = lock.into();
        let outline = OutlineNode::Lock { resource: lock.resource.clone() };
        let index = self.locks.len() as u32;
        self.locks.push(lock);
        let frame = self.frame();
        frame.nodes.push(Node::Lock(index));
        frame.outlines.push(outline);
    }

    /// Tells `notifier` how the run ends, or that it waits for a person.
    pub fn notify(&mut self, notifier: impl Notifier) {
        self.notifiers.push(Arc::new(notifier));
    }

    /// Checks the wiring and gives the plan.
    ///
    /// # Errors
    /// A handle comes from another runbook; a unit uses the output of a unit that may be left
    /// out; two units were given the same name. All such problems are listed.
    pub fn build(mut self) -> Result<Plan, Error> {
        if !self.problems.is_empty() {
            let list = self.problems.join("\n  - ");
            return Err(Error::build(format!(
                "the runbook `{}` is wired wrongly:\n  - {list}",
                self.name
            )));
        }
        let root = self.frames.pop().unwrap_or_default();
        let (finally, finally_outlines): (Vec<_>, Vec<_>) = self.finally.into_iter().unzip();
        let mut all = Sha256::new();
        fingerprint::nodes(&root.outlines, &mut all);
        all.update(b"finally\n");
        fingerprint::nodes(&finally_outlines, &mut all);
        let outline = Outline {
            book: self.name,
            title: self.title,
            doc: self.doc,
            params: self.params,
            severity: self.severity,
            escalation: self.escalation,
            nodes: root.outlines,
            finally: finally_outlines,
            fingerprint: fingerprint::hex(&all.finalize()),
        };
        Ok(Plan(Arc::new(PlanInner {
            outline: Arc::new(outline),
            units: self.units,
            blocks: self.block_list,
            locks: self.locks,
            nodes: root.nodes.into(),
            finally: finally.into(),
            notifiers: self.notifiers,
        })))
    }

    fn frame(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn add_step<S: Step>(&mut self, step: With<S>, why: Option<String>) -> Out<S::Output> {
        let With { unit: step, policies } = step;
        let about = About::of(|| step.about());
        let mut needs = Needs::default();
        step.inputs(&mut needs);
        let undo = <S::Rollback as Sealed<S>>::KIND;
        let repeatable = about.repeatable || policies.repeatable || policies.retry.is_some();
        let work = Work::Step { step: Box::new(StepObject(step)), undo, repeatable };
        self.add(UnitKind::Step, about, policies, needs, work, undo, why)
    }

    fn add_check<T>(
        &mut self,
        kind: UnitKind,
        check: Arc<dyn ErasedCheck>,
        policies: Policies,
        work: impl FnOnce(Arc<dyn ErasedCheck>) -> Work,
    ) -> Out<T> {
        let about = About::of(|| check.about());
        let mut needs = Needs::default();
        check.inputs(&mut needs);
        self.add(kind, about, policies, needs, work(check), UndoKind::ReadOnly, None)
    }

    #[allow(clippy::too_many_arguments)]
    fn add<T>(
        &mut self,
        kind: UnitKind,
        about: About,
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
        let ((requires, verify), others) =
            spoken_of::during(|| (titles(&policies.requires), titles(&policies.verify)));
        let mut hosts = about.hosts;
        hosts.extend(others);
        hosts.sort();
        hosts.dedup();
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
            hosts: hosts.into_iter().map(|(name, value)| (name, scrub(value))).collect(),
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
        self.units.push(Unit { id, work, policies, needs: resolved });
        let frame = self.frame();
        frame.nodes.push(Node::Unit(index));
        frame.outlines.push(OutlineNode::Unit(outline));
        Out { runbook: self.id, unit: index, kind: PhantomData }
    }

    fn block<R>(
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
    fn fresh_id(&mut self, word: &str) -> UnitId {
        let path = &self.frame().path;
        let base = if path.is_empty() { word.to_owned() } else { format!("{path}/{word}") };
        let mut id = UnitId::new(base.as_str());
        let mut n = 1;
        while !self.ids.insert(id.clone()) {
            n += 1;
            id = UnitId::new(format!("{base}-{n}"));
        }
        id
    }

    /// The units that are needed, in order and once each; wiring that can't hold is noted.
    fn resolve(&mut self, title: &str, needs: &Needs) -> Vec<u32> {
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

/// The inputs of one unit.
#[derive(Default)]
struct Needs(Vec<(String, u64, u32)>);

impl Visit for Needs {
    fn input(&mut self, name: &str, deps: &[(u64, u32)]) {
        self.0.extend(deps.iter().map(|(runbook, unit)| (name.to_owned(), *runbook, *unit)));
    }
}

/// `Switch to v1.2!` becomes `switch-to-v1.2`.
fn slug(text: &str) -> String {
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
