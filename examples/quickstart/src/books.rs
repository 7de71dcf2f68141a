//! The runbooks: what is done, in which order.

use std::time::Duration;

use runbook::{
    Contact, Escalation, Lock, Manual, Result, Retry, Runbook, Severity, Step, Wait, runbook,
};

use crate::backup::{back_up, backup_is_good};
use crate::checks::{
    answers, current_release, disk_free, has_previous, log_is_clean, port_is_ours, process_runs,
    release_is_sound, serves,
};
use crate::env::Env;
use crate::process::{remove_stale_pid, restart_site, stop_site};
use crate::release::{Release, remove_old, switch, unpack};

/// Deploy a release of the site
///
/// Backs the data up, unpacks the release beside the others, switches to it and waits until it
/// answers. If anything fails, the release before it serves again.
#[runbook]
pub(crate) fn deploy(
    b: &mut Runbook,
    env: &Env,
    /// The release to deploy
    #[param(default = "v2")]
    release: Release,
    /// How many releases to keep
    #[param(default = 3)]
    keep: usize,
    /// Ask before the site is restarted
    ask: bool,
) {
    let site = &env.site();
    b.lock(Lock::on(format!("site:{site}")).lease(Duration::from_secs(15)));
    b.parallel("Before anything is touched", |b| {
        b.check(disk_free(site, 50));
        b.check(port_is_ours(site));
        b.check(release_is_sound(release));
    });
    b.group("Back up", |b| {
        let backup = b.step(back_up(site));
        b.check(backup_is_good(site, backup));
    });
    let serving = b.group("Switch", |b| {
        let unpacked = b.step(unpack(site, release));
        let current = b.step(switch(site, unpacked));
        let restart = restart_site(site, current).timeout(Duration::from_secs(20));
        let restart = if ask {
            restart.confirm("Restart the site? It is away for a moment.")
        } else {
            restart
        };
        let running = b.step(restart);
        running.map(|running| running.release.clone())
    });
    b.wait_until(
        serves(site, serving),
        Wait::at_most(Duration::from_secs(3)).every(Duration::from_millis(100)),
    );
    b.irreversible(remove_old(site, keep), "releases before the last few are never returned to");
}

/// Return to the release before
///
/// For a release that is healthy and wrong all the same.
#[runbook]
pub(crate) fn previous(b: &mut Runbook, env: &Env) {
    let site = &env.site();
    b.lock(Lock::on(format!("site:{site}")).lease(Duration::from_secs(15)));
    let before = b.check(has_previous(site));
    let current = b.step(switch(site, before));
    let running = b.step(restart_site(site, current).timeout(Duration::from_secs(20)));
    b.wait_until(
        serves(site, running.map(|running| running.release.clone())),
        Wait::at_most(Duration::from_secs(3)).every(Duration::from_millis(100)),
    );
}

/// The site is down: find out why, and bring it back
///
/// Looks at the symptom and its likely causes, then tries remedies from the mildest on, until the
/// site answers.
#[runbook]
pub(crate) fn site_down(
    b: &mut Runbook,
    env: &Env,
    /// Only an exercise: nobody is asked to tell the users
    drill: bool,
) -> Result<()> {
    let site = &env.site();
    let developer = Contact::new("The developer on call").reach("+1 555 0100")?;
    b.severity(Severity::SEV1).escalation(&Escalation::at_once([developer]));
    b.lock(Lock::on(format!("site:{site}")).lease(Duration::from_secs(15)));
    b.group("Symptom and diagnosis", |b| {
        b.observe(answers(site));
        b.observe(process_runs(site));
        b.observe(port_is_ours(site));
        b.observe(disk_free(site, 50));
        b.observe(log_is_clean(site));
    });
    b.ladder("Bring it back", answers(site), |ladder| {
        ladder.wait(Wait::at_most(Duration::from_secs(3)).every(Duration::from_millis(100)));
        ladder.remedy("Start it again", |b| {
            b.step(remove_stale_pid(site));
            let release = b.check(current_release(site));
            b.step(restart_site(site, release).retry(Retry::times(2)));
        });
        ladder.remedy("Return to the release before", |b| {
            let before = b.check(has_previous(site));
            let current = b.step(switch(site, before));
            b.step(restart_site(site, current));
        });
    });
    if !drill {
        b.manual(
            Manual::new("Tell the users that the site is back")
                .doc("The template is on the status page; say since when it was down."),
        );
    }
    Ok(())
}

/// Stop the site
#[runbook]
pub(crate) fn stop(b: &mut Runbook, env: &Env) {
    let site = &env.site();
    b.step(stop_site(site));
}
