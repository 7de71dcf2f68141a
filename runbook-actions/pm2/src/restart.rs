//! Restarting and reloading, and restarting on the way back.

use runbook_core::{Context, Harmless, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::daemon::Pm2;
use crate::log::{Logs, Restarted};

/// Since when an app ran: how [`Pm2::restart_on_the_way_back`] knows whether it was restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uptime {
    running: bool,
    started_ms: Vec<u64>,
}

impl Uptime {
    async fn of(pm2: &Pm2, cx: &Observer, app: &str) -> Result<Self> {
        let apps = pm2.apps(cx, app).await?;
        Ok(Self {
            running: apps.iter().any(|app| app.pid.is_some()),
            started_ms: apps.iter().map(|app| app.started_ms).collect(),
        })
    }
}

impl Pm2 {
    /// Restarts an app. There is nothing to undo: what it runs afterwards is what its files say
    /// then. Give a runbook that changes those a
    /// [`restart_on_the_way_back`](Self::restart_on_the_way_back) before it does.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("restart");
    /// let restarted = b.step(pm2.restart("shop"));
    /// b.check(pm2.no_errors_since("shop", restarted));
    /// ```
    pub fn restart(
        &self,
        app: impl Into<String>,
    ) -> impl Step<Output = Restarted, Rollback = Harmless> {
        restart(self, &app.into())
    }

    /// Reloads an app: in cluster mode one instance after the other, so that some always answer; in
    /// fork mode it is a restart.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("reload");
    /// b.step(pm2.reload("shop"));
    /// ```
    pub fn reload(
        &self,
        app: impl Into<String>,
    ) -> impl Step<Output = Restarted, Rollback = Harmless> {
        reload(self, &app.into())
    }

    /// Does nothing; its rollback restarts the app if anything restarted it since. Put before the
    /// steps that change its files, it is undone after them: the app then runs what it ran before.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("deploy");
    /// b.step(pm2.restart_on_the_way_back("shop"));
    /// // .. checkout, install, build ..
    /// b.step(pm2.restart("shop"));
    /// ```
    pub fn restart_on_the_way_back(
        &self,
        app: impl Into<String>,
    ) -> impl Step<Output = (), Rollback = Uptime> {
        restart_on_the_way_back(self, &app.into())
    }
}

/// Restart the app
#[step(harmless, repeatable, title = "Restart {app}", preview = "pm2 restart {app}")]
async fn restart(cx: &Context, pm2: &Pm2, app: &str) -> Result<Restarted> {
    again(cx, pm2, "restart", app).await
}

/// Reload the app
#[step(harmless, repeatable, title = "Reload {app}", preview = "pm2 reload {app}")]
async fn reload(cx: &Context, pm2: &Pm2, app: &str) -> Result<Restarted> {
    again(cx, pm2, "reload", app).await
}

async fn again(cx: &Context, pm2: &Pm2, word: &str, app: &str) -> Result<Restarted> {
    let known = pm2.known(cx.observer(), app).await?;
    let logs = Logs::ends(cx.observer(), pm2, &known).await?;
    pm2.start_again(cx, word, app).await?;
    let apps = pm2.known(cx.observer(), app).await?;
    Ok(Restarted { apps, logs })
}

/// Have the app restarted if what follows is undone
#[step(title = "If this is undone, restart {app} last", rollback = Uptime, repeatable)]
async fn restart_on_the_way_back(pm2: &Pm2, app: &str) -> Result<()> {
    let _ = (pm2, app);
    Ok(())
}

impl Rollback<restart_on_the_way_back> for Uptime {
    async fn record(step: &restart_on_the_way_back, cx: &Observer) -> Result<Self> {
        Uptime::of(&step.pm2, cx, &step.app).await
    }

    async fn rollback(
        &self,
        step: &restart_on_the_way_back,
        _: Option<&()>,
        cx: &Context,
    ) -> Result<()> {
        let now = Uptime::of(&step.pm2, cx.observer(), &step.app).await?;
        if self.running && now != *self {
            step.pm2.start_again(cx, "restart", &step.app).await?;
        }
        Ok(())
    }

    /// It runs again if it ran.
    fn restored(&self, now: &Self) -> bool {
        !self.running || now.running
    }
}
