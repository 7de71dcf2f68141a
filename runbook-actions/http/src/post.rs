//! [`Post`]: a request that changes something.

use std::fmt;
use std::marker::PhantomData;

use runbook::{About, Context, Harmless, Input, IntoInput, Irreversible, Result, Step, Visit};
use serde::{Deserialize, Serialize};

use crate::answer::in_ms;
use crate::client::Http;
use crate::error::HttpError;
use crate::expect::Expect;
use crate::request::Request;

impl Http {
    /// Sends a request that changes something, once, and expects this answer.
    ///
    /// What a request changes nobody here can undo: it is added with `irreversible`, or with
    /// `step` if its author says that it is [`harmless`](Post::harmless).
    ///
    /// ```
    /// use runbook_core::Runbook;
    /// use runbook_http::{Expect, Http, Request};
    /// fn index(b: &mut Runbook, shop: &Http) {
    ///     let purge = shop.post(Request::delete("/cdn/cache"), Expect::status(204));
    ///     b.irreversible(purge, "the cache fills itself again");
    ///     b.step(shop.post(Request::post("/search/refresh"), Expect::ok()).harmless());
    /// }
    /// ```
    pub fn post(&self, request: Request, expect: Expect) -> Post<Irreversible> {
        let request = Input::value(Described(request));
        Post { http: self.clone(), request, expect, undo: PhantomData }
    }

    /// As [`post`](Self::post), with a request that is made from the output of earlier units.
    ///
    /// ```
    /// use runbook_core::{Out, Runbook};
    /// use runbook_http::{Expect, Http, Request};
    /// fn publish(b: &mut Runbook, shop: &Http, version: Out<String>) {
    ///     let request = version.map(|version| {
    ///         Request::post("/releases").json(&serde_json::json!({"version": version}))
    ///     });
    ///     b.irreversible(shop.post_from(request, Expect::status(201)), "a release is announced");
    /// }
    /// ```
    pub fn post_from(
        &self,
        request: impl IntoInput<Request>,
        expect: Expect,
    ) -> Post<Irreversible> {
        let request = request.into_input().map(|request| Described(request.clone()));
        Post { http: self.clone(), request, expect, undo: PhantomData }
    }
}

/// The step that [`Http::post`] makes.
#[must_use = "a step does nothing until it is added to a runbook"]
pub struct Post<U> {
    http: Http,
    request: Input<Described>,
    expect: Expect,
    undo: PhantomData<fn() -> U>,
}

/// A request as plans show it: method and path.
#[derive(Clone)]
struct Described(Request);

impl Serialize for Described {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Post<Irreversible> {
    /// The author's word that what the request changes needs no undoing.
    pub fn harmless(self) -> Post<Harmless> {
        let Self { http, request, expect, undo: _ } = self;
        Post { http, request, expect, undo: PhantomData }
    }
}

/// The output of [`Post`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Posted {
    /// The status code.
    pub status: u16,
    /// The JSON body, `null` if it is none.
    pub json: serde_json::Value,
}

impl<U> Post<U> {
    fn describe(&self) -> About {
        let request = self.request.shown();
        let (method, path) = request.split_once(' ').unwrap_or(("POST", &request));
        About::new("post", format!("{method} {}{path}", self.http))
            .arg("request", &request)
            .arg("expect", &self.expect)
            .preview(format!("{method} {}{path}: {}", self.http, self.expect))
    }

    fn visit(&self, visit: &mut dyn Visit) {
        visit.see("request", &self.request);
        self.expect.visit(visit);
    }

    async fn send(&self, cx: &Context) -> Result<Posted> {
        let Described(request) = self.request.get(cx)?;
        let answer = self.http.send(cx, &request).await.map_err(HttpError::into_failure)?;
        let problems = self.expect.problems(cx, &answer)?;
        if !problems.is_empty() {
            return Err(HttpError::Unexpected { url: answer.url, problems }.into_failure());
        }
        cx.say(format!("{request}: status {} in {}", answer.status, in_ms(answer.elapsed)));
        Ok(Posted { status: answer.status, json: answer.json().unwrap_or_default() })
    }
}

impl<U> fmt::Debug for Post<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post({} {})", self.http, self.request.shown())
    }
}

macro_rules! post_with {
    ($undo:ty) => {
        impl Step for Post<$undo> {
            type Output = Posted;
            type Rollback = $undo;

            fn about(&self) -> About {
                self.describe()
            }

            fn inputs(&self, visit: &mut dyn Visit) {
                self.visit(visit);
            }

            async fn run(&self, cx: &Context) -> Result<Posted> {
                self.send(cx).await
            }
        }
    };
}
post_with!(Irreversible);
post_with!(Harmless);
