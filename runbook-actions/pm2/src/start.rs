//! Starting and stopping an app, and putting it back into the state that it was in.

use std::path::PathBuf;

use runbook_core::{Context, Failure, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::app::{App, State};
use crate::daemon::Pm2;

/// What an app did before: how [`Pm2::start`], [`Pm2::start_file`] and [`Pm2::stop`] are undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateWas {
    /// PM2 did not know it.
    Unknown,
    /// It was stopped, or PM2 had given up on it.
    Stopped,
    /// It ran, or was on its way.
    Running,
}

impl StateWas {
    async fn of(pm2: &Pm2, cx: &Observer, app: &str) -> Result<Self> {
        let apps = pm2.apps(cx, app).await?;
        Ok(if apps.is_empty() {
            Self::Unknown
        } else if apps.iter().any(runs) {
            Self::Running
        } else {
            Self::Stopped
        })
    }

    async fn back(self, pm2: &Pm2, cx: &Context, app: &str) -> Result<()> {
        let now = Self::of(pm2, cx.observer(), app).await?;
        match (self, now) {
            (was, now) if was == now => Ok(()),
            (Self::Unknown, _) => pm2.run(cx, None, &["delete", app]).await,
            (Self::Stopped, Self::Running) => pm2.run(cx, None, &["stop", app]).await,
            (Self::Running, Self::Stopped) => pm2.run(cx, None, &["start", app]).await,
            (Self::Running | Self::Stopped, _) => {
                Err(Failure::msg(format!("{pm2} does not know `{app}` any more"))
                    .next("start it from its file"))
            }
        }
    }
}

fn runs(app: &App) -> bool {
    !matches!(app.state, State::Stopped | State::Errored | State::Stopping)
}

impl Pm2 {
    /// Starts an app that PM2 knows; fine if it runs. A rollback stops it if it did not.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("start");
    /// b.step(pm2.start("shop"));
    /// ```
    pub fn start(
        &self,
        app: impl Into<String>,
    ) -> impl Step<Output = Vec<App>, Rollback = StateWas> {
        start(self, &app.into())
    }

    /// Starts an app from a file: a script, or an ecosystem file that names it. Fine if it runs. A
    /// rollback stops it if it was stopped, and has PM2 forget it if it was not known.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("start");
    /// b.step(pm2.start_file("shop", "/srv/shop/ecosystem.config.js"));
    /// ```
    pub fn start_file(
        &self,
        app: impl Into<String>,
        file: impl Into<PathBuf>,
    ) -> impl Step<Output = Vec<App>, Rollback = StateWas> {
        start_file(self, &app.into(), &file.into())
    }

    /// Stops an app; fine if it is stopped. A rollback starts it if it ran.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("restore");
    /// b.step(pm2.stop("shop"));
    /// ```
    pub fn stop(&self, app: impl Into<String>) -> impl Step<Output = (), Rollback = StateWas> {
        stop(self, &app.into())
    }
}

/// Start the app
#[step(
    title = "Start {app}",
    rollback = StateWas,
    repeatable,
    preview = "pm2 start {app}"
)]
async fn start(cx: &Context, pm2: &Pm2, app: &str) -> Result<Vec<App>> {
    let known = pm2.known(cx.observer(), app).await?;
    if !known.iter().all(|app| app.state == State::Online) {
        pm2.run(cx, None, &["start", app]).await?;
    }
    pm2.known(cx.observer(), app).await
}

impl Rollback<start> for StateWas {
    async fn record(step: &start, cx: &Observer) -> Result<Self> {
        StateWas::of(&step.pm2, cx, &step.app).await
    }

    async fn rollback(&self, step: &start, _: Option<&Vec<App>>, cx: &Context) -> Result<()> {
        self.back(&step.pm2, cx, &step.app).await
    }
}

/// Start the app from its file
#[step(
    title = "Start {app} from {file}",
    rollback = StateWas,
    repeatable,
    preview = "pm2 start {file} --only {app}"
)]
async fn start_file(
    cx: &Context,
    pm2: &Pm2,
    app: &str,
    file: &std::path::Path,
) -> Result<Vec<App>> {
    let known = pm2.apps(cx.observer(), app).await?;
    if known.is_empty() || !known.iter().all(|app| app.state == State::Online) {
        if !cx.on(pm2.host()).exists(file).await? {
            return Err(Failure::msg(format!("{} has no file {}", pm2.host(), file.display())));
        }
        let dir = file.parent();
        let path = file.display().to_string();
        let ecosystem = file.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.contains(".config.") || name.ends_with(".json") || name.ends_with(".yml")
        });
        let option = if ecosystem { "--only" } else { "--name" };
        pm2.run(cx, dir, &["start", &path, option, app]).await?;
    }
    pm2.known(cx.observer(), app).await
}

impl Rollback<start_file> for StateWas {
    async fn record(step: &start_file, cx: &Observer) -> Result<Self> {
        StateWas::of(&step.pm2, cx, &step.app).await
    }

    async fn rollback(&self, step: &start_file, _: Option<&Vec<App>>, cx: &Context) -> Result<()> {
        self.back(&step.pm2, cx, &step.app).await
    }
}

/// Stop the app
#[step(
    title = "Stop {app}",
    rollback = StateWas,
    repeatable,
    preview = "pm2 stop {app}"
)]
async fn stop(cx: &Context, pm2: &Pm2, app: &str) -> Result<()> {
    let known = pm2.known(cx.observer(), app).await?;
    if known.iter().any(|app| app.state != State::Stopped) {
        pm2.run(cx, None, &["stop", app]).await?;
    }
    Ok(())
}

impl Rollback<stop> for StateWas {
    async fn record(step: &stop, cx: &Observer) -> Result<Self> {
        StateWas::of(&step.pm2, cx, &step.app).await
    }

    async fn rollback(&self, step: &stop, _: Option<&()>, cx: &Context) -> Result<()> {
        self.back(&step.pm2, cx, &step.app).await
    }
}
