use std::time::Duration;

use runbook_core::{FailureKind, testing};
use runbook_redis::{Config, Redis};

use crate::support::{check, client, host, said, step};

#[tokio::test]
async fn each_way_of_not_getting_in_is_told_with_what_to_do() {
    let server = lab::Redis::builder().password("redis-password").start();
    let at = |config: Config| Redis::new(&host(), config.port(server.port()));
    let asked = async |config: Config| said(&check(at(config).ping()).await.unwrap_err());

    let wrong = asked(Config::new().password("not-the-password")).await;
    assert!(wrong.contains("the server refuses the user `default`: WRONGPASS"), "{wrong}");
    assert!(wrong.contains("check the user and password"), "{wrong}");
    assert!(!wrong.contains("not-the-password"), "{wrong}");
    let none = asked(Config::new()).await;
    assert!(none.contains("the server refuses the user `default`: NOAUTH"), "{none}");
    let database = asked(Config::new().password("redis-password").database(99)).await;
    assert!(database.contains("redis database 99 on cache-1: there is no such database"));

    let open = lab::Redis::start();
    let config = Config::new().port(open.port()).password("for-nothing");
    let needless = said(&check(Redis::new(&host(), config).ping()).await.unwrap_err());
    assert!(needless.contains("the server asks for no password"), "{needless}");
}

#[tokio::test]
async fn a_server_that_is_stopped_is_told_from_one_that_is_silent() {
    let server = lab::Redis::start();
    let redis = client(&server);
    let ever = Config::new().port(server.port());
    let ever = ever.connect_timeout(Duration::MAX).response_timeout(Duration::MAX);
    assert!(check(Redis::new(&host(), ever).ping()).await.unwrap().passed());
    server.stop();
    let stopped = check(redis.ping()).await.unwrap_err();
    assert_eq!(stopped.kind(), FailureKind::Failed);
    let stopped = said(&stopped);
    assert!(stopped.contains("the server can't be reached at 127.0.0.1:"), "{stopped}");
    assert!(stopped.contains("see whether it runs"), "{stopped}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Config::new().port(port).connect_timeout(Duration::from_millis(200));
    let silent = said(&check(Redis::new(&host(), config).ping()).await.unwrap_err());
    assert!(silent.contains("no answer within 200ms"), "{silent}");
}

#[tokio::test]
async fn what_answers_in_another_language_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let web = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
    });
    let redis = Redis::new(&host(), Config::new().port(port));
    let failure = said(&check(redis.ping()).await.unwrap_err());
    assert!(failure.contains("the server can't be reached"), "{failure}");
    web.abort();
}

#[tokio::test]
async fn a_user_who_may_not_is_told_what_to_have_granted() {
    let server = lab::Redis::builder()
        .user("shop", "redis-password")
        .config("user looker on >looker-password ~shop:* +ping +select +get")
        .start();
    let config = Config::new().port(server.port()).user("looker").password("looker-password");
    let redis = Redis::new(&host(), config);
    assert!(check(redis.ping()).await.unwrap().passed(), "who may not name himself gets in");
    let failure = said(&check(redis.info()).await.unwrap_err());
    assert!(failure.contains("the user `looker` may not run INFO"), "{failure}");
    assert!(failure.contains("`ACL SETUSER looker +info`"), "{failure}");
    let cx = testing::observer();
    let failure = redis.read(&cx).await.unwrap().query(["GET", "other"]).await.unwrap_err();
    assert!(failure.to_string().contains("may not run GET"), "{failure}");
}

#[tokio::test]
async fn a_full_memory_is_told_from_other_refusals() {
    let server = lab::Redis::start();
    let redis = client(&server);
    server.fill_memory();
    let cx = testing::context();
    let session = redis.session(&cx).await.unwrap();
    let full = said(&session.command(["SET", "a", "1"]).await.unwrap_err());
    assert!(full.contains("the memory is full (`maxmemory`), and SET was refused"), "{full}");
    assert!(full.contains("a queue needs `noeviction`"), "{full}");
    server.relieve();
    session.command(["SET", "a", "1"]).await.unwrap();
    let other = session.command(["LPUSH", "a", "1"]).await.unwrap_err();
    assert!(other.to_string().contains("LPUSH: WRONGTYPE"), "{other}");
}

#[tokio::test]
async fn a_replica_takes_no_writes() {
    let master = lab::Redis::start();
    let replica =
        lab::Redis::builder().config(&format!("replicaof 127.0.0.1 {}", master.port())).start();
    let redis = client(&replica);
    let failure = said(&step(redis.delete_key("a")).await.unwrap_err());
    assert!(failure.contains("the server is a read-only replica, and UNLINK was refused"));
    assert_eq!(check(redis.info()).await.unwrap().evidence().role, "slave");
}

#[tokio::test]
async fn a_server_that_can_not_save_says_so() {
    let server = lab::Redis::start();
    let redis = client(&server);
    server.cli(&["set", "a", "1"]);
    // A snapshot that fails: its name is taken by a folder.
    let folder = server.config_file().with_file_name("dump.rdb");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("in the way"), "").unwrap();
    server.cli(&["config", "set", "save", "3600 1"]);
    server.cli(&["bgsave"]);
    lab::wait_until("the snapshot to fail", Duration::from_secs(20), || {
        server.cli(&["info", "persistence"]).contains("rdb_last_bgsave_status:err")
    });
    let verdict = check(redis.saves()).await.unwrap();
    assert!(!verdict.passed() && verdict.why().starts_with("the last snapshot failed"));
    let failure = said(&step(redis.delete_key("a")).await.unwrap_err());
    assert!(failure.contains("can't save its data to disk, and UNLINK was refused"), "{failure}");
}

#[tokio::test]
async fn a_command_that_takes_too_long_ends_with_an_unknown_outcome() {
    let server = lab::Redis::start();
    let config = Config::new().port(server.port()).response_timeout(Duration::from_secs(1));
    let redis = Redis::new(&host(), config);
    let cx = testing::context();
    let session = redis.session(&cx).await.unwrap();
    let failure = session.command(["BLPOP", "nothing", "0"]).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::TimedOut);
    assert!(failure.to_string().contains("no answer to BLPOP within 1s"), "{failure}");
    // Not on the connection that still waits.
    assert_eq!(session.command(["PING"]).await.unwrap().text(), Some("PONG"));
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_open() {
    let server = lab::Redis::start();
    let redis = client(&server);
    let stopping = tokio::task::spawn_blocking(move || {
        lab::wait_until("the command to arrive", Duration::from_secs(20), || {
            server.cli(&["info", "clients"]).contains("blocked_clients:1")
        });
        server.stop();
    });
    let cx = testing::context();
    let session = redis.session(&cx).await.unwrap();
    let failure = session.command(["BLPOP", "nothing", "0"]).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_server_that_still_loads_is_told() {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    // What a server says that has much to read; a real one would have to be big.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while lines.read_line(&mut line).await.unwrap() > 0 {
            let answer = match line.trim() {
                "SELECT" | "CLIENT" => "+OK\r\n",
                "DBSIZE" => "-LOADING Redis is loading the dataset in memory\r\n",
                _ => "",
            };
            lines.get_mut().write_all(answer.as_bytes()).await.unwrap();
            line.clear();
        }
    });
    let redis = Redis::new(&host(), Config::new().port(port));
    let cx = testing::observer();
    let failure = redis.read(&cx).await.unwrap().query(["DBSIZE"]).await.unwrap_err();
    let text = said(&failure);
    assert!(text.contains("the server is still loading its data into memory"), "{text}");
    assert!(text.contains("wait until it has loaded"), "{text}");
    server.abort();
}
