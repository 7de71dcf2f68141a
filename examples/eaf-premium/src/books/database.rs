//! Incident: the database is slow, or takes no more connections.

use runbook::{Observation, Result, Runbook, Severity, Step, runbook};
use runbook_postgres::Activity;

use super::incident;
use crate::env::Env;
use crate::platform::Platform;

/// The database is slow, or takes no more connections
///
/// Finds who is in the way: sessions that forgot their transaction, statements without end, too many
/// connections. It works as the superuser, for whom PostgreSQL keeps a few connections.
#[runbook]
pub(crate) fn database_slow(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    let (admin, limit) = (&eaf.admin, eaf.session_limit());
    let most = env.thresholds.connections_percent;
    incident(b, eaf, Severity::SEV2);
    let (connections, locks, forgotten, endless) = b.group("Who is in the way", |b| {
        b.observe(eaf.db.ping());
        let found = (
            b.observe(admin.connections(most)),
            b.observe(admin.locks()),
            b.observe(admin.idle_in_transaction(limit)),
            b.observe(admin.long_running(limit)),
        );
        b.observe(admin.slow_queries(5));
        b.observe(admin.largest_tables(5));
        found
    });
    let sessions = |seen: &Observation<Vec<Activity>>| seen.evidence().cloned().unwrap_or_default();
    let why = "what they did not commit is taken back, and others wait for them";

    b.when("Sessions forgot their transaction", forgotten.failed(), |b| {
        let end = admin.terminate(forgotten.map(sessions));
        b.irreversible(end.confirm("End the sessions that forgot their transaction?"), why);
    });
    b.when("Statements do not end", endless.failed(), |b| {
        let cancel = admin.cancel(endless.map(sessions));
        b.irreversible(cancel.confirm("Cancel the statements that do not end?"), why);
    });
    b.when("Too many connections", connections.failed(), |b| {
        let idle = b.observe(admin.idle(limit));
        let end = admin.terminate(idle.map(sessions));
        let why = "they do nothing, and the site opens new ones when it needs them";
        b.irreversible(end.confirm("End the sessions that do nothing?"), why);
    });
    b.when("Somebody waited for a lock", locks.failed(), |b| {
        b.wait_until(admin.locks(), eaf.start());
    });

    b.group("Is it well again", |b| {
        b.wait_until(admin.connections(most), eaf.start());
        b.check(admin.long_running(limit));
        b.check(eaf.db.ping());
        b.wait_until(eaf.process.get("/api/v1/health", Platform::healthy()), eaf.start());
    });
    Ok(())
}
