//! [`Out`] and [`Input`]: the typed data flow between units.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use crate::context::Observer;
use crate::error::{Failure, Result};
use crate::step::Data;

/// A handle to the output of a unit that was added earlier.
///
/// Cheap to copy. Wire it wherever an input of its type is wanted; its value exists once the unit
/// has run.
pub struct Out<T> {
    pub(crate) runbook: u64,
    pub(crate) unit: u32,
    pub(crate) kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Out<T> {}

impl<T> fmt::Debug for Out<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Out<{}>(unit {})", std::any::type_name::<T>(), self.unit)
    }
}

impl<T: Data> Out<T> {
    /// A part of the output, or something computed from it, as an input.
    ///
    /// ```
    /// use runbook_core::{Input, Out};
    /// fn file_name(dump: Out<std::path::PathBuf>) -> Input<String> {
    ///     dump.map(|path| path.display().to_string())
    /// }
    /// ```
    pub fn map<U>(self, f: impl Fn(&T) -> U + Send + Sync + 'static) -> Input<U> {
        let unit = self.unit;
        Input {
            deps: vec![(self.runbook, unit)],
            source: Source::Later(Arc::new(move |outputs| outputs.get::<T>(unit).map(&f))),
        }
    }
}

impl<E: Data> Out<crate::check::Observation<E>> {
    /// Whether the observed check passed, for [`Runbook::when`](crate::Runbook::when).
    pub fn passed(self) -> Input<bool> {
        self.map(crate::check::Observation::passed)
    }

    /// Whether the observed check failed, for [`Runbook::when`](crate::Runbook::when).
    pub fn failed(self) -> Input<bool> {
        self.map(|seen| !seen.passed())
    }
}

/// An argument of a step or check: a value, or the output of an earlier unit.
///
/// ```
/// use runbook_core::{Input, IntoInput};
/// let port: Input<u16> = 5432.into_input();
/// assert_eq!(port.known(), Some(&5432));
/// ```
pub struct Input<T> {
    deps: Vec<(u64, u32)>,
    source: Source<T>,
}

type Later<T> = Arc<dyn Fn(&Outputs) -> Result<T> + Send + Sync>;

enum Source<T> {
    Value(T),
    Later(Later<T>),
}

impl<T: Clone> Clone for Input<T> {
    fn clone(&self) -> Self {
        let source = match &self.source {
            Source::Value(value) => Source::Value(value.clone()),
            Source::Later(get) => Source::Later(Arc::clone(get)),
        };
        Self { deps: self.deps.clone(), source }
    }
}

impl<T> Input<T> {
    /// This value.
    pub fn value(value: T) -> Self {
        Self { deps: Vec::new(), source: Source::Value(value) }
    }

    /// The value, if it does not depend on an earlier unit.
    pub fn known(&self) -> Option<&T> {
        match &self.source {
            Source::Value(value) => Some(value),
            Source::Later(_) => None,
        }
    }

    /// Something computed from the input.
    pub fn map<U>(self, f: impl Fn(&T) -> U + Send + Sync + 'static) -> Input<U>
    where
        T: 'static,
    {
        let source = match self.source {
            Source::Value(value) => Source::Value(f(&value)),
            Source::Later(get) => Source::Later(Arc::new(move |outputs: &Outputs| {
                get(outputs).map(|value| f(&value))
            })),
        };
        Input { deps: self.deps, source }
    }
}

impl<T: Clone> Input<T> {
    /// The value. In a running unit it is always there.
    ///
    /// # Errors
    /// While planning, an earlier unit has not run yet.
    pub fn get(&self, cx: &Observer) -> Result<T> {
        match &self.source {
            Source::Value(value) => Ok(value.clone()),
            Source::Later(get) => get(cx.outputs()),
        }
    }
}

impl<T: Serialize> Input<T> {
    /// The value as plans show it, or `‹known after the run›`.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.source {
            Source::Value(value) => shown(value),
            Source::Later(get) => KNOWN.with_borrow(|known| {
                known
                    .as_ref()
                    .and_then(|outputs| get(outputs).ok())
                    .map_or_else(|| crate::plan::KNOWN_LATER.into(), |value| shown(&value))
            }),
        }
    }
}

fn shown(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(value) => value.to_string(),
        Err(_) => "?".into(),
    }
}

thread_local! {
    /// The outputs known to the run whose unit is describing itself on this thread. `about` has no
    /// argument for them: hand-written steps would have to pass it on to every input.
    static KNOWN: RefCell<Option<Arc<Outputs>>> = const { RefCell::new(None) };
}

/// Calls `describe` with the inputs showing their values, as far as `outputs` has them.
pub(crate) fn with_known<T>(outputs: &Arc<Outputs>, describe: impl FnOnce() -> T) -> T {
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            KNOWN.set(None);
        }
    }
    KNOWN.set(Some(Arc::clone(outputs)));
    let _forget = Forget;
    describe()
}

/// Sees the inputs of a unit, one after the other.
pub trait Visit {
    /// An input named `name`; `deps` are the units that it needs, as `(runbook, unit)`.
    #[doc(hidden)]
    fn input(&mut self, name: &str, deps: &[(u64, u32)]);
}

impl dyn Visit + '_ {
    /// Shows the input `name`.
    pub fn see<T>(&mut self, name: &str, input: &Input<T>) {
        self.input(name, &input.deps);
    }
}

/// What can be wired into an input of type `T`: a `T`, an [`Out<T>`], or what obviously becomes
/// one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be wired into an input of type `{T}`",
    label = "expected a `{T}` or an `Out<{T}>`"
)]
pub trait IntoInput<T> {
    /// The input.
    fn into_input(self) -> Input<T>;
}

impl<T> IntoInput<T> for T {
    fn into_input(self) -> Input<T> {
        Input::value(self)
    }
}

impl<T> IntoInput<T> for Input<T> {
    fn into_input(self) -> Input<T> {
        self
    }
}

impl<T: Data> IntoInput<T> for Out<T> {
    fn into_input(self) -> Input<T> {
        self.map(T::clone)
    }
}

impl<T: Data> IntoInput<T> for &Out<T> {
    fn into_input(self) -> Input<T> {
        self.map(T::clone)
    }
}

impl IntoInput<String> for &str {
    fn into_input(self) -> Input<String> {
        Input::value(self.into())
    }
}

impl IntoInput<PathBuf> for &str {
    fn into_input(self) -> Input<PathBuf> {
        Input::value(self.into())
    }
}

impl IntoInput<PathBuf> for &Path {
    fn into_input(self) -> Input<PathBuf> {
        Input::value(self.into())
    }
}

fn all<T: Data>(outs: impl Iterator<Item = Out<T>> + Clone) -> Input<Vec<T>> {
    let units: Vec<u32> = outs.clone().map(|out| out.unit).collect();
    Input {
        deps: outs.map(|out| (out.runbook, out.unit)).collect(),
        source: Source::Later(Arc::new(move |outputs| {
            units.iter().map(|unit| outputs.get::<T>(*unit).cloned()).collect()
        })),
    }
}

impl<T: Data> IntoInput<Vec<T>> for Vec<Out<T>> {
    fn into_input(self) -> Input<Vec<T>> {
        all(self.into_iter())
    }
}

impl<T: Data, const N: usize> IntoInput<Vec<T>> for [Out<T>; N] {
    fn into_input(self) -> Input<Vec<T>> {
        all(self.into_iter())
    }
}

/// An output of any type.
pub(crate) type AnyOutput = Box<dyn Any + Send + Sync>;

/// The outputs of one run, by unit.
pub(crate) struct Outputs {
    slots: Box<[OnceLock<AnyOutput>]>,
}

impl Outputs {
    pub(crate) fn new(units: usize) -> Self {
        Self { slots: (0..units).map(|_| OnceLock::new()).collect() }
    }

    /// Sets the output of a unit; the first one stays.
    pub(crate) fn set(&self, unit: u32, output: AnyOutput) {
        if let Some(slot) = self.slots.get(unit as usize) {
            let _ = slot.set(output);
        }
    }

    pub(crate) fn any(&self, unit: u32) -> Option<&(dyn Any + Send + Sync)> {
        self.slots.get(unit as usize)?.get().map(|output| &**output)
    }

    fn get<T: 'static>(&self, unit: u32) -> Result<&T> {
        self.any(unit).and_then(|output| output.downcast_ref()).ok_or_else(|| {
            Failure::msg("an input is not known yet: the unit that gives it has not run")
        })
    }
}
