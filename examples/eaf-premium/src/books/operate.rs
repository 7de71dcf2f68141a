//! Look, start, stop.

use runbook::{Result, Runbook, Step, runbook};

use crate::checks::stays_up;
use crate::env::Env;
use crate::platform::Platform;

/// What runs, and how it is
///
/// Changes nothing, and looks at everything whatever it finds.
#[runbook]
pub(crate) fn status(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    b.parallel("Processes and servers", |b| {
        b.observe(eaf.pm2.is_online(eaf.app()));
        b.observe(eaf.pm2.is_online(eaf.worker_app()));
        b.observe(eaf.db.accepting());
        b.observe(eaf.nginx.status());
    });
    b.parallel("The site", |b| {
        b.observe(eaf.process.get("/api/v1/health", Platform::healthy()));
        b.observe(eaf.worker.get("/", Platform::healthy()));
        b.observe(eaf.site.get("/api/v1/health", Platform::healthy()));
        b.observe(eaf.site.certificate(eaf.validity()));
    });
    b.observe(eaf.git.head());
    b.observe(eaf.git.is_clean());
    b.observe(eaf.git.log(5));
    Ok(())
}

/// Start the site and its worker
#[runbook]
pub(crate) fn start(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    b.lock(eaf.lock());
    b.step(eaf.pm2.start(eaf.worker_app()));
    b.step(eaf.pm2.start(eaf.app()));
    b.wait_until(stays_up(&eaf.pm2, eaf.app(), &env.app.port, &eaf.steady(), None), eaf.start());
    b.wait_until(eaf.site.get("/api/v1/health", Platform::healthy()), eaf.start());
    Ok(())
}

/// Stop the site and its worker
///
/// Nginx answers 502 from then on; tell the users first.
#[runbook]
pub(crate) fn stop(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    b.lock(eaf.lock());
    b.step(eaf.pm2.stop(eaf.app()).confirm(format!("Stop {eaf}? Nobody can use it then.")));
    b.step(eaf.pm2.stop(eaf.worker_app()));
    Ok(())
}
