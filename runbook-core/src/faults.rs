//! [`Faults`]: makes units of a run fail, or run twice, on purpose.
#![cfg_attr(not(feature = "testing"), allow(dead_code, unreachable_pub))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::event::UnitId;

/// What is to go wrong in a run, on purpose; give it to
/// [`RunOptions::faults`](crate::RunOptions::faults).
///
/// ```
/// use runbook_core::RunOptions;
/// use runbook_core::testing::Faults;
/// let third_fails = RunOptions::new().faults(Faults::fail_before(3));
/// let all_twice = RunOptions::new().faults(Faults::repeat_every_unit());
/// # let _ = (third_fails, all_twice);
/// ```
#[derive(Clone, Debug)]
pub struct Faults {
    kind: Kind,
    started: Arc<AtomicUsize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Before(usize),
    After(usize),
    BeforeUnit(UnitId),
    AfterUnit(UnitId),
    Repeat,
}

/// What the engine does with one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Before,
    After,
    Twice,
}

impl Faults {
    fn new(kind: Kind) -> Self {
        Self { kind, started: Arc::default() }
    }

    /// The `n`th step that starts (from 1) fails without having done anything.
    #[must_use]
    pub fn fail_before(n: usize) -> Self {
        Self::new(Kind::Before(n))
    }

    /// The `n`th step that starts (from 1) does its work and then fails, as if its connection had
    /// been lost.
    #[must_use]
    pub fn fail_after(n: usize) -> Self {
        Self::new(Kind::After(n))
    }

    /// This unit fails without having done anything.
    pub fn fail_unit(unit: impl Into<UnitId>) -> Self {
        Self::new(Kind::BeforeUnit(unit.into()))
    }

    /// This unit does its work and then fails.
    pub fn fail_unit_after(unit: impl Into<UnitId>) -> Self {
        Self::new(Kind::AfterUnit(unit.into()))
    }

    /// Every step is run twice in a row, as after an interruption: shows which are not safe to
    /// repeat.
    #[must_use]
    pub fn repeat_every_unit() -> Self {
        Self::new(Kind::Repeat)
    }

    pub(crate) fn next(&self, unit: &UnitId) -> Fault {
        let n = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        match &self.kind {
            Kind::Before(at) if *at == n => Fault::Before,
            Kind::After(at) if *at == n => Fault::After,
            Kind::BeforeUnit(id) if id == unit => Fault::Before,
            Kind::AfterUnit(id) if id == unit => Fault::After,
            Kind::Repeat => Fault::Twice,
            _ => Fault::None,
        }
    }
}
