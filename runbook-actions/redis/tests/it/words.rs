//! What an operator reads.

use std::time::Duration;

use runbook_core::testing::FakeTarget;
use runbook_core::{Host, Runbook, report};
use runbook_redis::{Config, Queue, Redis};

#[test]
fn a_runbook_page() {
    let host = Host::new(FakeTarget::new("cache-1"));
    let cache = Redis::new(&host, Config::new().database(2).password("not to be seen"));
    let mails = Queue::new(&cache, "mails");
    let mut b = Runbook::new("cache");
    b.title("The cache and the mails");
    b.check(cache.ping());
    b.check(cache.accepting());
    b.check(cache.info());
    b.check(cache.memory(90));
    b.check(cache.hit_ratio(80));
    b.check(cache.clients(80));
    b.check(cache.saves());
    b.step(cache.purge_memory());
    b.step(cache.set_max_memory(512 * 1024 * 1024));
    let old = b.check(cache.keys("session:v1:*", 500));
    b.step(cache.delete(old));
    b.step(cache.delete_key("front-page"));
    b.irreversible(cache.delete_matching("page:*"), "pages are rendered again");
    let there = b.check(cache.contents());
    b.irreversible(cache.flush_database(there), "it is a cache");
    b.irreversible(cache.flush_all(there), "all of it is");
    b.check(mails.counts());
    b.check(mails.worker_alive());
    b.check(mails.none_stalled());
    b.check(mails.failed(0));
    b.step(mails.pause());
    b.step(mails.remove("4711"));
    b.irreversible(mails.retry("4712"), "it was not sent");
    b.irreversible(mails.retry_failed(500), "a mail may be sent twice");
    b.step(mails.resume());
    b.check(mails.flows(Duration::from_secs(60)));
    let plan = b.build().unwrap();
    insta::assert_snapshot!(report::page(plan.outline()));
}
