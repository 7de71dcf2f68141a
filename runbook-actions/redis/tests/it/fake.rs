//! The fake server says what a real one says.

use std::time::Duration;

use runbook_core::Host;
use runbook_core::testing::{FakeTarget, context};
use runbook_redis::testing::FakeRedis;
use runbook_redis::{Config, Queue, Redis};

use crate::support::{check, client, said, step};

/// What is said to both, and by which the second part fills a queue.
const COMMANDS: &[&str] = &[
    "SET a 1",
    "GET a",
    "GET b",
    "INCR a",
    "EXISTS a b",
    "TYPE a",
    "LPUSH a 1",
    "HSET h one 1 two 2",
    "HSET h two 3 three 4",
    "HMGET h one none three",
    "HEXISTS h none",
    "HDEL h one none",
    "HSETNX h two 9",
    "HLEN h",
    "LPUSH l 1 2 3",
    "RPUSH l 0",
    "LRANGE l -2 -1",
    "LRANGE l 0 100",
    "LINDEX l -1",
    "LINDEX l 9",
    "LREM l 1 2",
    "RPOP l",
    "LLEN l",
    "SADD s 2 1 2",
    "SISMEMBER s 2",
    "SCARD s",
    "ZADD z 2 two",
    "ZADD z 1 one",
    "ZADD z 3 one",
    "ZRANGE z 0 0 WITHSCORES",
    "ZREVRANGE z 0 9",
    "ZSCORE z two",
    "ZSCORE z none",
    "ZREM z one two none",
    "EXISTS z",
    "DEL l s none",
    "LLEN none",
    "DBSIZE",
    "CONFIG SET maxmemory 104857600",
    "HSET bull:mails:meta version bullmq:5.80.0",
    "HSET bull:mails:1 name send timestamp 1767225600000 delay 0",
    "HSET bull:mails:2 name send timestamp 1767225600000 delay 0 failedReason no-such-address atm 1",
    "LPUSH bull:mails:wait 1",
    "ZADD bull:mails:failed 1767225600000 2",
];

/// All that both say, a line each.
async fn story(redis: &Redis) -> Vec<String> {
    let cx = context();
    let session = redis.session(&cx).await.unwrap();
    let mut lines = Vec::new();
    for command in COMMANDS {
        let answer = session.command(command.split(' ')).await;
        let answer = answer.map_or_else(|failure| said(&failure), |reply| format!("{reply:?}"));
        lines.push(format!("{command}: {answer}"));
    }
    let mails = Queue::new(redis, "mails");
    let keys = async |lines: &mut Vec<String>| {
        for (key, command) in [
            ("wait", "LRANGE bull:mails:wait 0 -1"),
            ("paused", "LRANGE bull:mails:paused 0 -1"),
            ("failed", "ZRANGE bull:mails:failed 0 -1 WITHSCORES"),
            ("marker", "ZRANGE bull:mails:marker 0 -1 WITHSCORES"),
            ("paused flag", "HGET bull:mails:meta paused"),
            ("job", "HGET bull:mails:2 failedReason"),
            ("events", "XLEN bull:mails:events"),
        ] {
            let reply = session.command(command.split(' ')).await.unwrap();
            lines.push(format!("{key}: {reply:?}"));
        }
        lines.push(check(mails.counts()).await.unwrap().why().to_owned());
        lines.push(check(mails.failed(0)).await.unwrap().why().to_owned());
        lines.push(check(mails.worker_alive()).await.unwrap().why().to_owned());
        lines.push(check(mails.none_stalled()).await.unwrap().why().to_owned());
        let flow = check(mails.flows(Duration::from_secs(60))).await.unwrap();
        lines.push(format!("{:?}: {}", flow.level(), flow.why()));
    };
    keys(&mut lines).await;
    step(mails.pause()).await.unwrap();
    keys(&mut lines).await;
    let retried = step(mails.retry_failed(10)).await.unwrap();
    lines.push(format!("{retried:?}"));
    keys(&mut lines).await;
    step(mails.resume()).await.unwrap();
    keys(&mut lines).await;
    let missing = check(Queue::new(redis, "mials").counts()).await.unwrap_err();
    lines.push(said(&missing));
    lines.push(check(redis.ping()).await.unwrap().why().to_owned());
    step(redis.set_max_memory(209_715_200)).await.unwrap();
    let memory = check(redis.memory(90)).await.unwrap().into_evidence();
    lines.push(format!("{:?} {}", memory.max, memory.policy));
    step(redis.purge_memory()).await.unwrap();
    lines.push(check(redis.accepting()).await.unwrap().passed().to_string());
    lines
}

#[tokio::test]
async fn the_fake_answers_as_a_real_server_does() {
    let real = lab::Redis::start();
    let target = FakeTarget::new("cache-1");
    let config = Config::new();
    FakeRedis::new().listen(&target, &config);
    let fake = Redis::new(&Host::new(target), config);
    let (real, fake) = (story(&client(&real)).await, story(&fake).await);
    for (real, fake) in real.iter().zip(&fake) {
        assert_eq!(fake, real);
    }
    assert_eq!(fake.len(), real.len());
}

#[tokio::test]
async fn who_is_not_let_in_is_told_as_by_a_real_server() {
    let real = lab::Redis::builder().password("correct horse").start();
    let target = FakeTarget::new("cache-1");
    FakeRedis::new().password("correct horse").listen(&target, &Config::new());
    for given in [None, Some("wrong horse")] {
        let with = |config: Config| match given {
            Some(password) => config.password(password),
            None => config,
        };
        let fake = Redis::new(&Host::new(target.clone()), with(Config::new()));
        let real = Redis::new(&crate::support::host(), with(Config::new().port(real.port())));
        let fake = said(&check(fake.ping()).await.unwrap_err());
        assert_eq!(fake, said(&check(real.ping()).await.unwrap_err()), "{given:?}");
    }
}

#[tokio::test]
async fn a_fake_that_is_stopped_refuses_and_keeps_what_it_holds() {
    let target = FakeTarget::new("cache-1");
    let (server, config) = (FakeRedis::new(), Config::new());
    server.listen(&target, &config);
    let redis = Redis::new(&Host::new(target), config);
    check(redis.ping()).await.unwrap();
    server.command(["SET", "a", "1"]).unwrap();
    server.stop();
    let failure = said(&check(redis.ping()).await.unwrap_err());
    assert!(failure.contains("nothing listens there"), "{failure}");
    server.start();
    assert!(check(redis.ping()).await.unwrap().passed());
    assert!(server.contents().contains("a Text(\"1\")"), "{}", server.contents());
}

#[tokio::test]
async fn what_the_fake_does_not_know_it_says() {
    let server = FakeRedis::new();
    assert_eq!(
        server.command(["GEOADD", "a", "1"]).unwrap_err(),
        "ERR the fake has no `GEOADD a 1`; script it with `on`"
    );
    let script = ["EVAL", "return 1", "0"];
    assert!(server.command(script).unwrap_err().contains("runs no scripts"));
}
