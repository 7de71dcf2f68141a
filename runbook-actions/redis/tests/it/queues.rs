use std::time::Duration;

use runbook_core::{Level, Status, Verdict};
use runbook_redis::{Flow, Queue};

use crate::bull::{self, Bull};
use crate::support::{broken, check, client, run, said, step};

/// A limit that nothing reaches during a test.
const LONG: Duration = Duration::from_secs(600);

/// Jobs that have failed.
fn fail(bull: &Bull, count: u32, options: &str) -> Vec<String> {
    let ids = bull.add("fail", count, options);
    let worker = bull.worker(&[]);
    bull.until("the jobs to fail", || bull.length("failed") == u64::from(count));
    drop(worker);
    ids
}

#[tokio::test]
async fn jobs_are_counted_as_bullmq_counts_them() {
    for bull in bull::each() {
        bull.add("plain", 3, "{}");
        bull.add("plain", 2, r#"{"priority": 5}"#);
        bull.add("plain", 1, r#"{"delay": 600000}"#);
        let verdict = check(bull.queue().counts()).await.unwrap();
        assert_eq!(verdict.why(), "3 waiting, 2 prioritized, 1 delayed, 0 active, 0 failed");
        bull.app::<()>(&["pause"]);
        let counts = check(bull.queue().counts()).await.unwrap().into_evidence();
        assert!(counts.paused);
        assert_eq!((counts.waiting, counts.ready()), (3, 5));
        let theirs: serde_json::Value = bull.app(&["counts"]);
        let waiting = |state: &str| theirs[state].as_u64().unwrap_or(0);
        assert_eq!(waiting("waiting") + waiting("paused"), 3, "{theirs}");
        assert_eq!(waiting("delayed"), 1, "{theirs}");
    }
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_not_taken_for_an_empty_one() {
    let server = lab::Redis::start();
    let queue = Queue::new(&client(&server), "mials");
    let failure = said(&check(queue.counts()).await.unwrap_err());
    assert_eq!(
        failure,
        "redis on cache-1: there is no queue `mials`: the key bull:mials:meta is missing\n  \
         next: check the name of the queue, its prefix and the number of the database; a queue is \
         there from its first job on"
    );
    assert!(step(queue.retry_failed(10)).await.is_err());
}

#[tokio::test]
async fn failed_jobs_are_listed_with_their_reasons() {
    for bull in bull::each() {
        let ids = fail(&bull, 3, "{}");
        let verdict = check(bull.queue().failed(0)).await.unwrap();
        assert!(!verdict.passed());
        assert_eq!(verdict.why(), "3 have failed; 3 of the last 3: no such copy");
        let failed = verdict.into_evidence();
        assert_eq!(failed.reasons(), [("no such copy", 3)]);
        assert!(failed.last.iter().all(|job| ids.contains(&job.id)));
        assert_eq!((failed.last[0].name.as_str(), failed.last[0].attempts), ("fail", 1));
        assert!(check(bull.queue().failed(3)).await.unwrap().passed());
    }
}

#[tokio::test]
async fn what_is_retried_is_done_by_bullmq() {
    for bull in bull::each() {
        let ids = fail(&bull, 5, "{}");
        bull.server.cli(&["set", "healed", "1"]);
        let _worker = bull.worker(&[]);
        // While a worker waits: it has to be woken up.
        step(bull.queue().retry(ids[4].as_str())).await.unwrap();
        bull.until("the job to be done", || bull.states(&ids[4..]) == ["completed"]);
        let retried = step(bull.queue().retry_failed(100)).await.unwrap();
        assert_eq!((retried.jobs, retried.left), (4, 0));
        bull.until("the jobs to be done", || bull.length("completed") == 5);
        assert_eq!(bull.states(&ids), ["completed"; 5]);
        let failure = said(&step(bull.queue().retry(ids[0].as_str())).await.unwrap_err());
        assert!(failure.contains(&format!("there is no failed job {}", ids[0])), "{failure}");
    }
}

#[tokio::test]
async fn a_retried_job_keeps_its_attempts_and_may_fail_again() {
    for bull in bull::each() {
        let ids = fail(&bull, 2, "{}");
        assert_eq!(step(bull.queue().retry_failed(1)).await.unwrap().left, 1);
        assert_eq!(bull.states(&ids), ["waiting", "failed"]);
        let _worker = bull.worker(&[]);
        bull.until("the job to fail again", || bull.length("failed") == 2);
        let failed = check(bull.queue().failed(0)).await.unwrap().into_evidence();
        let again = failed.last.iter().find(|job| job.id == ids[0]).unwrap();
        assert_eq!(again.attempts, 2);
    }
}

#[tokio::test]
async fn retried_jobs_of_a_paused_queue_wait_until_it_goes_on() {
    for bull in bull::each() {
        let ids = fail(&bull, 2, "{}");
        bull.server.cli(&["set", "healed", "1"]);
        step(bull.queue().pause()).await.unwrap();
        assert!(bull.app::<bool>(&["paused"]));
        let _worker = bull.worker(&[]);
        step(bull.queue().retry_failed(10)).await.unwrap();
        let verdict = check(bull.queue().flows(LONG)).await.unwrap();
        assert_eq!(
            (verdict.level(), verdict.why()),
            (Level::Warn, "the queue is paused, and 2 jobs wait")
        );
        let counts = check(bull.queue().counts()).await.unwrap().into_evidence();
        assert_eq!((counts.waiting, counts.active, counts.completed), (2, 0, 0));
        step(bull.queue().resume()).await.unwrap();
        assert!(!bull.app::<bool>(&["paused"]));
        bull.until("the jobs to be done", || bull.states(&ids) == ["completed", "completed"]);
    }
}

#[tokio::test]
async fn a_pause_is_undone_with_what_waits() {
    for bull in bull::each() {
        let ids = bull.add("plain", 3, "{}");
        let outcome = run(|b| {
            b.step(bull.queue().pause());
            b.step(broken());
        })
        .await;
        assert_eq!(outcome.status, Status::RolledBack);
        assert!(!bull.app::<bool>(&["paused"]));
        let _worker = bull.worker(&[]);
        bull.until("the jobs to be done", || bull.states(&ids) == ["completed"; 3]);
        let taken = bull.server.cli(&["lrange", "taken", "0", "-1"]);
        assert_eq!(taken.lines().collect::<Vec<_>>(), ids, "in the order in which they came");
    }
}

#[tokio::test]
async fn priorities_and_delays_are_kept() {
    for bull in bull::each() {
        let urgent = fail(&bull, 1, r#"{"priority": 2}"#);
        bull.server.cli(&["del", "taken"]);
        bull.server.cli(&["set", "healed", "1"]);
        let plain = bull.add("plain", 1, r#"{"priority": 9}"#);
        let later = bull.add("plain", 1, r#"{"delay": 600000}"#);
        step(bull.queue().retry_failed(10)).await.unwrap();
        let _worker = bull.worker(&[]);
        let both = [urgent[0].clone(), plain[0].clone()];
        bull.until("both to be done", || bull.states(&both) == ["completed", "completed"]);
        let taken = bull.server.cli(&["lrange", "taken", "0", "-1"]);
        assert_eq!(taken.lines().collect::<Vec<_>>(), both);
        assert_eq!(bull.states(&later), ["delayed"]);
    }
}

#[tokio::test]
async fn a_family_that_failed_is_worked_off_after_a_retry() {
    for bull in bull::each() {
        let ids: Vec<String> = bull.app(&["family", "fail"]);
        let worker = bull.worker(&[]);
        bull.until("the child to fail", || bull.length("failed") == 1);
        assert_eq!(bull.states(&ids)[1], "failed");
        bull.server.cli(&["set", "healed", "1"]);
        let failure = said(&step(bull.queue().remove(ids[1].as_str())).await.unwrap_err());
        assert!(failure.contains("a parent or a child of other jobs"), "{failure}");
        step(bull.queue().retry(ids[1].as_str())).await.unwrap();
        bull.until("both to be done", || bull.states(&ids) == ["completed", "completed"]);
        drop(worker);
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_with_jobs_waiting_is_diagnosed_and_a_new_one_goes_on() {
    for bull in bull::each() {
        let queue = bull.queue();
        bull.add("hang", 1, "{}");
        let mut worker = bull.worker(&["corrector"]);
        bull.until("the job to be taken", || bull.length("active") == 1);
        let alive = check(queue.worker_alive()).await.unwrap().into_evidence();
        assert_eq!(alive.workers[0].name.as_deref(), Some("corrector"));
        assert_eq!(alive.workers.len(), bull.app::<usize>(&["workers"]));
        assert!(check(queue.none_stalled()).await.unwrap().passed());
        let plain = bull.add("plain", 2, "{}");
        // It is busy, and not yet late.
        assert!(check(queue.flows(LONG)).await.unwrap().passed());

        worker.kill();
        bull.until("the server to see it", || {
            !bull.server.cli(&["client", "list"]).contains("name=bull:")
        });
        let flow = check(queue.flows(LONG)).await.unwrap();
        assert_eq!(flow.why(), "2 jobs wait, and no worker is connected");
        assert!(!flow.passed());
        let alive = check(queue.worker_alive()).await.unwrap();
        assert!(alive.why().starts_with("none is connected"), "{}", alive.why());
        bull.until("its lock to end", || {
            bull.server.cli(&["--scan", "--pattern", "bull:mails:*:lock"]).is_empty()
        });
        let stalled = check(queue.none_stalled()).await.unwrap();
        assert_eq!(stalled.evidence().len(), 1, "{}", stalled.why());
        assert_eq!(stalled.evidence()[0].name, "hang");

        let id = stalled.evidence()[0].id.clone();
        assert!(step(queue.remove(id)).await.unwrap());
        assert!(check(queue.none_stalled()).await.unwrap().passed());
        let _worker = bull.worker(&[]);
        bull.until("the jobs to be done", || bull.states(&plain) == ["completed", "completed"]);
        assert!(check(queue.flows(LONG)).await.unwrap().passed());
    }
}

#[tokio::test]
async fn a_worker_that_takes_nothing_is_told_from_one_that_is_behind() {
    for bull in bull::each() {
        let queue = bull.queue();
        bull.add("hang", 1, "{}");
        let worker = bull.worker(&[]);
        bull.until("the job to be taken", || bull.length("active") == 1);
        bull.add("plain", 1, "{}");
        let late = async || check(queue.flows(Duration::ZERO)).await.unwrap();
        let verdict = wait_for_late(late).await;
        assert!(
            verdict.why().contains("the workers are behind (1 are worked on)"),
            "{}",
            verdict.why()
        );
        // Stopped, but connected.
        rustix_stop(worker.pid());
        bull.until("its lock to end", || {
            bull.server.cli(&["--scan", "--pattern", "bull:mails:*:lock"]).is_empty()
        });
        let verdict = wait_for_late(late).await;
        assert!(verdict.why().ends_with("and 1 workers take none"), "{}", verdict.why());
        assert_eq!(verdict.evidence().stalled, 1);
    }
}

async fn wait_for_late(look: impl AsyncFn() -> Verdict<Flow>) -> Verdict<Flow> {
    loop {
        let verdict = look().await;
        if !verdict.passed() {
            return verdict;
        }
    }
}

/// Stops a process without ending it; it can still be killed.
fn rustix_stop(pid: u32) {
    let mut kill = std::process::Command::new("kill");
    lab::try_run(kill.args(["-STOP", &pid.to_string()])).unwrap();
}

#[tokio::test]
async fn a_job_that_was_retried_has_not_been_waiting_since_it_was_added() {
    for bull in bull::each() {
        let ids = fail(&bull, 1, "{}");
        let key = format!("bull:mails:{}", ids[0]);
        let an_hour_ago: u64 =
            bull.server.cli(&["hget", &key, "timestamp"]).parse::<u64>().unwrap() - 3_600_000;
        bull.server.cli(&["hset", &key, "timestamp", &an_hour_ago.to_string()]);
        step(bull.queue().retry_failed(1)).await.unwrap();
        let flow = check(bull.queue().flows(LONG)).await.unwrap().into_evidence();
        assert_eq!(flow.next.as_deref(), Some(ids[0].as_str()));
        assert!(flow.waits_ms < 600_000, "{}", flow.waits_ms);
    }
}

#[tokio::test]
async fn a_removed_job_comes_back_where_it_was() {
    for bull in bull::each() {
        let failed = fail(&bull, 1, "{}");
        let waiting = bull.add("plain", 2, "{}");
        let delayed = bull.add("plain", 1, r#"{"delay": 600000}"#);
        let urgent = bull.add("plain", 1, r#"{"priority": 3}"#);
        let all = [&failed[..], &waiting[..1], &delayed, &urgent].concat();
        let before = bull.states(&all);
        assert_eq!(before, ["failed", "waiting", "delayed", "prioritized"]);
        for id in &all {
            let outcome = run(|b| {
                b.step(bull.queue().remove(id.as_str()));
                b.step(broken());
            })
            .await;
            assert_eq!(outcome.status, Status::RolledBack, "{id}");
        }
        assert_eq!(bull.states(&all), before);
        assert!(step(bull.queue().remove(failed[0].as_str())).await.unwrap());
        assert!(!step(bull.queue().remove(failed[0].as_str())).await.unwrap());
        assert_eq!(bull.states(&failed), ["gone"]);
        bull.server.cli(&["del", "taken"]);
        let _worker = bull.worker(&[]);
        bull.until("the rest to be done", || bull.length("completed") == 3);
        let taken = bull.server.cli(&["lrange", "taken", "0", "-1"]);
        assert_eq!(
            taken.lines().take(2).collect::<Vec<_>>(),
            waiting,
            "the next one is next again"
        );
    }
}

#[tokio::test]
async fn a_job_that_is_worked_on_or_scheduled_is_not_removed() {
    for bull in bull::each() {
        let scheduled: Vec<String> = bull.app(&["schedule"]);
        let failure = said(&step(bull.queue().remove(scheduled[0].as_str())).await.unwrap_err());
        assert!(failure.contains("it is the next run of a job scheduler"), "{failure}");
        let ids = bull.add("hang", 1, "{}");
        let _worker = bull.worker(&[]);
        bull.until("the job to be taken", || bull.states(&ids) == ["active"]);
        let failure = said(&step(bull.queue().remove(ids[0].as_str())).await.unwrap_err());
        assert!(failure.contains("a worker works on it"), "{failure}");
        assert_eq!(bull.states(&ids), ["active"]);
    }
}

#[tokio::test]
async fn a_queue_of_an_unknown_library_is_read_and_not_changed() {
    let [bull, _] = bull::each();
    fail(&bull, 1, "{}");
    bull.server.cli(&["hset", "bull:mails:meta", "version", "bullmq-pro:7.1.0"]);
    assert!(check(bull.queue().counts()).await.unwrap().passed());
    let failure = said(&step(bull.queue().retry_failed(1)).await.unwrap_err());
    assert!(
        failure.contains("it is written by bullmq-pro:7.1.0, whose layout is not known"),
        "{failure}"
    );
    assert_eq!(bull.length("failed"), 1);
}

#[tokio::test]
async fn no_job_is_lost_when_the_memory_is_full() {
    for bull in bull::each() {
        let ids = fail(&bull, 3, "{}");
        bull.server.cli(&["set", "healed", "1"]);
        bull.server.fill_memory();
        // Whether it is refused is up to the server; what counts is that it is all or nothing.
        let retried = step(bull.queue().retry_failed(10)).await.map_or(0, |retried| retried.jobs);
        assert_eq!(bull.length("failed") + bull.length("wait"), 3);
        assert_eq!(bull.length("wait"), retried);
        let paused = step(bull.queue().pause()).await.unwrap_err();
        assert!(said(&paused).contains("the memory is full"), "{paused}");
        bull.server.relieve();
        step(bull.queue().retry_failed(10)).await.unwrap();
        let _worker = bull.worker(&[]);
        bull.until("the jobs to be done", || bull.states(&ids) == ["completed"; 3]);
    }
}

#[tokio::test]
async fn a_job_that_lost_its_worker_too_often_can_be_retried() {
    for bull in bull::each() {
        let ids = bull.add("plain", 1, "{}");
        let key = format!("bull:mails:{}", ids[0]);
        bull.server.cli(&["hset", &key, "defa", "job stalled more than allowable limit"]);
        let _worker = bull.worker(&[]);
        bull.until("the job to fail", || bull.length("failed") == 1);
        let failed = check(bull.queue().failed(0)).await.unwrap().into_evidence();
        assert_eq!(failed.reasons(), [("job stalled more than allowable limit", 1)]);
        step(bull.queue().retry_failed(1)).await.unwrap();
        bull.until("the job to be done", || bull.states(&ids) == ["completed"]);
    }
}
