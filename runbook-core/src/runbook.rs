//! [`Runbook`]: the builder that ordinary Rust code adds steps and checks to.

mod ladder;
mod wiring;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

pub use self::ladder::Ladder;
use self::wiring::{Needs, slug};
use crate::check::{Check, Observation};
use crate::erased::{CheckObject, ErasedCheck, ManualObject};
use crate::error::Error;
use crate::event::{Question, QuestionKind, UnitId};
use crate::fingerprint;
use crate::input::{IntoInput, Out, Visit};
use crate::lock::Lock;
use crate::manual::Manual;
use crate::notify::Notifier;
use crate::people::{Escalation, Severity};
use crate::plan::{
    Block, BlockKind, BlockWork, Node, Outline, OutlineNode, ParamGiven, Plan, PlanInner, Unit,
    UnitKind, Work,
};
use crate::policy::{IntoCheck, IntoStep, Policies, Rolling, Wait, With};
use crate::step::{About, Data, NotReversible, Reversible, Step, UndoKind};

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
    /// The last number of each id that was wanted again.
    numbers: HashMap<String, u32>,
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
            numbers: HashMap::new(),
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
            Vec::new(),
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
}
