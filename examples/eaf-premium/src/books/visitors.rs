//! Incidents: visitors are refused, with 401 or 403.

use runbook::{Manual, Result, Runbook, Severity, Step, runbook};

use super::incident;
use crate::checks::logs_in_and_out;
use crate::env::Env;
use crate::platform::Platform;

/// Many visitors get 401
///
/// Sessions that browsers drop or the site does not know. Tries a login as a browser would, looks at
/// what sessions need, and mends the one setting that most often is why.
#[runbook]
pub(crate) fn many_401(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    incident(b, eaf, Severity::SEV2);
    b.group("What is wrong", |b| {
        b.observe(eaf.site.login(eaf.login()));
        b.observe(eaf.variables.has(Platform::required()));
        b.observe(eaf.db.ping());
        b.observe(eaf.pm2.last_errors(eaf.app(), 20));
    });
    b.ladder("Let visitors in again", eaf.site.login(eaf.login()), |ladder| {
        ladder.wait(eaf.start());
        ladder.remedy("Restart the site", |b| {
            b.step(eaf.pm2.restart(eaf.app()).timeout(Platform::RESTART));
        });
        ladder.remedy("Have cookies sent over HTTPS only", |b| {
            b.step(eaf.pm2.restart_on_the_way_back(eaf.app()));
            b.step(eaf.variables.set("COOKIE_SECURE", "true"));
            b.step(eaf.pm2.restart(eaf.app()).timeout(Platform::RESTART));
        });
    });
    b.check(logs_in_and_out(&eaf.site, &env.account));
    Ok(())
}

/// Visitors get 403: their CSRF token is refused
///
/// Most often a page that was open across a deploy: it is well after a reload. This finds out
/// whether it is more than that.
#[runbook]
pub(crate) fn csrf_403(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    incident(b, eaf, Severity::SEV3);
    let flow = || logs_in_and_out(&eaf.site, &env.account);
    let works = b.group("What is wrong", |b| {
        let works = b.observe(flow());
        b.observe(eaf.variables.has(Platform::required()));
        b.observe(eaf.pm2.last_errors(eaf.app(), 20));
        works
    });
    b.ladder("Have tokens accepted again", flow(), |ladder| {
        ladder.wait(eaf.start());
        ladder.remedy("Restart the site", |b| {
            b.step(eaf.pm2.restart(eaf.app()).timeout(Platform::RESTART));
        });
    });
    b.when("The site was never at fault", works.passed(), |b| {
        b.manual(
            Manual::new("Tell the users to reload the page")
                .doc("A page that was open before the last deploy carries a token of then."),
        );
    });
    Ok(())
}
