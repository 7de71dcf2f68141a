//! Checks of an app: online, healthy, not in a crash loop.

use std::time::Duration;

use runbook_core::{About, Address, Check, Observer, Result, Verdict};
use runbook_macros::check;

use crate::app::{App, State};
use crate::daemon::Pm2;

impl Pm2 {
    /// All processes of this name are online.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("status");
    /// b.check(pm2.is_online("shop"));
    /// ```
    pub fn is_online(&self, app: impl Into<String>) -> impl Check<Evidence = Vec<App>> {
        is_online(self, &app.into())
    }

    /// All processes of the daemon, whatever they do; it fails only if no daemon runs.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("status");
    /// b.observe(pm2.status());
    /// ```
    #[must_use]
    pub fn status(&self) -> impl Check<Evidence = Vec<App>> {
        status(self)
    }

    /// The app is online, nothing restarts it while it is watched, and its port answers.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use runbook_core::{Host, Runbook, Wait, testing::FakeTarget};
    /// # use runbook_pm2::Pm2;
    /// # let pm2 = Pm2::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("restart");
    /// let healthy = pm2.is_healthy("shop").port(3000).steady_for(Duration::from_secs(5));
    /// b.wait_until(healthy, Wait::at_most(Duration::from_secs(60)));
    /// ```
    pub fn is_healthy(&self, app: impl Into<String>) -> Healthy {
        Healthy { pm2: self.clone(), app: app.into(), port: None, steady: Duration::from_secs(3) }
    }
}

/// Whether an app is healthy; made by [`Pm2::is_healthy`].
pub struct Healthy {
    pm2: Pm2,
    app: String,
    port: Option<u16>,
    steady: Duration,
}

impl Healthy {
    /// And something answers on this TCP port of the host's loopback.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// How long it is watched: 3 s unless said otherwise.
    #[must_use]
    pub fn steady_for(mut self, window: Duration) -> Self {
        self.steady = window;
        self
    }
}

impl Check for Healthy {
    type Evidence = Vec<App>;

    fn about(&self) -> About {
        let port = self.port.map(|port| format!(", and port {port} answers")).unwrap_or_default();
        let title = format!("{} is online and stays so for {:?}{port}", self.app, self.steady);
        About::new("pm2-is-healthy", title).preview("pm2 jlist")
    }

    async fn check(&self, cx: &Observer) -> Result<Verdict<Vec<App>>> {
        let before = self.pm2.known(cx, &self.app).await?;
        if let Some(why) = offline(&before) {
            return Ok(Verdict::fail(before, why));
        }
        tokio::select! {
            stop = cx.stopped() => return Err(stop),
            () = tokio::time::sleep(self.steady) => {}
        }
        let after = self.pm2.known(cx, &self.app).await?;
        if let Some(why) = offline(&after) {
            return Ok(Verdict::fail(after, why));
        }
        let count = |apps: &[App]| apps.iter().map(|app| app.restarts).sum::<u32>();
        let starts = |apps: &[App]| apps.iter().map(|app| app.started_ms).collect::<Vec<_>>();
        if starts(&before) != starts(&after) {
            let times = count(&after).saturating_sub(count(&before));
            let why = format!("it was restarted {times} times within {:?}", self.steady);
            return Ok(Verdict::fail(after, why));
        }
        if let Some(port) = self.port {
            let address = Address::Tcp("127.0.0.1".into(), port);
            if let Err(refused) = cx.on(self.pm2.host()).connect(&address).await {
                return Ok(Verdict::fail(after, format!("its port {port}: {refused}")));
            }
        }
        let why = format!("online, {} restarts", count(&after));
        Ok(Verdict::pass(after, why))
    }
}

/// Why they are not all online.
fn offline(apps: &[App]) -> Option<String> {
    let app = apps.iter().find(|app| app.state != State::Online)?;
    let times = app.restarts;
    Some(format!("{} (number {}) is {}, after {times} restarts", app.name, app.id, app.state))
}

/// The app is online
#[check(title = "{app} is online", preview = "pm2 jlist")]
async fn is_online(cx: &Observer, pm2: &Pm2, app: &str) -> Result<Verdict<Vec<App>>> {
    let apps = pm2.known(cx, app).await?;
    let why = offline(&apps);
    let online = why.is_none();
    let why = why.unwrap_or_else(|| match apps.as_slice() {
        [one] => format!("process {}, {} restarts", one.pid.unwrap_or_default(), one.restarts),
        many => format!("{} processes", many.len()),
    });
    Ok(Verdict::pass_if(online, apps, why))
}

/// What the apps do
#[check(title = "What runs under {pm2}", preview = "pm2 jlist")]
async fn status(cx: &Observer, pm2: &Pm2) -> Result<Verdict<Vec<App>>> {
    let Some(apps) = pm2.list(cx).await? else {
        return Ok(Verdict::fail(Vec::new(), "no daemon runs"));
    };
    let shown: Vec<_> = apps.iter().map(|app| format!("{} {}", app.name, app.state)).collect();
    let why = if shown.is_empty() { "no apps".into() } else { shown.join(", ") };
    Ok(Verdict::pass(apps, why))
}
