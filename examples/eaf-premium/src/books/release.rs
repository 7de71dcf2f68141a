//! Releases: deploy one, prove that it works, return to an earlier one.

use runbook::{Check, Out, Result, Runbook, Step, runbook};
use runbook_http::Expect;
use runbook_pm2::Restarted;
use runbook_postgres::Format;

use super::data;
use crate::checks::{logs_in_and_out, stays_up};
use crate::env::Env;
use crate::platform::Platform;

/// Deploy a release
///
/// Takes the code, its packages and its build to the release, restarts the site and its worker, and
/// proves that they work. If anything fails, the commit, the packages, the build and the processes
/// from before are there again. The site answers all the time but for its restart.
#[runbook]
pub(crate) fn deploy(
    b: &mut Runbook,
    env: &Env,
    /// The release: a tag, a branch or a commit; the newest of the branch if it is left out
    revision: Option<String>,
    /// Apply the migrations of the database, after a dump of it
    migrate: bool,
    /// Ask before the site is restarted
    ask: bool,
) -> Result<()> {
    let eaf = &Platform::new(env)?;
    b.lock(eaf.lock());
    before_a_release(b, eaf);
    switch_to(b, eaf, revision);
    if migrate {
        b.group("Bring the database to the release", |b| {
            let dump = b.step(eaf.db.dump(eaf.dumps(), Format::Custom));
            b.check(eaf.db.verify(dump));
            let why = "migrations of this project only add; the dump above has what was before";
            b.irreversible(eaf.prisma.migrate_deploy(), why);
        });
    } else {
        b.check(
            eaf.prisma
                .is_migrated()
                .named("The database is at the release; if it is not, deploy with --migrate"),
        );
    }
    let restarted = restart(b, eaf, ask);
    let proven = b.group("Prove that it works", |b| {
        works(b, eaf);
        b.check(eaf.pm2.no_errors_since(eaf.app(), restarted))
    });
    b.finally(|b| {
        b.step(eaf.npm.forget_kept(&proven));
    });
    Ok(())
}

/// Return to an earlier commit
///
/// For a release that passed its checks and is wrong all the same. `status` shows the last commits.
/// The site works again before anybody has to decide about the database.
#[runbook]
pub(crate) fn return_to(
    b: &mut Runbook,
    env: &Env,
    /// The commit or tag to return to
    commit: String,
) -> Result<()> {
    let eaf = &Platform::new(env)?;
    b.lock(eaf.lock());
    before_a_release(b, eaf);
    b.observe(eaf.git.log(5));
    b.check(eaf.git.has(commit.as_str()));
    switch_to(b, eaf, Some(commit));
    let restarted = restart(b, eaf, false);
    b.group("Prove that it works", |b| {
        works(b, eaf);
        b.check(eaf.pm2.no_errors_since(eaf.app(), restarted));
    });
    data::decide_to_restore(b, eaf);
    // Also after a restore, which may be what makes it fail.
    let well = b.check(eaf.process.get("/api/v1/health", Platform::healthy()));
    b.finally(|b| {
        b.step(eaf.npm.forget_kept(&well));
    });
    Ok(())
}

/// Verify the site, as after a deploy
///
/// What a visitor needs: the health route, login and logout, the dashboard, the search, the security
/// headers, and a log without errors.
#[runbook]
pub(crate) fn verify(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    b.check(eaf.pm2.is_healthy(eaf.app()).port(env.app.port).steady_for(eaf.steady()));
    b.check(eaf.pm2.is_healthy(eaf.worker_app()).steady_for(eaf.steady()));
    works(b, eaf);
    b.observe(eaf.pm2.last_errors(eaf.app(), 20));
    Ok(())
}

/// What is looked at before anything is touched.
pub(crate) fn before_a_release(b: &mut Runbook, eaf: &Platform) {
    // First and alone: also tells whether the host is reached at all.
    b.check(eaf.git.is_clean());
    b.parallel("Before anything is touched", |b| {
        b.check(eaf.db.accepting());
        b.check(eaf.pm2.is_online(eaf.app()));
        b.check(eaf.pm2.is_online(eaf.worker_app()));
    });
}

/// Code, packages and build of a revision, or of the newest commit of the branch.
pub(crate) fn switch_to(b: &mut Runbook, eaf: &Platform, revision: Option<String>) {
    b.group("Switch the code", |b| {
        // Undone last, when code, packages and build are those from before.
        b.step(eaf.pm2.restart_on_the_way_back(eaf.worker_app()));
        b.step(eaf.pm2.restart_on_the_way_back(eaf.app()));
        match revision {
            Some(revision) => {
                b.step(eaf.git.fetch());
                b.step(eaf.git.checkout(revision));
            }
            None => {
                let branch = &eaf.env.app.branch;
                b.step(eaf.git.checkout(branch.as_str()));
                b.step(eaf.git.pull(branch));
            }
        }
        b.step(eaf.npm.install().timeout(Platform::INSTALL));
        b.step(eaf.npm.build("build", eaf.env.app.built.clone()).timeout(Platform::BUILD));
    });
}

/// Restarts the worker and the site, and waits until both stay up.
pub(crate) fn restart(b: &mut Runbook, eaf: &Platform, ask: bool) -> Out<Restarted> {
    b.group("Restart", |b| {
        let (pm2, app) = (&eaf.pm2, &eaf.env.app);
        let worker = b.step(pm2.restart(&app.worker));
        let step = pm2.restart(&app.name).timeout(Platform::RESTART);
        let restarted = b.step(if ask {
            step.confirm("Restart the site? It is away for a moment.")
        } else {
            step
        });
        for (name, port, restarted) in
            [(&app.name, app.port, restarted), (&app.worker, app.worker_port, worker)]
        {
            let since = restarted.map(|restarted| Some(restarted.clone()));
            b.wait_until(stays_up(pm2, name, &port, &eaf.steady(), since), eaf.start());
        }
        restarted
    })
}

/// What a visitor needs.
pub(crate) fn works(b: &mut Runbook, eaf: &Platform) {
    b.check(eaf.process.get("/api/v1/health", Platform::healthy()));
    b.check(eaf.worker.get("/", Platform::healthy()));
    b.check(eaf.site.get("/api/v1/health", Platform::healthy()));
    b.check(eaf.site.login(eaf.login()));
    b.check(logs_in_and_out(&eaf.site, &eaf.env.account));
    b.check(eaf.site.get("/api/v1/rag/search?q=fleurs", Expect::ok().has_json("results")));
    let headers =
        Expect::ok().csp("script-src", "'self'").header("x-content-type-options", "nosniff");
    b.check(eaf.site.get("/login", headers));
}
