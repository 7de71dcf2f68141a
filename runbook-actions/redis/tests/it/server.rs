use std::time::Duration;

use runbook_core::{Host, Level, Status, testing};
use runbook_redis::{Config, Redis, TlsConfig};
use runbook_targets::{Auth, Ssh};

use crate::support::{broken, check, client, host, run, said, step, until};

#[tokio::test]
async fn a_server_says_how_it_is() {
    let server = lab::Redis::start();
    let redis = client(&server);
    assert_eq!(check(redis.ping()).await.unwrap().why(), "PING gives PONG");
    let info = check(redis.info()).await.unwrap().into_evidence();
    assert!(info.version.contains('.'), "{info:?}");
    assert_eq!(info.role, "master");
    assert!(info.memory.used > 0 && info.memory.max.is_none() && info.memory.of_host > 0);
    assert!(check(redis.accepting()).await.unwrap().passed());
    let saves = check(redis.saves()).await.unwrap();
    assert_eq!(saves.level(), Level::Pass);
    assert!(saves.why().ends_with("append-only file off"), "{}", saves.why());
}

#[tokio::test]
async fn a_password_a_user_and_a_database_are_told_apart() {
    let server = lab::Redis::builder().user("shop", "pass-word/@:").start();
    let config =
        Config::new().port(server.port()).user("shop").password("pass-word/@:").database(3);
    let redis = Redis::new(&host(), config);
    let cx = testing::context();
    let session = redis.session(&cx).await.unwrap();
    session.command(["SET", "a", "1"]).await.unwrap();
    assert_eq!(server.cli(&["-n", "3", "get", "a"]), "1");
    let url = format!("redis://shop:pass-word%2F%40%3A@127.0.0.1:{}/3", server.port());
    let redis = Redis::new(&host(), Config::from_url(url).unwrap());
    let there = redis.read(&testing::observer()).await.unwrap().query(["GET", "a"]).await.unwrap();
    assert_eq!(there.text(), Some("1"));
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_a_port() {
    let server = lab::Redis::builder().password("redis-password").start();
    let socket = server.socket().display().to_string();
    let config = Config::new().host(&socket).password("redis-password");
    assert!(check(Redis::new(&host(), config).ping()).await.unwrap().passed());
    let url = format!("unix://{socket}?db=1&pass=redis-password");
    let redis = Redis::new(&host(), Config::from_url(url).unwrap());
    assert_eq!(redis.to_string(), "redis database 1 on cache-1");
    assert!(check(redis.ping()).await.unwrap().passed());
}

#[tokio::test]
async fn a_server_is_reached_by_tls_and_shows_who_it_is() {
    let ca = lab::Ca::new();
    let server = lab::Redis::builder().password("redis-password").tls(&ca).start();
    let port = server.tls_port().unwrap();
    let tls = |name: &str| TlsConfig {
        ca_file: server.ca().map(Into::into),
        server_name: Some(name.into()),
        ..TlsConfig::default()
    };
    let url = format!("rediss://:redis-password@127.0.0.1:{port}/0");
    let config = Config::from_url(url.as_str()).unwrap();
    let redis = Redis::new(&host(), config.clone().tls(tls("localhost")));
    assert!(check(redis.ping()).await.unwrap().passed());

    let other = Redis::new(&host(), config.clone().tls(tls("other.example.org")));
    let failure = check(other.ping()).await.unwrap_err();
    assert!(said(&failure).contains("the certificate of other.example.org is for"), "{failure}");
    let open = Config::new().port(port).password("redis-password");
    let failure = check(Redis::new(&host(), open).ping()).await.unwrap_err();
    assert!(said(&failure).contains("speak only TLS there"), "{failure}");
    // The URL alone asks for a certificate that this machine trusts.
    let failure = check(Redis::new(&host(), config).ping()).await.unwrap_err();
    assert!(said(&failure).contains("not trusted here"), "{failure}");
    // A port that speaks no TLS.
    let plain = Config::new().port(server.port()).tls(tls("localhost"));
    let plain = plain.connect_timeout(Duration::from_millis(300));
    let failure = check(Redis::new(&host(), plain).ping()).await.unwrap_err();
    assert!(failure.to_string().ends_with("does it speak TLS there?"), "{failure}");
    // Nor does a unix socket.
    let socket = Config::new().host(server.socket().display().to_string()).tls(tls("localhost"));
    let failure = check(Redis::new(&host(), socket).ping()).await.unwrap_err();
    assert!(failure.to_string().contains("not spoken over a unix socket"), "{failure}");
}

#[tokio::test]
async fn a_server_that_listens_on_its_own_host_only_is_reached_over_ssh() {
    let sshd = lab::Sshd::start();
    let server = lab::Redis::builder().password("redis-password").start();
    let known_hosts = sshd.dir().join("known_hosts_for_redis");
    std::fs::write(&known_hosts, sshd.known_hosts()).unwrap();
    let ssh = Ssh::at(sshd.addr().ip().to_string())
        .named("cache-1")
        .port(sshd.port())
        .user(sshd.user())
        .known_hosts(known_hosts)
        .auth(Auth::new().key_file(sshd.client_key()).without_agent());
    let host = Host::new(ssh);
    let config = Config::new().port(server.port()).password("redis-password");
    let redis = Redis::new(&host, config);
    assert!(check(redis.ping()).await.unwrap().passed());
    let socket = Config::new().host(server.socket().display().to_string());
    let redis = Redis::new(&host, socket.password("redis-password"));
    assert!(check(redis.ping()).await.unwrap().passed());
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_unit_and_ends_with_the_client() {
    let server = lab::Redis::start();
    let redis = client(&server);
    let ours = || server.cli(&["client", "list"]).matches("name=runbook").count();
    for _ in 0..3 {
        check(redis.ping()).await.unwrap();
    }
    assert_eq!(ours(), 1);
    drop(redis);
    until("the end of the connection", async || ours() == 0).await;
}

#[tokio::test]
async fn a_client_outlives_its_server() {
    let server = lab::Redis::start();
    let redis = client(&server);
    check(redis.ping()).await.unwrap();
    server.stop();
    check(redis.ping()).await.unwrap_err();
    server.start_again();
    assert!(check(redis.ping()).await.unwrap().passed());
}

#[test]
fn a_client_outlives_the_runtime_that_it_was_used_on() {
    let server = lab::Redis::start();
    let redis = client(&server);
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(runtime.block_on(check(redis.ping())).unwrap().passed());
    }
}

#[tokio::test]
async fn memory_is_compared_with_its_limit() {
    let server = lab::Redis::start();
    let redis = client(&server);
    let verdict = check(redis.memory(90)).await.unwrap();
    assert!(verdict.why().ends_with("it has no `maxmemory`"), "{}", verdict.why());
    let used = verdict.evidence().used;
    // Room for what the next connections take.
    server.cli(&["config", "set", "maxmemory", &(used * 100).to_string()]);
    assert_eq!(check(redis.memory(50)).await.unwrap().level(), Level::Pass);
    server.fill_memory();
    let verdict = check(redis.memory(90)).await.unwrap();
    assert_eq!(verdict.level(), Level::Fail);
    assert!(verdict.why().contains("1 bytes of `maxmemory` (noeviction)"), "{}", verdict.why());
    server.cli(&["config", "set", "maxmemory-policy", "allkeys-lru"]);
    let verdict = check(redis.memory(90)).await.unwrap();
    assert_eq!(verdict.level(), Level::Warn, "{}", verdict.why());
}

#[tokio::test]
async fn the_hit_ratio_says_nothing_until_enough_was_asked() {
    let server = lab::Redis::start();
    let redis = client(&server);
    let verdict = check(redis.hit_ratio(80)).await.unwrap();
    assert_eq!(verdict.why(), "nothing was looked up yet");
    server.cli(&["set", "there", "1"]);
    let lookups = |key: &str, times: u32| {
        let script = "for i = 1, ARGV[1] do redis.call('GET', KEYS[1]) end";
        server.cli(&["eval", script, "1", key, &times.to_string()]);
    };
    lookups("missing", 10);
    let verdict = check(redis.hit_ratio(80)).await.unwrap();
    assert_eq!(verdict.level(), Level::Pass);
    assert!(verdict.why().ends_with("too few to say"), "{}", verdict.why());
    lookups("missing", 1000);
    assert_eq!(check(redis.hit_ratio(80)).await.unwrap().level(), Level::Warn);
    lookups("there", 9000);
    let verdict = check(redis.hit_ratio(80)).await.unwrap();
    assert_eq!((verdict.level(), verdict.evidence().hits), (Level::Pass, 9000));
}

#[tokio::test]
async fn taken_connections_are_counted() {
    let server = lab::Redis::builder().config("maxclients 10").start();
    let redis = client(&server);
    let cx = testing::observer();
    assert_eq!(check(redis.clients(80)).await.unwrap().level(), Level::Pass);
    let mut readers = Vec::new();
    for _ in 0..7 {
        readers.push(redis.read(&cx).await.unwrap());
    }
    let verdict = check(redis.clients(80)).await.unwrap();
    assert_eq!((verdict.level(), verdict.evidence().max), (Level::Fail, Some(10)));
    let failure = loop {
        match redis.read(&cx).await {
            Ok(reader) => readers.push(reader),
            Err(failure) => break failure,
        }
    };
    // The server says so and hangs up; which of both arrives is up to the system.
    assert!(said(&failure).contains("`maxclients`"), "{failure}");
}

#[tokio::test]
async fn a_limit_of_memory_is_set_and_put_back() {
    let server = lab::Redis::start();
    let redis = client(&server);
    let limit = || server.cli(&["config", "get", "maxmemory"]);
    let outcome = run(|b| {
        b.step(redis.set_max_memory(512 * 1024 * 1024));
    })
    .await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert!(limit().contains("536870912"));
    let outcome = run(|b| {
        b.step(redis.set_max_memory(0));
        b.step(broken());
    })
    .await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert!(limit().contains("536870912"));
    server.cli(&["config", "set", "maxmemory-policy", "allkeys-lru"]);
    let failure = step(redis.set_max_memory(1000)).await.unwrap_err();
    assert!(failure.to_string().contains("keys would be lost at once"), "{failure}");
    assert!(step(redis.purge_memory()).await.unwrap().resident_after > 0);
}
