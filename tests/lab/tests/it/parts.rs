//! Each part alone.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use lab::{
    Ca, Http, Nginx, Pm2, Postgres, Redis, Release, Remote, Reply, Smtp, try_run, wait_until,
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn postgres_answers_stops_and_starts_again_with_its_rows() {
    let postgres = Postgres::start();
    postgres.create_role("app", "it's a password");
    postgres.create_database("app_prod", "app");
    postgres.psql("app_prod", "create table kept as select 42 as answer");
    postgres.stop();
    assert_eq!(postgres.pid(), None);
    let failure = postgres.try_psql("app_prod", "select 1").unwrap_err();
    assert!(failure.to_string().contains("No such file or directory"), "{failure}");
    postgres.start_again();
    assert_eq!(postgres.psql("app_prod", "select answer from kept"), "42");
    postgres.kill();
    assert_eq!(postgres.pid(), None);
    postgres.start_again();
    assert_eq!(postgres.psql("app_prod", "select answer from kept"), "42");
}

#[test]
fn postgres_refuses_a_wrong_password_on_both_ways_in() {
    let postgres = Postgres::start();
    for host in ["127.0.0.1", &postgres.socket_dir().display().to_string()] {
        let failure = try_run(
            postgres.command("psql", "postgres").env("PGHOST", host).env("PGPASSWORD", "wrong"),
        )
        .unwrap_err();
        assert!(failure.to_string().contains("password authentication failed"), "{failure}");
    }
}

#[test]
fn postgres_has_the_settings_that_were_asked_for_and_tls() {
    let ca = Ca::new();
    let postgres = Postgres::builder()
        .setting("max_connections", "17")
        .setting("shared_preload_libraries", "pg_stat_statements")
        .tls(&ca)
        .start();
    assert_eq!(postgres.psql("postgres", "show max_connections"), "17");
    postgres.psql("postgres", "create extension pg_stat_statements");
    let url = format!(
        "{}?sslmode=verify-full&sslrootcert={}",
        postgres.url("postgres", postgres.user(), postgres.password()),
        ca.certificate_file().display()
    );
    let sql = "select version from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(try_run(Command::new("psql").args([&url, "-XAtc", sql])).unwrap(), "TLSv1.3");
}

#[test]
fn a_standby_follows_its_primary() {
    let primary = Postgres::start();
    let standby = primary.standby();
    primary.psql("postgres", "create table told as select 'news' as what");
    wait_until("the standby to hear the news", SOON, || {
        standby.try_psql("postgres", "select what from told").is_ok_and(|what| what == "news")
    });
    assert_eq!(standby.psql("postgres", "select pg_is_in_recovery()"), "t");
}

#[test]
fn postgres_faults_can_be_seen_and_end_with_their_guard() {
    let postgres = Postgres::builder().setting("max_connections", "8").start();
    postgres.create_role("app", "app-password");
    postgres.create_database("app_prod", "app");
    postgres.psql("app_prod", "create table busy (id int)");

    let lock = postgres.hold_lock("app_prod", "busy");
    let blocked = postgres.try_psql("app_prod", "set lock_timeout = '50ms'; select * from busy");
    assert!(blocked.unwrap_err().to_string().contains("lock timeout"));
    let idle = "select count(*) from pg_stat_activity where state = 'idle in transaction'";
    assert_eq!(postgres.psql("postgres", idle), "1");
    drop(lock);
    wait_until("the lock to be gone", SOON, || postgres.psql("postgres", idle) == "0");

    let slow = postgres.long_query("app_prod", 600);
    let active =
        format!("select query from pg_stat_activity where application_name = '{}'", slow.name());
    assert_eq!(postgres.psql("postgres", &active), "select pg_sleep(600);");
    drop(slow);

    let all = postgres.exhaust_connections("app_prod", "app", "app-password");
    let app = || {
        try_run(
            postgres
                .command("psql", "app_prod")
                .env("PGUSER", "app")
                .env("PGPASSWORD", "app-password")
                .args(["-XAtc", "select 1"]),
        )
    };
    assert!(app().unwrap_err().to_string().contains("remaining connection slots are reserved"));
    assert_eq!(postgres.psql("postgres", "select 1"), "1", "a superuser still gets in");
    drop(all);
    wait_until("a connection to be free", SOON, || app().is_ok());
}

#[test]
fn redis_answers_who_is_logged_in_only() {
    for redis in [
        Redis::builder().password("redis-password").start(),
        Redis::builder().user("worker", "worker-password").start(),
    ] {
        assert_eq!(redis.cli(&["ping"]), "PONG");
        let port = redis.port().to_string();
        let stranger = try_run(Command::new("redis-cli").args(["-e", "-p", &port, "ping"]));
        assert!(stranger.unwrap_err().to_string().contains("NOAUTH"));
        redis.stop();
        assert!(redis.try_cli(&["ping"]).unwrap_err().to_string().contains("Connection refused"));
        redis.start_again();
        assert_eq!(redis.cli(&["ping"]), "PONG");
    }
}

#[test]
fn redis_refuses_writes_while_its_memory_is_full() {
    let redis = Redis::start();
    redis.fill_memory();
    let refused = redis.try_cli(&["set", "key", "value"]).unwrap_err();
    assert!(refused.to_string().contains("OOM command not allowed"), "{refused}");
    redis.relieve();
    assert_eq!(redis.cli(&["set", "key", "value"]), "OK");
}

#[test]
fn redis_speaks_tls() {
    let ca = Ca::new();
    let redis = Redis::builder().tls(&ca).start();
    let port = redis.tls_port().unwrap().to_string();
    let pong = try_run(
        Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port, "--tls", "--cacert"])
            .arg(ca.certificate_file())
            .arg("ping"),
    );
    assert_eq!(pong.unwrap(), "PONG");
}

#[test]
fn nginx_serves_its_upstream_denies_and_shows_that_it_is_being_worked_on() {
    let app = Http::start();
    app.on("GET", "/hello", Reply::text(200, "hello"));
    let ca = Ca::new();
    let nginx = Nginx::start(&ca, "site.example.org", &[&app.addr().to_string()]);
    let ask = || {
        let https = nginx.https_port();
        let output = Command::new("curl")
            .args(["-s", "-S", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"])
            .arg(ca.certificate_file())
            .args(["--resolve", &format!("site.example.org:{https}:127.0.0.1")])
            .arg(format!("https://site.example.org:{https}/hello"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(ask(), "200");
    let plain = lab::get(nginx.http_port(), "/hello").unwrap();
    assert_eq!(plain.status, 301);

    fs::write(nginx.maintenance_flag(), "").unwrap();
    assert_eq!(ask(), "503");
    fs::remove_file(nginx.maintenance_flag()).unwrap();
    assert_eq!(ask(), "200");

    fs::write(nginx.deny_file(), "deny 127.0.0.1;\n").unwrap();
    nginx.reload();
    wait_until("the door to be shut", SOON, || ask() == "403");
    fs::write(nginx.deny_file(), "").unwrap();
    nginx.reload();
    wait_until("the door to be open", SOON, || ask() == "200");

    let good = nginx.break_config();
    let failure = nginx.try_test().unwrap_err().to_string();
    assert!(failure.contains("unknown directive \"proxy_pas\""), "{failure}");
    fs::write(nginx.site_file(), good).unwrap();
    nginx.try_test().unwrap();

    nginx.put_certificate(&ca.expired(&["site.example.org"]));
    nginx.reload();
    wait_until("the old certificate", SOON, || ask().contains("certificate has expired"));
    nginx.put_certificate(&ca.certificate(&["other.example.org"]));
    nginx.reload();
    wait_until("the other's certificate", SOON, || {
        ask().contains("no alternative certificate subject name")
    });

    nginx.stop();
    assert!(ask().contains("Failed to connect") || ask().contains("refused"), "{}", ask());
    nginx.start_again();
    assert_eq!(nginx.pid().map(lab::is_alive), Some(true));
    let log = fs::read_to_string(nginx.access_log()).unwrap();
    assert!(
        log.contains("\"GET /hello HTTP/2.0\" 503") || log.contains("\"GET /hello HTTP/1.1\" 503"),
        "{log}"
    );
}

#[test]
fn pm2_runs_a_process_and_ends_with_it() {
    let pm2 = Pm2::new();
    fs::write(pm2.home().join("app.js"), "setInterval(() => {}, 1000)").unwrap();
    pm2.run(&["start", "app.js", "--name", "app"]);
    let pid = pm2.pid_of("app").unwrap();
    assert!(lab::is_alive(pid));
    assert_eq!(pm2.restarts("app"), 0);
    let daemon = pm2.daemon().unwrap();
    drop(pm2);
    wait_until("both to be gone", SOON, || !lab::is_alive(pid) && !lab::is_alive(daemon));
}

#[test]
fn every_release_can_be_checked_out_and_differs_as_it_says() {
    let remote = Remote::new();
    assert_eq!(remote.commit("main"), remote.commit_of(Release::Second));
    let folder = lab::Folder::new();
    let tree = folder.path().join("tree");
    remote.clone_to(&tree, Release::First);
    let git = |arguments: &[&str]| {
        try_run(Command::new("git").arg("-C").arg(&tree).args(arguments)).unwrap()
    };
    lab::app::install(&tree);
    for release in Release::ALL {
        remote.publish(release);
        git(&["reset", "-q", "--hard", "v1"]);
        git(&["pull", "-q", "--ff-only"]);
        assert_eq!(git(&["rev-parse", "HEAD"]), remote.commit_of(release));
        assert_eq!(
            git(&["rev-parse", &format!("origin/{}", release.branch())]),
            remote.commit_of(release)
        );
        let package = fs::read_to_string(tree.join("package.json")).unwrap();
        assert!(package.contains(&format!("\"version\": \"{}\"", release.version())));
        let built =
            try_run(Command::new("npm").args(["run", "--silent", "build"]).current_dir(&tree));
        assert_eq!(built.is_ok(), release != Release::DoesNotBuild, "{built:?}");
        assert_eq!(git(&["status", "--porcelain"]), "", "nothing that a build makes is tracked");
    }
}

#[test]
fn npm_installs_the_application_without_a_network() {
    let remote = Remote::new();
    let folder = lab::Folder::new();
    let tree = folder.path().join("tree");
    remote.clone_to(&tree, Release::First);
    fs::write(folder.path().join(".npmrc"), lab::app::npmrc()).unwrap();
    let npm = |arguments: &[&str]| {
        try_run(Command::new("npm").args(arguments).current_dir(&tree).env("HOME", folder.path()))
    };
    npm(&["ci"]).unwrap();
    assert!(tree.join("node_modules/bullmq/package.json").exists());
    npm(&["install"]).unwrap();
    let status = try_run(Command::new("git").arg("-C").arg(&tree).args(["status", "--porcelain"]));
    assert_eq!(status.unwrap(), "", "an install leaves the work tree clean");
}

#[test]
fn a_mail_is_kept_and_a_stranger_refused() {
    let talk = |server: &Smtp, lines: &[&str]| {
        let stream = TcpStream::connect(server.addr()).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut all = vec![answers.next().unwrap().unwrap()];
        for line in lines {
            write!(&stream, "{line}\r\n").unwrap();
            // Within a mail's text there is no answer to a line.
            if !line.starts_with('~') {
                loop {
                    let answer = answers.next().unwrap().unwrap();
                    let last = answer.as_bytes()[3] == b' ';
                    all.push(answer);
                    if last {
                        break;
                    }
                }
            }
        }
        all.join("\n")
    };
    let envelope = ["EHLO me", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>"];

    let open = Smtp::start();
    open.refuse("nobody@example.org");
    let text = "DATA\r\nSubject: help\r\n\r\n..dot";
    let mut lines = envelope.to_vec();
    lines.extend(["RCPT TO:<nobody@example.org>", text, ".", "QUIT"]);
    let answers = talk(&open, &lines);
    assert!(answers.contains("550 no such user here"), "{answers}");
    let mails = open.wait_for(1);
    assert_eq!(mails[0].to, ["b@example.org"]);
    assert_eq!(mails[0].text, "Subject: help\n\n.dot\n");

    let closed = Smtp::with_login("user", "pass");
    assert!(talk(&closed, &envelope[..2]).contains("530 log in first"));
    // "\0user\0pass"
    let welcome =
        talk(&closed, &["EHLO me", "AUTH PLAIN AHVzZXIAcGFzcw==", "MAIL FROM:<a@example.org>"]);
    assert!(welcome.ends_with("235 welcome\n250 ok"), "{welcome}");
    let wrong = talk(&closed, &["EHLO me", "AUTH PLAIN AHVzZXIAd3Jvbmc="]);
    assert!(wrong.contains("535"), "{wrong}");
    closed.set_busy(true);
    assert!(talk(&closed, &[]).starts_with("421"));
}

#[test]
fn an_http_server_plays_its_script() {
    let server = Http::start();
    server.script("GET", "/flaky", [Reply::text(503, "not yet"), Reply::text(200, "now")]);
    server.on("GET", "/cut", Reply::hang_up());
    server.route("POST", "/echo", |request| {
        Reply::text(200, &String::from_utf8_lossy(&request.body))
    });
    let status = |path| lab::get(server.port(), path).map(|reply| reply.status);
    assert_eq!(status("/flaky").unwrap(), 503);
    assert_eq!(status("/flaky").unwrap(), 200);
    assert_eq!(status("/flaky").unwrap(), 200);
    assert_eq!(status("/none").unwrap(), 404);
    assert!(status("/cut").is_err());
    for how in
        [&["--data", "x=1"][..], &["--data", "x=1", "--header", "Transfer-Encoding: chunked"]]
    {
        let echo = try_run(Command::new("curl").args(["-s", &server.url("/echo?q=2")]).args(how));
        assert_eq!(echo.unwrap(), "x=1");
    }
    assert_eq!(server.requests().last().unwrap().query, "q=2");
}
