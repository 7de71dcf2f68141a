//! [`Step`] and [`Rollback`]: one typed action, and how it is undone.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::{Context, Observer};
use crate::error::{Failure, Result};
use crate::input::Visit;
use crate::policy::{With, adaptors};

/// What may travel between units and into the journal: anything that serde can write and read.
///
/// Implemented for every type that fits; derive `Clone`, `Serialize` and `Deserialize`.
pub trait Data: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}
impl<T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Data for T {}

/// One typed action, with an output and a word on how it is undone.
///
/// Written by hand, or by `#[step]` from an async fn.
///
/// ```
/// use runbook_core::{About, Context, Observer, Result, Rollback, Step};
/// use serde::{Deserialize, Serialize};
///
/// /// Writes the maintenance page.
/// struct MaintenanceOn(std::path::PathBuf);
///
/// /// Whether the page was there before.
/// #[derive(Clone, Serialize, Deserialize)]
/// struct WasOn(bool);
///
/// impl Step for MaintenanceOn {
///     type Output = ();
///     type Rollback = WasOn;
///     fn about(&self) -> About {
///         About::new("maintenance-on", "Turn the maintenance page on")
///             .preview(format!("write {}", self.0.display()))
///     }
///     async fn run(&self, _: &Context) -> Result<()> {
///         Ok(std::fs::write(&self.0, "back soon")?)
///     }
/// }
///
/// impl Rollback<MaintenanceOn> for WasOn {
///     async fn record(step: &MaintenanceOn, _: &Observer) -> Result<Self> {
///         Ok(WasOn(step.0.exists()))
///     }
///     async fn rollback(&self, step: &MaintenanceOn, _: Option<&()>, _: &Context) -> Result<()> {
///         if !self.0 && step.0.exists() {
///             std::fs::remove_file(&step.0)?;
///         }
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a step",
    label = "expected a `Step`: call a `#[step]` fn, or implement the trait"
)]
pub trait Step: Send + Sync + Sized + 'static {
    /// What it gives to later units.
    type Output: Data;

    /// How it is undone: [`Harmless`] (nothing to undo), [`Irreversible`], or a record type of
    /// its own that implements [`Rollback`].
    type Rollback: Undo<Self>;

    /// Title, stable id, documentation, preview.
    fn about(&self) -> About;

    /// Shows every [`Input`](crate::Input) that it holds to `visit`.
    fn inputs(&self, visit: &mut dyn Visit) {
        let _ = visit;
    }

    /// Whether what it brings about is already so; then it is skipped and this is its output.
    fn satisfied(
        &self,
        cx: &Observer,
    ) -> impl Future<Output = Result<Option<Self::Output>>> + Send {
        let _ = cx;
        async { Ok(None) }
    }

    /// Does it.
    fn run(&self, cx: &Context) -> impl Future<Output = Result<Self::Output>> + Send;

    adaptors!();

    /// Declares it safe to run again when it is not known how far it got.
    fn repeatable(self) -> With<Self> {
        With::new(self).repeatable()
    }

    /// Made after the step; if it fails, so has the step.
    fn verify(self, check: impl crate::check::Check) -> With<Self> {
        With::new(self).verify(check)
    }

    /// Asks a person before the step starts.
    fn confirm(self, question: impl Into<String>) -> With<Self> {
        With::new(self).confirm(question)
    }
}

/// A record of what was there before a step, and how to put it back.
///
/// The record is taken and journaled before the step starts. See [`Step`] for an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a rollback record of `{S}`",
    label = "expected a type that implements `Rollback<{S}>`"
)]
pub trait Rollback<S: Step>: Data {
    /// Looks at what is there now, enough to put it back.
    fn record(step: &S, cx: &Observer) -> impl Future<Output = Result<Self>> + Send;

    /// Puts it back. `done` is the step's output, or `None` if the step may be half done.
    /// Must be safe to call again: an undo that was itself interrupted is run once more.
    fn rollback(
        &self,
        step: &S,
        done: Option<&S::Output>,
        cx: &Context,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Whether `now`, recorded after the rollback, shows what this recorded. By default: the two
    /// are equal as JSON.
    fn restored(&self, now: &Self) -> bool {
        match (serde_json::to_value(self), serde_json::to_value(now)) {
            (Ok(before), Ok(now)) => before == now,
            _ => false,
        }
    }
}

/// [`Step::Rollback`] of a step whose effect needs no undoing.
#[derive(Clone, Copy, Debug)]
pub enum Harmless {}

/// [`Step::Rollback`] of a step that can't be undone; added with
/// [`Runbook::irreversible`](crate::Runbook::irreversible) only.
#[derive(Clone, Copy, Debug)]
pub enum Irreversible {}

/// What can stand as [`Step::Rollback`]: [`Harmless`], [`Irreversible`], or a record type that
/// implements [`Rollback`]. Not implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how `{S}` is undone",
    label = "not a `Rollback<{S}>`",
    note = "`type Rollback` is `Harmless` (nothing to undo), `Irreversible`, or a record type that implements `Rollback<{S}>` and derives Clone, Serialize and Deserialize"
)]
pub trait Undo<S: Step>: private::Sealed<S> + Send + Sync + 'static {}

/// A step that can be undone, or needs no undoing: what
/// [`Runbook::step`](crate::Runbook::step) takes.
#[diagnostic::on_unimplemented(
    message = "a step whose rollback is `{Self}` can't be added with `step`",
    label = "this step can't be undone",
    note = "add it with `irreversible(step, \"why that is acceptable\")`"
)]
pub trait Reversible<S: Step> {}

/// A step that can't be undone: what [`Runbook::irreversible`](crate::Runbook::irreversible)
/// takes.
#[diagnostic::on_unimplemented(
    message = "a step whose rollback is `{Self}` can't be added with `irreversible`",
    label = "this step can be undone, or needs no undoing",
    note = "add it with `step(..)`"
)]
pub trait NotReversible {}

impl<S: Step> Undo<S> for Harmless {}
impl<S: Step> Undo<S> for Irreversible {}
impl<S: Step, R: Rollback<S> + Data> Undo<S> for R {}
impl<S: Step> Reversible<S> for Harmless {}
// Not for `Rollback<S>` only: a record type that lacks it is reported where it is named.
#[diagnostic::do_not_recommend]
impl<S: Step, R: Data> Reversible<S> for R {}
impl NotReversible for Irreversible {}

/// How a unit is undone, as plans show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoKind {
    /// It only looks.
    ReadOnly,
    /// Nothing to undo.
    Harmless,
    /// A record is taken before it runs.
    Recorded,
    /// It stays.
    Irreversible,
}

pub(crate) mod private {
    use std::any::Any;
    use std::pin::Pin;

    use super::{
        Context, Data, Failure, Harmless, Irreversible, Observer, Result, Rollback, Step, UndoKind,
    };
    use crate::event::Json;

    pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

    /// What the engine does with a `Step::Rollback`, whatever it is.
    pub trait Sealed<S: Step> {
        const KIND: UndoKind;
        /// The record, as JSON; `None` if there is nothing to record.
        fn record<'a>(step: &'a S, cx: &'a Observer) -> Option<BoxFuture<'a, Result<Json>>>;
        /// Undoes from the journaled record.
        fn undo<'a>(
            step: &'a S,
            record: &'a Json,
            done: Option<&'a (dyn Any + Send + Sync)>,
            cx: &'a Context,
        ) -> BoxFuture<'a, Result<()>>;
        /// Whether `now` shows what `record` recorded.
        fn restored(record: &Json, now: &Json) -> Result<bool>;
    }

    macro_rules! nothing_to_undo {
        ($t:ty, $kind:expr) => {
            impl<S: Step> Sealed<S> for $t {
                const KIND: UndoKind = $kind;
                fn record<'a>(_: &'a S, _: &'a Observer) -> Option<BoxFuture<'a, Result<Json>>> {
                    None
                }
                fn undo<'a>(
                    _: &'a S,
                    _: &'a Json,
                    _: Option<&'a (dyn Any + Send + Sync)>,
                    _: &'a Context,
                ) -> BoxFuture<'a, Result<()>> {
                    Box::pin(async { Ok(()) })
                }
                fn restored(_: &Json, _: &Json) -> Result<bool> {
                    Ok(true)
                }
            }
        };
    }
    nothing_to_undo!(Harmless, UndoKind::Harmless);
    nothing_to_undo!(Irreversible, UndoKind::Irreversible);

    impl<S: Step, R: Rollback<S> + Data> Sealed<S> for R {
        const KIND: UndoKind = UndoKind::Recorded;

        fn record<'a>(step: &'a S, cx: &'a Observer) -> Option<BoxFuture<'a, Result<Json>>> {
            Some(Box::pin(async move {
                let record = <R as Rollback<S>>::record(step, cx).await?;
                Ok(serde_json::value::to_raw_value(&record)?)
            }))
        }

        fn undo<'a>(
            step: &'a S,
            record: &'a Json,
            done: Option<&'a (dyn Any + Send + Sync)>,
            cx: &'a Context,
        ) -> BoxFuture<'a, Result<()>> {
            Box::pin(async move {
                let record: R = parse(record)?;
                let done = done.and_then(|done| done.downcast_ref::<S::Output>());
                record.rollback(step, done, cx).await
            })
        }

        fn restored(record: &Json, now: &Json) -> Result<bool> {
            let (record, now): (R, R) = (parse(record)?, parse(now)?);
            Ok(Rollback::<S>::restored(&record, &now))
        }
    }

    fn parse<R: Data>(json: &Json) -> Result<R> {
        serde_json::from_str(json.get()).map_err(|error| {
            Failure::msg(error).while_doing("reading the rollback record from the journal")
        })
    }
}

/// What a unit says about itself: the words of the plan, the page and the progress view.
///
/// ```
/// use runbook_core::About;
/// let about = About::new("dump-shop", "Dump the shop database")
///     .doc("Takes about a minute.")
///     .preview("pg_dump -Fc shop");
/// assert_eq!(about.id(), "dump-shop");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) doc: String,
    pub(crate) preview: Vec<String>,
    pub(crate) args: Vec<(String, String)>,
    pub(crate) repeatable: bool,
}

impl About {
    /// A stable id (lower case words joined by `-`) and a title (an imperative sentence).
    pub fn new(id: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            doc: String::new(),
            preview: Vec::new(),
            args: Vec::new(),
            repeatable: false,
        }
    }

    /// Documentation, in Markdown.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<String>) -> Self {
        self.doc = doc.into();
        self
    }

    /// A line on what would run, shown by `plan` and on the page; scrubbed of secrets.
    #[must_use]
    pub fn preview(mut self, line: impl Into<String>) -> Self {
        self.preview.push(line.into());
        self
    }

    /// An argument and its value as shown in the plan; part of the plan's fingerprint.
    #[must_use]
    pub fn arg(mut self, name: impl Into<String>, value: impl std::fmt::Display) -> Self {
        self.args.push((name.into(), value.to_string()));
        self
    }

    /// Declares the unit safe to run again when it is not known how far it got.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its title.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }
}
