use runbook_core::{Status, testing};
use runbook_redis::{Key, Keys, SavedKeys};

use crate::support::{broken, check, client, run, said, step};

#[tokio::test]
async fn keys_are_found_by_pattern_and_no_more_than_asked_for() {
    let server = lab::Redis::start();
    server.cli(&["eval", "for i = 1, 3000 do redis.call('SET', 'page:' .. i, i) end", "0"]);
    server.cli(&["set", "other", "1"]);
    let redis = client(&server);
    let found = check(redis.keys("page:*", 5000)).await.unwrap();
    assert_eq!(found.why(), "3000 keys match");
    assert_eq!(found.evidence().keys.len(), 3000);
    let found = check(redis.keys("oth?r", 1)).await.unwrap();
    assert_eq!(found.evidence().keys, [Key::from("other")]);
    let found = check(redis.keys("page:*", 100)).await.unwrap();
    assert!(!found.passed() && found.evidence().more);
    assert_eq!(found.evidence().keys.len(), 100);
    assert!(!server.cli(&["info", "commandstats"]).contains("cmdstat_keys:"));
}

#[tokio::test]
async fn deleted_keys_of_every_kind_come_back() {
    let server = lab::Redis::builder().config("enable-debug-command local").start();
    let redis = client(&server);
    server.cli(&["set", "s:text", "a\u{e4}\n\"b"]);
    server.cli(&["set", "s:short-lived", "1", "EX", "5000"]);
    server.cli(&["rpush", "s:list", "1", "2", "3"]);
    server.cli(&["hset", "s:hash", "a", "1", "b", "2"]);
    server.cli(&["zadd", "s:sorted", "1.5", "a"]);
    server.cli(&["sadd", "s:set", "x", "y"]);
    server.cli(&["xadd", "s:stream", "1-1", "a", "b"]);
    server.cli(&["set", "kept", "1"]);
    let digest = || server.cli(&["debug", "digest"]);
    let before = digest();
    let outcome = run(|b| {
        let found = b.check(redis.keys("s:*", 100));
        b.step(redis.delete(found));
        b.step(redis.delete_key("not-there"));
        b.step(broken());
    })
    .await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(digest(), before);
    let seconds: i64 = server.cli(&["ttl", "s:short-lived"]).parse().unwrap();
    assert!((4900..=5000).contains(&seconds), "{seconds}");

    let outcome = run(|b| {
        let found = b.check(redis.keys("s:*", 100));
        b.step(redis.delete(found));
    })
    .await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(server.cli(&["dbsize"]), "1");
}

#[tokio::test]
async fn keys_whose_names_are_no_text_are_deleted_and_come_back() {
    let server = lab::Redis::builder().config("enable-debug-command local").start();
    let redis = client(&server);
    let cx = testing::context();
    let session = redis.session(&cx).await.unwrap();
    session.command([&b"SET"[..], b"bin:\xff\x00\\x41", b"\x00\xff"]).await.unwrap();
    let digest = server.cli(&["debug", "digest"]);
    let outcome = run(|b| {
        let found = b.check(redis.keys("bin:*", 10));
        b.step(redis.delete(found));
        b.step(broken());
    })
    .await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(server.cli(&["debug", "digest"]), digest);
}

#[tokio::test]
async fn what_the_application_made_again_is_left_alone() {
    let server = lab::Redis::start();
    let redis = client(&server);
    server.cli(&["set", "cart", "old"]);
    let outcome = run(|b| {
        b.step(redis.delete_key("cart"));
        b.irreversible(made_again(&redis), "the application's doing");
        b.step(broken());
    })
    .await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert_eq!(server.cli(&["get", "cart"]), "new");
}

fn made_again(
    redis: &runbook_redis::Redis,
) -> impl runbook_core::Step<Rollback = runbook_core::Irreversible> {
    struct MadeAgain(runbook_redis::Redis);
    impl runbook_core::Step for MadeAgain {
        type Output = ();
        type Rollback = runbook_core::Irreversible;
        fn about(&self) -> runbook_core::About {
            runbook_core::About::new("made-again", "Use the cart again")
        }
        async fn run(&self, cx: &runbook_core::Context) -> runbook_core::Result<()> {
            self.0.session(cx).await?.command(["SET", "cart", "new"]).await.map(drop)
        }
    }
    MadeAgain(redis.clone())
}

#[tokio::test]
async fn what_could_not_be_put_back_is_not_deleted_by_a_step_that_can_be_undone() {
    let server = lab::Redis::start();
    let redis = client(&server);
    server.cli(&["eval", "redis.call('SET', 'big', string.rep('x', 17 * 1024 * 1024))", "0"]);
    let outcome = run(|b| {
        b.step(redis.delete_key("big"));
    })
    .await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(server.cli(&["exists", "big"]), "1");

    server.cli(&["eval", "for i = 1, 1500 do redis.call('SET', 'page:' .. i, i) end", "0"]);
    let found: Keys = check(redis.keys("page:*", 5000)).await.unwrap().into_evidence();
    assert!(found.keys.len() > SavedKeys::MAX_KEYS);
    let outcome = run(|b| {
        b.step(redis.delete(found.clone()));
    })
    .await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(server.cli(&["dbsize"]), "1501");
    assert_eq!(step(redis.delete_matching("page:*")).await.unwrap(), 1500);
    assert_eq!(server.cli(&["dbsize"]), "1");
    let failure = step(redis.delete_matching("**")).await.unwrap_err();
    assert!(said(&failure).contains("say so: `flush_database`"), "{failure:?}");
}

#[tokio::test]
async fn a_flush_says_how_much_is_lost_and_takes_no_other_database() {
    let server = lab::Redis::start();
    let (zero, one) = (client(&server), client(&server).other(1));
    server.cli(&["mset", "a", "1", "b", "2"]);
    server.cli(&["-n", "1", "set", "c", "3"]);
    let there = check(one.contents()).await.unwrap();
    assert_eq!(there.why(), "1 keys, 3 in all databases of the server");
    let flush = one.flush_database(there.evidence().clone());
    let title = runbook_core::Step::about(&flush).title().to_owned();
    assert_eq!(title, "Delete all 1 keys of redis database 1 on cache-1");
    assert_eq!(step(flush).await.unwrap(), 1);
    assert_eq!(server.cli(&["dbsize"]), "2");
    let there = check(zero.contents()).await.unwrap().into_evidence();
    server.cli(&[
        "-n",
        "1",
        "eval",
        "for i = 1, 2000 do redis.call('SET', 'page:' .. i, i) end",
        "0",
    ]);
    let failure = step(zero.flush_all(there)).await.unwrap_err();
    assert!(failure.to_string().ends_with("2 keys were counted, and now there are 2002"));
    let there = check(zero.contents()).await.unwrap().into_evidence();
    assert_eq!(step(zero.flush_all(there)).await.unwrap(), 2002);
    assert_eq!(server.cli(&["info", "keyspace"]).trim(), "# Keyspace");
}

#[tokio::test]
async fn a_check_of_ones_own_can_change_nothing() {
    let server = lab::Redis::start();
    let redis = client(&server);
    let cx = testing::observer();
    let reader = redis.read(&cx).await.unwrap();
    let failure = reader.query(["del", "a"]).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "redis on cache-1: DEL may change something, and a check may not"
    );
    assert!(reader.query(["EVAL", "return 1", "0"]).await.is_err());
    assert!(reader.query(["get", "a"]).await.is_ok());
}
