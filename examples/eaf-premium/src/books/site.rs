//! Incident: the site is down or misbehaves, and nobody knows yet why.

use runbook::{Manual, Result, Runbook, Severity, Step, runbook};
use runbook_http::Expect;

use super::data::decide_to_restore;
use super::incident;
use crate::checks::{port_is_ours, stays_up};
use crate::env::Env;
use crate::platform::Platform;
use crate::service::{is_stopped, start_server};

/// The site is down or misbehaves: the quick action plan
///
/// Looks at everything that the site needs, mends what it finds from the ground up (database, Redis,
/// port, process, proxy, certificate), and proves that the site works. What it can't mend it says,
/// with whom to call.
#[runbook]
pub(crate) fn quick_plan(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    let app = &env.app;
    let up = || stays_up(&eaf.pm2, eaf.app(), &app.port, &eaf.steady(), None);
    incident(b, eaf, Severity::SEV1);
    let (db, redis, port, process, proxy, certificate) = b.parallel("What is wrong", |b| {
        b.observe(eaf.pm2.is_online(eaf.app()));
        b.observe(eaf.pm2.last_errors(eaf.app(), 50));
        b.observe(eaf.process.get("/api/v1/health", Platform::healthy()));
        b.observe(eaf.variables.has(Platform::required()));
        b.observe(eaf.machine.disk_free(app.dir.display().to_string(), eaf.disk_wanted()));
        (
            b.observe(eaf.db.ping()),
            b.observe(eaf.redis.ping()),
            b.observe(port_is_ours(&eaf.machine, &eaf.pm2, eaf.app(), &app.port)),
            b.observe(up()),
            b.observe(eaf.nginx.config_test()),
            b.observe(eaf.site.certificate(eaf.validity())),
        )
    });

    b.when("PostgreSQL does not answer", db.failed(), |b| {
        b.ladder("Bring PostgreSQL back", eaf.db.ping(), |ladder| {
            ladder.wait(eaf.start());
            ladder.remedy("Start it", |b| {
                b.check(is_stopped(&eaf.postgresql));
                b.step(start_server(&eaf.postgresql));
            });
        });
        decide_to_restore(b, eaf);
    });
    b.when("Redis does not answer", redis.failed(), |b| {
        b.ladder("Bring Redis back", eaf.redis.ping(), |ladder| {
            ladder.wait(eaf.start());
            ladder.remedy("Start it", |b| {
                b.check(is_stopped(&eaf.redis_server));
                b.step(start_server(&eaf.redis_server));
            });
        });
    });
    b.when("Somebody else has the site's port", port.failed(), |b| {
        let free = port_is_ours(&eaf.machine, &eaf.pm2, eaf.app(), &app.port);
        b.ladder("Free the port", free, |ladder| {
            ladder.wait(eaf.start());
            ladder.remedy("End whoever has it, if it is a forgotten Node process", |b| {
                let stop = eaf.machine.stop_port_owner(app.port, "node");
                let question = "End the process that has the site's port?";
                b.irreversible(stop.confirm(question), "the site can't start beside it");
            });
        });
    });
    b.when("The process does not stay up", process.failed(), |b| {
        b.ladder("Bring the process back", up(), |ladder| {
            ladder.wait(eaf.start());
            ladder.remedy("Restart it", |b| {
                b.step(eaf.pm2.restart(eaf.app()).timeout(Platform::RESTART));
            });
            ladder.remedy("Build the same commit again", |b| {
                b.step(eaf.npm.build("build", app.built.clone()).timeout(Platform::BUILD));
                b.step(eaf.pm2.restart(eaf.app()).timeout(Platform::RESTART));
            });
            ladder.escalate("run `return-to` with the commit before (`status` shows it)");
        });
    });
    b.when("Nginx refuses its configuration", proxy.failed(), |b| {
        b.ladder("Mend the configuration", eaf.nginx.config_test(), |ladder| {
            ladder.remedy("By hand", |b| {
                b.manual(Manual::new("Mend the line that nginx names").doc(
                    "Nginx goes on with what it read last: nothing is down until it is restarted. \
                     Don't restart it.",
                ));
                b.step(eaf.nginx.reload());
            });
        });
    });
    b.when("The certificate is not good", certificate.failed(), |b| {
        b.ladder("Renew it", eaf.site.certificate(eaf.validity()), |ladder| {
            ladder.remedy("By hand", |b| {
                b.manual(
                    Manual::new("Renew the certificate").doc("On the host: `sudo certbot renew`."),
                );
                b.step(eaf.nginx.reload());
            });
        });
    });

    b.wait_until(eaf.process.get("/api/v1/health", Platform::healthy()), eaf.start());
    let well = b.check(eaf.site.get("/login", Expect::ok()));
    b.finally(|b| {
        b.step(eaf.npm.forget_kept(&well));
    });
    Ok(())
}
