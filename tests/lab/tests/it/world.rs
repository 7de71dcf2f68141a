//! The whole world.

use std::io::Read as _;
use std::time::{Duration, Instant};

use lab::{Release, World, wait_until};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn the_world_works_and_leaves_nothing() {
    let start = Instant::now();
    let world = World::start();
    eprintln!("the world started in {:.1} s", start.elapsed().as_secs_f32());

    let health = world.health().unwrap().body_json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], Release::First.version());
    assert_eq!(health["commit"], world.ssh("git -C eaf_platform rev-parse HEAD"));

    let by_nginx = lab::try_run(world.curl().arg(world.url("/api/v1/health"))).unwrap();
    assert!(by_nginx.contains("\"status\":\"ok\""), "{by_nginx}");

    login_and_correct(&world);

    // What an operator does, as the operator does it.
    assert!(world.ssh("pm2 jlist").contains("\"name\":\"eaf-worker\""));
    let port = world.postgres().port();
    let rows = world.ssh(&format!(
        "psql -h 127.0.0.1 -p {port} -U eaf -Atc 'select count(*) from \"User\"' eaf_prod"
    ));
    assert_eq!(rows, "2");
    assert!(
        world.ssh("cd eaf_platform && npm run db:status").contains("Database schema is up to date")
    );
    for server in ["postgresql", "redis", "nginx"] {
        world.ssh(&format!(
            "service {server} stop && service {server} start && service {server} status"
        ));
    }
    world.ssh("cd eaf_platform && git pull -q --ff-only && npm install && npm run build && npm run db:migrate && pm2 restart eaf-platform");
    world.wait_for_site();
    assert_eq!(world.health().unwrap().body_json()["version"], Release::Second.version());

    let folder = world.folder().path().to_owned();
    drop(world);
    assert!(!folder.exists());
    assert_eq!(super::leftovers::processes_of(&folder), [0_u32; 0]);
}

#[test]
fn what_goes_wrong_can_be_seen_and_mended() {
    let world = World::start();
    let waiting = || world.redis().cli(&["llen", "bull:corrections:wait"]);
    let health = || world.health().map(|reply| (reply.status, reply.body_json()));

    // The worker, with jobs waiting.
    world.stop_worker();
    world.hand_in(3, "a short text");
    assert_eq!(waiting(), "3");
    world.pm2().run(&["start", "eaf-worker"]);
    wait_until("the queue to be empty", SOON, || waiting() == "0");
    let killed = world.kill_worker();
    wait_until("PM2 to start another", SOON, || {
        world.pm2().pid_of("eaf-worker").is_some_and(|pid| pid != killed)
    });

    // Redis: the site goes on without it.
    world.redis().stop();
    let (status, body) = health().unwrap();
    assert_eq!((status, &body["status"]), (200, &"degraded".into()), "{body}");
    world.redis().start_again();
    world.wait_for_site();
    world.redis().fill_memory();
    assert!(world.redis().try_cli(&["set", "key", "value"]).is_err());
    world.redis().relieve();

    // PostgreSQL: it does not.
    world.postgres().stop();
    wait_until("the site to be ill", SOON, || health().is_ok_and(|(status, _)| status == 503));
    world.ssh("service postgresql start");
    world.wait_for_site();
    world.forget_database_password();
    world.postgres().change_password(world.role(), world.password());
    world.wait_for_site();
    let (database, role) = (world.database(), world.role());
    let all = world.postgres().exhaust_connections(database, role, world.password());
    assert!(!all.is_empty());
    drop(all);

    // Nginx and its certificate.
    let ask = || lab::try_run(world.curl().arg(world.url("/api/v1/health")));
    world.expire_certificate();
    wait_until("the old certificate", SOON, || {
        ask().is_err_and(|failure| failure.to_string().contains("certificate has expired"))
    });

    // The process.
    world.crash_loop();
    // PM2 refuses a restart in the moment between the end of a process and its next try.
    world.ssh("cd eaf_platform && npm run build && pm2 stop eaf-platform");
    world.ssh("pm2 restart eaf-platform");
    world.wait_for_site();
    let stranger = world.take_port();
    let log =
        std::fs::read_to_string(world.home().join(".pm2/logs/eaf-platform-error.log")).unwrap();
    assert!(log.contains("EADDRINUSE"), "{log}");
    drop(stranger);
    world.wait_for_site();

    // The disk.
    if let Some(disk) = world.small_disk("backups", 64 * 1024) {
        let line = format!("dd if=/dev/zero of={}/big bs=1024 count=100", disk.path().display());
        let full = lab::try_run(world.sshd().ssh().arg(line)).unwrap_err();
        assert!(full.to_string().contains("No space left on device"), "{full}");
    }

    // The way to it.
    let proxy = world.ssh_proxy();
    let mut ssh = std::process::Command::new("ssh");
    ssh.args([
        "-F",
        "/dev/null",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ])
    .args(["-o", "BatchMode=yes", "-p", &proxy.port().to_string(), "-l", world.sshd().user(), "-i"])
    .arg(world.sshd().client_key())
    .args(["127.0.0.1", "echo ready; sleep 600"])
    .stdin(std::process::Stdio::null())
    .stdout(std::process::Stdio::piped());
    let mut session = lab::Child::spawn(&mut ssh);
    let mut ready = [0; 5];
    session.std().stdout.take().unwrap().read_exact(&mut ready).unwrap();
    proxy.cut();
    assert_eq!(session.wait(SOON).and_then(|status| status.code()), Some(255));
}

/// A student logs in, hands a copy in, and it is corrected.
fn login_and_correct(world: &World) {
    let jar = world.folder().path().join("cookies");
    let curl = |arguments: &[&str]| {
        let mut curl = world.curl();
        curl.arg("--cookie").arg(&jar).arg("--cookie-jar").arg(&jar).args(arguments);
        lab::try_run(&mut curl).unwrap()
    };
    let login = world.url("/login");
    let page = curl(&["--include", &login]);
    assert!(page.to_lowercase().contains("content-security-policy: default-src 'self'"), "{page}");
    let token = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let (email, password) = world.student();
    let form = format!("email={email}&password={password}");
    let code = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let post = |data: &str| curl(&[&code[..], &["--data", data, &login]].concat());
    assert_eq!(post(&form), "403", "without the token");
    assert_eq!(post(&format!("csrf={token}&email={email}&password=wrong")), "401");
    assert_eq!(post(&format!("csrf={token}&{form}")), "303");
    assert!(curl(&[&world.url("/api/v1/me")]).contains(email));
    let header = format!("X-CSRF-Token: {token}");
    let copy = curl(&[
        "--header",
        &header,
        "--data",
        "title=Essay&text=three+short+words",
        &world.url("/api/v1/copies"),
    ]);
    let copy: serde_json::Value = serde_json::from_str(&copy).unwrap();
    let url = world.url(&format!("/api/v1/copies/{}", copy["id"]));
    lab::wait_until("the copy to be corrected", std::time::Duration::from_secs(20), || {
        curl(&[&url]).contains("\"mark\":3")
    });
}
