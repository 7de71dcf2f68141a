//! What the expansions of `#[step]`, `#[check]` and `#[runbook]` call. Not for use by hand: it
//! changes with the macros.
//!
//! Much of it exists for the sake of the messages: a bound is stated once, in a trait whose
//! `on_unimplemented` says what the macro's user is to write.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::catalog::Args;
use crate::check::Verdict;
use crate::context::Observer;
use crate::error::{Error, Failure, Result};
use crate::event::Json;
use crate::input::Input;
use crate::param::{Param, ParamSpec};
use crate::step::{About, Data};

/// What a `#[step]` or `#[check]` fn gives back.
#[diagnostic::on_unimplemented(
    message = "a step or check gives back a `Result`, not `{Self}`",
    label = "expected a `Result`",
    note = "write `-> Result<{Self}>` and end the body with `Ok(..)`"
)]
pub trait Returned {
    type Ok;
    type Err;
    fn into_result(self) -> std::result::Result<Self::Ok, Self::Err>;
}

// No bounds on `T` and `E` here: they would be reported as "not a `Result`".
impl<T, E> Returned for std::result::Result<T, E> {
    type Ok = T;
    type Err = E;
    fn into_result(self) -> Self {
        self
    }
}

/// What is in the `Result` of a `#[check]` fn.
#[diagnostic::on_unimplemented(
    message = "a check gives back a `Result<Verdict<..>>`, not a `Result<{Self}>`",
    label = "expected a `Verdict` in the `Result`",
    note = "`Verdict::pass_if(good, evidence, \"why, in one line\")` makes one"
)]
pub trait Judged {
    type Evidence;
}

impl<E> Judged for Verdict<E> {
    type Evidence = E;
}

/// The error of a `#[step]` or `#[check]` fn.
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` of a step or check can't become a `Failure`",
    label = "not an error",
    note = "every type that implements `std::error::Error` can, with all its causes; a text is put into one by `Failure::msg(..)`"
)]
pub trait IntoFailure {
    fn into_failure(self) -> Failure;
}

#[diagnostic::do_not_recommend]
impl<E: Into<Failure>> IntoFailure for E {
    fn into_failure(self) -> Failure {
        self.into()
    }
}

/// The user's error becomes a [`Failure`].
pub fn lift<R: Returned<Err: IntoFailure>>(returned: R) -> Result<R::Ok> {
    returned.into_result().map_err(IntoFailure::into_failure)
}

/// A borrowed argument.
#[diagnostic::on_unimplemented(
    message = "`&{Self}` can't be an argument of a step or check",
    label = "not `Clone + Send + Sync + 'static`",
    note = "a borrowed argument is cloned when the runbook is built, and kept until the step runs: derive `Clone`, or hold the value in an `Arc`",
    note = "an argument that is wired from the output of an earlier unit is owned: `{Self}`, without the `&`"
)]
pub trait Captured: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Sync + 'static> Captured for T {}

/// What is kept of a `&T`.
pub fn capture<T: Captured>(value: &T) -> T {
    value.clone()
}

/// What is kept of a `&[T]`.
pub fn capture_slice<T: Captured>(value: &[T]) -> Vec<T> {
    value.to_vec()
}

/// An owned argument.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be an owned argument of a step or check",
    label = "not `Clone + serde::Serialize + Send + Sync + 'static`",
    note = "an owned argument is an input: plans show it, and it can be wired from the output of an earlier unit; derive `Clone`, `serde::Serialize` and `serde::Deserialize`",
    note = "what is there when the runbook is built, such as a host or a connection, is borrowed: `&{Self}`"
)]
pub trait OwnedArgument: Clone + Serialize + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Clone + Serialize + Send + Sync + 'static> OwnedArgument for T {}

/// The value of an owned argument.
pub fn get<T: OwnedArgument>(input: &Input<T>, cx: &Observer) -> Result<T> {
    input.get(cx)
}

/// What is shown of an argument, by autoref: `(&&&Show(&value)).show()` takes the first of
/// [`ShowText`], [`ShowOther`], [`ShowNothing`] that fits the type.
pub struct Show<'a, T>(pub &'a T);

pub trait ShowText {
    fn show(&self) -> String;
}

impl<T: fmt::Display> ShowText for &&Show<'_, T> {
    fn show(&self) -> String {
        self.0.to_string()
    }
}

pub trait ShowOther {
    fn show(&self) -> String;
}

impl<T: Serialize> ShowOther for &Show<'_, Input<T>> {
    fn show(&self) -> String {
        self.0.shown()
    }
}

impl ShowOther for &Show<'_, PathBuf> {
    fn show(&self) -> String {
        self.0.display().to_string()
    }
}

impl<T: fmt::Display> ShowOther for &Show<'_, Vec<T>> {
    fn show(&self) -> String {
        let items: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        items.join(", ")
    }
}

pub trait ShowNothing<'a> {
    type Value;
    fn show(&self) -> NotShown<'a, Self::Value>;
}

impl<'a, T> ShowNothing<'a> for Show<'a, T> {
    type Value = T;
    fn show(&self) -> NotShown<'a, T> {
        NotShown(self.0)
    }
}

/// A value that can't be shown.
pub struct NotShown<'a, T>(#[allow(dead_code)] &'a T);

/// A value in a title or preview.
pub trait InText {
    fn into_text(self) -> String;
}

impl InText for String {
    fn into_text(self) -> String {
        self
    }
}

impl<T: InTitleOrPreview> InText for NotShown<'_, T> {
    fn into_text(self) -> String {
        String::new()
    }
}

/// Implemented by nothing: it names the type that can't be shown.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't stand in a title or preview",
    label = "names an argument that is not `Display`",
    note = "borrowed arguments can that implement `std::fmt::Display`, and all owned ones; a `Secret` never is shown"
)]
pub trait InTitleOrPreview {}

/// The text that stands for a value in a title or preview; one that is not known yet is shown by
/// its name: `Restart on ‹release›`.
pub fn text(value: impl InText, name: &str) -> String {
    let text = value.into_text();
    if text == crate::plan::KNOWN_LATER { format!("‹{name}›") } else { text }
}

/// What [`arg`] notes: text, or nothing.
pub trait Shown {
    fn into_text(self) -> Option<String>;
}

impl Shown for String {
    fn into_text(self) -> Option<String> {
        Some(self)
    }
}

impl<T> Shown for NotShown<'_, T> {
    fn into_text(self) -> Option<String> {
        None
    }
}

/// Adds an argument to what a unit says about itself, if it can be shown.
#[must_use]
pub fn arg(about: About, name: &str, value: impl Shown) -> About {
    match value.into_text() {
        Some(text) => about.arg(name, text),
        None => about,
    }
}

/// The rollback record of a `#[step(before = .., rollback = ..)]` fn, as JSON: an associated type
/// can't be inferred from what `before` gives back, a local variable can.
pub struct Recorded<S> {
    json: Json,
    step: PhantomData<fn() -> S>,
}

impl<S> Recorded<S> {
    /// From what `before` gave.
    pub fn new<R: Data>(record: &R) -> Result<Self> {
        let json = serde_json::value::to_raw_value(record).map_err(|error| {
            Failure::msg(error).while_doing("writing the rollback record as JSON")
        })?;
        Ok(Self { json, step: PhantomData })
    }

    /// As the type that `before` gives; it is not called.
    pub fn read<R, F, O>(&self, before: F) -> Result<R>
    where
        R: Data,
        F: FnOnce() -> O,
        O: Future<Output: Returned<Ok = R>>,
    {
        drop(before);
        serde_json::from_str(self.json.get()).map_err(|error| {
            Failure::msg(error).while_doing("reading the rollback record from the journal")
        })
    }
}

impl<S> Clone for Recorded<S> {
    fn clone(&self) -> Self {
        Self { json: self.json.clone(), step: PhantomData }
    }
}

impl<S> Serialize for Recorded<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> std::result::Result<T::Ok, T::Error> {
        self.json.serialize(serializer)
    }
}

impl<'de, S> Deserialize<'de> for Recorded<S> {
    fn deserialize<T: Deserializer<'de>>(from: T) -> std::result::Result<Self, T::Error> {
        Ok(Self { json: Json::deserialize(from)?, step: PhantomData })
    }
}

/// One parameter of a `#[runbook]` fn.
pub struct Parameter<T> {
    pub spec: ParamSpec,
    parse: fn(&Args, &ParamSpec) -> Result<T, Error>,
}

/// The one place that asks for `T: Param`, so that there is one message a parameter.
pub fn parameter<T: Param>(name: &str, doc: &str, default: Option<&str>) -> Parameter<T> {
    Parameter {
        spec: ParamSpec {
            name: name.into(),
            doc: doc.into(),
            kind: T::kind(),
            default: default.map(Into::into),
        },
        parse: |args, spec| args.parse(spec),
    }
}

impl<T> Parameter<T> {
    /// Its value.
    pub fn value(&self, args: &Args) -> Result<T, Error> {
        (self.parse)(args, &self.spec)
    }
}
