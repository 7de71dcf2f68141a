//! Arbitrary events, and the events of a model engine that crashes and fails at will.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use runbook_core::{
    Answer, BlockKind, BlockOutcome, Decision, Event, EventKind, Outline, OutlineNode, Phase,
    Question, QuestionKind, ResumeMode, RunState, SkipReason, Stage, Status, UndoKind, UnitId,
    UnitKind, Waiting,
};

use crate::kit::{
    actor, block, end, fail, finish, id, json, now, outline, problem, start, start_plain,
    started_run, undo, undo_failed, undone, unit,
};

/// A plan: units of all sorts, some of them in blocks and some of them in `finally`.
fn plans() -> impl Strategy<Value = Arc<Outline>> {
    use UndoKind::{Harmless, Irreversible, ReadOnly, Recorded};
    let sort = prop_oneof![
        4 => Just((UnitKind::Step, Recorded)),
        1 => Just((UnitKind::Step, Harmless)),
        1 => Just((UnitKind::Step, Irreversible)),
        1 => Just((UnitKind::Check, ReadOnly)),
        1 => Just((UnitKind::Manual, ReadOnly)),
    ];
    let place = prop_oneof![5 => Just(0), 3 => Just(1), 1 => Just(2)];
    prop::collection::vec((sort, place), 1..8).prop_map(|units| {
        let (mut nodes, mut inner, mut finally) = (Vec::new(), Vec::new(), Vec::new());
        for (at, ((kind, undo), place)) in units.into_iter().enumerate() {
            let place = [&mut nodes, &mut inner, &mut finally].into_iter().nth(place).unwrap();
            place.push(unit(&format!("u{at}"), kind, undo));
        }
        nodes.push(block("branch", BlockKind::Branch, inner));
        outline(nodes, finally)
    })
}

/// Any event about one of eight units, sensible or not.
fn any_event(plan: &Arc<Outline>) -> impl Strategy<Value = EventKind> + use<> {
    let plan = Arc::clone(plan);
    (0..8u8, 0..30u8, any::<bool>()).prop_map(move |(u, what, flag)| {
        let unit = id(&format!("u{u}"));
        let name = unit.as_str();
        let question = Question { kind: QuestionKind::Approval, text: "Go on?".into() };
        match what {
            0..=3 => EventKind::Started { unit, record: flag.then(|| json("{}")) },
            4..=6 => finish(name),
            7..=8 => fail(name),
            9..=10 => undo(name),
            11 => undone(name),
            12 => undo_failed(name),
            13 => EventKind::Skipped {
                unit,
                why: if flag { SkipReason::Satisfied } else { SkipReason::Operator },
                output: None,
            },
            14 => EventKind::Skipped { unit, why: SkipReason::Condition, output: None },
            15..=16 => EventKind::RunResumed {
                by: actor(),
                mode: if flag { ResumeMode::Forward } else { ResumeMode::Rollback },
            },
            17 => EventKind::RollbackStarted { cause: String::new(), units: Vec::new() },
            18 => EventKind::RollbackStarted { cause: String::new(), units: vec![unit] },
            19 => EventKind::Suspended { waiting: vec![Waiting { unit, question }] },
            20 => EventKind::Answered { unit, by: "ada".into(), answer: Answer::Yes },
            21 => EventKind::Decided { unit, by: "ada".into(), decision: Decision::Restored },
            22 => EventKind::Decided {
                unit,
                by: "ada".into(),
                decision: if flag { Decision::Retry } else { Decision::Skip },
            },
            23 => end(if flag { Status::Succeeded } else { Status::Suspended }),
            24 => end(if flag { Status::RolledBack } else { Status::Failed }),
            25 => end(Status::Stuck),
            26 => EventKind::Retrying { unit, attempt: 1, problem: problem(), pause_ms: 0 },
            27 => EventKind::BlockFinished { block: id("branch"), outcome: BlockOutcome::Failed },
            28 => EventKind::Asked { unit, question },
            _ => started_run("run", Arc::clone(&plan)),
        }
    })
}

fn plan_and_events() -> impl Strategy<Value = (Arc<Outline>, Vec<EventKind>)> {
    plans().prop_flat_map(|plan| {
        let events = prop::collection::vec(any_event(&plan), 0..250);
        (Just(plan), events)
    })
}

fn unit_id(node: &OutlineNode) -> Option<&UnitId> {
    match node {
        OutlineNode::Unit(unit) => Some(&unit.id),
        _ => None,
    }
}

/// What holds in every state.
fn check(state: &RunState, plan: &Outline, taken: &[Arc<Event>]) {
    assert_eq!(state.events(), taken.len() as u64);
    assert_eq!(state.finished().is_some(), matches!(state.phase(), Phase::Ended(_)));
    assert!(state.waiting().is_empty() || state.phase() == Phase::Suspended);
    let order = state.start_order();
    for (at, unit) in order.iter().enumerate() {
        assert!(!order[..at].contains(unit), "{unit} is listed twice");
        assert!(state.unit(unit).unwrap().started);
    }
    let to_undo = state.to_undo();
    let places: Vec<_> =
        to_undo.iter().map(|unit| order.iter().position(|other| other == unit).unwrap()).collect();
    assert!(places.is_sorted_by(|a, b| a > b), "latest first");
    let finally: Vec<_> = plan.finally.iter().filter_map(unit_id).collect();
    for unit in plan.units() {
        let known = state.unit(&unit.id).unwrap();
        // What the events say, without the rules.
        let mut effect = false;
        for event in taken {
            match &event.event {
                EventKind::Started { unit: started, .. } if *started == unit.id => effect = true,
                EventKind::Undone { unit: undone } if *undone == unit.id => effect = false,
                EventKind::Decided { unit: restored, decision: Decision::Restored, .. }
                    if *restored == unit.id =>
                {
                    effect = false;
                }
                _ => {}
            }
        }
        let stays = finally.contains(&&unit.id);
        assert_eq!(to_undo.contains(&unit.id), effect && unit.undo == UndoKind::Recorded && !stays);
        assert_eq!(state.kept().contains(&unit.id), effect && unit.undo == UndoKind::Irreversible);
        assert_eq!(state.interrupted().contains(&unit.id), known.stage == Stage::Started);
        if to_undo.contains(&unit.id) {
            assert!(known.record.is_some(), "what is to be undone has a record");
        }
    }
    if state.phase() == Phase::Ended(Status::RolledBack) {
        assert!(to_undo.is_empty());
    }
}

/// No unit that did its work is started again, and none twice by one process.
fn never_twice(taken: &[Arc<Event>]) {
    #[derive(PartialEq)]
    enum Last {
        Running,
        Open,
        Done,
    }
    let mut last: HashMap<&UnitId, Last> = HashMap::new();
    for event in taken {
        match &event.event {
            EventKind::Started { unit, .. } => {
                let before = last.insert(unit, Last::Running);
                assert!(matches!(before, None | Some(Last::Open)), "{unit} ran twice");
            }
            EventKind::Finished { unit, .. } => drop(last.insert(unit, Last::Done)),
            EventKind::Failed { unit, .. } | EventKind::Undone { unit } => {
                last.insert(unit, Last::Open);
            }
            // One may decide about a unit whose process is gone.
            EventKind::Decided { unit, decision, .. }
                if *decision == Decision::Restored || last.get(unit) == Some(&Last::Running) =>
            {
                last.insert(unit, Last::Open);
            }
            EventKind::RunResumed { .. } => {
                last.values_mut().filter(|last| **last == Last::Running).for_each(|last| {
                    *last = Last::Open;
                });
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_events_are_taken_or_refused_without_a_trace((plan, events) in plan_and_events()) {
        let mut state = RunState::default();
        let mut taken = Vec::new();
        let begin = started_run("run", Arc::clone(&plan));
        for event in std::iter::once(begin).chain(events) {
            let event = now(event);
            let before = format!("{state:?}");
            if state.apply(&event).is_ok() {
                taken.push(event);
                check(&state, &plan, &taken);
            } else {
                prop_assert_eq!(before, format!("{state:?}"));
            }
        }
        never_twice(&taken);
        // The same from what was kept, up to every point.
        for upto in 0..=taken.len() {
            let again = RunState::fold(&taken[..upto]);
            prop_assert!(again.is_ok());
        }
        let again = RunState::fold(&taken).unwrap();
        prop_assert_eq!(again.phase(), state.phase());
        prop_assert_eq!(again.to_undo(), state.to_undo());
    }

    #[test]
    fn what_an_engine_does_is_taken(plan in plans(), dice in prop::collection::vec(any::<u8>(), 400)) {
        let events = Model::new(&plan, dice).life();
        let mut state = RunState::default();
        let mut taken = Vec::new();
        for event in events {
            let event = now(event);
            if let Err(error) = state.apply(&event) {
                let story: Vec<_> = taken.iter().map(|event: &Arc<Event>| &event.event).collect();
                panic!("{error}: {:?}\nafter {story:#?}", event.event);
            }
            taken.push(event);
            check(&state, &plan, &taken);
        }
        never_twice(&taken);
        prop_assert!(matches!(state.phase(), Phase::Ended(_)));
    }
}

/// An engine that runs units one after the other, and rolls dice for what becomes of them.
struct Model<'a> {
    plan: &'a Outline,
    dice: std::vec::IntoIter<u8>,
    events: Vec<EventKind>,
    units: HashMap<UnitId, Known>,
    /// What has an effect to undo, first start first.
    effects: Vec<UnitId>,
    going_back: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Known {
    New,
    Open,
    Done,
    /// Its undoing began.
    Undoing,
}

/// The process died.
struct Crash;
type Lives<T> = Result<T, Crash>;

impl<'a> Model<'a> {
    fn new(plan: &'a Outline, dice: Vec<u8>) -> Self {
        let units = plan.units().map(|unit| (unit.id.clone(), Known::New)).collect();
        let dice = dice.into_iter();
        Self { plan, dice, events: Vec::new(), units, effects: Vec::new(), going_back: false }
    }

    /// One chance in `of`; none when the dice are used up, so that all comes to an end.
    fn rolls(&mut self, of: u8) -> bool {
        self.dice.next().is_some_and(|die| die % of == 0)
    }

    /// Journals an event; the process may die right after it.
    fn emit(&mut self, event: EventKind) -> Lives<()> {
        self.events.push(event);
        if self.rolls(25) { Err(Crash) } else { Ok(()) }
    }

    /// A run from its start to an end from which nobody resumes it.
    fn life(mut self) -> Vec<EventKind> {
        self.events.push(started_run("run", Arc::new(self.plan.clone())));
        loop {
            let again = match self.process() {
                Ok(Status::RolledBack | Status::Succeeded) => false,
                Ok(status) => {
                    self.going_back = status == Status::Stuck;
                    self.rolls(2)
                }
                Err(Crash) => true,
            };
            if !again && matches!(self.events.last(), Some(EventKind::RunFinished(_))) {
                return self.events;
            }
            // A process that died right after the end of the run has left nothing to resume.
            if let Some(EventKind::RunFinished(end)) = self.events.last() {
                match end.status {
                    Status::Succeeded | Status::RolledBack => return self.events,
                    status => self.going_back = status == Status::Stuck,
                }
            }
            self.events.push(EventKind::RunResumed { by: actor(), mode: ResumeMode::Forward });
        }
    }

    /// One process, from the start or a resume to an end.
    fn process(&mut self) -> Lives<Status> {
        let mut failed = self.going_back;
        if !self.going_back {
            failed = !self.nodes(&self.plan.nodes)?;
        }
        let keep = failed && !self.going_back && self.rolls(4);
        let mut stuck = false;
        let back = failed && !keep && (self.going_back || !self.effects.is_empty());
        if back {
            let units = self.effects.iter().rev().cloned().collect();
            // What is in the journal counts, also if the process dies here.
            self.going_back = true;
            self.emit(EventKind::RollbackStarted { cause: "it failed".into(), units })?;
            stuck = !self.undo_all(&self.effects.clone())?;
        }
        for node in &self.plan.finally {
            failed |= !self.node(node)?;
        }
        let status = match (stuck, back, failed) {
            (true, ..) => Status::Stuck,
            (_, true, _) => Status::RolledBack,
            (.., true) => Status::Failed,
            _ => Status::Succeeded,
        };
        self.emit(end(status))?;
        Ok(status)
    }

    fn nodes(&mut self, nodes: &[OutlineNode]) -> Lives<bool> {
        for node in nodes {
            if !self.node(node)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the run goes on after it.
    fn node(&mut self, node: &OutlineNode) -> Lives<bool> {
        match node {
            OutlineNode::Unit(unit) => match self.units[&unit.id] {
                Known::Done => Ok(true),
                _ if unit.kind == UnitKind::Step => self.step(&unit.id, unit.undo),
                _ => self.look(&unit.id),
            },
            OutlineNode::Block(block) => {
                self.emit(EventKind::BlockStarted { block: block.id.clone() })?;
                let before = self.effects.len();
                if self.nodes(&block.children)? {
                    let outcome = BlockOutcome::Succeeded;
                    self.emit(EventKind::BlockFinished { block: block.id.clone(), outcome })?;
                    return Ok(true);
                }
                // A branch is undone by itself, and the run goes on.
                let own = self.effects[before.min(self.effects.len())..].to_vec();
                let undone = self.undo_all(&own)?;
                if undone {
                    let outcome = BlockOutcome::Isolated { problem: problem() };
                    self.emit(EventKind::BlockFinished { block: block.id.clone(), outcome })?;
                }
                // What an earlier process had begun there is not known here as its own.
                let clean = block.children.iter().all(|child| match child {
                    OutlineNode::Unit(unit) => !self.effects.contains(&unit.id),
                    _ => true,
                });
                Ok(undone && clean)
            }
            OutlineNode::Lock { .. } => Ok(true),
        }
    }

    fn look(&mut self, unit: &UnitId) -> Lives<bool> {
        let good = !self.rolls(8);
        self.units.insert(unit.clone(), if good { Known::Done } else { Known::New });
        self.emit(if good { finish(unit.as_str()) } else { fail(unit.as_str()) })?;
        Ok(good)
    }

    fn step(&mut self, unit: &UnitId, undo: UndoKind) -> Lives<bool> {
        let name = unit.as_str();
        if self.units[unit] == Known::Undoing && !self.undo_all(std::slice::from_ref(unit))? {
            return Ok(false);
        }
        let interrupted = self.units[unit] == Known::Open;
        if interrupted && self.rolls(3) {
            self.units.insert(unit.clone(), Known::Done);
            self.emit(finish(name))?;
            return Ok(true);
        }
        if interrupted && self.rolls(3) {
            let decision = Decision::Skip;
            self.emit(EventKind::Decided { unit: unit.clone(), by: "ada".into(), decision })?;
            self.units.insert(unit.clone(), Known::Done);
            let why = SkipReason::Operator;
            self.emit(EventKind::Skipped { unit: unit.clone(), why, output: None })?;
            return Ok(true);
        }
        if self.rolls(8) {
            self.units.insert(unit.clone(), Known::Done);
            let why = SkipReason::Satisfied;
            self.emit(EventKind::Skipped { unit: unit.clone(), why, output: None })?;
            return Ok(true);
        }
        if self.rolls(12) {
            // A requirement said no.
            self.units.insert(unit.clone(), Known::New);
            self.emit(fail(name))?;
            return Ok(false);
        }
        self.units.insert(unit.clone(), Known::Open);
        let recorded = undo == UndoKind::Recorded;
        let stays = self.plan.finally.iter().filter_map(unit_id).any(|other| other == unit);
        if recorded && !stays && !self.effects.contains(unit) {
            self.effects.push(unit.clone());
        }
        self.emit(if recorded { start(name) } else { start_plain(name) })?;
        if self.rolls(6) {
            let unit = unit.clone();
            self.emit(EventKind::Retrying { unit, attempt: 1, problem: problem(), pause_ms: 5 })?;
        }
        if self.rolls(7) {
            self.units.insert(unit.clone(), Known::New);
            self.emit(fail(name))?;
            return Ok(false);
        }
        self.units.insert(unit.clone(), Known::Done);
        self.emit(finish(name))?;
        if self.rolls(10) {
            // A verification said no.
            self.units.insert(unit.clone(), Known::New);
            self.emit(fail(name))?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Undoes them, last one first; whether all were restored.
    fn undo_all(&mut self, units: &[UnitId]) -> Lives<bool> {
        for unit in units.iter().rev() {
            let name = unit.as_str();
            self.units.insert(unit.clone(), Known::Undoing);
            self.emit(undo(name))?;
            if self.rolls(9) {
                self.emit(undo_failed(name))?;
                return Ok(false);
            }
            self.effects.retain(|other| other != unit);
            self.units.insert(unit.clone(), Known::New);
            self.emit(undone(name))?;
        }
        Ok(true)
    }
}
