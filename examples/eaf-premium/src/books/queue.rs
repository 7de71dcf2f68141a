//! Incidents: copies are not corrected; Redis is down or full.

use runbook::{Result, Runbook, Severity, Step, runbook};

use super::incident;
use crate::env::Env;
use crate::platform::Platform;
use crate::service::{is_stopped, start_server};

/// Copies are not corrected: the queue is blocked
///
/// Worker, queue and the reasons of failed jobs; then the mildest remedy that makes jobs flow.
#[runbook]
pub(crate) fn queue_blocked(
    b: &mut Runbook,
    env: &Env,
    /// Have failed corrections tried again
    retry: bool,
) -> Result<()> {
    let eaf = &Platform::new(env)?;
    let (pm2, queue, worker) = (&eaf.pm2, &eaf.queue, eaf.worker_app());
    incident(b, eaf, Severity::SEV2);
    b.check(eaf.redis.ping());
    let failed = b.group("What is wrong", |b| {
        b.observe(queue.counts());
        b.observe(queue.flows(eaf.queue_limit()));
        b.observe(queue.worker_alive());
        b.observe(queue.none_stalled());
        b.observe(pm2.is_online(worker));
        b.observe(pm2.last_errors(worker, 20));
        b.observe(eaf.variables.has(Platform::required()));
        b.observe(queue.failed(0))
    });
    b.ladder("Make jobs flow", queue.flows(eaf.queue_limit()), |ladder| {
        ladder.wait(eaf.start());
        ladder.remedy("Start the worker", |b| {
            b.step(pm2.start(worker));
        });
        ladder.remedy("Restart the worker", |b| {
            b.step(pm2.restart(worker).timeout(Platform::RESTART));
        });
        ladder.remedy("Let a paused queue go on", |b| {
            b.step(queue.resume());
        });
        ladder.escalate("look whether the language model answers");
    });
    if retry {
        b.when("Corrections have failed", failed.failed(), |b| {
            let why = "a correction that is made twice gives its mark twice, to the same copy";
            b.irreversible(queue.retry_failed(1000), why);
        });
    }
    b.wait_until(queue.worker_alive(), eaf.start());
    b.check(pm2.is_healthy(worker).port(env.app.worker_port).steady_for(eaf.steady()));
    Ok(())
}

/// Redis is down or full
///
/// The site goes on without it, degraded: nothing limits the rate of requests, and no copy can be
/// handed in.
#[runbook]
pub(crate) fn redis_down(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    incident(b, eaf, Severity::SEV3);
    let (answers, memory) = b.group("What is wrong", |b| {
        b.observe(eaf.process.get("/api/v1/health", Platform::healthy()));
        let answers = b.observe(eaf.redis.ping());
        let memory = b.observe(eaf.redis.memory(90));
        b.observe(eaf.machine.disk_free("/", eaf.disk_wanted()));
        (answers, memory)
    });
    b.when("It does not answer", answers.failed(), |b| {
        b.ladder("Bring it back", eaf.redis.ping(), |ladder| {
            ladder.wait(eaf.start());
            ladder.remedy("Start it", |b| {
                b.check(is_stopped(&eaf.redis_server));
                b.step(start_server(&eaf.redis_server));
            });
        });
    });
    b.when("Its memory is full", memory.failed(), |b| {
        b.ladder("Make room", eaf.redis.memory(90), |ladder| {
            ladder.remedy("Give back what is free inside", |b| {
                b.step(eaf.redis.purge_memory());
            });
            ladder.remedy("Give it the memory that it is to have", |b| {
                b.step(eaf.redis.set_max_memory(eaf.redis_memory()));
            });
        });
    });
    b.group("Is it well again", |b| {
        b.check(eaf.redis.accepting());
        b.wait_until(eaf.process.get("/api/v1/health", Platform::healthy()), eaf.start());
        b.wait_until(eaf.queue.worker_alive(), eaf.start());
    });
    Ok(())
}
