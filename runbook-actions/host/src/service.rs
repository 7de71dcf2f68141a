//! [`Service`]: a systemd service.

use std::fmt;
use std::time::Duration;

use runbook_core::{Check, Context, Harmless, Observer, Result, Rollback, Step, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::machine::{Machine, command};

/// A systemd service of a host; from [`Machine::service`].
///
/// ```
/// # use runbook_core::{Host, Runbook, testing::FakeTarget};
/// # use runbook_host::Machine;
/// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
/// let nginx = web.service("nginx");
/// let mut b = Runbook::new("restart");
/// b.step(nginx.restart());
/// b.check(nginx.is_active());
/// b.check(nginx.is_enabled());
/// ```
#[derive(Clone)]
pub struct Service {
    machine: Machine,
    unit: String,
}

/// What systemd says of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceState {
    /// `active`, `inactive`, `failed`, `activating` ..
    pub active: String,
    /// `running`, `dead`, `exited`, `auto-restart` ..
    pub sub: String,
    /// Whether it starts at boot: `enabled`, `disabled`, `static`, `masked` ..
    pub enabled: String,
    /// How its last run ended: `success`, `exit-code`, `oom-kill` ..
    pub result: String,
    /// Its main process.
    pub pid: Option<u32>,
    /// How often systemd restarted it by itself.
    pub restarts: u32,
    /// Since when it is so, in the host's words.
    pub since: String,
}

impl ServiceState {
    fn shown(&self) -> String {
        let mut text = format!("{} ({})", self.active, self.sub);
        if !self.since.is_empty() {
            text.push_str(&format!(" since {}", self.since));
        }
        if self.result != "success" && !self.result.is_empty() {
            text.push_str(&format!(", it ended with {}", self.result));
        }
        if self.restarts > 0 {
            text.push_str(&format!(", restarted by systemd {} times", self.restarts));
        }
        text
    }
}

/// Whether a service ran, and whether it starts at boot: how starting, stopping, enabling and
/// disabling are undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceWas {
    active: bool,
    enabled: String,
}

/// Since when a service ran: how [`Service::restart_on_the_way_back`] knows whether it was
/// restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRan {
    active: bool,
    pid: Option<u32>,
    since: String,
}

impl Machine {
    /// A systemd service; `.service` may be left out.
    #[must_use]
    pub fn service(&self, unit: impl Into<String>) -> Service {
        Service { machine: self.clone(), unit: unit.into() }
    }
}

impl Service {
    /// Its name.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// It runs.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("health");
    /// b.check(web.service("nginx").is_active());
    /// ```
    #[must_use]
    pub fn is_active(&self) -> impl Check<Evidence = ServiceState> {
        is_active(self)
    }

    /// It starts at boot.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("health");
    /// b.check(web.service("nginx").is_enabled());
    /// ```
    #[must_use]
    pub fn is_enabled(&self) -> impl Check<Evidence = ServiceState> {
        is_enabled(self)
    }

    /// It runs, and for `window` it stays the same process: one that starts and dies again and
    /// again runs whenever one looks.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # use std::time::Duration;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("deploy");
    /// b.check(web.service("shop").is_stable(Duration::from_secs(10)));
    /// ```
    #[must_use]
    pub fn is_stable(&self, window: Duration) -> impl Check<Evidence = ServiceState> {
        is_stable(self, window)
    }

    /// Restarts it; starts it if it does not run. There is nothing to undo: what it runs afterwards
    /// is what its files say then. Give a runbook that changes those a
    /// [`restart_on_the_way_back`](Self::restart_on_the_way_back) before it does.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("restart");
    /// b.step(web.service("nginx").restart());
    /// ```
    #[must_use]
    pub fn restart(&self) -> impl Step<Output = ServiceState, Rollback = Harmless> {
        restart(self)
    }

    /// Makes it read its configuration again.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("reload");
    /// b.step(web.service("nginx").reload());
    /// ```
    #[must_use]
    pub fn reload(&self) -> impl Step<Output = ServiceState, Rollback = Harmless> {
        reload(self)
    }

    /// Does nothing; its rollback restarts the service if anything restarted it since. Put before
    /// the steps that change its files, it is undone after them: it then runs what it ran before.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Generate, Machine};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("rotate");
    /// let shop = web.service("shop");
    /// b.step(shop.restart_on_the_way_back());
    /// b.step(web.env_file("/srv/shop/.env").rotate("SESSION_SECRET", Generate::base64url(32)));
    /// b.step(shop.restart());
    /// ```
    #[must_use]
    pub fn restart_on_the_way_back(&self) -> impl Step<Output = (), Rollback = ServiceRan> {
        restart_on_the_way_back(self)
    }

    /// Starts it. A rollback stops it again if it did not run.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("start");
    /// b.step(web.service("shop").start());
    /// ```
    #[must_use]
    pub fn start(&self) -> impl Step<Output = ServiceState, Rollback = ServiceWas> {
        start(self)
    }

    /// Stops it. A rollback starts it again if it ran.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("stop");
    /// b.step(web.service("shop").stop());
    /// ```
    #[must_use]
    pub fn stop(&self) -> impl Step<Output = ServiceState, Rollback = ServiceWas> {
        stop(self)
    }

    /// Makes it start at boot. A rollback disables it if it was disabled.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("install");
    /// b.step(web.service("shop").enable());
    /// ```
    #[must_use]
    pub fn enable(&self) -> impl Step<Output = ServiceState, Rollback = ServiceWas> {
        enable(self)
    }

    /// Makes it no longer start at boot. A rollback enables it if it was enabled.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("retire");
    /// b.step(web.service("shop").disable());
    /// ```
    #[must_use]
    pub fn disable(&self) -> impl Step<Output = ServiceState, Rollback = ServiceWas> {
        disable(self)
    }

    async fn state(&self, cx: &Observer) -> Result<ServiceState> {
        let wanted = "--property=LoadState,ActiveState,SubState,UnitFileState,Result,MainPID,\
                      NRestarts,StateChangeTimestamp";
        let show = command("systemctl", ["show", "--no-pager", wanted, "--", &self.unit]);
        let text = self.machine.look(cx, show).await?.text();
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or("").trim().to_owned()
        };
        match field("LoadState").as_str() {
            "" => return Err(self.machine.odd("`systemctl show`", &text).failure()),
            "not-found" => {
                let (place, unit) = (self.machine.to_string(), self.unit.clone());
                return Err(Error::UnknownService { place, unit }.failure());
            }
            _ => {}
        }
        Ok(ServiceState {
            active: field("ActiveState"),
            sub: field("SubState"),
            enabled: field("UnitFileState"),
            result: field("Result"),
            pid: field("MainPID").parse().ok().filter(|pid| *pid != 0),
            restarts: field("NRestarts").parse().unwrap_or(0),
            since: field("StateChangeTimestamp"),
        })
    }

    /// `systemctl WORD`; what it is then.
    async fn tell(&self, cx: &Context, word: &str) -> Result<ServiceState> {
        // It asks for a password on a terminal; there is none.
        let words = [word, "--no-ask-password", "--", &self.unit];
        self.machine.run(cx, command("systemctl", words)).await?;
        self.state(cx.observer()).await
    }

    /// Tells it, and fails unless it runs then.
    pub(crate) async fn again(&self, cx: &Context, word: &str) -> Result<ServiceState> {
        self.state(cx.observer()).await?;
        let state = self.tell(cx, word).await?;
        if !runs(&state) {
            let (place, unit) = (self.machine.to_string(), self.unit.clone());
            return Err(Error::NotRunning { place, unit, state: state.shown() }.failure());
        }
        Ok(state)
    }
}

/// One that reloads, runs.
fn runs(state: &ServiceState) -> bool {
    matches!(state.active.as_str(), "active" | "reloading")
}

fn starts_at_boot(state: &ServiceState) -> bool {
    // `static` and `indirect` ones are started by others.
    matches!(
        state.enabled.as_str(),
        "enabled" | "enabled-runtime" | "alias" | "static" | "indirect" | "generated"
    )
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.unit, self.machine)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({self})")
    }
}

/// The service runs
#[check(title = "{service} runs", preview = "systemctl show")]
async fn is_active(cx: &Observer, service: &Service) -> Result<Verdict<ServiceState>> {
    let state = service.state(cx).await?;
    let why = state.shown();
    Ok(Verdict::pass_if(runs(&state), state, why))
}

/// The service starts at boot
#[check(title = "{service} starts at boot", preview = "systemctl show")]
async fn is_enabled(cx: &Observer, service: &Service) -> Result<Verdict<ServiceState>> {
    let state = service.state(cx).await?;
    let why = state.enabled.clone();
    Ok(Verdict::pass_if(starts_at_boot(&state), state, why))
}

/// The service stays up
#[check(title = "{service} stays up", preview = "systemctl show")]
async fn is_stable(
    cx: &Observer,
    service: &Service,
    window: Duration,
) -> Result<Verdict<ServiceState>> {
    let before = service.state(cx).await?;
    if runs(&before) {
        tokio::select! {
            why = cx.stopped() => return Err(why),
            () = tokio::time::sleep(window) => {}
        }
    }
    let now = service.state(cx).await?;
    let same = now.pid == before.pid && now.restarts == before.restarts;
    let why = if runs(&now) && !same {
        format!("{}; it was restarted within {} s", now.shown(), window.as_secs())
    } else {
        now.shown()
    };
    Ok(Verdict::pass_if(runs(&before) && runs(&now) && same, now, why))
}

/// Restart the service
#[step(harmless, repeatable, title = "Restart {service}", preview = "systemctl restart")]
async fn restart(cx: &Context, service: &Service) -> Result<ServiceState> {
    service.again(cx, "restart").await
}

/// Reload the service
#[step(harmless, repeatable, title = "Reload {service}", preview = "systemctl reload")]
async fn reload(cx: &Context, service: &Service) -> Result<ServiceState> {
    service.again(cx, "reload").await
}

/// Have the service restarted if what follows is undone
#[step(title = "If this is undone, restart {service} last", rollback = ServiceRan, repeatable)]
async fn restart_on_the_way_back(service: &Service) -> Result<()> {
    let _ = service;
    Ok(())
}

impl Rollback<restart_on_the_way_back> for ServiceRan {
    async fn record(step: &restart_on_the_way_back, cx: &Observer) -> Result<Self> {
        let state = step.service.state(cx).await?;
        Ok(Self { active: runs(&state), pid: state.pid, since: state.since })
    }

    async fn rollback(
        &self,
        step: &restart_on_the_way_back,
        _: Option<&()>,
        cx: &Context,
    ) -> Result<()> {
        let now = <Self as Rollback<restart_on_the_way_back>>::record(step, cx.observer()).await?;
        if self.active && now != *self {
            step.service.again(cx, "restart").await?;
        }
        Ok(())
    }

    /// It runs again if it ran.
    fn restored(&self, now: &Self) -> bool {
        !self.active || now.active
    }
}

async fn is_started(cx: &Observer, service: &Service) -> Result<Option<ServiceState>> {
    Ok(Some(service.state(cx).await?).filter(runs))
}

async fn is_stopped(cx: &Observer, service: &Service) -> Result<Option<ServiceState>> {
    let stopped = |state: &ServiceState| matches!(state.active.as_str(), "inactive" | "failed");
    Ok(Some(service.state(cx).await?).filter(stopped))
}

/// Start the service
#[step(title = "Start {service}", rollback = ServiceWas, satisfied = is_started, repeatable, preview = "systemctl start")]
async fn start(cx: &Context, service: &Service) -> Result<ServiceState> {
    service.again(cx, "start").await
}

/// Stop the service
#[step(title = "Stop {service}", rollback = ServiceWas, satisfied = is_stopped, repeatable, preview = "systemctl stop")]
async fn stop(cx: &Context, service: &Service) -> Result<ServiceState> {
    service.tell(cx, "stop").await
}

/// Enable the service
#[step(title = "Have {service} start at boot", rollback = ServiceWas, repeatable, preview = "systemctl enable")]
async fn enable(cx: &Context, service: &Service) -> Result<ServiceState> {
    service.tell(cx, "enable").await
}

/// Disable the service
#[step(title = "Have {service} not start at boot", rollback = ServiceWas, repeatable, preview = "systemctl disable")]
async fn disable(cx: &Context, service: &Service) -> Result<ServiceState> {
    service.tell(cx, "disable").await
}

impl ServiceWas {
    async fn of(service: &Service, cx: &Observer) -> Result<Self> {
        let state = service.state(cx).await?;
        Ok(Self { active: runs(&state), enabled: state.enabled })
    }

    async fn back(&self, service: &Service, cx: &Context) -> Result<()> {
        let now = Self::of(service, cx.observer()).await?;
        if now.enabled != self.enabled {
            match self.enabled.as_str() {
                "enabled" => drop(service.tell(cx, "enable").await?),
                "disabled" => drop(service.tell(cx, "disable").await?),
                // The verification after the rollback says that it differs.
                _ => {}
            }
        }
        match (self.active, now.active) {
            (true, false) => drop(service.again(cx, "start").await?),
            (false, true) => drop(service.tell(cx, "stop").await?),
            _ => {}
        }
        Ok(())
    }
}

macro_rules! undone_by_what_it_was {
    ($($step:ident),*) => {$(
        impl Rollback<$step> for ServiceWas {
            async fn record(step: &$step, cx: &Observer) -> Result<Self> {
                Self::of(&step.service, cx).await
            }

            async fn rollback(
                &self,
                step: &$step,
                _: Option<&ServiceState>,
                cx: &Context,
            ) -> Result<()> {
                self.back(&step.service, cx).await
            }
        }
    )*};
}
undone_by_what_it_was!(start, stop, enable, disable);
