//! Steps and checks without their types: what a plan holds and the engine drives.

use std::any::TypeId;
use std::marker::PhantomData;

use serde_json::value::to_raw_value;

use crate::check::{Check, Level, Observation};
use crate::context::{Context, Observer};
use crate::error::{Failure, Result};
use crate::event::{Json, VerdictRecord};
use crate::input::AnyOutput;
use crate::step::private::{BoxFuture, Sealed};
use crate::step::{About, Data, Step};

/// An output: the value for later units, and its JSON for the journal (`None` for `()`).
pub(crate) struct Given {
    pub(crate) value: AnyOutput,
    pub(crate) json: Option<Json>,
}

impl Given {
    pub(crate) fn new<T: Data>(value: T) -> Result<Self> {
        let json =
            if TypeId::of::<T>() == TypeId::of::<()>() {
                None
            } else {
                Some(to_raw_value(&value).map_err(|error| {
                    Failure::msg(error).while_doing("writing the output as JSON")
                })?)
            };
        Ok(Self { value: Box::new(value), json })
    }

    pub(crate) fn load<T: Data>(json: Option<&Json>) -> Result<AnyOutput> {
        let text = json.map_or("null", |json| json.get());
        let value: T = serde_json::from_str(text).map_err(|error| {
            Failure::msg(error).while_doing("reading the output back from the journal")
        })?;
        Ok(Box::new(value))
    }
}

pub(crate) trait ErasedStep: Send + Sync {
    fn about(&self) -> About;
    fn satisfied<'a>(&'a self, cx: &'a Observer) -> BoxFuture<'a, Result<Option<Given>>>;
    fn record<'a>(&'a self, cx: &'a Observer) -> Option<BoxFuture<'a, Result<Json>>>;
    fn run<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Given>>;
    fn undo<'a>(
        &'a self,
        record: &'a Json,
        done: Option<&'a (dyn std::any::Any + Send + Sync)>,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<()>>;
    fn restored(&self, record: &Json, now: &Json) -> Result<bool>;
    fn load(&self, json: Option<&Json>) -> Result<AnyOutput>;
}

pub(crate) struct StepObject<S>(pub(crate) S);

impl<S: Step> ErasedStep for StepObject<S> {
    fn about(&self) -> About {
        self.0.about()
    }
    fn satisfied<'a>(&'a self, cx: &'a Observer) -> BoxFuture<'a, Result<Option<Given>>> {
        Box::pin(async move { self.0.satisfied(cx).await?.map(Given::new).transpose() })
    }
    fn record<'a>(&'a self, cx: &'a Observer) -> Option<BoxFuture<'a, Result<Json>>> {
        <S::Rollback as Sealed<S>>::record(&self.0, cx)
    }
    fn run<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Given>> {
        Box::pin(async move { Given::new(self.0.run(cx).await?) })
    }
    fn undo<'a>(
        &'a self,
        record: &'a Json,
        done: Option<&'a (dyn std::any::Any + Send + Sync)>,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<()>> {
        <S::Rollback as Sealed<S>>::undo(&self.0, record, done, cx)
    }
    fn restored(&self, record: &Json, now: &Json) -> Result<bool> {
        <S::Rollback as Sealed<S>>::restored(record, now)
    }
    fn load(&self, json: Option<&Json>) -> Result<AnyOutput> {
        Given::load::<S::Output>(json)
    }
}

/// What one look gave. An `Err` of the check itself is a failed look without evidence.
pub(crate) struct Looked {
    pub(crate) record: VerdictRecord,
    /// The evidence (or the whole observation) as the unit's output.
    pub(crate) output: Option<Given>,
}

/// What a check unit gives to later units.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gives {
    Evidence,
    Verdict,
}

pub(crate) trait ErasedCheck: Send + Sync {
    fn about(&self) -> About;
    fn inputs(&self, visit: &mut dyn crate::input::Visit);
    fn look<'a>(&'a self, cx: &'a Observer, gives: Gives) -> BoxFuture<'a, Result<Looked>>;
    fn load(&self, json: Option<&Json>, gives: Gives) -> Result<AnyOutput>;
}

pub(crate) struct CheckObject<C>(pub(crate) C);

impl<C: Check> ErasedCheck for CheckObject<C> {
    fn about(&self) -> About {
        self.0.about()
    }
    fn inputs(&self, visit: &mut dyn crate::input::Visit) {
        self.0.inputs(visit);
    }
    fn look<'a>(&'a self, cx: &'a Observer, gives: Gives) -> BoxFuture<'a, Result<Looked>> {
        Box::pin(async move {
            let verdict = match self.0.check(cx).await {
                Ok(verdict) => verdict,
                // To see nothing is an observation too; to be cancelled is not.
                Err(failure) if gives == Gives::Verdict && !failure.kind().outcome_unknown() => {
                    let why = failure.to_problem().message;
                    let record =
                        VerdictRecord { level: Level::Fail, why: why.clone(), evidence: None };
                    let output = Given::new(Observation::<C::Evidence>::blind(why))?;
                    return Ok(Looked { record, output: Some(output) });
                }
                Err(failure) => return Err(failure),
            };
            let evidence = to_raw_value(verdict.evidence())?;
            let evidence = (evidence.get() != "null").then_some(evidence);
            let record = VerdictRecord {
                level: verdict.level(),
                why: crate::secret::scrub(verdict.why()).into_owned(),
                evidence,
            };
            let output = match gives {
                Gives::Verdict => Some(Given::new(Observation::from(verdict))?),
                Gives::Evidence if record.level == Level::Fail => None,
                Gives::Evidence => Some(Given::new(verdict.into_evidence())?),
            };
            Ok(Looked { record, output })
        })
    }
    fn load(&self, json: Option<&Json>, gives: Gives) -> Result<AnyOutput> {
        match gives {
            Gives::Evidence => Given::load::<C::Evidence>(json),
            Gives::Verdict => Given::load::<Observation<C::Evidence>>(json),
        }
    }
}

/// Reads the answer to a manual step.
pub(crate) trait ErasedManual: Send + Sync {
    /// The value that `text` stands for.
    fn read(&self, text: &str) -> Result<Given, String>;
    fn load(&self, json: Option<&Json>) -> Result<AnyOutput>;
}

pub(crate) struct ManualObject<T> {
    pub(crate) read: fn(&str) -> Result<T, String>,
    pub(crate) kind: PhantomData<fn() -> T>,
}

impl<T: Data> ErasedManual for ManualObject<T> {
    fn read(&self, text: &str) -> Result<Given, String> {
        Given::new((self.read)(text)?).map_err(|failure| failure.to_string())
    }
    fn load(&self, json: Option<&Json>) -> Result<AnyOutput> {
        Given::load::<T>(json)
    }
}
